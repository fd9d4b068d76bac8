"""Index the standard library of this interpreter: what `make demo` runs.

`gilscope run examples/stdlib_index.py:index --input examples/stdlib_index.py:inputs` reads and
hashes every file in Rust, parses it in Python and stores a row in SQLite through `aiosqlite`.
`python examples/stdlib_index.py` then prints what the database holds.
"""

from __future__ import annotations

import ast
import asyncio
import os
import sqlite3
import sysconfig
import tokenize
import warnings
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

import aiosqlite

import gilscope

if TYPE_CHECKING:
    from collections.abc import Iterator

DATABASE = Path(os.environ.get("STDLIB_INDEX", "target/demo/stdlib.db"))
_NOT_OURS = {"site-packages", "dist-packages", "__pycache__"}
_SCHEMA = """
    CREATE TABLE IF NOT EXISTS file (
        path TEXT PRIMARY KEY,
        sha256 TEXT NOT NULL,
        bytes INTEGER NOT NULL,
        parsed INTEGER NOT NULL,
        functions INTEGER NOT NULL,
        coroutines INTEGER NOT NULL,
        classes INTEGER NOT NULL
    )
"""


def inputs() -> Iterator[str]:
    """Yield the path of every `.py` file of the standard library."""
    for folder, folders, files in os.walk(sysconfig.get_path("stdlib")):
        folders[:] = sorted(set(folders) - _NOT_OURS)
        yield from (os.path.join(folder, name) for name in sorted(files) if name.endswith(".py"))


async def index(path: str) -> dict[str, object]:
    """Read, hash and parse one file, and store what was found."""
    source = await gilscope.rust.read_file(path)
    digest = await gilscope.rust.sha256(source)
    names = count_names(source)
    found = names or {"functions": 0, "coroutines": 0, "classes": 0}
    row = (path, digest, len(source), names is not None, *found.values())
    database = await shared_database()
    await database.execute("INSERT OR REPLACE INTO file VALUES (?, ?, ?, ?, ?, ?, ?)", row)
    return {"path": path, "sha256": digest, "parsed": names is not None, **found}


def count_names(source: bytes) -> dict[str, int] | None:
    """Count the definitions in `source`; None for a file that is not meant to parse.

    The standard library's own tests keep such files: bad encodings, bad syntax, null bytes.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of the file's own: invalid escapes and the like
            tree = ast.parse(_decode(source))
    except (SyntaxError, ValueError, RecursionError):
        return None
    kinds = [type(node) for node in ast.walk(tree)]
    return {
        "functions": kinds.count(ast.FunctionDef),
        "coroutines": kinds.count(ast.AsyncFunctionDef),
        "classes": kinds.count(ast.ClassDef),
    }


def _decode(source: bytes) -> str:
    encoding, _ = tokenize.detect_encoding(BytesIO(source).readline)
    return source.decode(encoding)


_opening: asyncio.Future[aiosqlite.Connection] | None = None
_keeper: asyncio.Task[None] | None = None  # the loop alone would not keep it alive


async def shared_database() -> aiosqlite.Connection:
    """Return the one connection of this loop, opened by the first call that asks."""
    global _opening, _keeper
    if _opening is None:
        _opening = asyncio.get_running_loop().create_future()
        _keeper = asyncio.create_task(_keep_database(_opening))
    return await asyncio.shield(_opening)  # one cancelled call must not cancel it for the others


async def _keep_database(opened: asyncio.Future[aiosqlite.Connection]) -> None:
    """Hold the connection until the runtime shuts down, committing now and then."""
    try:
        DATABASE.parent.mkdir(parents=True, exist_ok=True)
        async with aiosqlite.connect(DATABASE) as database:
            await database.execute("PRAGMA journal_mode = WAL")
            await database.execute("PRAGMA synchronous = NORMAL")
            await database.execute(_SCHEMA)
            opened.set_result(database)
            try:
                while True:
                    await asyncio.sleep(0.25)
                    await database.commit()
            finally:
                await database.commit()
    except Exception as error:
        if opened.done():
            raise
        opened.set_exception(error)


def main() -> None:
    """Print counts, read back from the database."""
    with sqlite3.connect(DATABASE) as database:
        files, size, parsed, functions, coroutines, classes = database.execute(
            "SELECT count(*), sum(bytes), sum(parsed), sum(functions), sum(coroutines),"
            " sum(classes) FROM file"
        ).fetchone()
        biggest = database.execute(
            "SELECT path, functions + coroutines FROM file ORDER BY 2 DESC LIMIT 3"
        ).fetchall()
    print(f"{DATABASE}: {files:,} files, {size / 1e6:.1f} MB, {files - parsed:,} unparsable")
    print(f"  {functions:,} functions, {coroutines:,} coroutine functions, {classes:,} classes")
    for path, count in biggest:
        print(f"  {count:>6,} in {path}")


if __name__ == "__main__":
    main()
