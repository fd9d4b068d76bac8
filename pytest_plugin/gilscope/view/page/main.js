// Events: what is chosen, where the view is, what is shown around the picture.
const find = (id) => document.getElementById(id);
const tip = find("tip");
let scheduled = false;
const redraw = () => {
  if (scheduled) return;
  scheduled = true;
  requestAnimationFrame(() => {
    scheduled = false;
    draw();
  });
};

// --- rows

/** Tasks have rows where there are few, and those of the chosen call always. */
function arrange() {
  const wanted = find("filter").value.trim().toLowerCase();
  const calls = trace.calls.filter((call) => !wanted || [call.name, call.status, call.id].some((text) => text.toLowerCase().includes(wanted)));
  const order = find("order").value;
  if (order === "slow") calls.sort((a, b) => b.dur - a.dur);
  view.calls = calls;
  const few = calls.reduce((sum, call) => sum + 1 + call.tasks.length, 0) <= 40;
  view.rows = (order === "packed" ? packed(calls) : calls.map((call) => [call])).flatMap((works) => [
    { works, depth: 0 },
    ...works.filter((call) => (few && works.length === 1) || call === view.chosen).flatMap((call) => call.tasks.map((task) => ({ works: [task], depth: 1 }))),
  ]);
  // High ones only where all of them can be seen at once.
  const fit = view.rows.length <= 24 && view.top + view.rows.length * 30 <= view.height;
  view.rowHeight = fit ? 30 : view.rows.length <= 60 ? 22 : 17;
  find("tall").style.height = `${Math.max(view.tall, view.height)}px`;
  redraw();
}

/** As few rows as hold all calls, each in the first one that is free when it begins. */
function packed(calls) {
  const rows = [], gap = trace.span / 300;
  for (const call of calls) {
    const free = rows.find((row) => row[row.length - 1].end + gap <= call.start);
    if (free) free.push(call);
    else rows.push([call]);
  }
  return rows;
}

function choose(call, reveal = true) {
  view.chosen = call;
  arrange();
  showPanel();
  history.replaceState(null, "", call ? `#${call.id}` : "#");
  if (!call || !reveal) return;
  const index = view.rows.findIndex((row) => row.works.includes(call));
  if (index < 0) return;
  const y = view.rowY(index);
  if (y < view.fixed || y + view.rowHeight > view.height) {
    chart.scrollTop = Math.max(0, view.top + index * view.rowHeight - (view.fixed + view.height) / 2);
  }
}

function step(by) {
  const at = view.calls.indexOf(view.chosen);
  pick(at < 0 ? (by > 0 ? 0 : view.calls.length - 1) : at + by);
}

function pick(index) {
  if (view.calls.length) choose(view.calls[Math.min(Math.max(index, 0), view.calls.length - 1)]);
}

// --- time

const zoom = d3.zoom()
  .filter((event) => {
    if (event.type !== "wheel") return !event.button;
    return event.ctrlKey || event.metaKey || event.offsetY < view.fixed;
  })
  .on("zoom", (event) => {
    view.x = event.transform.rescaleX(view.base);
    redraw();
  });
const surface = d3.select(canvas).call(zoom).on("dblclick.zoom", null);

function resize() {
  if (!chart.clientWidth) return;
  const domain = view.width ? view.x.domain() : ofCalls();
  view.width = chart.clientWidth;
  view.height = chart.clientHeight;
  view.gutter = Math.round(Math.min(Math.max(view.width * 0.22, 130), 260));
  const right = view.width - RIGHT;
  view.base = d3.scaleLinear().domain([0, trace.span || 1]).range([view.gutter, right]);
  const extent = [[view.gutter, 0], [right, view.height]];
  zoom.extent(extent).translateExtent(extent).scaleExtent([1, Math.max(1, (trace.span || 1) / 100)]);
  arrange();
  show(...domain);
}

/** Moves the view to a stretch of time. */
function show(from, to) {
  const k = (view.base(trace.span || 1) - view.gutter) / Math.max(view.base(to) - view.base(from), 1e-9);
  const [, most] = zoom.scaleExtent();
  const scale = Math.min(Math.max(k, 1), most);
  surface.call(zoom.transform, d3.zoomIdentity.translate(view.gutter - scale * view.base(from), 0).scale(scale));
}

/** From the first call drawn to the end of the last, with a little room; a run may be far longer. */
function ofCalls() {
  const whole = [0, trace.span || 1];
  if (!trace.calls.length) return whole;
  const start = Math.min(...trace.calls.map((call) => call.start)), end = Math.max(...trace.calls.map((call) => call.end));
  const room = Math.max((end - start) * 0.03, 500);
  return [Math.max(0, start - room), Math.min(whole[1], end + room)];
}

function around(start, end) {
  const margin = Math.max((end - start) * 0.08, 500);
  show(Math.max(0, start - margin), Math.min(trace.span, end + margin));
}

const scaleBy = (by) => surface.call(zoom.scaleBy, by, [view.pointer ?? (view.gutter + view.width) / 2, 0]);
const moveBy = (share) => surface.call(zoom.translateBy, (-share * (view.width - view.gutter)) / d3.zoomTransform(canvas).k, 0);

