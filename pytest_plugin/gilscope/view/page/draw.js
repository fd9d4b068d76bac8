// The picture: axis, counters and loop threads above, one row a call below. All of it is one canvas,
// which stays where it is while the rows scroll; only rows in view are drawn.
const AXIS = 28, COUNTER = 40, LANE = 46, RUST_LANE = 24, RIGHT = 14;
const canvas = document.getElementById("canvas");
const chart = document.getElementById("chart");

const view = {
  width: 0, height: 0, gutter: 0, rows: [], rowHeight: 0, chosen: null, over: null,
  base: d3.scaleLinear(), x: d3.scaleLinear(), drawn: {},
  get counters() {
    return [
      { name: "calls in flight", steps: trace.flight, colour: "flight" },
      { name: "queue depth", steps: trace.queue, colour: "queue" },
    ];
  },
  get top() { return AXIS + 2 * COUNTER + lanesAbove(trace.threads.length) + 6; },
  /** Above the rows, as long as that leaves them room; else it scrolls with them. */
  get fixed() { return this.top < this.height * 0.6 ? this.top : AXIS; },
  get scrolled() { return chart.scrollTop; },
  laneY(index) { return AXIS + 2 * COUNTER + lanesAbove(index) - (this.fixed === this.top ? 0 : this.scrolled); },
  rowY(index) { return this.top + index * this.rowHeight - this.scrolled; },
  get tall() { return this.top + this.rows.length * this.rowHeight + 8; },
};

/** How high the lanes before this one are: those of loop threads, then those of others. */
function lanesAbove(index) {
  const loops = Math.min(index, trace.lanes.length);
  return loops * LANE + (index - loops) * RUST_LANE;
}

function draw() {
  const scale = devicePixelRatio || 1;
  const { width, height } = view;
  if (canvas.width !== Math.round(width * scale) || canvas.height !== Math.round(height * scale)) {
    canvas.width = Math.round(width * scale);
    canvas.height = Math.round(height * scale);
    canvas.style.width = `${width}px`;
    canvas.style.height = `${height}px`;
  }
  const c = canvas.getContext("2d");
  c.setTransform(scale, 0, 0, scale, 0, 0);
  c.fillStyle = theme.colours.card;
  c.fillRect(0, 0, width, height);
  view.drawn = { calls: 0, tasks: 0, pieces: 0, arrows: 0, turns: 0, waits: 0, steps: 0, rust: 0, woken: 0 };
  c.textBaseline = "middle";
  grid(c);
  rows(c);
  woken(c);
  above(c);
  wokenByRust(c);
  arrows(c);
  say();
}

/** Draws with `paint` in the part of the canvas that has a time axis. */
function clipped(c, y, height, paint) {
  c.save();
  c.beginPath();
  c.rect(view.gutter, y, view.width - view.gutter, height);
  c.clip();
  paint();
  c.restore();
}

function font(c, size, weight = 400) {
  c.font = `${weight} ${size}px system-ui, -apple-system, "Segoe UI", "DejaVu Sans", sans-serif`;
}

/** A text of at most `room` pixels. */
function fitted(c, text, room) {
  if (c.measureText(text).width <= room) return text;
  let low = 0, high = text.length;
  while (low < high) {
    const middle = (low + high + 1) >> 1;
    if (c.measureText(`${text.slice(0, middle)}…`).width <= room) low = middle;
    else high = middle - 1;
  }
  return low ? `${text.slice(0, low)}…` : "";
}

function ticks() {
  const found = view.x.ticks(Math.max(2, Math.floor((view.width - view.gutter) / 110)));
  const step = found.length > 1 ? found[1] - found[0] : 1;
  const most = found[found.length - 1];
  return found.map((at) => ({ at, x: view.x(at), label: moment(at, step, most) }));
}

function grid(c) {
  c.strokeStyle = theme.colours.line;
  c.lineWidth = 1;
  clipped(c, 0, view.height, () => {
    for (const { x } of ticks()) line(c, Math.round(x) + 0.5, AXIS, Math.round(x) + 0.5, view.height);
  });
}

function line(c, x1, y1, x2, y2) {
  c.beginPath();
  c.moveTo(x1, y1);
  c.lineTo(x2, y2);
  c.stroke();
}

