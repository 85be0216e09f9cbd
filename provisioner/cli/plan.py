"""`plan`: what `up` would change, read from the hosts; changes nothing anywhere."""

from __future__ import annotations

import time

import click

from provisioner.cli.context import Context


@click.command()
@click.option("--diff", is_flag=True, help="Show the text of every change.")
@click.option("--detailed-exitcode", is_flag=True, help="Exit 2 when changes wait.")
@click.pass_obj
def plan(context: Context, diff: bool, detailed_exitcode: bool) -> int:
    """Show what `up` would change on each host and in the cluster; reads only."""
    context.enter_lab()
    from provisioner.orchestrate.session import open_session
    from provisioner.orchestrate.survey import survey
    from provisioner.report.plan_text import plan_json, plan_text

    began = time.monotonic()
    with open_session(context.inventory, lambda event: None, run=False) as session:
        found = survey(session)
    if context.wants_json:
        context.print_json(plan_json(found, context.inventory.cluster))
    else:
        click.echo(plan_text(found, context.inventory.cluster, seconds=time.monotonic() - began, diff=diff))
        if not found.is_empty:
            more = "" if diff else f"      Every line and diff: {context.command('plan --diff')}"
            click.echo(f"To do this: {context.command('up')}{more}")
    return 2 if detailed_exitcode and not found.is_empty else 0