// --- pointer and keys

function under(event) {
  const { offsetX: x, offsetY: y } = event;
  const at = view.x.invert(x);
  if (y >= view.fixed) {
    const index = Math.floor((y + view.scrolled - view.top) / view.rowHeight);
    const row = view.rows[index];
    if (row) return { index, ...inRow(row.works, x, at) };
  }
  if (x < view.gutter || y < AXIS) return null;
  const slack = view.x.invert(2) - view.x.invert(0);
  const hit = (list) => list.find((box) => box.start - slack <= at && at <= box.end + slack);
  for (const lane of trace.threads) {
    const within = y - view.laneY(lane.index), loop = lane.index < trace.lanes.length;
    if (within < 0 || within >= (loop ? LANE : RUST_LANE)) continue;
    const box = !loop ? hit(lane.rust) : within > 30 ? hit(lane.waits) || hit(lane.starts) : (within > 19 && hit(lane.rust)) || hit(lane.polls) || hit(lane.turns) || hit(lane.starts);
    return box ? { work: box.work, piece: box, lane } : null;
  }
  return null;
}

/** The work of a row that is nearest, and the piece of it that is there. */
function inRow(works, x, at) {
  const away = (work) => Math.max(work.start - at, at - work.end, 0);
  const work = works.reduce((best, one) => (away(one) < away(best) ? one : best));
  const off = view.x(at + away(work)) - view.x(at);
  if (works.length > 1 && off > 6) return {};
  return { work, piece: x > view.gutter ? work.pieces.find((piece) => piece.start <= at && at < piece.end) : null };
}

function describe({ work, piece }) {
  if (!piece) return work ? `${work.kind} ${work.name}\n${took(work.dur)}, ${work.status}` : "";
  const long = took(piece.end - piece.start);
  if (piece.kind === "lane.wait") return `the loop thread waits for the GIL, ${long}`;
  if (piece.kind === "start") return `the loop thread starts, ${long} since the first call that waits for it`;
  if (piece.kind === "first") return `the first turn of the loop thread, ${long}: the loop is made ready`;
  if (piece.kind === "gap") return `${work.name}: ${long} of which the file has nothing`;
  if (piece.kind === "hold") {
    const many = piece.count > 1 ? `${number(piece.count)} turns, the GIL held for ${took(piece.held)} of ${long}` : `GIL held for ${long}`;
    return `${many}\n${took(piece.cpu)} of processor time, calls and tasks served: ${number(piece.calls)}`;
  }
  if (piece.kind === "rust.poll") return `${piece.name}: poll ${piece.number}, ${long}\n${MEANING[piece.kind]}, by ${work.name}`;
  const what = piece.kind === "poll" ? `poll ${piece.number || ""}` : piece.kind === "merged" ? `${number(piece.count)} short polls and waits` : piece.kind;
  const lines = [`${work ? `${work.name}: ` : ""}${what}, ${long}`];
  if (work && forThread(work, piece)) lines.push("the loop thread started");
  else if (MEANING[piece.kind]) lines.push(MEANING[piece.kind]);
  if (piece.place) lines.push(`at ${piece.place}`);
  if (piece.wake >= 0) lines.push(`woken ${took(piece.end - piece.wake)} before its turn`);
  if (piece.cpu) lines.push(`${took(piece.cpu)} of processor time`);
  return lines.join("\n");
}

canvas.addEventListener("mousemove", (event) => {
  view.pointer = Math.max(event.offsetX, view.gutter);
  const hit = under(event);
  const text = hit ? describe(hit) : "";
  tip.hidden = !text;
  tip.textContent = text;
  if (text) {
    tip.style.left = `${Math.min(event.clientX + 14, innerWidth - tip.offsetWidth - 8)}px`;
    tip.style.top = `${Math.min(event.clientY + 16, innerHeight - tip.offsetHeight - 8)}px`;
  }
  canvas.classList.toggle("over", Boolean(hit && hit.work));
  const over = hit && hit.index !== undefined ? hit.index : null;
  if (over !== view.over) {
    view.over = over;
    redraw();
  }
});
canvas.addEventListener("mouseleave", () => {
  tip.hidden = true;
  view.over = null;
  view.pointer = null;
  redraw();
});
canvas.addEventListener("click", (event) => {
  const hit = under(event);
  if (hit && hit.work) choose(hit.work.call || hit.work, hit.index === undefined);
  chart.focus({ preventScroll: true });
});
canvas.addEventListener("dblclick", (event) => {
  const hit = under(event);
  if (hit && hit.work) around(hit.work.start, hit.work.end);
});
chart.addEventListener("wheel", (event) => {
  if (Math.abs(event.deltaX) <= Math.abs(event.deltaY) && !event.shiftKey) return;
  event.preventDefault();
  moveBy((event.deltaX || event.deltaY) / 1200);
}, { passive: false });
chart.addEventListener("scroll", redraw);

