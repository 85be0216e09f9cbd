"""`runs`: what was done to the cluster, when, by whom, and how it ended."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from provisioner.cli.context import Context

if TYPE_CHECKING:
    from provisioner.report.story import Story


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


@runs.command("report")
@click.argument("run", required=False)
@click.option("--output", "target", metavar="FILE", type=click.Path(dir_okay=False, path_type=Path),
              help="File to write (0600). Default: report.html in the run's directory.")
@click.pass_obj
def report(context: Context, run: str | None, target: Path | None) -> int:
    """Write one run, by default the newest, as a page that needs nothing else: hosts over time, changes, gates."""
    from provisioner.orchestrate import journal, private
    from provisioner.report.html import report_html

    story = _story(context, run)
    target = target or journal.place(context.inventory, story.id) / "report.html"
    private.write(target, report_html(story), "the report")
    click.echo(str(target))
    return 0


@runs.command("diff")
@click.argument("first")
@click.argument("second", required=False)
@click.pass_obj
def diff(context: Context, first: str, second: str | None) -> int:
    """Say what SECOND, by default the newest run, did differently from FIRST."""
    from provisioner.report.compare import compare, comparison_text

    found = compare(_story(context, first), _story(context, second))
    if context.wants_json:
        context.print_json(found.to_json())
    else:
        click.echo("\n".join(comparison_text(found, whole=context.verbose)))
    return 0


def _story(context: Context, run: str | None) -> Story:
    """Read a run from this machine's copy of its events."""
    from provisioner.orchestrate import journal
    from provisioner.report.story import story_of

    chosen = journal.pick(journal.here(context.inventory), run)
    return story_of(chosen.id, journal.events(journal.place(context.inventory, chosen.id)), outcome=chosen.outcome)
