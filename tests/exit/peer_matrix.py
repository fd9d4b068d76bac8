"""How processes end on pyo3-async-runtimes, next to gilscope: `peer_matrix.py [-n N] [--write]`.

Runs the same situations on both, for the running Python, and prints a table; `--write` puts the
rows into `docs/exit.md`. Exit code 1 if gilscope is not clean, or the peer is clean in all of them:
then the matrix shows nothing. `GILSCOPE_EXIT_PEER_DIR` names a folder with the peer's module.
"""

from __future__ import annotations

import argparse
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from exits import PROGRAMS, Exits, end

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs" / "exit.md"
MODULE = "gilscope_exit_peer"
SITUATIONS = {
    "awaited-call": "Rust tasks called Python, all awaited",
    "awaited-rust": "Python awaited Rust futures, all of them",
    "suspended": "Python coroutines suspended, Rust waits for them",
    "busy": "Python coroutines busy",
    "rust-pending": "Rust futures pending, some completing",
    "submitting": "tokio tasks calling in a loop",
    "everything": "all of these at once",
}
HEAD = (
    "| Python | at the end | n | peer: crashes | hangs | noisy "
    "| gilscope: crashes | hangs | noisy |",
    "|---|---|--:|--:|--:|--:|--:|--:|--:|",
)


def build(folder: Path) -> None:
    """Build the peer's module in release mode, as its users would have it."""
    version = "{}.{}".format(*sys.version_info)
    given = os.environ.get("CARGO_TARGET_DIR")
    target = Path(given) / "peer" if given else ROOT / "target" / f"peer-{version}"
    env = {
        **os.environ,
        "CARGO_TARGET_DIR": str(target),
        "PYO3_PYTHON": sys.executable,
        "PYO3_BUILD_EXTENSION_MODULE": "1",
    }
    command = ["cargo", "build", "--quiet", "--release", "--package", "gilscope-exit-peer"]
    subprocess.run(command, cwd=ROOT, env=env, check=True)
    shutil.copy(target / "release" / f"lib{MODULE}.so", folder / f"{MODULE}.so")


def row(what: str, n: int, peer_path: str) -> tuple[str, Exits, Exits]:
    """Run one situation on both."""
    # The peer's crashes would fill the log with backtraces, and take long to write core files.
    peer = end([sys.executable, PROGRAMS / "peer.py", what], n, {"PYTHONPATH": peer_path})
    ours = end([sys.executable, PROGRAMS / "ours.py", what], n)
    counts = [peer.crashes, peer.hangs, peer.noisy, ours.crashes, ours.hangs, ours.noisy]
    version = platform.python_version()
    cells = [version, SITUATIONS[what], str(n), *map(str, counts)]
    return f"| {' | '.join(cells)} |", peer, ours


def write(rows: list[str]) -> None:
    """Put the rows of this Python into the document, in the place of what it said before."""
    version = f"| {platform.python_version()} |"
    lines = DOCS.read_text().splitlines()
    first = lines.index(HEAD[1]) + 1
    last = next(i for i in range(first, len(lines) + 1) if not "".join(lines[i : i + 1]))
    others = [line for line in lines[first:last] if not line.startswith(version)]
    table = sorted(others + rows, key=lambda line: [int(p) for p in line.split("|")[1].split(".")])
    DOCS.write_text("\n".join([*lines[:first], *table, *lines[last:]]) + "\n")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("-n", type=int, default=int(os.environ.get("GILSCOPE_EXITS") or 200))
    parser.add_argument("--write", action="store_true", help="put the rows into docs/exit.md")
    args = parser.parse_args()
    rows, peer_unclean, ours_clean = [], False, True
    with tempfile.TemporaryDirectory() as made:
        place = os.environ.get("GILSCOPE_EXIT_PEER_DIR") or made
        if place == made:
            build(Path(made))
        path = os.pathsep.join(filter(None, [place, os.environ.get("PYTHONPATH")]))
        print(*HEAD, sep="\n", flush=True)
        for what in SITUATIONS:
            text, peer, ours = row(what, args.n, path)
            print(text, flush=True)
            rows.append(text)
            peer_unclean |= bool(peer.crashes or peer.hangs)
            if not ours.clean:
                ours_clean = False
                print(ours, file=sys.stderr)
    if args.write:
        write(rows)
    return int(not (peer_unclean and ours_clean))


if __name__ == "__main__":
    sys.exit(main())