/** Boxes in order of their begin. One too small to be seen is a pixel wide; of several in one, one is drawn. */
function boxes(c, list, y, height, colour, each) {
  const [from, to] = view.x.domain();
  let last = -Infinity, count = 0;
  for (const box of list) {
    if (box.end < from) continue;
    if (box.start > to) break;
    const x1 = Math.max(view.x(box.start), view.gutter - 2), x2 = Math.min(view.x(box.end), view.width + 2);
    if (x2 <= last) continue;
    c.fillStyle = typeof colour === "string" ? colour : colour(box);
    const wide = Math.max(x2 - x1, 1);
    rounded(c, x1, y, wide, height);
    last = Math.max(x1 + 1, x2 - 0.5);
    count += 1;
    if (each) each(box, x1, wide);
  }
  return count;
}

function rounded(c, x, y, width, height) {
  if (width < 5) return c.fillRect(x, y, width, height);
  c.beginPath();
  c.roundRect(x, y, width, height, Math.min(3, height / 3));
  c.fill();
}

// --- rows of calls

function rows(c) {
  const first = Math.max(0, Math.floor((view.scrolled + view.fixed - view.top) / view.rowHeight));
  for (let i = first; i < view.rows.length; i++) {
    const y = view.rowY(i);
    if (y > view.height) break;
    row(c, view.rows[i], i, y);
  }
  if (!view.rows.length) {
    c.fillStyle = theme.colours.soft;
    font(c, 13);
    c.fillText(trace.calls.length ? "no call matches the filter" : "no calls in this trace", view.gutter + 12, view.rowY(0) + 20);
  }
}

function row(c, { works, depth }, index, y) {
  const height = view.rowHeight, colours = theme.colours;
  const chosen = works.length === 1 && owner(works[0]) === view.chosen;
  if (chosen || index === view.over) {
    c.fillStyle = chosen ? colours.chosen : colours.stripe;
    c.fillRect(0, y, view.width, height);
  }
  const [from, to] = view.x.domain();
  const seen = works.filter((work) => work.end >= from && work.start <= to);
  if (works.length === 1 || seen.length === 1) label(c, works.length === 1 ? works[0] : seen[0], depth, y);
  else if (seen.length) several(c, seen, y);
  const pad = height > 24 ? 6 : height > 18 ? 3 : 2;
  clipped(c, y, height, () => {
    for (const work of seen) {
      view.drawn[work.kind === "call" ? "calls" : "tasks"] += 1;
      bars(c, work, y + pad, height - 2 * pad, chosen ? colours.chosen : colours.card);
      if (works.length > 1) marked(c, work, y, height);
    }
  });
}

const owner = (work) => work.call || work;

/** In a row of several calls: which is chosen, and which failed. */
function marked(c, work, y, height) {
  const x1 = view.x(work.start), wide = Math.max(view.x(work.end) - x1, 1);
  if (work.status !== "ok") {
    c.fillStyle = theme.colours.bad;
    c.fillRect(x1, y + height - 2, Math.max(wide, 2), 2);
  }
  if (work !== view.chosen) return;
  c.strokeStyle = theme.colours.wake;
  c.lineWidth = 2;
  c.strokeRect(x1 - 2, y + 1, wide + 4, height - 2);
}

function several(c, works, y) {
  font(c, 11);
  c.fillStyle = theme.colours.soft;
  c.textAlign = "left";
  c.fillText(counted(works.length, "call"), 18, y + view.rowHeight / 2 + 0.5);
}

function label(c, work, depth, y) {
  const middle = y + view.rowHeight / 2 + 0.5;
  const small = view.rowHeight < 18;
  font(c, small ? 11 : 12);
  c.fillStyle = theme.colours.soft;
  c.textAlign = "right";
  const long = took(work.dur);
  c.fillText(long, view.gutter - 12, middle);
  const room = view.gutter - 36 - c.measureText(long).width - depth * 14;
  c.textAlign = "left";
  if (work.status !== "ok") {
    c.fillStyle = theme.colours.bad;
    c.beginPath();
    c.arc(9, middle - 0.5, 3, 0, 7);
    c.fill();
  }
  font(c, small ? 11 : 12, depth ? 400 : 500);
  c.fillStyle = work.status === "ok" ? (depth ? theme.colours.soft : theme.colours.text) : theme.colours.bad;
  c.fillText(fitted(c, work.name, room), 18 + depth * 14, middle);
}

