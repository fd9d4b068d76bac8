"""The command line.

Exit codes: 0 done, 1 some input failed, 2 refused before any call, 130 Ctrl-C, 143 SIGTERM.
"""

from __future__ import annotations

import errno
import os
from contextlib import suppress

import click

from gilscope.cli.errors import Refused, os_reason, say_error
from gilscope.cli.run import run
from gilscope.cli.tree import tree
from gilscope.cli.view import view

__all__ = ["main"]

# Of a write to standard output, or standard error.
_UNWRITABLE = {errno.EBADF, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.ENOSPC, errno.EPIPE}

_HELP = """\
Rust calls async Python without touching the GIL, and every call can be seen.

\b
Start here, with an app.py that has `async def fun(x)`:
  printf '1\\n2\\n' > in.jsonl         # one line of JSON for each call
  gilscope run app.py:fun --input in.jsonl --trace trace.jsonl
  gilscope view trace.jsonl           # where the time of the slowest calls went
  gilscope view trace.jsonl --html    # the same as a picture, trace.html

\b
A program that does not go on:
  GILSCOPE_TREE=1 python program.py &
  gilscope tree $!                    # what it awaits, in Python and in Rust

\b
In a program of your own:
  with gilscope.trace("trace.jsonl"):   # Python; then gilscope view trace.jsonl
"""


@click.group(
    help=_HELP,
    epilog="next: gilscope run --help",
    context_settings={"help_option_names": ["-h", "--help"]},
)
@click.version_option(package_name="gilscope")
def cli() -> None:
    """Group the commands."""


cli.add_command(run)
cli.add_command(view)
cli.add_command(tree)


def main(args: list[str] | None = None) -> int:
    """Run the command line and return its exit code."""
    try:
        code = cli.main(args=args, prog_name="gilscope", standalone_mode=False)
    except Refused as refused:
        say_error(refused.message, refused.hint)
        return 2
    except click.exceptions.NoArgsIsHelpError as no_args:
        click.echo(no_args.format_message(), err=True)
        return 2
    except click.ClickException as wrong:
        context = getattr(wrong, "ctx", None)
        hint = f"`{context.command_path} --help` shows an example" if context else None
        say_error(wrong.format_message().rstrip("."), hint)
        return 2
    except (click.Abort, KeyboardInterrupt):
        say_error("interrupted before any call")
        return 130
    except OSError as error:
        if error.errno not in _UNWRITABLE or error.filename is not None:
            raise
        with suppress(OSError):  # it may be this stream that cannot be written
            say_error(f"cannot write the output: {os_reason(error)}")
        _forget_output()
        return 1
    return code if isinstance(code, int) else 0


def _forget_output() -> None:
    """Have Python not try again at exit, and complain."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for descriptor in (1, 2):
        os.dup2(nowhere, descriptor)
