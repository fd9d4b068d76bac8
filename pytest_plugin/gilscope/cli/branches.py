"""The tree that `gilscope tree` draws, from what a process said."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.text import Text
from rich.tree import Tree

from gilscope._units import counted, duration

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    Entry = dict[str, Any]

# Different branches below one; the rest is counted.
_MOST = 100
# Tasks inside tasks; the rest is counted.
_DEEPEST = 50
# Where crates are that are none of the program's own.
_CRATES = re.compile(r"^.*/registry/src/[^/]+/")
_LIBRARY = re.compile(r"^.*/lib/python3\.\d+/(?:site-packages/|dist-packages/)?")


def draw(answer: Entry, program: str, *, everything: bool = False) -> None:
    """Write the tree to standard output; branches that look alike are one, but for `everything`."""
    # As wide as any line: what wraps them is the terminal, if it is one, and no pipe.
    console = Console(highlight=False, emoji=False, soft_wrap=True, width=10_000)
    console.print(_Drawing(answer, everything).whole(program))


class _Drawing:
    def __init__(self, answer: Entry, everything: bool) -> None:
        self.answer = answer
        self.everything = everything
        try:
            self.folder = f"{Path('/proc', str(answer['pid']), 'cwd').readlink()}/"
        except OSError:
            self.folder = ""
        entries: list[Entry] = answer["open"]
        known = {each["id"] for each in entries}
        self.threads = {each["tid"]: each["thread"] for each in answer["loops"]}
        self.below: dict[str, list[Entry]] = defaultdict(list)
        """By the id of what they are below; by the thread's number for those below nothing."""
        for each in entries:
            parent = each["parent"]
            # Each is older than what is below it, so that nothing can be below itself.
            above = parent if parent in known else f"{each['tid']}"
            self._below_task(above, each).append(each)

    def _below_task(self, above: str, entry: Entry) -> list[Entry]:
        """Where an entry stands: below the Rust task that called it, which is below `above`."""
        number = entry.get("rust_task")
        if number is None:
            return self.below[above]
        task = {"id": f"{above} task {number}", "rust_task": number, "tid": entry["tid"]}
        calls = self.below[task["id"]]
        if not calls:
            self.below[above].append({"span": "rust task", **task})
        return calls

    def whole(self, program: str) -> Tree:
        tree = Tree(_clean(f"process {self.answer['pid']} {program}", "bold"))
        if self.answer.get("gil") is not None:
            tree.add(self._gil(self.answer["gil"]))
        queues = {each["runtime"]: each for each in self.answer["queues"]}
        for loop in self.answer["loops"]:
            self._loop(tree, loop, queues.pop(loop["runtime"], None))
        for queue in queues.values():
            branch = tree.add(_clean(f"runtime {queue['runtime']} {queue['name']}", "bold"))
            branch.add(Text("its loop has not begun"))
            self._queue(branch, queue)
        if not tree.children:
            tree.add(Text("no runtime of gilscope: nothing is called"))
        if self.answer["detail"] == "off":
            tree.add(Text("nothing is recorded: GILSCOPE_DETAIL=off", "yellow"))
        if self.answer["left_out"]:
            tree.add(Text(f"left out: the {self.answer['left_out']:,} youngest", "yellow"))
        return tree

    def _loop(self, tree: Tree, loop: Entry, queue: Entry | None) -> None:
        text = _clean(f"loop {loop['thread']}", "bold")
        text.append(f"  thread {loop['tid']}, ", "not bold dim")
        text.append_text(self._doing(loop))
        branch = tree.add(text)
        entries = self.below[f"{loop['tid']}"]
        self._siblings(branch, entries, 0, loop["tid"])
        self._queue(branch, queue)
        elsewhere = sum(each["tid"] == loop["tid"] for each in self.answer["open"])
        if not entries and elsewhere:
            branch.add(Text(f"{elsewhere:,} below what made them", "dim"))
        elif not branch.children:
            branch.add(Text("no calls", "dim"))

    def _doing(self, loop: Entry) -> Text:
        """What a loop's thread does, as far as it is known."""
        polled = [
            each
            for each in self.answer["open"]
            if each["tid"] == loop["tid"] and each["phase"] == "poll"
        ]
        if loop["doing"] == "gil.wait":
            return Text(f"waiting for the GIL for {duration(loop['since_ns'])}", "red")
        if loop["doing"] == "waiting":
            return Text(f"waiting for {duration(loop['since_ns'])}")
        if polled:
            # A poll may be inside another one's.
            inner = min(polled, key=lambda each: each["since_ns"])
            running = _clean(f"running a poll of {inner['name']} for ", "yellow")
            return running.append(duration(inner["since_ns"]))
        if loop["doing"] is None:
            return Text("what it waits for is not seen", "dim")
        return Text(f"running for {duration(loop['since_ns'])}")

    def _gil(self, gil: Entry) -> Text:
        """Who holds the GIL, when that was seen, and for how long it is waited for."""
        text = Text("GIL", "bold red")
        text.append(f"  held by thread {gil['tid']}", "not bold")
        if gil["thread"] is not None:
            text.append_text(_clean(f" {gil['thread']}"))
        if gil["at"] is not None:
            text.append_text(_clean(f" at {self._short(gil['at'])}"))
        waited, seen = duration(gil["waited_ns"]), duration(gil["seen_ns"])
        return text.append(f", seen {seen} ago; a loop waits {waited}", "not bold dim")

    def _queue(self, branch: Tree, queue: Entry | None) -> None:
        if queue is None or not (queue["queued"] or queue["waiting"]):
            return
        text = Text(f"{counted(queue['queued'], 'call')} queued", "yellow")
        if queue["max_in_flight"] is not None:
            text.append(f", at most {queue['max_in_flight']:,} in flight")
        if queue["waiting"]:
            text.append(f"; {counted(queue['waiting'], 'call')} waiting for room in the queue")
        branch.add(text)

    def _siblings(self, branch: Tree, entries: Sequence[Entry], depth: int, tid: int) -> None:
        if depth > _DEEPEST and entries:
            branch.add(Text(f"and {counted(len(entries), 'task')} below", "dim"))
            return
        if self.everything:
            for each in entries:
                self._entry(branch, each, 1, depth, tid)
            return
        shapes = [self._shape(each, depth) for each in entries]
        alike = Counter(shapes)
        shown: set[object] = set()
        for each, shape in zip(entries, shapes, strict=True):
            if shape in shown:
                continue
            if len(shown) == _MOST:
                rest = sum(alike.values()) - sum(alike[shape] for shape in shown)
                branch.add(Text(f"and {rest:,} more (--all shows them)", "dim"))
                return
            shown.add(shape)
            self._entry(branch, each, alike[shape], depth, tid)

    def _shape(self, entry: Entry, depth: int) -> object:
        """What two entries have in common that need not both be drawn."""
        below: Iterable[Entry] = self.below[entry["id"]] if depth < _DEEPEST else ()
        if entry["span"] == "rust task":
            return ("rust task", tuple(self._shape(each, depth + 1) for each in below))
        places = tuple(each.get("python") or each.get("rust") for each in entry["chain"])
        made_at = entry.get("made_at")
        same = (entry["span"], entry["name"], made_at, entry["phase"], entry["at"], places)
        return (same, tuple(self._shape(each, depth + 1) for each in below))

    def _entry(self, branch: Tree, entry: Entry, alike: int, depth: int, tid: int) -> None:
        if entry["span"] == "rust task":
            text = Text("rust task ", "magenta")
            text.append(f"{entry['rust_task']}", "default")
            if alike > 1:
                text.append(f" and {alike - 1:,} alike", "default")
            self._siblings(branch.add(text), self.below[entry["id"]], depth + 1, tid)
            return
        text = Text(f"{entry['span']} ", "dim")
        text.append_text(_clean(entry["name"] or "?", "bold not dim"))
        if entry["tid"] != tid and entry["tid"] in self.threads:
            text.append_text(_clean(f" on {self.threads[entry['tid']]}"))
        if entry.get("made_at"):
            text.append_text(_clean(f" from {self._short(entry['made_at'])}"))
        if alike > 1:
            text.append(f" × {alike:,}, the oldest", "not dim")
        text.append(f"  {self._phase(entry)}", "not dim")
        below = branch.add(text)
        self._chain(below, entry)
        self._siblings(below, self.below[entry["id"]], depth + 1, entry["tid"])

    @staticmethod
    def _phase(entry: Entry) -> str:
        since, age = duration(entry["since_ns"]), duration(entry["age_ns"])
        polls = f", {counted(entry['polls'], 'poll')}" if entry["polls"] else ""
        return f"{entry['phase']} {since}{polls}, {age} old"

    def _chain(self, branch: Tree, entry: Entry) -> None:
        links = entry["chain"] or ([{"python": entry["at"]}] if entry["at"] else [])
        for link in links:
            if "rust" in link:
                text = Text("rust    ", "magenta").append_text(_clean(link["rust"]))
            else:
                text = Text("python  ", "cyan").append_text(_clean(self._short(link["python"])))
            branch = branch.add(text)

    def _short(self, place: str) -> str:
        """A place without the folder the process is in, or that of libraries."""
        if self.folder and place.startswith(self.folder):
            return place[len(self.folder) :]
        return _CRATES.sub("", _LIBRARY.sub("", place))


def _clean(text: str, style: str = "not bold not dim") -> Text:
    """User code names its functions: nothing in a name reaches the terminal's controls."""
    shown = "".join(each if each.isprintable() else repr(each)[1:-1] for each in text)
    return Text(shown, style)
