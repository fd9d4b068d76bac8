"""Shows that the model tests see what they are there for: each of these changes must fail one.

Works on a copy: `python runtime/loom/mutants.py [NUMBER …]`. Exit code 1 if a mutant survives.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
STACK, INBOX = Path("runtime/src/queue/stack.rs"), Path("runtime/src/queue/inbox.rs")
ROOM = Path("runtime/src/queue/room.rs")
INBOX_TEST = Path("runtime/loom/tests/loom_inbox.rs")


@dataclass
class Mutant:
    """A change that breaks a promise of the queue."""

    breaks: str
    file: Path
    old: str
    new: str


PUSH = "self.head.compare_exchange_weak(head, link, Ordering::SeqCst, Ordering::Relaxed)"
SWAP = "self.head.swap(ptr::null_mut(), Ordering::SeqCst)"
SLEEP = "self.head.compare_exchange(empty, sleeping(), Ordering::AcqRel, Ordering::Relaxed)"

MUTANTS = [
    Mutant(
        "a push that publishes nothing: the message's content is not there yet",
        STACK,
        PUSH,
        PUSH.replace("SeqCst", "Relaxed"),
    ),
    Mutant(
        "a take that acquires nothing: as above, seen from the other side",
        STACK,
        SWAP,
        SWAP.replace("SeqCst", "Relaxed"),
    ),
    Mutant(
        "a push that overwrites what came between",
        STACK,
        PUSH,
        "{ self.head.store(link, Ordering::SeqCst); Ok::<_, *mut Link>(head) }",
    ),
    Mutant(
        "a take that loses what came between",
        STACK,
        SWAP,
        "{ let head = self.head.load(Ordering::SeqCst); "
        "self.head.store(ptr::null_mut(), Ordering::SeqCst); head }",
    ),
    Mutant(
        "newest first",
        STACK,
        "        Batch { next: oldest_first }",
        "        let _ = oldest_first;\n        Batch { next: head }",
    ),
    Mutant(
        "nobody wakes the sleeper",
        STACK,
        "Ok(_) if head == sleeping() => return Pushed::MustWake",
        "Ok(_) if head == sleeping() => return Pushed::Quiet",
    ),
    Mutant(
        "the wrong one wakes: every push but the one that ends the sleep",
        STACK,
        "Ok(_) if head == sleeping() => return Pushed::MustWake",
        "Ok(_) if head != sleeping() => return Pushed::MustWake",
    ),
    Mutant(
        "falls asleep over messages, and forgets them",
        STACK,
        SLEEP,
        "{ let empty: *mut Link = empty; self.head.store(sleeping(), Ordering::SeqCst); "
        "Ok::<_, *mut Link>(empty) }",
    ),
    Mutant(
        "believes to be asleep while there are messages",
        STACK,
        "Err(seen) => seen == sleeping()",
        "Err(_) => true",
    ),
    Mutant(
        "a sleeper that has to be told twice",
        STACK,
        "Err(seen) => seen == sleeping()",
        "Err(_) => false",
    ),
    Mutant("a bell that is not rung", INBOX, "self.bell.ring();", "let _ = &self.bell;"),
    Mutant(
        "a poster that never looks whether the inbox is closed",
        INBOX,
        "self.closed.load(Ordering::SeqCst)",
        "false",
    ),
    Mutant(
        "a poster that looks before it posts",
        INBOX,
        "// SAFETY: passed on.",
        "let closed = self.closed.load(Ordering::SeqCst);\n        // SAFETY: passed on.",
    ),
    Mutant(
        "a closer that takes before it closes",
        INBOX_TEST,
        "        inbox.close();\n        let mut disposed = dispose(&inbox);\n        for",
        "        let mut disposed = dispose(&inbox);\n        inbox.close();\n        for",
    ),
    Mutant(
        "a permit that comes back while somebody gets in line, and neither sees the other",
        ROOM,
        "self.word.fetch_add(1, Ordering::AcqRel) & WAITED != 0",
        "{ let word = self.word.load(Ordering::Acquire); "
        "self.word.fetch_add(1, Ordering::AcqRel); word & WAITED != 0 }",
    ),
    Mutant(
        "who leaves the line keeps the permit",
        ROOM,
        "if granted && self.put_back()",
        "if granted && false",
    ),
    Mutant(
        "a permit that is owed goes to who comes by",
        ROOM,
        "(word & (CLOSED | WAITED) == 0 && word & FREE > 0)",
        "(word & CLOSED == 0 && word & FREE > 0)",
    ),
]


def copy(to: Path) -> None:
    """Copy what the model tests are made of, as a workspace of its own."""
    # Fresh times: cargo would take a copy that looks old for what it built before.
    for part in ("runtime/loom", "runtime/src/queue"):
        shutil.copytree(ROOT / part, to / part, copy_function=shutil.copyfile)
    shutil.copy(ROOT / "Cargo.lock", to)
    manifest = (ROOT / "Cargo.toml").read_text()
    members = 'members = ["runtime/loom"]'
    (to / "Cargo.toml").write_text(
        re.sub(r"^members = \[.*?\]", members, manifest, flags=re.M | re.S)
    )


def pattern(code: str) -> str:
    """An expression for code, however it is broken into lines."""
    tokens = [re.escape(token) for token in re.findall(r"\w+|\S", code)]
    return r"\s*".join(r",?\s*\)" if token == r"\)" else token for token in tokens)


def change(folder: Path, mutant: Mutant) -> None:
    """Apply a mutant to the copy."""
    path = folder / mutant.file
    text, changes = re.subn(pattern(mutant.old), lambda _: mutant.new, path.read_text())
    if changes != 1:
        raise SystemExit(f"mutants.py does not fit {mutant.file} any more: {mutant.old!r}")
    if mutant.breaks.startswith("a poster that looks before"):
        text = re.sub(
            r"(?m)^        self\.closed\.load\(Ordering::SeqCst\)$", "        closed", text
        )
    path.write_text(text)


def survives(folder: Path) -> bool:
    """Build the changed copy, which must compile, and run its tests until one fails."""
    target = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")) / "loom-mutants"
    env = {**os.environ, "CARGO_TARGET_DIR": str(target), "RUSTFLAGS": "--cfg loom"}
    command = ["cargo", "test", "--quiet", "--release", "-p", "gilscope-queue-model"]
    quiet: dict[str, Any] = {
        "cwd": folder,
        "env": env,
        "stdout": subprocess.DEVNULL,
        "stderr": subprocess.PIPE,
    }
    built = subprocess.run([*command, "--no-run"], text=True, **quiet)
    if built.returncode:
        raise SystemExit(f"a mutant does not compile:\n{built.stderr}")
    # A message that is forgotten may also be a pointer that is not one: a signal counts as caught.
    return subprocess.run([*command, "--test", "loom_*"], **quiet).returncode == 0


def main(chosen: list[str]) -> int:
    """Try the chosen mutants, or all."""
    left = 0
    for number, mutant in enumerate(MUTANTS, 1):
        if chosen and str(number) not in chosen:
            continue
        with tempfile.TemporaryDirectory() as made:
            folder = Path(made) / "copy"
            folder.mkdir()
            copy(folder)
            change(folder, mutant)
            lives = survives(folder)
        left += lives
        print(f"{number:2} {'SURVIVES' if lives else 'caught  '} {mutant.breaks}", flush=True)
    return int(left > 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
