"""`resume`: go on with a run that was stopped, killed, or failed, on this machine or another."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import click

from provisioner.cli import complete
from provisioner.cli.change import change
from provisioner.cli.context import Context
from provisioner.errors import UsageFault

if TYPE_CHECKING:
    from provisioner.model.run import Run

OWN = ("upgrade", "upgrade --back", "upgrade --os")       # verbs that are gone on with as what they are


@click.command()
@click.argument("run", required=False, shell_complete=complete.runs)
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option("--moved", is_flag=True, help="Go on also where the inventory is not that run's any more.")
@click.option("--events", is_flag=True, help="Write the run's events as JSON lines to stdout.")
@click.pass_obj
def resume(context: Context, run: str | None, yes: bool, moved: bool, events: bool) -> int:
    """Go on with RUN, by default the newest, with the options it was given.

    What it had done is seen on the hosts, never assumed: the plan is made anew, and a step of it that still runs is
    waited for. Any machine with the inventory and a key among its operators can do this: the hosts know the run.
    """
    from provisioner.cli.runs import known
    from provisioner.compile.taking_back import ELSEWHERE
    from provisioner.orchestrate.run.options import Intent
    from provisioner.orchestrate.session import runs
    from provisioner.report.runs_text import done_so_far

    chosen = runs.pick(known(context), run)
    if chosen.outcome == "done":
        click.echo(f"Nothing to resume: run {chosen.id} ended well.", err=True)
        return 0
    if chosen.origin.verb == "rollback":
        raise UsageFault(f"run {chosen.id} went back on a host; that is begun anew, not resumed",
                         hint="kubewright rollback --help")
    if chosen.origin.verb == "reset":
        raise UsageFault(f"run {chosen.id} was taking everything off hosts; that is begun anew, not resumed",
                         hint=" ".join(["kubewright reset", *Intent.of(chosen.options, "reset").only]))
    if chosen.origin.verb in ("node drain", "node uncordon"):
        raise UsageFault(f"run {chosen.id} was `{chosen.origin.verb}`; that is begun anew, not resumed", hint=" ".join(
            ["kubewright", chosen.origin.verb, *Intent.of(chosen.options, chosen.origin.verb).only]))
    if chosen.origin.verb.startswith("etcd "):
        raise UsageFault(f"run {chosen.id} was `{chosen.origin.verb}`; that is begun anew, not resumed",
                         hint=f"kubewright {chosen.origin.verb} --help")
    runs.may_go_on(context.inventory, chosen, moved=moved)
    if not events:
        click.echo("\n".join(done_so_far(_with_steps(context, chosen))), err=True)
    intent = Intent.of(chosen.options, chosen.origin.verb if chosen.origin.verb in OWN else "resume")
    if runs.is_of(context.inventory, chosen):        # what it was to apply is what this checkout asks for
        intent = replace(intent, allow=(*intent.allow, ELSEWHERE))
    return change(context, intent, yes=yes, events=events)


def _with_steps(context: Context, run: Run) -> Run:
    """Return the run with what the hosts know of its steps, where it is not known here."""
    from provisioner.cli.runs import asked

    return run if run.here else asked(context, run)
