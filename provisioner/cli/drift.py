"""`drift`: what differs on the hosts from what the last successful `up` made, whatever the inventory says now."""

from __future__ import annotations

import time

import click

from provisioner.cli.context import Context


@click.command()
@click.option("--diff", is_flag=True, help="Show the text of every difference; -v does the same.")
@click.option("--detailed-exitcode", is_flag=True, help="Exit 2 when something has drifted.")
@click.pass_obj
def drift(context: Context, diff: bool, detailed_exitcode: bool) -> int:
    """Show what has changed on the hosts since the last successful `up`; reads only.

    `plan` compares the hosts with the inventory, `drift` with what was last applied. The control planes know what that
    was, so any machine with this inventory can ask. Exit 0, or with --detailed-exitcode 2 when something has drifted.
    """
    context.enter_lab()
    from provisioner.orchestrate.plan.drift import open_applied, refuse_unreachable
    from provisioner.orchestrate.plan.survey import survey
    from provisioner.report.plan_text import drift_text, plan_json

    began = time.monotonic()
    with open_applied(context.inventory, context.told) as session:
        found = survey(session, partial=True)
        refuse_unreachable(session, context.inventory)
    cluster = session.cluster
    if context.wants_json:
        context.print_json(plan_json(found, cluster))
    else:
        click.echo(drift_text(found, cluster, seconds=time.monotonic() - began, diff=diff or context.verbose))
        if not found.is_empty:
            click.echo(f"To put back what has drifted: {context.command('up')}, which also does what the inventory "
                       f"says: {context.command('plan')}")
    return 2 if detailed_exitcode and not found.is_empty else 0
