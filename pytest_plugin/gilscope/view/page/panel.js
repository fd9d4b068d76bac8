// The panel: the whole life of the chosen call, or percentiles of all while none is chosen.
const panel = document.getElementById("panel");
const PARTS = ["enqueue", "queued", "gil.wait", "ready", "poll", "suspended", "callback"];
const MOST = 300;

function key(kind) {
  const box = element("i", "key");
  box.style.background = theme.colours[kind];
  return box;
}

function showPanel() {
  panel.replaceChildren(...(view.chosen ? life(view.chosen) : overview()));
  panel.scrollTop = 0;
}

function overview() {
  const head = element("h2", "", "All calls");
  if (!trace.rows.length) return [head, element("p", "soft", trace.unended.said ? "None of them ended in this trace." : "There is none in this trace."), ...notEnded()];
  const made = table(["part", "p50", "p90", "p99", "max"], trace.rows.map(([name, ...cells]) => [name, ...cells.slice(0, 4).map(took)]));
  const share = new Map(trace.rows.map((row) => [row[0], row[5]]));
  return [
    head,
    element("p", "soft", `${counted(trace.count, "call")}. Click on one, or press ↓, to see its whole life.`),
    bar(PARTS.map((part) => [part, share.get(part)])),
    made,
    ...longestPoll(),
    ...notEnded(),
    element("h3", "", "How to read it"),
    ...Object.entries(MEANING).filter(([kind]) => kind !== "start" || trace.lanes.some((lane) => lane.starts.length)).map(([kind, text]) => element("p", "", key(kind), element("b", "", kind === "hold" ? "GIL held" : kind), ` – ${text}`)),
    element("p", "", key("wake"), element("b", "", "wake"), " – what was awaited is done; the arrow ends at the poll that follows"),
    element("p", "", key("woken"), element("b", "", "woken by"), " – it was a poll of another call or task, or of the Rust future that was awaited, that woke; the arrow leads from that one to the poll that follows"),
  ];
}

/** A button that chooses a call, if that is drawn; else its name. */
function toCall(id, name) {
  const call = trace.byId.get(id);
  const made = element(call ? "button" : "b", call ? "call" : "", name);
  if (call) made.addEventListener("click", () => choose(call));
  return made;
}

function longestPoll() {
  const { longest } = trace;
  return longest ? [element("h3", "", "Longest poll"), element("p", "", toCall(longest.call, longest.name), ` ${took(longest.dur)}, at ${took(longest.at)}`)] : [];
}

/** Calls that had not ended, as far as the file knows them. */
function notEnded() {
  const { said, calls, more, lacking } = trace.unended;
  if (!said) return [];
  return [
    element("h3", "", "Not ended"), element("p", "", said),
    ...calls.map((call) => element("p", "", toCall(call.id, call.name), ` ${call.said}`)),
    ...(more > 0 ? [element("p", "soft", `… and ${counted(more, "call")} that began later`)] : []),
    ...lacking.map((line) => element("p", "soft", line)),
  ];
}

function bar(shares) {
  const made = element("div", "bar");
  for (const [kind, share] of shares) {
    const part = element("i");
    part.style.width = `${100 * share}%`;
    part.style.background = theme.colours[kind];
    part.title = `${kind} ${(100 * share).toFixed(1)} %`;
    made.append(part);
  }
  return made;
}

function table(heads, lines) {
  const made = element("table", "");
  const row = (cells, tag) => element("tr", "", ...cells.map((cell) => element(tag, "", cell)));
  made.append(element("thead", "", row(heads, "th")));
  made.append(element("tbody", "", ...lines.map((cells) => {
    const known = PARTS.includes(cells[0]);
    return row([known ? element("span", "", key(cells[0]), cells[0]) : cells[0], ...cells.slice(1)], "td");
  })));
  return made;
}

function sums(work) {
  const found = Object.fromEntries(PARTS.map((part, i) => [part, work.totals ? work.totals[i] : 0]));
  let merged = 0;
  for (const piece of work.pieces) {
    if (piece.kind in found) found[piece.kind] += piece.end - piece.start;
    else if (piece.kind === "merged") merged += piece.end - piece.start;
  }
  return { found, merged };
}

function life(call) {
  const status = element("span", call.status === "ok" ? "status" : "status bad", call.status);
  const lines = [
    element("h2", "", call.name),
    element("p", "", status, ` ${took(call.dur)}, began at ${took(call.start)}, ${counted(call.polls, "poll")}`),
  ];
  if (call.flags) lines.push(element("p", "soft", call.flags));
  if (call.error) lines.push(element("p", "error", call.error));
  const about = trace.findings.filter((finding) => finding.call === call.id);
  for (const finding of about) lines.push(element("p", "error", `${finding.id} ${finding.sentence}`));
  lines.push(...partsOf(call));
  if (call.pieces.length) lines.push(element("h3", "", "Its life"), lifeList(call));
  if (call.taskCount) lines.push(...tasksOf(call));
  const woken = [...trace.wakes, ...trace.rustWakes].filter((wake) => owner(wake.work) === call).sort((a, b) => a.until - b.until);
  if (woken.length) lines.push(...wokenBy(woken));
  if (call.rust.length) lines.push(...rustOf(call));
  lines.push(element("h3", "", "Ids"), ids(call));
  return lines;
}

