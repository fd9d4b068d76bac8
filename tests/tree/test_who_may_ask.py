"""Who gets an answer, from where, and that nothing is opened for anybody else."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.tree.conftest import Asked, Program

    Start = Callable[..., Program]
    Ask = Callable[..., Asked]

IDLE = """
runtime = gilscope.PyRuntime("app")
runtime.call(asyncio.sleep, 0)
print("ready", flush=True)
sys.stdin.read()
"""

# How it is switched on: for any program, in Python, in Rust.
WAYS = (
    "GILSCOPE_TREE=1 in its environment",
    "gilscope.instrument(tree=True) in its Python",
    "gilscope_runtime::instrument::tree::open() in its Rust",
)


def own(folder: Path) -> Path:
    return folder / f"gilscope-{os.geteuid()}"


def mode(path: Path) -> int:
    return stat.S_IMODE(path.lstat().st_mode)


def test_the_socket_is_in_a_folder_of_its_users_alone(start: Start, folder: Path) -> None:
    program = start("os.umask(0)\n" + IDLE)
    assert program.socket.is_socket()
    assert own(folder).lstat().st_uid == os.geteuid()
    assert mode(own(folder)) == 0o700


def test_the_session_s_own_folder_comes_first(start: Start, tree: Ask, folder: Path) -> None:
    session = folder / "session"
    session.mkdir(0o700)
    program = start(IDLE, XDG_RUNTIME_DIR=str(session))
    assert [path.name for path in (session / "gilscope").iterdir()] == [f"{program.pid}.sock"]
    assert mode(session / "gilscope") == 0o700
    assert not own(folder).exists()
    # The client, without that variable, looks where the process' own environment says.
    assert tree(program.pid).code == 0
    # A folder that others may enter is nobody's session.
    session.chmod(0o755)
    program = start(IDLE, XDG_RUNTIME_DIR=str(session))
    assert program.socket.is_socket()


@pytest.mark.parametrize("how", ["open", "link", "file"])
def test_a_folder_that_is_not_its_users_alone_is_not_used(
    start: Start, tree: Ask, folder: Path, how: str
) -> None:
    if how == "open":
        own(folder).mkdir()
        own(folder).chmod(0o755)
    elif how == "link":
        (folder / "elsewhere").mkdir(0o700)
        own(folder).symlink_to(folder / "elsewhere")
    else:
        own(folder).touch()
    program = start(
        """
        os.dup2(1, 2)
        try:
            gilscope.instrument(tree=True)
        except OSError as error:
            print("refused" if "gilscope-" in str(error) else error, flush=True)
        runtime = gilscope.PyRuntime("app")
        runtime.call(asyncio.sleep, 0)
        print("ready", flush=True)
        sys.stdin.read()
        """,
        says="refused",
    )
    said = program.line()
    assert said.startswith(f"gilscope: no tree can be asked for: {own(folder)}: "), said
    assert program.line() == "ready"
    assert not own(folder).is_dir() or not list(own(folder).iterdir())
    asked = tree(program.pid)
    assert (asked.code, asked.out, asked.err.count("\n")) == (2, "", 1)
    assert f"{own(folder)} is not a folder of this user alone" in asked.err


def test_a_path_that_is_too_long_for_a_socket_is_not_used(
    start: Start, tree: Ask, folder: Path
) -> None:
    far = folder / ("x" * 100)
    far.mkdir()
    program = start(IDLE, TMPDIR=str(far))
    assert not list(far.iterdir())
    assert tree(program.pid).code == 0  # in /tmp
    assert program.end() == 0


@pytest.mark.parametrize("variable", ["", "0"])
def test_a_runtime_opens_nothing_unless_it_is_asked_to(
    start: Start, tree: Ask, folder: Path, variable: str
) -> None:
    # When there are statistics, the threads that were begun have their names.
    program = start(IDLE.replace("print", "gilscope.stats()\nprint"), GILSCOPE_TREE=variable)
    assert not list(folder.iterdir())
    names = {path.read_text().strip() for path in Path(f"/proc/{program.pid}/task").glob("*/comm")}
    assert "gilscope-conver" in names  # so that the one below would be seen
    assert "gilscope-tree" not in names
    asked = tree(program.pid)
    assert (asked.code, asked.out, asked.err.count("\n")) == (2, "", 1)
    assert asked.err.startswith(
        f"error: process {program.pid} runs gilscope, and was not told to answer: "
        f"there is no socket {program.socket} or /tmp/"
    )
    for way in WAYS:
        assert way in asked.err


def test_a_process_without_gilscope_is_told_what_was_looked_for(
    start: Start, tree: Ask, folder: Path
) -> None:
    session = folder / "session"
    text = "print('ready', flush=True)\ninput()"
    program = start(text, prelude="", GILSCOPE_TREE="0", XDG_RUNTIME_DIR=str(session))
    asked = tree(program.pid)
    assert (asked.code, asked.out, asked.err.count("\n")) == (2, "", 1)
    assert (
        f"process {program.pid} does not answer: there is no socket {program.socket}" in asked.err
    )
    # Also where its own environment, and not that of who asks, would have it.
    assert f" or {session}/gilscope/{program.pid}.sock or /tmp/" in asked.err
    assert ".sock, and no extension module of gilscope in it" in asked.err
    for way in (*WAYS, "`gilscope tree` lists the processes that can be asked"):
        assert way in asked.err


def test_a_process_that_has_no_runtime_yet_answers_from_its_first_one_on(
    start: Start, tree: Ask
) -> None:
    program = start("print('ready', flush=True)\ninput()\n" + IDLE)
    asked = tree(program.pid)
    assert (asked.code, asked.out, asked.err.count("\n")) == (2, "", 1)
    assert f"process {program.pid} does not answer yet: there is no socket" in asked.err
    assert "it has GILSCOPE_TREE=1, and answers from its first runtime on" in asked.err
    assert program.process.stdin is not None
    program.process.stdin.write("\n")
    program.process.stdin.flush()
    assert program.line() == "ready"
    assert tree(program.pid).code == 0


def test_a_variable_that_says_neither_is_told_of(start: Start, folder: Path) -> None:
    says = 'gilscope: GILSCOPE_TREE must be 1 or 0, not "yes"'
    program = start("os.dup2(1, 2)\n" + IDLE, GILSCOPE_TREE="yes", says=says)
    assert program.line() == "ready"
    assert not list(folder.iterdir())


def test_instrument_opens_and_closes_it(start: Start, folder: Path) -> None:
    program = start(
        """
        def there():
            folder = f"{os.environ['TMPDIR']}/gilscope-{os.geteuid()}"
            return os.path.exists(f"{folder}/{os.getpid()}.sock")

        seen = [there()]
        with gilscope.instrument(tree=True) as outer:
            seen.append(there())
            with gilscope.instrument(tree=True, otlp=False):
                pass
            seen.append(there())
            assert not outer.active, "it exports nothing"
        seen.append(there())
        outer.close()
        with gilscope.instrument(tree=True):
            seen.append(there())
        seen.append(there())
        print(*seen, flush=True)
        """,
        says="False True True False True False",
        GILSCOPE_TREE="0",
    )
    assert program.end() == 0
