"""Runs one measuring job in a process of its own and carries its messages to the parent.

A job is a generator of JSON objects. The child prints each as a line and then leaves through
`os._exit`, unless `clean_exit` is asked for: the peers abort now and then in an ordinary exit.
"""

import importlib
import json
import os
import subprocess
import sys
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any

BENCHES = Path(__file__).resolve().parents[1]

Message = dict[str, Any]
Job = Generator[Message, None, None]


class ChildFailed(Exception):
    """A measuring process ended badly; its stderr has been shown."""


def run(
    library: Path, job: str, options: Message, *, pinned: bool, clean_exit: bool = False
) -> Iterator[Message]:
    """Yield what `job` ("module:function") yields, run in a child, on one core if `pinned`."""
    path = [str(BENCHES), str(library), os.environ.get("PYTHONPATH", "")]
    env = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, path))}
    order = json.dumps({"job": job, "pinned": pinned, "clean": clean_exit, "options": options})
    command = [sys.executable, "-m", "benchlib.child", order]
    with subprocess.Popen(command, env=env, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        for line in child.stdout:
            yield json.loads(line)
    if child.returncode:
        raise ChildFailed(f"{job} ended with status {child.returncode}")


def main() -> None:
    """Do the job named by the first argument."""
    order = json.loads(sys.argv[1])
    if order["pinned"]:
        # Before any thread exists, so that all of them stay there.
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    module, _, name = order["job"].partition(":")
    for message in getattr(importlib.import_module(module), name)(**order["options"]):
        print(json.dumps(message), flush=True)
    if not order["clean"]:
        os._exit(0)


if __name__ == "__main__":
    main()
