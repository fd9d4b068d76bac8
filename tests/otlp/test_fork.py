"""Processes that fork while they export: each exports its own, and no span twice."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING

from faulty import LIMIT

if TYPE_CHECKING:
    from faulty import Faulty

CODE = """if True:
    import json, os, sys, warnings, gilscope
    warnings.simplefilter("ignore", DeprecationWarning)  # 3.12 warns of forks beside threads

    def calls(rt, number):
        for future in [rt.submit(int) for _ in range(number)]:
            future.result(30)

    def child(exports):
        global exporter
        assert not exporter.active
        exporter.close()
        os.read(go, 1)  # until the collector answers
        if exports:
            exporter = gilscope.instrument(otlp=sys.argv[1])
        rt = gilscope.py_runtime()
        calls(rt, 50)
        rt.shutdown()
        exporter.close()
        sys.exit(3)

    def tell():
        own = os.getpid() != parent
        counts = [own, exporter.exported, sum(exporter.lost.values())]
        os.write(1, json.dumps(counts).encode() + b"\\n")

    import atexit
    go, come = os.pipe()
    parent = os.getpid()
    atexit.register(tell)
    exporter = gilscope.instrument(otlp=sys.argv[1])
    rt = gilscope.py_runtime()
    calls(rt, 50)
    sys.stdin.readline()  # until a request is on its way
    calls(rt, 50)  # and these are in the queue
    children = []
    for exports in (True, False):
        if (pid := os.fork()) == 0:
            child(exports)
        children.append(pid)
    os.write(1, b"forked\\n")
    sys.stdin.readline()  # until the collector answers
    os.write(come, b"..")
    calls(rt, 50)
    for pid in children:
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 3
    rt.shutdown()
    exporter.close()
"""


def test_b4_fork_while_a_request_is_on_its_way(faulty: Faulty) -> None:
    faulty.hold.clear()
    process = subprocess.Popen(
        [sys.executable, "-c", CODE, faulty.url],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    assert faulty.reached.wait(LIMIT)
    process.stdin.write("reached\n")
    process.stdin.flush()
    assert process.stdout.readline() == "forked\n"
    faulty.hold.set()
    out, err = process.communicate("answers\n", timeout=LIMIT)
    assert (process.returncode, err) == (0, "")
    counts = {True: [], False: []}
    for line in out.splitlines():
        child, exported, lost = json.loads(line)
        assert lost == 0
        counts[child].append(exported)
    (parents,) = counts[False]
    none, own = sorted(counts[True])
    assert parents >= 150 * 7
    assert own >= 50 * 7
    ids = faulty.ids()
    # The child that opened no exporter of its own looks at its parent's, as it was at the fork.
    assert none == 0
    assert len(ids) == len(set(ids)) == parents + own
