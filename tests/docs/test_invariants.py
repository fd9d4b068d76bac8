"""Invariants of the design that ARCHITECTURE.md lists, as far as they can be seen from outside."""

from __future__ import annotations

import os
import re
import socket
import stat
import tomllib
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import gilscope

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[2]
LISTEN = "0A"  # the state of a listening socket in /proc/self/net/tcp


# --- 1: `instrument` does not depend on pyo3


def dependencies(package: str) -> set[str]:
    """The names of everything a package depends on, directly or not, for whatever purpose."""
    lock = tomllib.loads((ROOT / "Cargo.lock").read_text())
    direct: dict[str, set[str]] = {}
    for each in lock["package"]:
        # "name", or "name version" where there are several.
        needed = {name.split()[0] for name in each.get("dependencies", [])}
        direct.setdefault(each["name"], set()).update(needed)
    seen: set[str] = set()
    left = {package}
    while left:
        seen |= left
        left = set().union(*(direct[name] for name in left)) - seen
    return seen - {package}


def test_the_instrument_does_not_depend_on_pyo3() -> None:
    # The runtime's own, to see that the walk finds what is there.
    assert {"pyo3", "pyo3-ffi", "gilscope-instrument"} <= dependencies("gilscope-runtime")
    found = dependencies("gilscope-instrument")
    assert "crossbeam-utils" in found  # of a dependency
    assert not [name for name in found if name.startswith("pyo3")]


# --- 6: nothing listens on the network


def listening() -> set[str]:
    """The addresses of this process that listen, as /proc/self/net/tcp and tcp6 have them."""
    own = set()
    for fd in os.listdir("/proc/self/fd"):
        try:
            own.add(os.readlink(f"/proc/self/fd/{fd}"))
        except FileNotFoundError:  # the one that `listdir` had open
            continue
    lines = [
        line
        for table in ("tcp", "tcp6")
        if (path := Path("/proc/self/net", table)).exists()
        for line in path.read_text().splitlines()[1:]
    ]
    rows = [line.split() for line in lines]
    # Without the number of the row, which changes with what others listen on.
    return {row[1] for row in rows if row[3] == LISTEN and f"socket:[{row[9]}]" in own}


def unix_sockets() -> set[str]:
    """The Unix sockets of this process that listen, each by its path."""
    own = set()
    for fd in os.listdir("/proc/self/fd"):
        with suppress(FileNotFoundError):  # the one that `listdir` had open
            own.add(os.readlink(f"/proc/self/fd/{fd}"))
    rows = [line.split() for line in Path("/proc/self/net/unix").read_text().splitlines()[1:]]
    accepts = f"{1 << 16:08X}"  # __SO_ACCEPTCON
    return {row[7] for row in rows if row[3] == accepts and f"socket:[{row[6]}]" in own}


def test_nothing_listens_in_a_process_that_is_traced(tmp_path: Path) -> None:
    async def echo(value: int) -> int:
        return value

    before = listening()
    with socket.create_server(("127.0.0.1", 0)):
        assert len(listening() - before) == 1  # so it would be seen
    runtime = gilscope.PyRuntime("quiet")
    with gilscope.trace(tmp_path / "t.jsonl"), gilscope.trace(tmp_path / "t.json"), runtime:
        assert list(runtime.map(echo, range(100))) == list(range(100))
        runtime.call(gilscope.rust.sleep, 0)
        assert listening() == before
        assert unix_sockets() == set()
    assert listening() == before


