// What is above the rows: axis, counters, loop threads, findings.

function above(c) {
  c.save();
  c.beginPath();
  c.rect(0, 0, view.width, view.fixed === view.top ? view.top : view.height);
  c.clip();
  if (view.fixed === view.top) {
    c.fillStyle = theme.colours.card;
    c.fillRect(0, 0, view.width, view.top - 1);
    const marks = ticks();
    c.strokeStyle = theme.colours.line;
    clipped(c, AXIS, view.top, () => marks.forEach(({ x }) => line(c, Math.round(x) + 0.5, AXIS, Math.round(x) + 0.5, view.top)));
  }
  trace.threads.forEach((lane, i) => (i < trace.lanes.length ? thread : rustThread)(c, lane, view.laneY(i)));
  const from = AXIS - (view.fixed === view.top ? 0 : view.scrolled);
  view.counters.forEach((counter, i) => counters(c, counter, from + i * COUNTER));
  found(c);
  axis(c);
  c.restore();
  c.strokeStyle = theme.colours.line;
  line(c, 0, view.fixed - 0.5, view.width, view.fixed - 0.5);
  line(c, view.gutter - 0.5, AXIS, view.gutter - 0.5, view.height);
}

function axis(c) {
  c.fillStyle = theme.colours.card;
  c.fillRect(0, 0, view.width, AXIS);
  font(c, 11);
  c.fillStyle = theme.colours.soft;
  c.textAlign = "center";
  clipped(c, 0, AXIS, () => {
    for (const { x, label } of ticks()) {
      const half = c.measureText(label).width / 2 + 4;
      c.fillText(label, Math.min(Math.max(x, view.gutter + half), view.width - half), AXIS / 2 + 1);
    }
  });
  c.textAlign = "left";
  c.strokeStyle = theme.colours.line;
  line(c, 0, AXIS - 0.5, view.width, AXIS - 0.5);
}

function gutterText(c, name, more, y) {
  c.textAlign = "left";
  font(c, 12, 500);
  c.fillStyle = theme.colours.text;
  c.fillText(fitted(c, name, view.gutter - 30), 18, y);
  if (!more) return;
  font(c, 11);
  c.fillStyle = theme.colours.soft;
  c.fillText(fitted(c, more, view.gutter - 24), 18, y + 15);
}

function thread(c, lane, y) {
  const [from, to] = view.x.domain();
  const held = lane.turns.reduce((sum, turn) => sum + turn.held * overlap(turn, from, to), 0);
  const waited = lane.waits.reduce((sum, wait) => sum + (wait.end - wait.start) * overlap(wait, from, to), 0);
  const share = (time) => `${(100 * Math.min(time / (to - from || 1), 1)).toFixed(0)} %`;
  gutterText(c, lane.name, `GIL held ${share(held)}, waited for ${share(waited)}`, y + 15);
  clipped(c, y, LANE, () => {
    const alpha = theme.name === "dark" ? 0.45 : 0.28;
    c.globalAlpha = alpha;
    view.drawn.turns += boxes(c, lane.turns, y + 8, 20, theme.colours.hold);
    c.globalAlpha = 1;
    boxes(c, lane.polls, y + 11, 14, (poll) => owner(poll.work) === view.chosen ? theme.colours.wake : theme.colours[poll.work.kind === "task" ? "task" : "poll"], (poll, x, wide) => {
      if (wide > 60) inside(c, poll.work.name, x, y + 11, wide, 14, "poll");
    });
    rustPolled(c, lane, y + 20, 5);
    boxes(c, lane.starts, y + 32, 6, theme.colours.start);
    // One that is no pixel wide is drawn as one, and pale: many of them are not a long one.
    view.drawn.waits += boxes(c, lane.waits, y + 32, 6, (wait) => {
      c.globalAlpha = view.x(wait.end) - view.x(wait.start) < 1 ? 0.3 : 1;
      return theme.colours["gil.wait"];
    });
    c.globalAlpha = 1;
    for (const box of lane.starts) started(c, box, y);
  });
  c.strokeStyle = theme.colours.line;
  line(c, 0, y + LANE - 0.5, view.width, y + LANE - 0.5);
}

