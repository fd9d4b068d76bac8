"""The command `gilscope`, also `python -m gilscope`."""

from __future__ import annotations

import sys

from gilscope.cli import main

__all__ = ["main"]

if __name__ == "__main__":
    sys.exit(main())