function bars(c, work, y, height, ground) {
  const colours = theme.colours;
  if (!work.pieces.length) {
    boxes(c, [work], y, height, colours.total);
    return;
  }
  if (view.x(work.end) - view.x(work.start) < 4) {
    // Too small for its pieces: the colour is that of the longest.
    view.drawn.pieces += boxes(c, [work], y, height, colours[longest(work).kind]);
    return;
  }
  // Waits are a thin line, so that what runs stands out.
  const thin = Math.max(3, Math.round(height * 0.34));
  const within = (height - thin) / 2;
  const idle = work.pieces.filter((piece) => piece.kind === "suspended" || piece.kind === "gap");
  view.drawn.pieces += boxes(c, idle, y + within, thin, (piece) => colours[piece.kind]);
  const runs = work.pieces.filter((piece) => piece.kind !== "suspended" && piece.kind !== "gap" && piece.end > piece.start);
  const colour = (piece) => colours[shownAs(work, piece)];
  view.drawn.pieces += boxes(c, runs, y, height, colour, (piece, x, wide) => {
    if (height >= 14 && wide > 46) inside(c, piece.kind === "poll" ? `poll ${piece.number || ""}` : forThread(work, piece) ? "loop starts" : piece.kind, x, y, wide, height, shownAs(work, piece));
  });
  for (const piece of idle) places(c, piece, y, height, ground);
  for (const piece of idle) wake(c, piece, y + height / 2, height);
}

/** Whose colour a piece has. */
function shownAs(work, piece) {
  if (forThread(work, piece)) return "start";
  return piece.kind === "poll" && work.kind === "task" ? "task" : piece.kind;
}

function longest(work) {
  return work.pieces.reduce((best, piece) => (piece.end - piece.start > best.end - best.start ? piece : best));
}

function inside(c, text, x, y, wide, height, kind) {
  font(c, 11);
  c.fillStyle = kind === "ready" || kind === "queued" ? "#3d2c00" : "#ffffff";
  const from = Math.max(x, view.gutter);
  c.fillText(fitted(c, text, x + wide - from - 10), from + 6, y + height / 2 + 0.5);
}

/** Where it awaits, above the line if the row is high enough. */
function places(c, piece, y, height, ground) {
  const x1 = Math.max(view.x(piece.start), view.gutter), x2 = Math.min(view.x(piece.end), view.width);
  if (height < 16 || !piece.place || x2 - x1 < 80) return;
  font(c, 10.5);
  const text = fitted(c, piece.place.split("/").pop(), x2 - x1 - 16);
  const wide = c.measureText(text).width + 8;
  c.fillStyle = ground;
  c.globalAlpha = 0.85;
  rounded(c, x1 + 5, y, wide, height);
  c.globalAlpha = 1;
  c.fillStyle = theme.colours.soft;
  c.fillText(text, x1 + 9, y + height / 2 + 0.5);
}

/** An arrow from the wake to the poll that follows; where both are the same pixel, its head alone. */
function wake(c, piece, y, height) {
  if (piece.wake < 0) return;
  const x1 = view.x(piece.wake), x2 = view.x(piece.end);
  if (x2 < view.gutter || x1 > view.width || x2 - view.x(piece.start) < 14) return;
  c.strokeStyle = c.fillStyle = theme.colours.wake;
  c.lineWidth = 1.5;
  if (x2 - x1 > 5) {
    line(c, x1, y, x2 - 3, y);
    line(c, x1, y - height / 3, x1, y + height / 3);
  }
  head(c, x2, y, Math.min(4, height / 4));
  view.drawn.arrows += 1;
}

function head(c, x, y, size) {
  c.beginPath();
  c.moveTo(x, y);
  c.lineTo(x - 1.4 * size, y - size);
  c.lineTo(x - 1.4 * size, y + size);
  c.fill();
}

