"""`runs`: what was done to the cluster, when, by whom, and how it ended."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from provisioner.cli import complete
from provisioner.cli.context import Context
from provisioner.cli.group import Group

if TYPE_CHECKING:
    from provisioner.model.run import Run
    from provisioner.report.story import Story


@click.group("runs", cls=Group)
def runs() -> None:
    """Look at what earlier runs did."""


@runs.command("list")
@click.option("--here", is_flag=True, help="Ask no host: only what this machine knows.")
@click.pass_obj
def list_(context: Context, here: bool) -> int:
    """List the runs, newest first, with how they ended; control planes are asked for those of other machines.

    A run that had nothing to do is known only where it was made.
    """
    from provisioner.report.runs_text import runs_table

    found = known(context, here=here)
    if context.wants_json:
        context.print_json({"runs": [run.to_json() for run in found]})
    elif found:
        click.echo("\n".join(runs_table(found)))
    else:
        click.echo("No runs yet.")
    return 0


@runs.command("show")
@click.argument("run", required=False, shell_complete=complete.runs)
@click.pass_obj
def show(context: Context, run: str | None) -> int:
    """Show one run, by default the newest: its phases, what each host did in them, and what ended it.

    A beginning of the run's id is enough. Of a run that is not known here, the hosts are asked for their results.
    """
    from provisioner.errors import UsageFault
    from provisioner.orchestrate.session import runs
    from provisioner.report.runs_text import run_text

    try:
        chosen = runs.pick(runs.here(context.inventory), run)
    except UsageFault:
        chosen = runs.pick(known(context), run)
    if not chosen.here:
        chosen = asked(context, chosen)
    if context.wants_json:
        context.print_json({"run": chosen.to_json()})
    else:
        click.echo("\n".join(run_text(chosen)))
    return 0


@runs.command("report")
@click.argument("run", required=False, shell_complete=complete.runs)
@click.option("--output", "target", metavar="FILE", type=click.Path(dir_okay=False, path_type=Path),
              help="File to write (0600). Default: report.html in the run's directory.")
@click.pass_obj
def report(context: Context, run: str | None, target: Path | None) -> int:
    """Write one run, by default the newest, as a page that needs nothing else: hosts over time, changes, gates.

    It is made from the run's events, which only the machine that ran it has.
    """
    from provisioner.orchestrate.session import private, runs
    from provisioner.report.critical import waited_for
    from provisioner.report.html import report_html

    story = _story(context, run)
    target = target or runs.place(context.inventory, story.id) / "report.html"
    private.write(target, report_html(story, context.pasted), "the report")
    click.echo(f"waited for: {waited_for(story)}", err=True)
    click.echo(str(target))
    return 0


@runs.command("diff")
@click.argument("first", shell_complete=complete.runs)
@click.argument("second", required=False, shell_complete=complete.runs)
@click.pass_obj
def diff(context: Context, first: str, second: str | None) -> int:
    """Say what SECOND, by default the newest run, did differently from FIRST."""
    from provisioner.errors import UsageFault
    from provisioner.report.compare import compare, comparison_text

    stories = _story(context, first), _story(context, second)
    if stories[0].id == stories[1].id:
        raise UsageFault(f"{stories[0].id}: there is no other run to compare it with" if second is None else
                         f"{stories[0].id}: the same run twice", hint="kubewright runs list --here")
    found = compare(*stories)
    if context.wants_json:
        context.print_json(found.to_json())
    else:
        click.echo("\n".join(comparison_text(found, whole=context.verbose)))
    return 0


def _story(context: Context, run: str | None) -> Story:
    """Read a run from this machine's copy of its events."""
    from provisioner.errors import UsageFault
    from provisioner.orchestrate.session import runs
    from provisioner.report.story import story_of

    try:
        chosen = runs.pick(runs.here(context.inventory), run)
    except UsageFault as fault:
        fault.details = (*fault.details, "only runs of this machine have the events that are needed for this")
        fault.hint = "kubewright runs list --here"
        raise
    return story_of(chosen.id, runs.events(runs.place(context.inventory, chosen.id)), outcome=chosen.outcome)


def known(context: Context, *, here: bool = False) -> list[Run]:
    """Return the runs known here and, unless `here`, to the control planes; that none of those answers is told."""
    from provisioner.errors import KubewrightError
    from provisioner.orchestrate.session import runs

    local = runs.here(context.inventory)
    if here:
        return local
    from provisioner.orchestrate.lock import cluster_lock
    from provisioner.orchestrate.session import session as sessions

    try:
        context.enter_lab()
        with sessions.open_session(context.inventory, context.told, run=False) as session:
            return runs.merged(local, runs.on_hosts(session, cluster_lock.alive(session)))
    except KubewrightError as fault:
        click.echo(f"Only runs of this machine: {fault.message}", err=True)
        return local


def asked(context: Context, run: Run) -> Run:
    """Return the run with the results that the hosts keep of its steps."""
    context.enter_lab()
    from provisioner.orchestrate.session import runs
    from provisioner.orchestrate.session import session as sessions

    with sessions.open_session(context.inventory, context.told, run=False) as session:
        return runs.with_steps(session, run)