def test_a_process_that_can_be_asked_listens_on_no_network(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("XDG_RUNTIME_DIR", raising=False)
    monkeypatch.delenv("TMPDIR", raising=False)
    before = listening()
    with gilscope.instrument(tree=True):
        assert listening() == before
        # The one thing that listens at all, in a folder that nobody else can enter.
        assert unix_sockets() == {f"/tmp/gilscope-{os.geteuid()}/{os.getpid()}.sock"}
        assert stat.S_IMODE(os.lstat(f"/tmp/gilscope-{os.geteuid()}").st_mode) == 0o700


def test_only_the_tree_of_the_instrument_listens() -> None:
    """In the code that is shipped; what is bound in tests and benchmarks is their own."""
    listens = re.compile(
        r"\b(?:Tcp|Unix|Udp)(?:Listener|Socket|Datagram)\b|libc::(?:bind|listen)\b"
    )
    found = {
        str(path.relative_to(ROOT))
        for folder in ("instrument/src", "runtime/src")
        for path in (ROOT / folder).rglob("*.rs")
        if listens.search(path.read_text().partition("#[cfg(test)]")[0])
    }
    assert found == {"instrument/src/tree/server.rs"}
    shipped = (ROOT / "pytest_plugin").rglob("*.py")
    serves = re.compile(r"\.listen\(|http\.server|socketserver")
    served = {str(path.relative_to(ROOT)) for path in shipped if serves.search(path.read_text())}
    # While `gilscope view --perfetto` runs.
    assert served == {"pytest_plugin/gilscope/view/serve.py"}


# --- 9: one word per idea

SPANS = (ROOT / "docs" / "spans.md").read_text()
GLOSSARY = (ROOT / "ARCHITECTURE.md").read_text().partition("\n## Glossary\n")[2]


def words_of(file: str, kind: str) -> list[str]:
    """The words that a Rust enum has for its values: the arms of its `as_str`."""
    text = (ROOT / file).read_text()
    block = re.search(
        rf"^impl {kind} \{{$.*?fn as_str(.*?)^    \}}$", text, re.DOTALL | re.MULTILINE
    )
    assert block is not None, f"no impl of {kind} with its words in {file}"
    return re.findall(r'(?:Self|\w+)::\w+ => "([^"]+)"', block[1])


def flags() -> list[str]:
    """The words for the flags of a call."""
    text = (ROOT / "instrument/src/status.rs").read_text()
    return re.findall(r'\(Flags::\w+, "([^"]+)"\)', text)


def keys() -> list[str]:
    """The keys in a line of JSON."""
    text = (ROOT / "instrument/src/sink/line.rs").read_text()
    code = text[text.index("fn append") :]
    return [
        "span",
        *re.findall(r'(?:key|number)\(out, "([^"]+)"', code),
        *re.findall(r'Some\("([^"]+)"\)', code),
    ]


def section(heading: str) -> str:
    """A section of docs/spans.md, without its heading."""
    found = re.search(rf"^## {heading}\n(.*?)(?=^## |\Z)", SPANS, re.DOTALL | re.MULTILINE)
    assert found is not None, f"docs/spans.md has no {heading!r}"
    return found[1]


def words() -> Iterator[tuple[str, str]]:
    """What is emitted, and the text in which it has to stand."""
    first_column = "\n".join(re.findall(r"^\| ([^|]+) \|", SPANS, re.MULTILINE))
    for kind in words_of("instrument/src/span.rs", "SpanKind"):
        yield kind, first_column
    for point in words_of("instrument/src/point.rs", "Point"):
        yield point, first_column
    for phase in words_of("instrument/src/in_flight.rs", "Phase"):
        yield phase, first_column
    for status in words_of("instrument/src/status.rs", "Status"):
        yield status, section("Statuses and flags")
    for flag in flags():
        yield flag, section("Statuses and flags")
    for key in keys():
        yield key, section("JSON lines")
    for detail in words_of("instrument/src/detail.rs", "Detail"):
        yield detail, section("Detail")


@pytest.mark.parametrize(("word", "text"), [pytest.param(*each, id=each[0]) for each in words()])
def test_a_word_that_is_emitted_is_explained(word: str, text: str) -> None:
    assert f"`{word}`" in text, f"docs/spans.md does not explain {word!r}"


def test_no_word_is_explained_that_is_not_emitted() -> None:
    emitted = {*words_of("instrument/src/status.rs", "Status"), *flags()}
    assert (
        set(re.findall(r"`([^`]+)`", section("Statuses and flags"))) - {"call", "task"} == emitted
    )


def test_a_part_of_a_call_is_a_span() -> None:
    spans = words_of("instrument/src/span.rs", "SpanKind")
    sum_of_parts = re.search(r"^`call = (.*)`$", SPANS, re.MULTILINE)
    assert sum_of_parts is not None
    parts = [part.removeprefix("Σ ") for part in sum_of_parts[1].split(" + ")]
    assert set(parts) <= set(spans)
    line = (ROOT / "instrument/src/sink/line.rs").read_text()
    listed = re.search(r"const PARTS[^=]*= \[(.*?)\];", line, re.DOTALL)
    assert listed is not None
    assert re.findall(r'"(.*?)_ns"', listed[1]) == parts


def test_the_glossary_knows_every_kind_of_span() -> None:
    known = {
        word
        for row in re.findall(r"^\| ([^|]+) \|", GLOSSARY, re.MULTILINE)
        for word in row.split(", ")
    }
    assert set(words_of("instrument/src/span.rs", "SpanKind")) <= known


@pytest.mark.parametrize(("kind", "says"), [("CancelledBy", "by"), ("Place", "where")])
def test_what_an_exception_says_is_what_its_docstring_lists(kind: str, says: str) -> None:
    text = (ROOT / "runtime/src/python/errors.py").read_text()
    listed = re.search(rf"`{says}` is (\"[^.]*)\.", text)
    assert listed is not None
    assert re.findall(r'"(\w+)"', listed[1]) == words_of("runtime/src/error.rs", kind)