/** That a thread was not there yet is said where there is room: nothing else is drawn there. */
function started(c, box, y) {
  const x1 = Math.max(view.x(box.start), view.gutter), x2 = Math.min(view.x(box.end), view.width);
  const text = "the loop thread starts";
  font(c, 10.5);
  if (box.kind !== "start" || c.measureText(text).width + 8 > x2 - x1) return;
  c.fillStyle = theme.colours.soft;
  c.fillText(text, x1 + 4, y + 18);
}

/** A thread that has no loop, and polls Rust futures. */
function rustThread(c, lane, y) {
  gutterText(c, lane.name, "", y + RUST_LANE / 2);
  clipped(c, y, RUST_LANE, () => rustPolled(c, lane, y + 5, 14));
  c.strokeStyle = theme.colours.line;
  line(c, 0, y + RUST_LANE - 0.5, view.width, y + RUST_LANE - 0.5);
}

function rustPolled(c, lane, y, height) {
  const colour = (poll) => theme.colours[poll.work === view.chosen ? "wake" : "rust.poll"];
  view.drawn.rust += boxes(c, lane.rust, y, height, colour, (poll, x, wide) => {
    if (wide > 60 && height > 10) inside(c, poll.name, x, y, wide, height, "rust.poll");
  });
}

function overlap(box, from, to) {
  const both = Math.min(box.end, to) - Math.max(box.start, from);
  return both <= 0 ? 0 : both / (box.end - box.start || 1);
}

/** A line of steps over a tinted area. Of several steps in one pixel the highest is drawn. */
function counters(c, counter, y) {
  const { steps } = counter;
  const high = Math.max(1, ...steps.map((step) => step[1]));
  gutterText(c, counter.name, `at most ${number(steps.length ? high : 0)}`, y + 13);
  const bottom = y + COUNTER - 5, room = COUNTER - 13;
  const level = (value) => bottom - (value / high) * room;
  clipped(c, y, COUNTER, () => {
    const points = [];
    let value = 0;
    for (const [at, next] of steps) {
      const x = view.x(at);
      const last = points[points.length - 1];
      if (last && x - last.x < 1 && x > view.gutter) last.high = Math.max(last.high, next), last.end = next;
      else points.push({ x, high: Math.max(next, 0), start: value, end: next });
      value = next;
    }
    c.beginPath();
    c.moveTo(view.gutter, bottom);
    let before = 0;
    for (const point of points) {
      c.lineTo(point.x, level(before));
      c.lineTo(point.x, level(point.high));
      if (point.high !== point.end) c.lineTo(point.x + 1, level(point.high)), c.lineTo(point.x + 1, level(point.end));
      before = point.end;
      view.drawn.steps += point.x >= view.gutter && point.x <= view.width ? 1 : 0;
    }
    c.lineTo(view.width, level(before));
    c.strokeStyle = theme.colours[counter.colour];
    c.lineWidth = 1.4;
    c.stroke();
    c.lineTo(view.width, bottom);
    c.globalAlpha = 0.14;
    c.fillStyle = theme.colours[counter.colour];
    c.fill();
    c.globalAlpha = 1;
  });
  c.strokeStyle = theme.colours.line;
  c.lineWidth = 1;
  line(c, 0, y + COUNTER - 0.5, view.width, y + COUNTER - 0.5);
}

function found(c) {
  clipped(c, AXIS, view.height, () => {
    for (const finding of trace.findings) {
      if (finding.start === null) continue;
      const x = view.x(finding.start), wide = Math.max(view.x(finding.start + finding.dur) - x, 2);
      c.fillStyle = theme.colours.bad;
      c.globalAlpha = 0.13;
      c.fillRect(x, AXIS, wide, view.height);
      c.globalAlpha = 1;
      c.fillRect(x, AXIS, wide, 3);
    }
  });
}
