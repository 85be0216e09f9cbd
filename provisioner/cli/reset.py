"""`reset`: take everything of ours off hosts, or off all of them."""

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


@click.command()
@click.argument("hosts", nargs=-1, metavar="[HOST...]", shell_complete=complete.hosts)
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option("--events", is_flag=True, help="Write the run's events as JSON lines to stdout.")
@click.pass_obj
def reset(context: Context, hosts: tuple[str, ...], yes: bool, events: bool) -> int:
    """Take everything that Kubewright put on HOST off it again; without HOST the whole cluster ends.

    Shows what goes, asks, and proves that nothing is left. A file that somebody else has changed is named and kept, as
    is everything that was there before. Works on a cluster that is half built or half dead, and run again it ends what
    a killed one began. Refused (exit 15) where etcd would lose its quorum while the rest of the cluster is to go on.
    """
    from provisioner.cli.change import carry_out
    from provisioner.orchestrate.plan import everybody
    from provisioner.orchestrate.run.options import Intent
    from provisioner.report.impact import count
    from provisioner.report.plan_text import reset_text

    began, intent = time.monotonic(), Intent("reset", only=hosts)
    context.enter_lab()
    inventory = everybody.with_those_that_left(context.inventory, lambda event: None)
    whole = everybody.is_whole(inventory.cluster, hosts)

    def ask(plan: Plan, consent: Consent) -> bool:
        silent = [host for host in everybody.chosen(inventory.cluster, hosts) if host not in plan.desired.hosts]
        click.echo(reset_text(plan, inventory.cluster, whole, silent), err=True)
        return not plan.has_work or agreed(context, consent.question, consent.doing, yes=yes)

    def end(done: Performed) -> str:
        what = f"cluster {inventory.cluster.cluster}" if whole else ", ".join(hosts)
        kept = ", ".join(verdict.path for verdict in done.plan.verdicts)
        but = f" but what others have changed ({kept})" if kept else ""
        return (f"Nothing of ours is left on {what}{but}, {count(done.session.run.made, 'removal')} in "
                f"{time.monotonic() - began:.1f}s.\n{_next(context, whole)}")

    return carry_out(context, intent, ask, end, events=events, inventory=inventory)


def _next(context: Context, whole: bool) -> str:
    if not whole:
        return f"The inventory still names what it names: {context.command('plan')}"
    return (f"Its CAs and secrets are kept here ({context.inventory.secrets_dir}): "
            f"{context.command('up')} builds it anew with them.")
