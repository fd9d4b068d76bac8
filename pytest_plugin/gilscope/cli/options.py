"""Options whose value may be left out, and counts."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from collections.abc import Iterator


class Count(click.IntRange):
    """A number of things, and called so where something else is given."""

    name = "whole number"


class Command(click.Command):
    """A command with one argument, which `--option ARGUMENT` does not lose to the option.

    click gives an option with an optional value the next word, whatever it is. Where that leaves
    no argument, and the word is no address, it can only have been meant as the argument.
    """

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """As click does, with such a word given back."""
        if "--help" not in args and "-h" not in args and not self._has_argument(ctx, args):
            for again in self._given_back(args):
                if self._has_argument(ctx, again):
                    args = again
                    break
        return super().parse_args(ctx, args)

    def _has_argument(self, ctx: click.Context, args: list[str]) -> bool:
        [name] = [each.name for each in self.params if isinstance(each, click.Argument)]
        try:
            found, _, _ = self.make_parser(ctx).parse_args(args=list(args))
        except click.UsageError:
            return True  # which is said when it is parsed in earnest
        return isinstance(found.get(name or ""), str)

    def _given_back(self, args: list[str]) -> Iterator[list[str]]:
        """`args` with one option's next word taken from it."""
        optional = {
            name
            for each in self.params
            if isinstance(each, click.Option) and not each.is_flag and each.flag_value == ""
            for name in each.opts
        }
        for i, (option, word) in enumerate(pairwise(args)):
            if option in optional and "://" not in word:
                yield [*args[:i], f"{option}=", *args[i + 1 :]]
