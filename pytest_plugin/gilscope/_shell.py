"""Words of a command that is shown, as a shell takes them."""

from __future__ import annotations

import os
import shlex

from gilscope._units import printable


def pasted(word: str) -> str:
    """One word of a command: what it begins with makes it no option, what is in it no trouble."""
    word = f"./{word}" if word.startswith("-") and word != "-" else word
    if printable(word) == word:
        return shlex.quote(word)
    # A name that is not UTF-8, or has line breaks in it: a shell's other way to quote.
    return f"$'{''.join(map(_escaped, os.fsencode(word)))}'"


def _escaped(byte: int) -> str:
    plain = 0x20 <= byte < 0x7F and byte not in b"'\\"
    return chr(byte) if plain else f"\\{byte:03o}"
