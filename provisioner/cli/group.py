"""A verb with verbs inside it."""

from __future__ import annotations

import click


class Group(click.Group):
    """A group whose help says of each verb inside it the whole first sentence; click would end it in dots."""

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the verbs, each with its first sentence, wrapped where the terminal ends."""
        found = ((name, self.get_command(ctx, name)) for name in self.list_commands(ctx))
        rows = [(name, command.get_short_help_str(limit=200)) for name, command in found if command is not None]
        with formatter.section("Commands"):
            formatter.write_dl(rows)
