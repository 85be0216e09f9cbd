"""`plan`: what `up` would change, read from the hosts; changes nothing anywhere."""

from __future__ import annotations

import time
from pathlib import Path

import click

from provisioner.cli import complete
from provisioner.cli.context import Context
from provisioner.cli.group import Group


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
    from provisioner.orchestrate.plan import saved
    from provisioner.orchestrate.plan.applied import judge_here, judge_hosts, known_flags
    from provisioner.orchestrate.run.options import Intent
    from provisioner.orchestrate.session import private

    known_flags(allow)
    intent = Intent("up", allow=allow, only=only, alone=bool(only), plan_file=file)
    intent.fits(context.inventory.cluster)
    judge_here(context.inventory, "up")
    if file is not None:
        private.check(file, "the plan")
    context.enter_lab()
    from provisioner.orchestrate.plan.only import look_at
    from provisioner.orchestrate.plan.survey import survey
    from provisioner.orchestrate.session.session import open_session
    from provisioner.report.plan_text import plan_json, plan_text

    began = time.monotonic()
    with open_session(context.inventory, context.told, run=False) as session:
        session.run.allowed = allow
        if intent.alone:
            look_at(session, intent.only)
        found = judge_hosts(session, survey(session), "up")
        found = intent.narrow(session, found) if intent.alone else found
    cluster, diff = context.inventory.cluster, diff or context.verbose
    document = plan_json(found, cluster, allow)
    if file is not None:
        saved.write(file, document)
    if context.wants_json:
        context.print_json(document)
    else:
        click.echo(plan_text(found, cluster, seconds=time.monotonic() - began, diff=diff))
        if not found.is_empty:
            click.echo(_next(context, file, diff))
    return 2 if detailed_exitcode and not found.is_empty else 0


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


def _next(context: Context, file: Path | None, diff: bool) -> str:
    """Say how to do it, and how to see more of it."""
    more = "" if diff else f"      Every line and diff: {context.command('plan --diff')}"
    if file is None:
        return f"To do this: {context.command('up')}{more}"
    return f"Saved. To do exactly this: {context.command(f'up --plan {file}')}{more}"
