"""`plan`: what `up` would change, read from the hosts; changes nothing anywhere."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from provisioner.cli import complete
from provisioner.cli.context import Context
from provisioner.cli.group import Group

if TYPE_CHECKING:
    from provisioner.model.plan import Plan
    from provisioner.orchestrate.run.options import Intent


@click.group(invoke_without_command=True, cls=Group, subcommand_metavar="[show FILE]")
@click.option("--diff", is_flag=True, help="Show the text of every change; -v does the same.")
@click.option("--out", "file", metavar="FILE", type=click.Path(dir_okay=False, path_type=Path),
              help="Keep the plan in FILE; `up --plan FILE` does exactly this or nothing.")
@click.option("--allow", multiple=True, metavar="RULE", shell_complete=complete.rules,
              help="Allow a change of the inventory that needs a word; kept in FILE. May be repeated.")
@click.option("--only", multiple=True, metavar="HOST", shell_complete=complete.hosts,
              help="What `up --only HOST` would do: other workers are not looked at. May be repeated.")
@click.option("--detailed-exitcode", is_flag=True, help="Exit 2 when changes wait.")
@click.pass_obj
def plan(context: Context, diff: bool, file: Path | None, allow: tuple[str, ...], only: tuple[str, ...],
         detailed_exitcode: bool) -> int:
    """Show what `up` would change on each host and in the cluster; reads only."""
    if click.get_current_context().invoked_subcommand:
        return 0
    from provisioner.orchestrate.run.options import Intent

    found = planned(context, Intent("up", allow=allow, only=only, alone=bool(only), plan_file=file), file, diff=diff)
    return 2 if detailed_exitcode and not found.is_empty else 0


def planned(context: Context, intent: Intent, file: Path | None, *, diff: bool) -> Plan:
    """Show what `up` or `upgrade` would change as `intent` says, keep it in `file` where there is one; reads only."""
    from provisioner.orchestrate.plan import saved
    from provisioner.orchestrate.run.look_ahead import is_provisional, look_ahead, refuse_before
    from provisioner.orchestrate.session import private
    from provisioner.report.plan_text import plan_json, plan_text

    refuse_before(context.inventory, intent)
    if file is not None:
        private.check(file, "the plan")
    context.enter_lab()
    began = time.monotonic()
    found = look_ahead(context.inventory, intent, context.told)
    cluster, diff = context.inventory.cluster, diff or context.verbose
    document = plan_json(found, cluster, intent.allow)
    if file is not None:
        saved.write(file, document)
    if is_provisional(context.inventory, intent):
        click.echo(f"note: nothing is pinned yet, so this is by the digests of what can be built here; before "
                   f"`up`: {context.command('artifacts lock')}", err=True)
    if context.wants_json:
        context.print_json(document)
    else:
        click.echo(plan_text(found, cluster, seconds=time.monotonic() - began, diff=diff))
        if not found.is_empty:
            click.echo(_next(context, intent.verb, file, diff))
    return found


@plan.command("show")
@click.option("--diff", is_flag=True, help="Show the text of every change; -v does the same.")
@click.argument("file", metavar="FILE", type=click.Path(path_type=Path))
@click.pass_obj
def show(context: Context, file: Path, diff: bool) -> int:
    """Show the plan that `plan --out FILE` kept, as it was made; asks no host."""
    from provisioner.model.plan_document import as_plan
    from provisioner.orchestrate.plan import saved
    from provisioner.report.plan_text import plan_text

    document = saved.look_at(file, context.inventory)
    changed = saved.changed_since(document, context.inventory)
    if context.wants_json:
        context.print_json({**document.model_dump(mode="json"), "changed_since": changed})
        return 0
    click.echo(plan_text(as_plan(document), context.inventory.cluster, seconds=0, diff=diff or context.verbose))
    for sentence in changed:
        click.echo(f"{sentence}: `up --plan` refuses it", err=True)
    return 0


def _next(context: Context, verb: str, file: Path | None, diff: bool) -> str:
    """Say how to do it, and how to see more of it."""
    shows = "upgrade --plan --diff" if verb == "upgrade" else "plan --diff"
    more = "" if diff else f"      Every line and diff: {context.command(shows)}"
    if file is None:
        return f"To do this: {context.command(verb)}{more}"
    return f"Saved. To do exactly this: {context.command(f'{verb} --plan {file}')}{more}"
