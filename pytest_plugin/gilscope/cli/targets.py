"""`MODULE_OR_FILE:NAME` on the command line, turned into a Python object."""

from __future__ import annotations

import difflib
import importlib
import importlib.util
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from gilscope.cli.errors import Refused, describe, location

if TYPE_CHECKING:
    from types import ModuleType

# A file named by two targets is loaded once: function and generator share its globals.
_loaded: dict[Path, ModuleType] = {}

# How many names a hint lists.
_LISTED = 8


def load(target: str, what: str) -> object:
    """Import what `target` names; `what` is the word for it in an error line."""
    place, colon, name = target.rpartition(":")
    is_file = _is_file_name(place)
    if not colon or not place or not name or not (is_file or _is_module_name(place)):
        hint = f"write {target}:NAME" if target.endswith(".py") else "for example app.py:fetch"
        raise Refused(f"{what} must be MODULE_OR_FILE:NAME, not {target!r}", hint)
    module = _load_file(place) if is_file else _load_module(place)
    found: object = module
    for part in name.split("."):
        try:
            found = getattr(found, part)
        except AttributeError:
            raise Refused(f"no {name!r} in {place}", _likely(module, name)) from None
        except Exception as error:  # of a `__getattr__` of the user's
            where = location(error.__traceback__)
            raise Refused(f"cannot get {name!r} of {place}: {describe(error)}{where}") from error
    return found


def _is_file_name(place: str) -> bool:
    return place.endswith(".py") or os.sep in place


def _is_module_name(place: str) -> bool:
    return all(part and ":" not in part for part in place.split("."))


def _load_file(place: str) -> ModuleType:
    path = Path(place).resolve()
    if path in _loaded:
        return _loaded[path]
    if not path.is_file():
        reason = "it is a folder" if path.is_dir() else "no such file"
        raise Refused(f"cannot read {place}: {reason}")
    # As for a script: what lies beside the file can be imported.
    sys.path.insert(0, str(path.parent))
    name = path.stem if path.stem not in sys.modules else f"gilscope_run_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise Refused(f"cannot load {place}: a Python source file has to end in .py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        raise _import_failed(place, error) from error
    _loaded[path] = module
    return module


def _load_module(place: str) -> ModuleType:
    # The console script, unlike `python -m`, has no current folder on the path.
    if sys.path[0] not in ("", os.getcwd()):
        sys.path.insert(0, os.getcwd())
    try:
        return importlib.import_module(place)
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        if isinstance(error, ModuleNotFoundError) and _is_missing(place, error):
            hint = f"`{place}.py` is a file here: write {place}.py:NAME"
            beside = Path(f"{place}.py").is_file()
            raise Refused(f"no module named {place!r}", hint if beside else None) from None
        raise _import_failed(place, error) from error


def _is_missing(place: str, error: ModuleNotFoundError) -> bool:
    """Whether the module itself is missing, rather than something that it imports."""
    return error.name is not None and f"{place}.".startswith(f"{error.name}.")


def _import_failed(place: str, error: BaseException) -> Refused:
    if isinstance(error, SyntaxError) and error.filename is not None:
        where = f" ({error.filename}, line {error.lineno})"
        return Refused(f"cannot import {place}: {type(error).__name__}: {error.msg}{where}")
    return Refused(f"cannot import {place}: {describe(error)}{location(error.__traceback__)}")


def _likely(module: ModuleType, name: str) -> str | None:
    """A hint that lists what could have been meant."""
    public = [
        key
        for key, value in vars(module).items()
        if callable(value)
        and not key.startswith("_")
        and getattr(value, "__module__", None) == module.__name__
    ]
    if not public:
        return None
    close = difflib.get_close_matches(name, public, n=_LISTED)
    others = sorted(set(public) - set(close))
    listed = (close + others)[:_LISTED]
    more = ", …" if len(public) > _LISTED else ""
    return f"it has {', '.join(listed)}{more}"
