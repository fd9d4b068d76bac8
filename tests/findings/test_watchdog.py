"""The watchdog: off unless wanted, and nobody notices it who does not want to."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

# A runtime, and `found()`: what is found while a thread holds the GIL and a call waits.
BEGIN = """
import faulthandler, json, os, signal, sys, tempfile, threading, time
import gilscope
gilscope.stats()
import gilscope_test_ext as ext

async def waits():
    pass

def watchdogs(expected=0):
    for _ in range(1000):  # a thread that has just started has no name yet
        tids = os.listdir("/proc/self/task")
        names = [open(f"/proc/self/task/{tid}/comm").read() for tid in tids]
        count = sum(name.startswith("gilscope-watchd") for name in names)
        if count == expected:
            break
        time.sleep(0.01)
    return count

def handled():
    line = next(it for it in open("/proc/self/status") if it.startswith("SigCgt:"))
    bits = int(line.split()[1], 16)
    return [n for n in range(signal.SIGRTMIN, signal.SIGRTMAX + 1) if bits >> (n - 1) & 1]

def found(seconds=0.3):
    for _ in range(3):  # the loop may have had the GIL in between
        gilscope.stats()
        ext.submit_with_gil(waits)
        ext.hold_gil(seconds)
        rt.call(waits)
        if worst := gilscope.stats()["findings"]["worst"]:
            break
    return [it["finding"] for it in worst]

sys.setswitchinterval(30)
rt = gilscope.py_runtime()
rt.call(waits)
"""
END = """
rt.shutdown()
"""


@pytest.fixture
def watched(script: Callable[..., str]) -> Callable[[str], Any]:
    """Run a program between `BEGIN` and `END`; what it printed last, as JSON."""
    return lambda text: json.loads(script(BEGIN + text + END).splitlines()[-1])


def test_a_bare_runtime_has_no_watchdog_and_handles_no_signal(
    watched: Callable[[str], Any],
) -> None:
    program = """
found = found()
before = watchdogs(), handled()
with gilscope.trace():
    during = watchdogs(1), len(handled())
print(json.dumps([found, before, during, watchdogs()]))
"""
    assert watched(program) == [["GS01"], [0, []], [1, 1], 0]


def test_the_environment_may_ask_for_it(
    watched: Callable[[str], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GILSCOPE_WATCHDOG", "1")
    assert watched("print(json.dumps([watchdogs(1), found()]))") == [1, ["GS02"]]
    monkeypatch.setenv("GILSCOPE_WATCHDOG", "0")
    program = """
with gilscope.trace(), gilscope.instrument(otlp=False) as it:
    print(json.dumps([watchdogs(), handled(), it.watches, found()]))
"""
    assert watched(program) == [0, [], False, ["GS01"]]


def test_instrument_turns_it_on_and_off(watched: Callable[[str], Any]) -> None:
    program = """
said = []
for watchdog in (True, False, 0.02):
    with gilscope.instrument(otlp=False, watchdog=watchdog) as it:
        said.append((watchdogs(bool(watchdog)), it.watches))
    said.append((watchdogs(), it.watches))
with gilscope.instrument(otlp=False), gilscope.trace(), gilscope.instrument(otlp=False):
    said.append((watchdogs(1), True))
for wrong in (0.0, -1.0, float("nan")):
    try:
        gilscope.instrument(otlp=False, watchdog=wrong)
    except ValueError as error:
        said.append(str(error))
try:
    gilscope.instrument(otlp="nonsense")
except ValueError:
    said.append(watchdogs())
print(json.dumps(said))
"""
    off = [0, False]
    *said, zero, minus, nan, after = watched(program)
    assert said == [[1, True], off, off, off, [1, True], off, [1, True]]
    assert (zero, minus) == (
        "watchdog must be at least 0.001 seconds, not 0",
        "watchdog must be at least 0.001 seconds, not -1",
    )
    assert nan.startswith("watchdog must be at least")
    assert after == 0


def test_a_number_is_what_counts_as_slow(watched: Callable[[str], Any]) -> None:
    program = """
with gilscope.instrument(otlp=False, watchdog=10.0):
    first = found()
with gilscope.instrument(otlp=False, watchdog=0.02):
    print(json.dumps([first, found()]))
"""
    assert watched(program) == [[], ["GS02"]]


def test_signals_of_the_user_go_on(watched: Callable[[str], Any]) -> None:
    program = """
first = signal.SIGRTMIN + 5
got = []
signal.signal(first, lambda *_: got.append("handled"))
file = tempfile.TemporaryFile()
faulthandler.register(first + 1, file=file, all_threads=False, chain=False)
with gilscope.trace():
    said = found()
    for n in (first, first + 1):
        signal.raise_signal(n)
