"""Conversion for Perfetto's page, and the server that hands it over."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from gilscope.view.numbers import in_flight
from gilscope.view.perfetto import convert
from gilscope.view.reading import read

from .conftest import gilscope
from .traces import Lines, many

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ADDRESS = "http://127.0.0.1:9001/trace.json"


def events(text: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(text)["traceEvents"]
    return found


@pytest.fixture
def converted(tmp_path: Path) -> list[dict[str, Any]]:
    lines = Lines()
    call = lines.work("app.fun")
    lines.work("child", 130, (("ready", 2), ("poll", 3)), kind="task", call=call)
    lines.turn(6, 120)
    lines.finding(20, 30, call=call)
    return events(convert(read(lines.write(tmp_path / "t.jsonl"))).text)


def test_a_thread_holds_the_gil_and_polls_within(converted: list[dict[str, Any]]) -> None:
    slices = [event for event in converted if event["ph"] == "X" and event["tid"] == 10]
    assert [(s["name"], s["ts"], s["dur"]) for s in slices] == [
        ("gil.hold", 6, 120),
        ("poll", 10, 100),
        ("poll", 910, 80),
        ("poll", 132, 3),
        ("gil.wait", 3, 3),
    ]


def test_its_own_file_is_refused_with_what_to_open_instead(tmp_path: Path) -> None:
    lines = Lines()
    lines.work()
    lines.finding(0, 1)
    lines.write(tmp_path / "t.jsonl")
    assert gilscope("view", "t.jsonl", "--perfetto=p.json", cwd=tmp_path).returncode == 0
    done = gilscope("view", "p.json", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    [said] = done.stderr.splitlines()
    assert said == (
        "error: p.json is for Perfetto, written by gilscope view --perfetto"
        " (hint: open it in https://ui.perfetto.dev, and view the trace it was made of)"
    )


def test_calls_and_tasks_are_tracks_of_their_own(converted: list[dict[str, Any]]) -> None:
    nested = [event for event in converted if event["ph"] in "be"]
    assert all("local" in event["id2"] and "id" not in event for event in nested)
    depth: dict[str, int] = {}
    for event in nested:
        local = event["id2"]["local"]
        depth[local] = depth.get(local, 0) + (1 if event["ph"] == "b" else -1)
        assert depth[local] in (0, 1, 2)
    assert set(depth.values()) == {0}
    named = [event["name"] for event in nested if event["ph"] == "b"]
    assert named.count("app.fun") == named.count("child") == named.count("GS02 gil_held") == 1
    [suspended] = [e for e in nested if e["name"] == "suspended" and e["ph"] == "b"]
    assert suspended["args"] == {"at": "/src/app.py:7 in fun", "poll": 2}


def test_an_arrow_leads_from_a_slice_to_a_poll(converted: list[dict[str, Any]]) -> None:
    [start], [end] = ([e for e in converted if e["ph"] == phase] for phase in "sf")
    assert (start["id"], end["bp"], end["tid"]) == (end["id"], "e", 10)
    assert (start["ts"], end["ts"]) == (905, 910)
    [wake] = [e for e in converted if e["ph"] == "X" and e["tid"] == start["tid"]]
    assert wake["ts"] <= start["ts"] < wake["ts"] + wake["dur"]


def test_counters_are_of_calls(converted: list[dict[str, Any]]) -> None:
    counted = [e for e in converted if e["ph"] == "C"]
    assert [(e["ts"], e["args"]["calls"]) for e in counted if e["name"] == "queue depth"] == [
        (1, 1),
        (6, 0),
    ]
    flight = [(e["ts"], e["args"]["calls"]) for e in counted if e["name"] == "calls in flight"]
    assert flight == [(0, 1), (1000, 0)]


def test_wakes_of_one_moment_do_not_overlap() -> None:
    wakes = [e for e in events(convert(many(300)).text) if e["name"] == "wake" and e["ph"] == "X"]
    by_time = sorted(wakes, key=lambda wake: wake["ts"])
    for one, other in pairwise(by_time):
        assert one["ts"] == other["ts"] or one["ts"] + one["dur"] <= other["ts"] + 1e-6


def test_of_too_many_the_oldest_are_left_out() -> None:
    trace = many(100)
    last = max(trace.calls, key=lambda call: call.end)
    result = convert(trace, limit=1000)
    assert result.left_out > 0
    begun = {e["args"]["id"] for e in events(result.text) if e["ph"] == "b" and "id" in e["args"]}
    assert len(begun) == 300 - result.left_out
    assert last.id in begun


def test_turns_and_counters_are_bounded_too() -> None:
    trace = many(600)
    found = events(convert(trace, limit=1000).text)
    held = [event for event in found if event["name"] == "gil.hold"]
    assert len(held) == 250
    assert max(turn.end for turn in trace.turns[1, "loop-1"]) == round(
        max(event["ts"] + event["dur"] for event in held) * 1000 + trace.bounds()[0]
    )
    assert marks(json.dumps({"traceEvents": found}))[0]["name"].endswith(" and 350 turns left out")
    flight = [event for event in found if event["name"] == "calls in flight"]
    assert len(flight) <= 50 < len(in_flight(trace))
    assert max(event["args"]["calls"] for event in flight) == 64  # the highest of each stretch
    assert flight[-1]["args"]["calls"] == 0


def marks(text: str) -> list[dict[str, Any]]:
    """The begin and the end of the mark."""
    return [event for event in events(text) if event.get("cat") == "left out"]


def test_calls_that_came_while_the_thread_waited_have_one_wait(tmp_path: Path) -> None:
    lines = Lines()
    for late in range(3):
        life = (("queued", 1), ("gil.wait", 10 - late), ("ready", 3 * late), ("poll", 3))
        lines.work("app.fun", late, life)
    lines.work("app.fun", 50, (("queued", 1), ("gil.wait", 4), ("poll", 3)))
    trace = read(lines.write(tmp_path / "t.jsonl"))
    waits = [e for e in events(convert(trace).text) if e["name"] == "gil.wait" and e["ph"] == "X"]
    assert sorted((wait["ts"], wait["dur"]) for wait in waits) == [(1, 10), (51, 4)]


def test_a_wait_for_the_gil_before_a_turn_is_a_slice_before_it(tmp_path: Path) -> None:
    lines = Lines()
    lines.work("app.fun", 0, (("poll", 50), ("suspended", 850), ("poll", 60)))
    lines.turn(0, 50)
    lines.turn(900, 60, gil_wait_ns=400_000)
    # The call that it let in saw the end of that wait, as the turn knows all of it.
    lines.work("app.late", 700, (("queued", 10), ("gil.wait", 190), ("ready", 60), ("poll", 9)))
    trace = read(lines.write(tmp_path / "t.jsonl"))
    found = events(convert(trace).text)
    thread = [e for e in found if e["ph"] == "X" and e["tid"] == 10]
    assert [(e["ts"], e["dur"]) for e in thread if e["name"] == "gil.wait"] == [(500, 400)]
    assert (900, 60) in [(e["ts"], e["dur"]) for e in thread if e["name"] == "gil.hold"]
    for number in range(30):
        lines.turn(2_000 + 100 * number, 9, gil_wait_ns=7_000)
    few = events(convert(read(lines.write(tmp_path / "t.jsonl")), limit=40).text)
    waits = [event for event in few if event["name"] == "gil.wait" and event["ph"] == "X"]
    assert [event["ts"] for event in waits] == [1_993 + 100 * number for number in range(20, 30)]


def test_the_picture_says_what_is_left_out(tmp_path: Path) -> None:
    lines = Lines()
    for number in range(1200):
        call = lines.work("app.fun", 10_000 * number)
        if number < 2:
            lines.work("child", 10_000 * number, (("poll", 3),), kind="task", call=call)
    trace = read(lines.write(tmp_path / "t.jsonl"))
    begin, end = marks(convert(trace, limit=500).text)
    assert begin["name"] == end["name"] == "1,190 calls and 2 tasks left out"
    assert (begin["ts"], end["ts"]) == (0, 1189 * 10_000 + 1000)  # when the last of them ended
    result = convert(trace, limit=60_000)
    assert json.loads(result.text)["otherData"]["left_out"] == result.left_out == 2
    begin, end = marks(result.text)
    assert begin["name"] == end["name"] == "1 call and 1 task left out"
    first = next(e for e in events(result.text) if e["ph"] == "b" and e["cat"] == "call")
    assert end["ts"] <= first["ts"]
    assert not marks(convert(trace).text)


def test_a_chrome_trace_is_converted_too(real: Callable[..., Path], tmp_path: Path) -> None:
    path = real("t.json")
    done = gilscope("view", str(path), "--perfetto=out.json", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    names = {event["name"] for event in events((tmp_path / "out.json").read_text())}
    assert {"gil.hold", "poll", "suspended", "shop.order", "queue depth", "wake"} <= names


@pytest.fixture
def serving(real: Callable[..., Path]) -> Iterator[subprocess.Popen[str]]:
    path = real("t.jsonl")
    view = [sys.executable, "-m", "gilscope", "view", path.name, "--perfetto"]
    pipe = subprocess.PIPE
    with subprocess.Popen(view, cwd=path.parent, stdout=pipe, stderr=pipe, text=True) as process:
        assert process.stdout is not None
        says = process.stdout.readline()
        assert says == f"next: open https://ui.perfetto.dev/#!/?url={ADDRESS}\n"
        yield process
        process.kill()


def test_nobody_but_this_machine_is_served(serving: subprocess.Popen[str]) -> None:
    own = {os.readlink(fd) for fd in Path(f"/proc/{serving.pid}/fd").iterdir()}
    rows = []
    for table in ("tcp", "tcp6", "udp", "udp6"):
        lines = Path(f"/proc/{serving.pid}/net/{table}").read_text().splitlines()[1:]
        rows += [(table, *line.split()) for line in lines]
    # What is open at all is the one socket that listens (0A): 127.0.0.1 in the machine's order.
    found = [(row[0], row[2], row[4]) for row in rows if f"socket:[{row[10]}]" in own]
    here = int.from_bytes(bytes([127, 0, 0, 1]), sys.byteorder)
    assert found == [("tcp", f"{here:08X}:{9001:04X}", "0A")]


def ask(path: str = ADDRESS, host: str = "127.0.0.1:9001") -> tuple[Any, bytes]:
    request = urllib.request.Request(path, headers={"Host": host})
    with urllib.request.urlopen(request, timeout=30) as answer:
        return answer.headers, answer.read()


def test_it_is_served_once_to_the_page_alone(serving: subprocess.Popen[str]) -> None:
    for path, host in ((ADDRESS, "evil.example:9001"), (f"{ADDRESS}/../x", "127.0.0.1:9001")):
        with pytest.raises(urllib.error.HTTPError) as refused:
            ask(path, host)
        refused.value.close()
        assert refused.value.code == 404
    with socket.create_connection(("127.0.0.1", 9001)):  # one that never asks holds up nobody
        headers, body = ask()
        assert headers["Access-Control-Allow-Origin"] == "https://ui.perfetto.dev"
        assert any(event["name"] == "shop.order" for event in events(body.decode()))
        assert serving.wait(timeout=60) == 0
    assert serving.stderr is not None
    assert serving.stderr.read().endswith("the page has it\n")


def test_ctrl_c_ends_it_in_one_line(serving: subprocess.Popen[str]) -> None:
    assert serving.stderr is not None
    assert serving.stderr.readline() == "served once, on loopback alone; Ctrl-C ends it\n"
    serving.send_signal(signal.SIGINT)
    assert serving.wait(timeout=60) == 130
    assert serving.stderr.read() == "stopped: nobody took the trace\n"


def test_a_port_in_use_is_one_line(real: Callable[..., Path]) -> None:
    path = real("t.jsonl")
    with socket.create_server(("127.0.0.1", 9001)):
        done = gilscope("view", path.name, "--perfetto", cwd=path.parent)
    assert done.returncode == 2
    assert done.stderr.startswith("error: port 9001 of 127.0.0.1 is in use")
    assert done.stderr.count("\n") == 1


def test_html_and_perfetto_at_once_are_refused(real: Callable[..., Path]) -> None:
    path = real("t.jsonl")
    done = gilscope("view", path.name, "--html", "--perfetto", cwd=path.parent)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)


def test_a_wait_that_began_before_the_picture_begins_with_it(tmp_path: Path) -> None:
    lines = Lines()
    lines.turn(0, 50, gil_wait_ns=7_000)
    lines.work("app.fun", 0, (("poll", 50),))
    found = events(convert(read(lines.write(tmp_path / "t.jsonl"))).text)
    assert min(event["ts"] for event in found if "ts" in event) == 0