function partsOf(call) {
  const { found, merged } = sums(call);
  const whole = call.dur || 1;
  const cells = PARTS.map((part) => [part, took(found[part]), `${(100 * found[part] / whole).toFixed(1)} %`]);
  const gaps = call.pieces.reduce((sum, piece) => sum + (piece.kind === "gap" ? piece.end - piece.start : 0), 0);
  if (gaps) cells.push(["unknown", took(gaps), `${(100 * gaps / whole).toFixed(1)} %`]);
  if (merged) cells.push(["drawn as one", took(merged), `${(100 * merged / whole).toFixed(1)} %`]);
  const made = table(["part", "time", "share"], cells);
  const sum = element("tr", "sum", element("td", "", "call"), element("td", "", took(call.dur)), element("td", "", "100.0 %"));
  made.lastChild.append(sum);
  return [bar(PARTS.map((part) => [part, found[part] / whole])), made];
}

function lifeList(work) {
  const list = element("ul", "life");
  const shown = work.pieces.filter((piece) => piece.end > piece.start || piece.kind === "poll");
  for (const piece of shown.slice(0, MOST)) {
    const name = piece.kind === "poll" ? `poll ${piece.number || ""}` : piece.kind === "merged" ? `${number(piece.count)} short` : piece.kind === "gap" ? "unknown" : piece.kind;
    const place = element("span", "place", piece.place ? `at ${near(piece.place)}` : "");
    place.title = piece.place;
    if (piece.wake >= 0) place.append(`${piece.place ? ", " : ""}woken ${took(piece.end - piece.wake)} before its turn`);
    if (piece.cpu) place.append(`${took(piece.cpu)} of processor time`);
    if (piece.kind === "suspended") place.append(heldUp(work, piece, Boolean(place.textContent)));
    if (forThread(work, piece)) place.append("the loop thread started");
    if (piece.kind === "gap") place.append("the file has nothing of it");
    list.append(element("li", "", element("span", "", key(shownAs(work, piece)), name), element("span", "", took(piece.end - piece.start)), place));
  }
  if (shown.length > MOST) list.append(element("li", "soft", `… ${number(shown.length - MOST)} more`));
  return list;
}

/** How much of what a call awaited its loop's thread waited for the GIL, if that is a hundredth. */
function heldUp(work, piece, more) {
  const waits = trace.lanes[work.lane]?.waits ?? [];
  const waited = waits.reduce((sum, wait) => sum + Math.max(Math.min(wait.end, piece.end) - Math.max(wait.start, piece.start), 0), 0);
  return 100 * waited >= piece.end - piece.start && waited ? `${more ? ", " : ""}the loop waited ${took(waited)} of it for the GIL` : "";
}

function tasksOf(call) {
  const lines = [element("h3", "", `${counted(call.taskCount, "task")} made in it`)];
  for (const task of call.tasks) {
    lines.push(element("p", "", element("b", "", task.name), ` ${took(task.dur)}, ${task.status}, ${counted(task.polls, "poll")}`));
    if (task.error) lines.push(element("p", "error", task.error));
    lines.push(lifeList(task));
  }
  if (call.taskCount > call.tasks.length) lines.push(element("p", "soft", `… ${number(call.taskCount - call.tasks.length)} more`));
  return lines;
}

/** Whose polls, or those of which Rust futures, woke the call and the tasks in it. */
function wokenBy(wakes) {
  const list = element("ul", "life");
  for (const { by, at, work, until } of wakes.slice(0, MOST)) {
    const what = by.kind === "rust.poll" ? `${work.name} was woken by ${by.name}, poll ${by.number} on ${by.thread}, and polled that much later` : `${by.name} woke ${work.name}, which was polled that much later`;
    list.append(element("li", "", element("span", "", key("woken"), "woken by"), element("span", "", took(until - at)), element("span", "place", what)));
  }
  return [element("h3", "", "Woken by others"), list];
}

/** Polls of the Rust futures that the call, and the tasks in it, await. */
function rustOf(call) {
  const list = element("ul", "life");
  for (const poll of call.rust.slice(0, MOST)) {
    list.append(element("li", "", element("span", "", key("rust.poll"), `poll ${poll.number}`), element("span", "", took(poll.end - poll.start)), element("span", "place", `${poll.name} on ${poll.thread}`)));
  }
  if (call.rust.length > MOST) list.append(element("li", "soft", `… ${number(call.rust.length - MOST)} more`));
  return [element("h3", "", "Polls of Rust futures"), list];
}

function ids(call) {
  const made = element("div", "ids");
  const lane = trace.lanes[call.lane];
  for (const [name, text] of [["call", call.id], ["trace", call.trace], ["parent", call.parent], ["thread", lane ? lane.name : ""]]) {
    if (text) made.append(element("span", "soft", name), element("span", "", text));
  }
  return made;
}
