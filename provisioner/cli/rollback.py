"""`rollback`: take one host back to what it kept from before a run."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import click

from provisioner.cli import complete
from provisioner.cli.consent import agreed
from provisioner.cli.context import Context

if TYPE_CHECKING:
    from provisioner.model.plan import Plan
    from provisioner.orchestrate.run.verb import Consent


@click.command()
@click.argument("host", shell_complete=complete.hosts)
@click.option("--component", default="", metavar="NAME", shell_complete=complete.components,
              help="Only this one, with what it reads: kubelet, etcd, ...")
@click.option("--run", "run_id", default="", metavar="RUN", shell_complete=complete.runs,
              help="From this run. Default: the newest on the host.")
@click.option("--step", default="", metavar="ID", help="From this step alone.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option("--events", is_flag=True, help="Write the run's events as JSON lines to stdout.")
@click.pass_obj
def rollback(context: Context, host: str, component: str, run_id: str, step: str, yes: bool, events: bool) -> int:
    """Put back on HOST what a run changed there, from what the host itself kept.

    Shows what would be put back and which services restart, asks, does it as `up` would, and proves it. Files, links
    and certificates go back; packages, kernel settings and data do not, nor etcd to an earlier minor. The inventory
    still says what it says: `plan` shows the change again afterwards.
    """
    from provisioner.errors import UsageFault

    if run_id and step:
        raise UsageFault("--run and --step say two things", hint="kubewright rollback --help")
    if host not in context.inventory.cluster.hosts:
        raise UsageFault(f"the inventory has no host {host}", hint="kubewright status",
                         details=[f"hosts: {' '.join(context.inventory.cluster.hosts)}"])
    from provisioner.cli.change import carry_out
    from provisioner.orchestrate.run.options import Back, Intent
    from provisioner.report.plan_text import back_text

    began = time.monotonic()

    def ask(plan: Plan, consent: Consent) -> bool:
        click.echo(back_text(plan, context.inventory.cluster, host), err=True)
        return agreed(context, consent.question, consent.doing, yes=yes)

    return carry_out(
        context, Intent("rollback", only=(host,), back=Back(component, run_id, step)), ask,
        lambda done: f"{host} runs what it ran before, proved in {time.monotonic() - began:.1f}s.\n"
                     f"The inventory still asks for the change: {context.command('plan')}", events=events)
