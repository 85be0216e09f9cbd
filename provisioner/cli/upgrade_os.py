"""`upgrade --os`: newer OS packages and reboots, host by host; what it says before and after."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from provisioner.cli.change import carry_out
from provisioner.cli.consent import agreed
from provisioner.cli.context import Context
from provisioner.errors import UsageFault

if TYPE_CHECKING:
    from provisioner.model.plan import Plan
    from provisioner.orchestrate.run.options import Intent
    from provisioner.orchestrate.run.perform import Performed
    from provisioner.orchestrate.run.verb import Consent

NOT_WITH = "what was planned for Kubernetes is done by `kubewright upgrade` without --os"


def refuse(*, os: bool, reboot: bool, others: dict[str, object]) -> None:
    """Raise UsageFault for options of `upgrade` that do not go together; `others` are those that --os does not take."""
    if reboot and not os:
        raise UsageFault("--reboot is for `upgrade --os`", hint="kubewright upgrade --os --reboot")
    wrong = [name for name, value in others.items() if value] if os else []
    if wrong:
        raise UsageFault(f"--os and {', '.join(wrong)} do not go together", details=[NOT_WITH],
                         hint="kubewright upgrade --os --plan")


def show(context: Context, intent: Intent, file: Path | None, *, diff: bool) -> None:
    """Show which packages would change and who would be rebooted, and keep it in `file` where there is one.

    It changes nothing but the lists of packages.
    """
    from provisioner.orchestrate.plan import saved
    from provisioner.orchestrate.run.look_ahead import look_at_systems
    from provisioner.orchestrate.session import private
    from provisioner.report.os_text import roll_text
    from provisioner.report.plan_text import plan_json

    intent.fits(context.inventory.cluster)
    if file is not None:
        private.check(file, "the plan")
    context.enter_lab()
    began = time.monotonic()
    (found, command), cluster = look_at_systems(context.inventory, intent, context.told), context.inventory.cluster
    document = plan_json(found, cluster, intent.allow)
    if file is not None:
        saved.write(file, document)
    if context.wants_json:
        context.print_json(document)
        return
    click.echo(roll_text(found, cluster, seconds=time.monotonic() - began, diff=diff or context.verbose))
    if found.has_work:
        click.echo(f"To do this: {command}" if file is None else f"Saved. To do exactly this: {command} --plan {file}")


def roll(context: Context, intent: Intent, *, yes: bool, events: bool) -> int:
    """Do it, shown and asked for first, and return the exit code."""
    from provisioner.report.os_text import roll_text

    began, cluster = time.monotonic(), context.inventory.cluster
    yes = yes or intent.plan_file is not None       # it was shown already

    def ask(plan: Plan, consent: Consent) -> bool:
        if not events:
            click.echo(roll_text(plan, cluster, seconds=time.monotonic() - began), err=True)
        return not plan.has_work or agreed(context, consent.question, consent.doing, yes=yes)

    def end(done: Performed) -> str:
        if not done.plan.has_work:
            return ""
        hosts = list(dict.fromkeys(c.host for c in done.plan.changes))
        return "\n".join([f"Done in {time.monotonic() - began:.1f}s: {', '.join(hosts) or 'nothing was due'}.",
                          f"Next: {context.command('status')} · {context.command('runs report')}"])

    return carry_out(context, intent, ask, end, events=events)
