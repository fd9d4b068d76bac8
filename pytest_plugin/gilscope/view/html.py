"""A trace as one HTML file that opens without a network.

The page is made of the files in page/, the charting library (d3's modules, as npm has them, in
page/vendor/) and the payload. A policy in it allows exactly these scripts, and no request at all.
"""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
from html import escape
from importlib import resources
from typing import TYPE_CHECKING

from gilscope._units import printable
from gilscope.view.payload import Payload

if TYPE_CHECKING:
    from gilscope.view.model import Trace

MARK = '<meta name="generator" content="gilscope">'
"""What is in the head of every page."""
# Each after those that it needs.
_LIBRARY = (
    *("d3-array", "d3-color", "d3-dispatch", "d3-format", "d3-timer", "d3-ease", "d3-interpolate"),
    *("d3-selection", "d3-drag", "d3-transition", "d3-time", "d3-time-format", "d3-scale"),
    "d3-zoom",
)
_SCRIPTS = ("theme.js", "data.js", "draw.js", "above.js", "panel.js", "main.js")


BYTES = 500_000
"""As large as a page may be."""
# Aimed at a little less, since what is left out is not always what weighs most.
_AIM = 0.95
# A share of the trace below which nothing would be seen.
_LEAST = 0.0005


def page(trace: Trace) -> str:
    """The file's whole text; of a trace that makes a larger page, as much as fits."""
    share = 1.0
    while True:
        data = _packed(Payload(trace, share).build())
        text = _filled(trace, data)
        size = len(text.encode())
        if size <= BYTES or share <= _LEAST:
            return text
        room = len(data) - (size - BYTES)
        share *= min(max(_AIM * room / len(data), 0.1), _AIM)


def _filled(trace: Trace, data: str) -> str:
    """The page with the payload in it."""
    licences = "\n".join(_text(f"vendor/{name}") for name in ("LICENSE", "LICENSE-d3-ease"))
    modules = "\n".join(_text(f"vendor/{name}.min.js") for name in _LIBRARY)
    library = f"/*\n{licences}*/\n{modules}"
    script = "\n".join(_text(name) for name in _SCRIPTS)
    style = _text("page.css")
    allowed = " ".join(_hash(text) for text in (library, script))
    policy = (
        f"default-src 'none'; script-src {allowed}; style-src {_hash(style)};"
        " base-uri 'none'; form-action 'none'"
    )
    filled = {
        "policy": policy,
        "title": escape(f"{_name(trace.path)} – gilscope"),
        "style": style,
        "trace": data,
        "library": library,
        "script": script,
    }
    # Not by a template's own means: what is put in may hold anything, also more placeholders.
    first, *parts = _text("page.html").split("{{")
    made = [first]
    for part in parts:
        key, _, rest = part.partition("}}")
        made += (filled[key], rest)
    return "".join(made)


def _packed(value: object) -> str:
    """`value` as compressed JSON, in letters that can end no element, whatever it holds."""
    raw = json.dumps(value, separators=(",", ":")).encode()
    return base64.b64encode(gzip.compress(raw, mtime=0)).decode()


def _hash(text: str) -> str:
    digest = hashlib.sha256(text.encode()).digest()
    return f"'sha256-{base64.b64encode(digest).decode()}'"


def _text(name: str) -> str:
    return (resources.files("gilscope.view") / "page" / name).read_text(encoding="utf-8")


def _name(path: str) -> str:
    return printable(path.rpartition("/")[2])
