"""aiosqlite: a connection shared by calls, opened and closed by the runtime's hooks."""

from __future__ import annotations

import asyncio
import sqlite3
from typing import TYPE_CHECKING

import aiosqlite
import pytest

import gilscope

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


class Store:
    def __init__(self, path: Path) -> None:
        self.path = path

    async def open(self) -> None:
        self.db = await aiosqlite.connect(self.path)
        await self.db.execute("create table numbers (n integer primary key, square integer)")

    async def close(self) -> None:
        await self.db.commit()
        await self.db.close()

    async def add(self, n: int) -> None:
        await self.db.execute("insert into numbers values (?, ?)", (n, n * n))

    async def square(self, n: int) -> int:
        async with self.db.execute("select square from numbers where n = ?", (n,)) as cursor:
            row = await cursor.fetchone()
        assert row is not None
        return int(row[0])

    async def total(self) -> int:
        async with self.db.execute("select n from numbers") as cursor:
            return sum([row[0] async for row in cursor])

    async def endless(self) -> None:
        counting = "with recursive c(n) as (select 1 union all select n + 1 from c) "
        try:
            await self.db.execute_fetchall(counting + "select count(*) from c")
        except asyncio.CancelledError:
            await self.db.interrupt()
            raise


@pytest.fixture
def store(tmp_path: Path) -> Iterator[tuple[Store, gilscope.PyRuntime]]:
    store = Store(tmp_path / "numbers.db")
    runtime = gilscope.PyRuntime(on_start=store.open, on_stop=store.close)
    yield store, runtime
    assert runtime.shutdown("cancel", deadline=20)["joined"]


def test_many_calls_share_a_connection(store) -> None:
    db, runtime = store
    list(runtime.map(db.add, range(100)))
    assert runtime.options(deadline=30).call(db.total) == sum(range(100))
    assert list(runtime.map(db.square, range(100))) == [n * n for n in range(100)]


def test_what_was_written_is_there_after_the_shutdown(store) -> None:
    db, runtime = store
    list(runtime.map(db.add, range(10)))
    runtime.shutdown("drain", deadline=20)
    connection = sqlite3.connect(db.path)
    assert connection.execute("select count(*) from numbers").fetchone() == (10,)
    connection.close()


def test_an_error_of_the_database_is_delivered_as_itself(store) -> None:
    db, runtime = store
    runtime.options(deadline=30).call(db.add, 1)
    with pytest.raises(sqlite3.IntegrityError, match="UNIQUE"):
        runtime.options(deadline=30).call(db.add, 1)
    assert runtime.options(deadline=30).call(db.total) == 1


def test_a_deadline_interrupts_a_query(store) -> None:
    db, runtime = store
    with pytest.raises(gilscope.DeadlineExceeded):
        runtime.options(deadline=0.05).call(db.endless)
    assert runtime.options(deadline=30).call(db.total) == 0
