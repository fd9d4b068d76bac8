"""`gilscope tree`: what a running process awaits, in both languages."""

from __future__ import annotations

import json

import click

from gilscope._units import counted
from gilscope.cli.ask import ask, askable, program
from gilscope.cli.errors import Refused

_HELP = """\
Say what a running process awaits: its loops, the calls and tasks on them, the chain of coroutines
of each down to the Rust future it waits for, and what is queued. Also when its GIL is stuck.

It answers if it was started with GILSCOPE_TREE=1, or has called gilscope.instrument(tree=True), in
Rust gilscope_runtime::instrument::tree::open(); `gilscope run` always does. Without PID, the
processes of this user which can be asked are listed.

\b
Example:
  GILSCOPE_TREE=1 python app.py &
  gilscope tree $!

Exit code: 0 when there was an answer, 2 when there was none. docs/tree.md says how to read it.
"""


def _number(context: click.Context, parameter: click.Parameter, given: str | None) -> int | None:
    """The number of a process; `Refused` where it can be none."""
    if given is None:
        return None
    if not (given.isascii() and given.isdecimal() and len(given) < 20 and int(given)):
        raise Refused(
            f"PID must be the number of a process, not {given[:40]!r}",
            "`gilscope tree` lists the processes that can be asked",
        )
    return int(given)


@click.command(
    help=_HELP,
    short_help="Say what a running process awaits.",
    epilog="next: gilscope tree",
)
@click.argument("pid", required=False, callback=_number)
@click.option("--json", "as_json", is_flag=True, help="Say it as JSON, and leave nothing out.")
@click.option("--all", "everything", is_flag=True, help="Show each, also those that look alike.")
def tree(pid: int | None, as_json: bool, everything: bool) -> int:
    """Ask, and draw."""
    if pid is None:
        return _list(as_json)
    answer = ask(pid)
    if as_json:
        click.echo(json.dumps(answer))
        return 0
    from gilscope.cli.branches import draw

    try:
        draw(answer, program(pid), everything=everything)
    except (KeyError, TypeError):
        raise Refused(f"the answer of process {pid} is not whole") from None
    click.echo(f"next: gilscope tree {pid} --json", err=True)
    return 0


def _list(as_json: bool) -> int:
    rows = []
    for pid in askable():
        try:
            answer = ask(pid, patience=2.0)
        except Refused as refused:
            row = {"pid": pid, "program": program(pid), "error": refused.message}
        else:
            calls = sum(each["span"] == "call" for each in answer["open"])
            row = {"pid": pid, "program": program(pid), "calls": calls}
        rows.append(row)
    if as_json:
        click.echo(json.dumps(rows))
        return 0
    for row in rows:
        said = row.get("error") or f"{counted(int(str(row['calls'])), 'call')} in flight"
        click.echo(f"{row['pid']:>8}  {row['program']}: {said}")
    if rows:
        click.echo(f"next: gilscope tree {rows[0]['pid']}", err=True)
    else:
        click.echo("no process of this user can be asked", err=True)
        click.echo("next: GILSCOPE_TREE=1 python app.py", err=True)
    return 0
