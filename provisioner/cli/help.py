"""`help`: what `VERB --help` prints, for those who write it the other way round."""

from __future__ import annotations

import click

from provisioner.cli import complete


@click.command("help")
@click.argument("verb", nargs=-1, shell_complete=complete.verbs)
@click.pass_context
def help_(context: click.Context, verb: tuple[str, ...]) -> int:
    """Explain a verb, or list all of them."""
    found = context.find_root()
    for word in verb:
        group = found.command
        if not isinstance(group, click.Group):
            raise click.UsageError(f"`{found.info_name}` has no verb `{word}`", context)
        name, command, _ = group.resolve_command(found, [word])
        if command is None:
            raise click.UsageError(f"`{found.info_name}` has no verb `{word}`", context)
        found = click.Context(command, found, name)
    click.echo(found.get_help())
    return 0
