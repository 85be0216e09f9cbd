"""`node drain` and `node uncordon`: Nodes that give their Pods away for a while."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import click

from provisioner.cli import complete
from provisioner.cli.consent import agreed
from provisioner.cli.context import Context

if TYPE_CHECKING:
    from provisioner.model.plan import Plan
    from provisioner.orchestrate.run.perform import Performed
    from provisioner.orchestrate.run.verb import Consent

# Of every verb that empties Nodes.
timeout = click.option("--timeout", type=click.FloatRange(min=0), default=300.0, show_default=True, metavar="SECONDS",
                       help="How long the Pods of each host may take to leave.")
force = click.option("--force", multiple=True, metavar="NAMESPACE",
                     help="Let Pods of this namespace go against their budgets; may be repeated.")


@click.command("drain")
@click.argument("hosts", nargs=-1, required=True, metavar="HOST...", shell_complete=complete.hosts)
@timeout
@force
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option("--events", is_flag=True, help="Write the run's events as JSON lines to stdout.")
@click.pass_obj
def drain(context: Context, hosts: tuple[str, ...], timeout: float, force: tuple[str, ...], yes: bool,
          events: bool) -> int:
    """Let the Pods of HOST leave, as their PodDisruptionBudgets allow, and none come until `node uncordon`.

    What becomes of each Pod is shown and asked for first. Several hosts go one after the other, each when what left the
    one before is Ready again. Where a budget lets none go in time, HOST takes Pods again (exit 13): run it again later.
    Pods of DaemonSets and static ones stay.
    """
    from provisioner.cli.change import carry_out
    from provisioner.orchestrate.run.options import Intent
    from provisioner.report.drain_text import drains_text

    began, names = time.monotonic(), tuple(dict.fromkeys(hosts))
    intent = Intent("node drain", only=names, drain_timeout=timeout, force=tuple(dict.fromkeys(force)))

    def ask(plan: Plan, consent: Consent) -> bool:
        if plan.has_work:
            click.echo(drains_text(plan.cluster, plan.drains), err=True)
        return not plan.has_work or agreed(context, consent.question, consent.doing, yes=yes)

    def end(done: Performed) -> str:
        what = f"{', '.join(names)} {'is' if len(names) == 1 else 'are'} drained"
        how = f", in {time.monotonic() - began:.1f}s" if done.plan.has_work else " already"
        return f"{what}{how}.\nNext, when the work there is done: {context.command('node uncordon')} {' '.join(names)}"

    return carry_out(context, intent, ask, end, events=events)


@click.command("uncordon")
@click.argument("hosts", nargs=-1, required=True, metavar="HOST...", shell_complete=complete.hosts)
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option("--events", is_flag=True, help="Write the run's events as JSON lines to stdout.")
@click.pass_obj
def uncordon(context: Context, hosts: tuple[str, ...], yes: bool, events: bool) -> int:
    """Let HOST take Pods again, where it was this tool that said it should not.

    A cordon of somebody else is left alone (exit 15). Pods that are elsewhere by now stay there.
    """
    from provisioner.cli.change import carry_out
    from provisioner.orchestrate.run.options import Intent

    names = tuple(dict.fromkeys(hosts))

    def ask(plan: Plan, consent: Consent) -> bool:
        for change in plan.objects:
            click.echo(f"{change.identity.removeprefix('Node ')} {change.reason}", err=True)
        return not plan.has_work or agreed(context, consent.question, consent.doing, yes=yes)

    def end(done: Performed) -> str:
        return f"{', '.join(names)} {'takes' if len(names) == 1 else 'take'} Pods" + (
            " again." if done.plan.has_work else " already.")

    return carry_out(context, Intent("node uncordon", only=names), ask, end, events=events)
