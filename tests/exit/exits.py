"""Ends many processes and counts how."""

from __future__ import annotations

import os
import subprocess
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

PROGRAMS = Path(__file__).with_name("programs")
LIMIT = 30.0  # seconds after which a process counts as hanging
AT_ONCE = 2


@dataclass
class Exits:
    """How `n` processes ended."""

    n: int = 0
    crashes: int = 0
    hangs: int = 0
    noisy: int = 0
    seen: list[str] = field(default_factory=list)  # of what was not clean, the first few

    @property
    def clean(self) -> bool:
        return not (self.crashes or self.hangs or self.noisy)

    def count(self, code: int | None, stderr: str) -> None:
        self.n += 1
        self.hangs += code is None
        self.crashes += code not in (None, 0)
        self.noisy += bool(stderr)
        if (code != 0 or stderr) and len(self.seen) < 3:
            what = "(none: killed)" if code is None else code
            self.seen.append(f"exit code {what}\n{stderr[:1000]}")

    def __str__(self) -> str:
        counts = f"{self.crashes} crashes, {self.hangs} hangs, {self.noisy} noisy of {self.n}"
        return "\n".join([counts, *self.seen])


def end_one(command: Sequence[str | Path], env: Mapping[str, str]) -> tuple[int | None, str]:
    """Run a process to its end: its exit code, None if it had to be killed, and its stderr."""
    try:
        done = subprocess.run(
            command,
            env={**os.environ, **env},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
            timeout=LIMIT,
        )
    except subprocess.TimeoutExpired as error:
        return None, (error.stderr or b"").decode(errors="replace")
    return done.returncode, done.stderr


def end(command: Sequence[str | Path], n: int, env: Mapping[str, str] | None = None) -> Exits:
    """Run a command `n` times, some at once."""
    exits = Exits()
    with ThreadPoolExecutor(AT_ONCE) as pool:
        for code, stderr in pool.map(lambda _: end_one(command, env or {}), range(n)):
            exits.count(code, stderr)
    return exits
