"""`help()` has something to say about whatever can be reached from the package."""

from __future__ import annotations

import inspect
from types import ModuleType
from typing import TYPE_CHECKING

import gilscope

if TYPE_CHECKING:
    from collections.abc import Iterator

# What a name may come from: what is Python's own has its own help.
OURS = ("gilscope",)


def is_ours(thing: object) -> bool:
    module = getattr(thing, "__module__", None) or ""
    return module.split(".")[0] in OURS


def reachable() -> Iterator[tuple[str, object]]:
    """Each public name, dotted, with what it stands for."""
    seen: set[int] = set()
    left = [(f"gilscope.{name}", getattr(gilscope, name)) for name in gilscope.__all__]
    while left:
        name, thing = left.pop()
        if id(thing) in seen:
            continue
        seen.add(id(thing))
        yield name, thing
        if isinstance(thing, ModuleType):
            public = getattr(thing, "__all__", vars(thing))
            inside = {key: getattr(thing, key) for key in public}
            inside = {key: value for key, value in inside.items() if is_ours(value)}
        elif inspect.isclass(thing):
            classes = [cls for cls in thing.__mro__ if is_ours(cls)]
            inside = {key: value for cls in classes for key, value in vars(cls).items()}
        else:
            continue
        public = [key for key in inside if not key.startswith("_")]
        left += [(f"{name}.{key}", inside[key]) for key in public]


def documented(thing: object) -> bool:
    """Whether it has text of its own; what is inherited says nothing about it."""
    if isinstance(thing, staticmethod | classmethod):
        thing = thing.__func__
    text = getattr(thing, "__doc__", None)
    if inspect.ismemberdescriptor(thing):
        text = inspect.getdoc(thing)  # looks into `__slots__`
    inherited = () if inspect.isclass(thing) else (getattr(type(thing), "__doc__", None),)
    return bool(text and text.strip()) and text not in inherited


def test_every_public_name_has_a_docstring() -> None:
    things = dict(reachable())
    assert {"gilscope.PyRuntime.id", "gilscope.PyRuntime.options"} <= things.keys()
    assert sorted(name for name, thing in things.items() if not documented(thing)) == []


def test_the_parameters_of_a_runtime_and_of_options_are_explained() -> None:
    for function in (gilscope.PyRuntime.__init__, gilscope.PyRuntime.options):
        text, parameters = function.__doc__ or "", inspect.signature(function).parameters
        names = [name for name in parameters if name != "self" and not name.startswith("_")]
        assert [name for name in names if f"`{name}`" not in text] == []
        assert "None" in text
    assert "seconds" in (gilscope.PyRuntime.options.__doc__ or "")
    assert "seconds" in (gilscope.PyRuntime.shutdown.__doc__ or "")


def test_what_statistics_hold_is_explained() -> None:
    with gilscope.PyRuntime() as rt:
        rt.call(int)
        stats = gilscope.stats()
        own = rt.stats().keys() - stats.keys()
    text = gilscope.stats.__doc__ or ""
    keys = {*stats, *stats["parts"]["call"], *stats["functions"][0], *stats["dropped"]}
    assert sorted(key for key in keys if f"`{key}`" not in text) == []
    assert "nanoseconds" in text
    assert "upper bounds" in text
    assert (
        sorted(key for key in own if f"`{key}`" not in (gilscope.PyRuntime.stats.__doc__ or ""))
        == []
    )
    assert own
