"""`node`: hosts that come and go. A host is added by `up`; what takes one away is asked for here."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import click

from provisioner.cli import complete, node_drain
from provisioner.cli.consent import agreed
from provisioner.cli.context import Context
from provisioner.cli.group import Group

if TYPE_CHECKING:
    from provisioner.model.plan import Plan
    from provisioner.orchestrate.run.perform import Performed
    from provisioner.orchestrate.run.verb import Consent


@click.group("node", cls=Group)
def node() -> None:
    """Take hosts out of the cluster, give their place to another machine, or empty them for a while."""


node.add_command(node_drain.drain)
node.add_command(node_drain.uncordon)


@node.command("remove")
@click.argument("hosts", nargs=-1, required=True, metavar="HOST...")
@click.option("--lost", is_flag=True, help="The machines answer no more and never come back: nothing is done there.")
@node_drain.timeout
@node_drain.force
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option("--events", is_flag=True, help="Write the run's events as JSON lines to stdout.")
@click.pass_obj
def remove(context: Context, hosts: tuple[str, ...], lost: bool, timeout: float, force: tuple[str, ...], yes: bool,
           events: bool) -> int:
    """Take HOST, which has left cluster.yaml, out of the cluster, and everything of ours off it.

    Its Pods leave first, as their PodDisruptionBudgets allow; the other hosts forget it; its API server ends, its etcd
    member is taken out while all others are well, and its Node is deleted. Refused (exit 15) while cluster.yaml names
    it, and where etcd would lose its quorum. Run again it ends what a killed one began.
    """
    from provisioner.cli.change import carry_out
    from provisioner.orchestrate.run.options import Intent
    from provisioner.report.plan_text import leaving_text

    began, names = time.monotonic(), tuple(dict.fromkeys(hosts))
    intent = Intent("node remove", leaving=names, lost=lost, drain_timeout=timeout, force=force)

    def ask(plan: Plan, consent: Consent) -> bool:
        click.echo(leaving_text(plan, context.inventory.cluster, names, lost=lost), err=True)
        return not plan.has_work or agreed(context, consent.question, consent.doing, yes=yes)

    def end(done: Performed) -> str:
        what = "is" if len(names) == 1 else "are"
        return f"{', '.join(names)} {what} out of the cluster, in {time.monotonic() - began:.1f}s."

    return carry_out(context, intent, ask, end, events=events)


@node.command("replace")
@click.argument("host", metavar="HOST", shell_complete=complete.hosts)
@click.option("--skip", multiple=True, metavar="CHECK", shell_complete=complete.checks,
              help="Leave out a check of the machines; may be repeated.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option("--events", is_flag=True, help="Write the run's events as JSON lines to stdout.")
@click.pass_obj
def replace(context: Context, host: str, skip: tuple[str, ...], yes: bool, events: bool) -> int:
    """Give HOST's place to the machine that is there now: a new one of the same name, or one that lost its etcd data.

    Its dead etcd member is taken out first, then a new one joins as with `up`: a learner that votes when it has all
    data. Refused (exit 15) where etcd would lose its quorum, and where HOST's member runs with its own data and nothing
    of HOST differs: then there is nothing to replace.
    """
    from provisioner.cli.change import change
    from provisioner.orchestrate.run.options import Intent

    return change(context, Intent("node replace", skip=skip, replacing=(host,)), yes=yes, events=events)
