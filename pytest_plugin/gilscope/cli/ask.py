"""How a process is asked for its tree: over its Unix socket, which only its own user can open."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import stat
import struct
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gilscope._units import counted
from gilscope.cli.errors import Refused, one_line, os_reason

if TYPE_CHECKING:
    from collections.abc import Iterator

VERSION = 1
# Seconds for the whole of one question and its answer.
PATIENCE = 10.0
# Longest answer: the process itself says no more than 20,000 calls and tasks.
_LONGEST = 256 * 1024 * 1024
_SWITCH_ON = (
    "start it with GILSCOPE_TREE=1 in its environment, or call gilscope.instrument(tree=True) in "
    "its Python, or gilscope_runtime::instrument::tree::open() in its Rust"
)


def ask(pid: int, patience: float = PATIENCE) -> dict[str, Any]:
    """What a process says; `Refused` with the reason if it says nothing."""
    owner = _owner(pid)
    if owner is not None and owner != os.geteuid():
        raise Refused(f"process {pid} belongs to user {owner}: only that user may ask it")
    path = _socket_of(pid)
    if owner is None:
        left = f"; it left {path} behind" if path is not None else ""
        raise Refused(f"there is no process {pid}{left}")
    if path is None:
        raise _not_asked_for(pid)
    return _understood(pid, _exchange(pid, path, time.monotonic() + patience, patience))


def askable() -> list[int]:
    """The processes of this user that may answer, by number."""
    folders = {folder for folder in _folders(None) if _is_safe(folder)}
    names = {entry.name for folder in folders for entry in folder.iterdir()}
    pids = {int(name[:-5]) for name in names if name.endswith(".sock") and name[:-5].isdecimal()}
    return sorted(pid for pid in pids if _owner(pid) == os.geteuid())


def program(pid: int) -> str:
    """What a process runs, in a few words."""
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes().rstrip(b"\0").split(b"\0")
    except OSError:
        return ""
    words[0] = os.path.basename(words[0])
    return one_line(b" ".join(words).decode(errors="replace"), 80)


def _owner(pid: int) -> int | None:
    """The user of a process; None if there is none of this number, or it has ended."""
    try:
        # Not the owner of /proc/PID, which is root where the process may not be looked into.
        lines = Path(f"/proc/{pid}/status").read_text(errors="replace").splitlines()
    except OSError:
        return None
    said = dict(line.split(":", 1) for line in lines if ":" in line)
    if said.get("State", "").split()[:1] == ["Z"]:
        return None  # a zombie answers nobody
    return int(said["Uid"].split()[1])


def _folders(pid: int | None) -> Iterator[Path]:
    """Where the socket may be: as this environment says, and as that of the process does."""
    environments = [dict(os.environ)]
    if pid is not None:
        environments.append(_environment(pid))
    own = f"gilscope-{os.geteuid()}"
    for environment in environments:
        if runtime := environment.get("XDG_RUNTIME_DIR"):
            yield Path(runtime, "gilscope")
        if temporary := environment.get("TMPDIR"):
            yield Path(temporary, own)
    yield Path("/tmp", own)


def _environment(pid: int) -> dict[str, str]:
    try:
        text = Path(f"/proc/{pid}/environ").read_bytes()
    except OSError:
        return {}
    pairs = (pair.partition(b"=") for pair in text.split(b"\0"))
    return {os.fsdecode(name): os.fsdecode(value) for name, _, value in pairs}


def _is_safe(folder: Path) -> bool:
    """Whether it is a folder of this user that nobody else can enter."""
    try:
        found = os.lstat(folder)
    except OSError:
        return False
    mine = found.st_uid == os.geteuid() and not found.st_mode & 0o077
    return stat.S_ISDIR(found.st_mode) and mine


def _socket_of(pid: int) -> Path | None:
    unsafe: list[Path] = []
    for folder in _folders(pid):
        path = folder / f"{pid}.sock"
        if _is_safe(folder):
            if path.is_socket():
                return path
        elif os.path.lexists(folder):
            unsafe.append(folder)
    if unsafe:
        raise Refused(
            f"cannot ask process {pid}: {unsafe[0]} is not a folder of this user alone",
            "its mode must be 700",
        )
    return None


def _not_asked_for(pid: int) -> Refused:
    # Said, since the process may use a folder that cannot be known from here.
    sockets = " or ".join(dict.fromkeys(f"{folder}/{pid}.sock" for folder in _folders(pid)))
    try:
        loaded = "/gilscope/_native" in Path(f"/proc/{pid}/maps").read_text(errors="replace")
    except OSError:
        loaded = False
    told = _environment(pid).get("GILSCOPE_TREE") == "1"
    if told:
        return Refused(
            f"process {pid} does not answer yet: there is no socket {sockets}",
            "it has GILSCOPE_TREE=1, and answers from its first runtime on",
        )
    if loaded:
        return Refused(
            f"process {pid} runs gilscope, and was not told to answer: "
            f"there is no socket {sockets}",
            _SWITCH_ON,
        )
    return Refused(
        f"process {pid} does not answer: there is no socket {sockets}, and no extension module of "
        "gilscope in it (one that is built into a Rust program is not seen)",
        f"{_SWITCH_ON}; `gilscope tree` lists the processes that can be asked",
    )


def _exchange(pid: int, path: Path, end: float, patience: float) -> bytes:
    with contextlib.closing(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)) as client:
        try:
            client.settimeout(_left(end))
            client.connect(str(path))
            _check_peer(pid, client)
            client.sendall(json.dumps({"gilscope_tree": VERSION}).encode() + b"\n")
            return _line(client, end)
        except TimeoutError:
            stopped = _is_stopped(pid)
            raise Refused(
                f"process {pid} did not answer within {patience:g} s"
                + (": it is stopped" if stopped else ""),
                f"kill -CONT {pid} lets it go on" if stopped else None,
            ) from None
        except ConnectionRefusedError:
            raise Refused(
                f"process {pid} does not answer any more: {path} is left from a program that "
                "ran under this number before",
                _SWITCH_ON,
            ) from None
        except OSError as error:
            raise Refused(f"cannot ask process {pid}: {os_reason(error)}") from None


def _left(end: float) -> float:
    return max(end - time.monotonic(), 0.001)


def _check_peer(pid: int, client: socket.socket) -> None:
    """Refuse what somebody else, or another process, says."""
    size = struct.calcsize("3i")
    said = client.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, size)
    peer, uid, _ = struct.unpack("3i", said)
    if uid != os.geteuid() or peer != pid:
        raise Refused(f"it is not process {pid} that answers, but {peer} of user {uid}")


def _line(client: socket.socket, end: float) -> bytes:
    parts: list[bytes] = []
    size = 0
    while size < _LONGEST:
        client.settimeout(_left(end))
        part = client.recv(1 << 20)
        parts.append(part)
        size += len(part)
        if not part or part.endswith(b"\n"):
            break
        if time.monotonic() > end:
            raise TimeoutError
    return b"".join(parts)


def _understood(pid: int, line: bytes) -> dict[str, Any]:
    if not line.endswith(b"\n"):
        raise Refused(f"the answer of process {pid} breaks off after {counted(len(line), 'byte')}")
    try:
        answer = json.loads(line)
    except ValueError:
        raise Refused(f"the answer of process {pid} is no JSON") from None
    if not isinstance(answer, dict) or answer.get("gilscope_tree") != VERSION:
        raise Refused(
            f"process {pid} speaks another version than this gilscope",
            "ask with the gilscope that it was started with",
        )
    if "error" in answer:
        raise Refused(f"process {pid} refused: {one_line(str(answer['error']))}")
    if not all(isinstance(answer.get(part), list) for part in ("loops", "queues", "open")):
        raise Refused(f"the answer of process {pid} is not whole")
    return answer


def _is_stopped(pid: int) -> bool:
    try:
        text = Path(f"/proc/{pid}/stat").read_text(errors="replace")
    except OSError:
        return False
    return text.rpartition(")")[2].split()[:1] in (["T"], ["t"])