/** From the poll of one row that woke to the poll of another one that followed. */
function woken(c) {
  if (!trace.wakes.length) return;
  const at = new Map();
  view.rows.forEach(({ works }, i) => works.forEach((work) => at.set(work, view.rowY(i) + view.rowHeight / 2)));
  clipped(c, view.fixed, view.height, () => {
    for (const { by, at: when, work, until } of trace.wakes) {
      const y1 = at.get(by), y2 = at.get(work), x1 = view.x(when), x2 = view.x(until);
      if (y1 === undefined || y2 === undefined || Math.max(y1, y2) < view.fixed || Math.min(y1, y2) > view.height) continue;
      if (Math.max(x1, x2) < view.gutter || Math.min(x1, x2) > view.width) continue;
      const mine = owner(by) === view.chosen || owner(work) === view.chosen;
      c.strokeStyle = c.fillStyle = theme.colours.woken;
      wokenArrow(c, x1, y1, x2, y2, mine);
    }
  });
}

/** Thin and pale, unless it is of the chosen call: many of them cross the rows, which have to be read. */
function wokenArrow(c, x1, y1, x2, y2, mine) {
  const size = mine ? 3.5 : 2.5;
  c.globalAlpha = mine ? 1 : 0.28;
  c.lineWidth = mine ? 1.6 : 0.8;
  const edge = y2 + Math.sign(y1 - y2) * view.rowHeight * 0.24, back = Math.sign(edge - y1) || 1;
  c.beginPath();
  c.moveTo(x1, y1);
  c.bezierCurveTo(x1, (y1 + edge) / 2, x2, (y1 + edge) / 2, x2, edge - 4 * back);
  c.stroke();
  c.globalAlpha = 1;
  c.beginPath();
  c.moveTo(x2, edge);
  c.lineTo(x2 - size, edge - 1.7 * size * back);
  c.lineTo(x2 + size, edge - 1.7 * size * back);
  c.fill();
  view.drawn.woken += 1;
}

/** From the poll of a Rust future, above the rows, to the poll of who awaited it; of many rows those of the chosen call. */
function wokenByRust(c) {
  if (!trace.rustWakes.length) return;
  const at = new Map(), few = view.rows.length <= 60;
  view.rows.forEach(({ works }, i) => works.forEach((work) => at.set(work, view.rowY(i) + view.rowHeight / 2)));
  clipped(c, AXIS, view.height, () => {
    c.strokeStyle = c.fillStyle = theme.colours.woken;
    for (const { by, at: when, work, until } of trace.rustWakes) {
      const mine = owner(work) === view.chosen, y2 = at.get(work), x1 = view.x(when), x2 = view.x(until);
      if (!(mine || few) || y2 === undefined || y2 < view.fixed || view.laneY(by.lane) > view.height) continue;
      if (Math.max(x1, x2) < view.gutter || Math.min(x1, x2) > view.width) continue;
      const middle = by.lane < trace.lanes.length ? 22 : RUST_LANE / 2;
      wokenArrow(c, x1, view.laneY(by.lane) + middle, x2, y2, mine);
    }
  });
}

/** Those of the chosen call, over everything. */
function arrows(c) {
  if (!view.chosen || view.fixed !== view.top) return;
  view.rows.forEach(({ works }, i) => {
    const y = Math.max(view.rowY(i), view.fixed - view.rowHeight);
    if (y > view.height) return;
    for (const work of works) if (owner(work) === view.chosen) arrowsToLane(c, work, y);
  });
}

/** From each wake up to the poll on its thread. */
function arrowsToLane(c, work, y) {
  const lane = view.laneY(work.lane) + 30;
  if (lane < AXIS || lane > y) return;
  clipped(c, AXIS, view.height, () => {
    c.strokeStyle = c.fillStyle = theme.colours.wake;
    c.lineWidth = 1.2;
    for (const piece of work.pieces) {
      if (piece.wake < 0) continue;
      const x1 = view.x(piece.wake), x2 = view.x(piece.end);
      if (Math.max(x1, x2) < view.gutter || Math.min(x1, x2) > view.width) continue;
      c.globalAlpha = 0.75;
      c.beginPath();
      c.moveTo(x1, y + view.rowHeight / 2);
      c.bezierCurveTo(x1, (y + lane) / 2, x2, (y + lane) / 2, x2, lane + 6);
      c.stroke();
      c.globalAlpha = 1;
      c.beginPath();
      c.moveTo(x2, lane);
      c.lineTo(x2 - 4, lane + 7);
      c.lineTo(x2 + 4, lane + 7);
      c.fill();
    }
  });
}
