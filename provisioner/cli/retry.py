"""`retry`: make one host's changes, for a host that a run had to leave behind."""

from __future__ import annotations

import click

from provisioner.cli import complete
from provisioner.cli.change import change
from provisioner.cli.context import Context


@click.command()
@click.option("--host", "hosts", required=True, multiple=True, metavar="HOST", shell_complete=complete.hosts,
              help="May be repeated.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option("--events", is_flag=True, help="Write the run's events as JSON lines to stdout.")
@click.pass_obj
def retry(context: Context, hosts: tuple[str, ...], yes: bool, events: bool) -> int:
    """Make only these hosts' changes, proved by the same gates as in `up`.

    What differs on other hosts and in the cluster's objects stays as it is until the next `up`.
    """
    from provisioner.orchestrate.run.options import Intent

    return change(context, Intent("retry", only=hosts), yes=yes, events=events)