file.seek(0)
print(json.dumps([said, got, file.read().decode().count("most recent call first"), handled()]))
"""
    said, got, dumps, handled = watched(program)
    assert (said, got, dumps) == (["GS02"], ["handled"], 1)
    assert len(handled) == 3


def test_where_no_signal_is_free_nobody_watches(watched: Callable[[str], Any]) -> None:
    program = """
for n in range(signal.SIGRTMIN + 5, signal.SIGRTMAX + 1):
    signal.signal(n, lambda *_: None)
with gilscope.instrument(otlp=False) as it:
    print(json.dumps([watchdogs(), it.watches, found()]))
"""
    assert watched(program) == [0, False, ["GS01"]]


def test_a_signal_that_somebody_takes_is_theirs_from_then_on(
    watched: Callable[[str], Any],
) -> None:
    program = """
got = []
with gilscope.trace():
    (ours,) = handled()
    signal.signal(ours, lambda *_: got.append("handled"))
    first = found()
    signal.raise_signal(ours)
with gilscope.trace():
    again = found(0.6)
signal.raise_signal(ours)
print(json.dumps([first, got, again[0]]))
"""
    assert watched(program) == [["GS01"], ["handled", "handled"], "GS02"]


def test_a_forked_child_has_none_until_it_asks(watched: Callable[[str], Any]) -> None:
    program = """
import warnings
warnings.simplefilter("ignore")
read, write = os.pipe()
with gilscope.trace():
    before = found()
    child = os.fork()
    if child == 0:
        rt = gilscope.py_runtime()
        rt.call(waits)
        said = [watchdogs(), found()]
        gilscope._native.reset_stats()
        with gilscope.instrument(otlp=False):
            said += [watchdogs(1), found()]
        os.write(write, json.dumps(said).encode())
        rt.shutdown()
        os._exit(0)
    _, status = os.waitpid(child, 0)
    gilscope._native.reset_stats()
    print(json.dumps([before, status, json.loads(os.read(read, 1000)), watchdogs(1), found()]))
"""
    child = [0, ["GS01"], 1, ["GS02"]]
    assert watched(program) == [["GS02"], 0, child, 1, ["GS02"]]


@pytest.mark.parametrize("attempt", range(3))
def test_the_process_may_end_while_it_watches(watched: Callable[[str], Any], attempt: int) -> None:
    program = f"""
it = gilscope.instrument(otlp=False, watchdog=0.001)
trace = gilscope.trace()
trace.__enter__()
sys.setswitchinterval(0.005)
def holds():
    while True:
        ext.hold_gil(0.02)
for _ in range(3):
    threading.Thread(target=holds, daemon=True).start()
futures = [rt.submit(waits) for _ in range(100)]
time.sleep({attempt} / 20)
print(json.dumps(watchdogs(1)))
sys.exit()
"""
    assert watched(program) == 1


def test_after_a_subinterpreter_nobody_is_accused(watched: Callable[[str], Any]) -> None:
    program = """
try:
    import _interpreters as interpreters
except ImportError:
    import _xxsubinterpreters as interpreters
interpreters.destroy(interpreters.create())
with gilscope.trace():
    print(json.dumps(found()))
"""
    assert watched(program) == ["GS01"]


def test_stacks_stay_out_where_that_is_wanted(
    watched: Callable[[str], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    program = """
with gilscope.trace() as trace:
    found()
print(json.dumps(trace.findings))
"""
    assert "stack" in watched(program)[0]
    monkeypatch.setenv("GILSCOPE_REDACT", "1")
    (finding,) = watched(program)
    assert finding["finding"] == "GS02"
    assert "stack" not in finding


def test_system_calls_of_python_go_on(watched: Callable[[str], Any]) -> None:
    program = """
read, write = os.pipe()
def holds_and_writes():
    said.append(found(0.6))
    os.write(write, b"x")
said = []
with gilscope.trace():
    lock = threading.Lock()
    lock.acquire()
    sleeper = threading.Thread(target=lambda: said.append(lock.acquire(timeout=30)))
    sleeper.start()
    thread = threading.Thread(target=holds_and_writes)
    thread.start()
    said.append(os.read(read, 1).decode())
    lock.release()
    for each in (thread, sleeper):
        each.join(30)
print(json.dumps(said))
"""
    assert watched(program) == [["GS02"], "x", True]


def test_it_sleeps_while_nothing_happens(watched: Callable[[str], Any]) -> None:
    program = """
def wakes():
    for tid in os.listdir("/proc/self/task"):
        status = open(f"/proc/self/task/{tid}/status").read()
        if "gilscope-watchd" in status:
            return int(status.split("\\nvoluntary_ctxt_switches:")[1].split()[0])

with gilscope.trace():
    found()
    time.sleep(2)
    before = wakes()
    time.sleep(2)
    slept = wakes() - before
    print(json.dumps([slept <= 2, found(0.7)]))
"""
    assert watched(program) == [True, ["GS02"]]
