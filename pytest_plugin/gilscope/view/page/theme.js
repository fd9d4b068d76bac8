// Colours, of the page and of the canvas. One colour a part, everywhere.
const COLOURS = {
  light: {
    enqueue: "#9775fa", queued: "#f59f00", "gil.wait": "#e03131", ready: "#ffd43b", poll: "#2f6fde",
    suspended: "#c3ccd8", callback: "#12b886", merged: "#98a2b3", gap: "#eef0f3", task: "#74a9f7",
    "rust.poll": "#b7410e", start: "#a8763e", woken: "#7048e8", hold: "#475569", total: "#98a2b3", text: "#1b2430", soft: "#667085", line: "#e3e6eb",
    card: "#ffffff", chosen: "#eaf1fe", bad: "#e03131", wake: "#d6336c", flight: "#2f6fde",
    queue: "#f59f00", stripe: "#fafbfc",
  },
  dark: {
    enqueue: "#b197fc", queued: "#ffc078", "gil.wait": "#ff6b6b", ready: "#ffe066", poll: "#5c9dff",
    suspended: "#445062", callback: "#38d9a9", merged: "#667085", gap: "#222a34", task: "#3f73c4",
    "rust.poll": "#e8825c", start: "#c9a06b", woken: "#b794f6", hold: "#8593a6", total: "#667085", text: "#e4e9f0", soft: "#94a0b0", line: "#2a323d",
    card: "#181e26", chosen: "#1f2d44", bad: "#ff6b6b", wake: "#f783ac", flight: "#5c9dff",
    queue: "#ffc078", stripe: "#1b222b",
  },
};
const MEANING = {
  "hold": "the loop thread holds the GIL", "gil.wait": "it waits for the GIL",
  "enqueue": "until the queue took the call", "queued": "until the loop thread woke up",
  "ready": "has the GIL, other code runs first", "poll": "a step of the coroutine runs",
  "start": "the loop's thread starts, and its first turn",
  "suspended": "it awaits something", "rust.poll": "a Rust future that it awaits is polled",
  "callback": "the outcome is handed over",
};

const theme = {
  name: matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light",
  get colours() { return COLOURS[this.name]; },
  set(name) {
    this.name = name;
    document.documentElement.dataset.theme = name;
  },
};

/** Nanoseconds in the unit that fits, three digits. */
function took(ns) {
  const three = (x) => x.toFixed(x >= 100 || x === 0 ? 0 : x >= 10 ? 1 : 2);
  if (ns < 1e3) return `${three(ns)} ns`;
  if (ns < 1e6) return `${three(ns / 1e3)} µs`;
  if (ns < 1e9) return `${three(ns / 1e6)} ms`;
  return `${three(ns / 1e9)} s`;
}

/** A place without the folders that say little. */
const near = (place) => place.split("/site-packages/").pop().split("/").slice(-2).join("/");

/** A moment on the axis, whose ticks are `step` apart and at most `most`. */
function moment(ns, step, most) {
  const [unit, size] = most >= 1e9 ? ["s", 1e9] : most >= 1e6 ? ["ms", 1e6] : most >= 1e3 ? ["µs", 1e3] : ["ns", 1];
  const digits = Math.max(0, Math.ceil(-Math.log10(step / size) - 1e-9));
  return `${(ns / size).toFixed(digits)} ${unit}`;
}

const number = d3.format(",");
const counted = (count, word) => `${number(count)} ${word}${count === 1 ? "" : "s"}`;

/** An element with a text, or with children. Texts are never parsed. */
function element(tag, className, ...children) {
  const made = document.createElement(tag);
  if (className) made.className = className;
  for (const child of children) made.append(child);
  return made;
}