const KEYS = {
  ArrowDown: () => step(1), ArrowUp: () => step(-1), PageDown: () => step(20), PageUp: () => step(-20),
  Home: () => pick(0), End: () => pick(view.calls.length - 1),
  ArrowLeft: () => moveBy(-0.15), ArrowRight: () => moveBy(0.15), a: () => moveBy(-0.15), d: () => moveBy(0.15),
  w: () => scaleBy(1.5), s: () => scaleBy(1 / 1.5), "+": () => scaleBy(1.5), "-": () => scaleBy(1 / 1.5),
  0: () => show(0, trace.span), c: () => show(...ofCalls()), Escape: () => choose(null),
  Enter: () => view.chosen && around(view.chosen.start, view.chosen.end),
};
addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || ["INPUT", "SELECT"].includes(event.target.tagName)) return;
  if (event.key === "Enter" && event.target.tagName === "BUTTON") return;
  const action = KEYS[event.key.length === 1 ? event.key.toLowerCase() : event.key];
  if (!action) return;
  event.preventDefault();
  action();
});

// --- around the picture

function say() {
  const { calls, tasks, pieces, arrows, turns, waits, steps, rust, woken } = view.drawn;
  const by = trace.wakes.length + trace.rustWakes.length ? ` ${counted(woken, "arrow")} from a poll that woke.` : "";
  const polled = trace.rustCount ? ` ${counted(rust, "poll")} of Rust futures.` : "";
  const [from, to] = view.x.domain(), part = to - from < 0.99 * trace.span;
  find("shown").textContent = part ? `Shown: ${took(Math.max(from, 0))} to ${took(to)} of ${took(trace.span)}; “whole run” shows all.` : "";
  find("drawn").textContent = `In view: ${counted(calls, "call")}, ${counted(tasks, "task")}, ${counted(pieces, "piece")}, ${counted(arrows, "wake arrow")}, ${counted(turns, "turn")} and ${counted(waits, "GIL wait")} of ${counted(trace.lanes.length, "loop thread")}, ${counted(steps, "step")} of counters.${polled}${by}`;
}

function headline() {
  const bad = trace.found ? element("b", "bad", `${counted(trace.found, "finding")} in the file`) : "no findings";
  if (trace.found) bad.title = trace.counting.counted;
  find("path").textContent = trace.path.split("/").pop();
  const failed = trace.notOk.reduce((sum, [, count]) => sum + count, 0), said = [];
  if (failed) said.push(", ", element("b", "bad", `${number(failed)} not ok`), ` (${trace.notOk.map(([status, count]) => `${number(count)} ${status}`).join(", ")})`);
  if (trace.unended.said) said.push("; ", element("b", "bad", "not ended"), `: ${trace.unended.said}`);
  find("headline").replaceChildren(
    element("b", "", counted(trace.count, "call")), ...said, `; ${counted(trace.tasks, "task")} in ${took(trace.span)} on ${counted(trace.lanes.length, "loop thread")}; `, bad,
  );
  find("notes").replaceChildren(...trace.notes.map((note) => element("p", "", note)));
}

function finding(one) {
  const made = element("button", "finding", element("b", "", one.id), one.sentence);
  if (one.count > 1) made.append(element("span", "soft", ` (${trace.counting.alike} of ${number(one.count)})`));
  if (one.hint) made.append(element("span", "hint", one.hint));
  if (one.stack.length) made.append(element("code", "", one.stack[0]));
  made.title = one.stack.join("\n");
  made.addEventListener("click", () => {
    if (trace.byId.has(one.call)) choose(trace.byId.get(one.call));
    if (one.start !== null) around(one.start, one.start + one.dur);
  });
  return made;
}

function legend() {
  const kinds = ["hold", ...PARTS, "task", ...(trace.lanes.some((lane) => lane.starts.length) ? ["start"] : []), ...(trace.rustCount ? ["rust.poll"] : []), "wake", ...(trace.wakes.length + trace.rustWakes.length ? ["woken"] : [])];
  const names = { hold: "GIL held", start: "loop starts", task: "poll of a task", woken: "woken by" };
  find("legend").replaceChildren(...kinds.map((kind) => {
    const made = element("span", "", key(kind), names[kind] || kind);
    made.title = MEANING[kind] || "";
    return made;
  }));
}

function restyle(name) {
  theme.set(name);
  legend();
  showPanel();
  redraw();
}

find("theme").addEventListener("click", () => restyle(theme.name === "dark" ? "light" : "dark"));
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", (event) => restyle(event.matches ? "dark" : "light"));
find("in").addEventListener("click", () => scaleBy(1.6));
find("out").addEventListener("click", () => scaleBy(1 / 1.6));
find("fit").addEventListener("click", () => show(...ofCalls()));
find("whole").addEventListener("click", () => show(0, trace.span));
find("filter").addEventListener("input", arrange);
find("order").addEventListener("change", arrange);
headline();
find("findings").replaceChildren(...trace.findings.filter((one) => one.count).map(finding));
find("order").value = trace.calls.length > 60 ? "packed" : "time";
restyle(theme.name);
new ResizeObserver(resize).observe(chart);
resize();
choose(trace.byId.get(location.hash.slice(1)) || null);
draw();
