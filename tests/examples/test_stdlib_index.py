"""`examples/stdlib_index.py`, on a few files: what `make demo` does with the whole library."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "examples" / "stdlib_index.py"


def run(*args: str, folder: Path, given: str = "") -> str:
    done = subprocess.run(
        [sys.executable, *args],
        cwd=folder,
        env={**os.environ, "STDLIB_INDEX": "index.db"},
        input=given,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_it_stores_a_row_for_each_file(tmp_path: Path) -> None:
    library = Path(asyncio.__file__).parent
    paths = [str(path) for path in sorted(library.glob("*.py"))]
    (tmp_path / "unparsable.py").write_text("def f(:\n")
    paths.append(str(tmp_path / "unparsable.py"))
    given = "".join(f"{json.dumps(path)}\n" for path in paths)

    options = ("--input", "-", "--concurrency", "16")
    out = run("-m", "gilscope", "run", f"{EXAMPLE}:index", *options, folder=tmp_path, given=given)

    found = {row["result"]["path"]: row["result"] for row in map(json.loads, out.splitlines())}
    assert sorted(found) == sorted(paths)
    for path, row in found.items():
        assert row["sha256"] == hashlib.sha256(Path(path).read_bytes()).hexdigest()
        assert row["parsed"] is not path.endswith("unparsable.py")

    counts = run(str(EXAMPLE), folder=tmp_path)
    assert f"{len(paths)} files" in counts
    assert "1 unparsable" in counts
    assert f"{sum(row['coroutines'] for row in found.values()):,} coroutine functions" in counts


def test_its_inputs_are_the_whole_library() -> None:
    code = "import stdlib_index; print(*stdlib_index.inputs(), sep='\\n')"
    paths = run("-c", code, folder=EXAMPLE.parent).splitlines()
    assert asyncio.__file__ in paths
    assert len(paths) == len(set(paths)) > 1000
    assert not [path for path in paths if "site-packages" in path]
