"""`runs`: what was done to the cluster, when, by whom, and how it ended."""

from __future__ import annotations

import click

from provisioner.cli.context import Context


@click.group("runs")
def runs() -> None:
    """Look at what earlier runs did."""


@runs.command("list")
@click.pass_obj
def list_(context: Context) -> int:
    """List the runs, newest first, with how they ended."""
    from provisioner.orchestrate import journal
    from provisioner.report.runs_text import runs_table

    found = journal.here(context.inventory)
    if context.wants_json:
        context.print_json({"runs": [run.to_json() for run in found]})
    elif found:
        click.echo("\n".join(runs_table(found)))
    else:
        click.echo("No runs yet.")
    return 0


@runs.command("show")
@click.argument("run", required=False)
@click.pass_obj
def show(context: Context, run: str | None) -> int:
    """Show one run, by default the newest: its phases, what each host did in them, and what ended it."""
    from provisioner.orchestrate import journal
    from provisioner.report.runs_text import run_text

    chosen = journal.pick(journal.here(context.inventory), run)
    if context.wants_json:
        context.print_json({"run": chosen.to_json()})
    else:
        click.echo("\n".join(run_text(chosen)))
    return 0
