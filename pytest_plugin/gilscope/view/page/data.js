// The payload, as gilscope/view/payload.py packs it, made into objects.
const raw = await unpack(document.getElementById("trace").textContent);

/** JSON, compressed, in base64. */
async function unpack(text) {
  const bytes = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  return new Response(stream).json();
}

function pieces(flat, start) {
  const found = [];
  let at = start;
  for (let i = 0; i < flat.length;) {
    const kind = raw.kinds[Math.abs(flat[i])];
    const piece = { kind, start: at, end: at + flat[i + 1], place: "", wake: -1, count: 1, number: 0, cpu: 0 };
    const hasCpu = flat[i] < 0;
    i += 2;
    if (kind === "suspended") {
      piece.place = raw.texts[flat[i]];
      if (flat[i + 1] >= 0) piece.wake = piece.end - flat[i + 1];
      i += 2;
    } else if (kind === "merged") {
      piece.count = flat[i];
      i += 1;
    } else if (hasCpu) {
      piece.cpu = flat[i];
      i += 1;
    }
    at = piece.end;
    found.push(piece);
  }
  let number = 0;
  for (const piece of found) {
    if (piece.kind === "poll") piece.number = ++number;
    if (piece.kind === "merged") number = NaN;
  }
  return found;
}

function task(packed, call) {
  const [name, since, dur, status, polls, error, flat] = packed;
  const start = call.start + since;
  return {
    kind: "task", name: raw.texts[name], start, end: start + dur, dur, status: raw.texts[status], polls,
    error: raw.texts[error], pieces: pieces(flat, start), call, lane: call.lane, tasks: [], totals: 0,
  };
}

function call(packed) {
  const [name, start, dur, status, lane, id, trace, polls, error, flags, parent, flat, totals, count, tasks] = packed;
  const made = {
    kind: "call", name: raw.texts[name], start, end: start + dur, dur, status: raw.texts[status], lane, id,
    trace, polls, error: raw.texts[error], flags: raw.texts[flags], parent, pieces: pieces(flat, start), totals,
    taskCount: count, tasks: [], rust: [],
  };
  made.tasks = tasks.map((packed) => task(packed, made));
  return made;
}

/** Pairs of time and value, of which each time is packed as what came since the one before. */
function steps(flat) {
  const found = [];
  let at = 0;
  for (let i = 0; i < flat.length; i += 2) {
    at += flat[i];
    found.push([at, flat[i + 1]]);
  }
  return found;
}

function lane(packed, index) {
  const turns = [];
  let at = 0;
  for (let i = 0; i < packed.turns.length; i += 6) {
    const [since, dur, calls, cpu, count, held] = packed.turns.slice(i, i + 6);
    turns.push({ kind: "hold", start: at + since, end: at + since + dur, calls, cpu, count, held });
    at += since + dur;
  }
  const waits = [];
  at = 0;
  for (let i = 0; i < packed.waits.length; i += 2) {
    at += packed.waits[i];
    waits.push({ kind: "lane.wait", start: at, end: at + packed.waits[i + 1] });
  }
  const [since, begun, ready] = packed.start;
  const starts = since === undefined ? [] : [{ kind: "start", start: since, end: begun }, { kind: "first", start: begun, end: ready }].filter((box) => box.end > box.start);
  return { name: packed.name, index, turns, polls: [], waits, starts, begun: ready ?? -1, rust: [] };
}

const trace = { ...raw, calls: raw.calls.map(call), lanes: raw.lanes.map(lane) };
trace.flight = steps(raw.flight);
trace.queue = steps(raw.queue);
trace.byId = new Map(trace.calls.map((call) => [call.id, call]));

/** By which of `wakers` who was woken, and when that was polled. */
function wakes(flat, wakers) {
  const found = [];
  for (let i = 0; i < flat.length; i += 4) {
    const [by, since, who, until] = flat.slice(i, i + 4), work = trace.works[who];
    found.push({ by: wakers[by], at: wakers[by].start + since, work, until: work.start + until });
  }
  return found;
}
trace.works = trace.calls.flatMap((call) => [call, ...call.tasks]);
trace.wakes = wakes(raw.wakes, trace.works);

/** Polls of Rust futures, on loop threads and on others, which are lanes of their own. */
function rustPolls({ name, loop, polls }) {
  const own = loop < 0 ? { name, index: trace.threads.length, turns: [], polls: [], waits: [], starts: [], rust: [] } : trace.lanes[loop];
  if (loop < 0) trace.threads.push(own);
  for (let i = 0; i < polls.length; i += 5) {
    const [at, what, number, since, dur] = polls.slice(i, i + 5);
    const work = trace.calls[at], start = work.start + since;
    const poll = { kind: "rust.poll", name: raw.texts[what], number, start, end: start + dur, work, thread: name, lane: own.index };
    own.rust.push(poll);
    trace.polls.push(poll);
    work.rust.push(poll);
  }
}

trace.threads = [...trace.lanes];
trace.polls = [];
trace.rust.forEach(rustPolls);
trace.rustWakes = wakes(raw.rustWakes, trace.polls);
for (const call of trace.calls) call.rust.sort((a, b) => a.start - b.start);

// What the loop threads did, as far as the calls drawn here tell.
for (const call of trace.calls) {
  const own = trace.lanes[call.lane];
  if (!own) continue;
  for (const work of [call, ...call.tasks]) {
    for (const piece of work.pieces) {
      if (piece.kind === "poll") own.polls.push({ ...piece, work });
    }
  }
}
for (const own of trace.lanes) own.polls.sort((a, b) => a.start - b.start);

/** Whether it is a wait of a call for a loop's thread that had not begun. */
const forThread = (work, piece) => work.kind === "call" && ["queued", "gil.wait"].includes(piece.kind) && piece.start < (trace.lanes[work.lane]?.begun ?? -1);
