"""`up`: make the cluster what the inventory says; a second run changes nothing."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from provisioner.cli.context import Context

if TYPE_CHECKING:
    from provisioner.model.events import Emit
    from provisioner.model.plan import Plan
    from provisioner.orchestrate.session import Session


@click.command()
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option("--skip", multiple=True, metavar="CHECK", help="Leave out a check of the machines; may be repeated.")
@click.option("--plan", "plan_file", metavar="FILE", type=click.Path(dir_okay=False, path_type=Path),
              help="Do exactly what `plan --out FILE` kept, or nothing if anything has moved since.")
@click.option("--allow", multiple=True, metavar="RULE",
              help="Allow a change of the inventory that needs a word; `plan` names it. May be repeated.")
@click.option("--max-unavailable", default="1", metavar="N|N%", show_default=True,
              help="How many workers may be worked on at a time when something restarts there: a number, or a share of "
                   "all workers, rounded down. Control planes go one at a time.")
@click.option("--slo", multiple=True, metavar="BUDGET",
              help="What may go wrong while services restart: failures=N, cuts=N, gap=500ms or 2s; then the run stops "
                   "where nothing is half done, exit 13. May be repeated.")
@click.option("--events", is_flag=True, help="Write the run's events as JSON lines to stdout.")
@click.pass_obj
def up(context: Context, yes: bool, skip: tuple[str, ...], plan_file: Path | None, allow: tuple[str, ...],
       max_unavailable: str, slo: tuple[str, ...], events: bool) -> int:
    """Observe, plan, and make every host what the inventory says, phase by phase, each proved before the next."""
    from provisioner.model.availability import budget_of
    from provisioner.orchestrate.agreed import Agreed
    from provisioner.orchestrate.batches import Limit

    budget, limit = budget_of(slo), Limit.parse(max_unavailable)
    agreed = Agreed.before(context.inventory, plan_file, allow)
    yes = yes or plan_file is not None      # it was shown already
    context.enter_lab()
    from provisioner.orchestrate import engine, lock, prober
    from provisioner.orchestrate.preflight import fit_survey, known_checks
    from provisioner.orchestrate.session import open_session
    from provisioner.orchestrate.survey import create_secrets
    from provisioner.orchestrate.verbs import UP, VERIFY

    began = time.monotonic()
    known_checks(skip)
    with open_session(context.inventory, lambda event: None, run=True) as session:
        session.emit, session.max_unavailable = _readers(context, session, events), limit
        locked = lock.look(session)
        plan = agreed.hold(session, fit_survey(session, skip))
        if not events:
            _show(context, plan, time.monotonic() - began, whole=_asks(session, yes))
        if not plan.is_empty and _asks(session, yes) and not _agreed(session):
            click.echo("Nothing was changed.", err=True)
            return 0
        if not _has_work(plan):
            engine.run(session, VERIFY)
        else:
            with locked.held():
                if not session.secrets.exists:
                    plan = agreed.hold_generated(create_secrets(session))
                engine.run(session, UP, prober.during(session, budget))
    if not events:
        click.echo(_end(context, time.monotonic() - began, plan))
    return 0


def _has_work(plan: Plan) -> bool:
    return plan.bootstrap or not plan.is_empty


def _readers(context: Context, session: Session, events: bool) -> Emit:
    from provisioner.report.console import Console, json_lines, to_all, to_file

    reader = json_lines(sys.stdout) if events else Console(sys.stderr, verbose=context.verbose)
    return to_all([to_file(session.run_dir / "events.jsonl"), reader])


def _show(context: Context, plan: Plan, seconds: float, *, whole: bool) -> None:
    """Show the plan before it is done: all of it to someone who is asked, else its totals."""
    from provisioner.report.plan_text import plan_text

    text = plan_text(plan, context.inventory.cluster, seconds=seconds)
    whole = whole or context.verbose or plan.is_empty
    click.echo(text if whole else text.splitlines()[-1], err=True)


def _asks(session: Session, yes: bool) -> bool:
    """Say whether a person is there to ask; without one `up` goes on: all it does is what the inventory says."""
    return not yes and not session.cluster.lab and sys.stdin.isatty() and sys.stderr.isatty()


def _agreed(session: Session) -> bool:
    verb = "Build" if session.the_plan.bootstrap else "Change"
    return click.confirm(f"{verb} cluster {session.cluster.cluster}?", err=True)


def _end(context: Context, seconds: float, plan: Plan) -> str:
    cluster = context.inventory.cluster
    changed = len(plan.changes) + len(plan.objects)
    return (f"Cluster {cluster.cluster} is ready in {seconds:.1f}s.  "
            f"{changed} changes, {len(cluster.nodes)} nodes Ready, API https://{cluster.api_endpoint}\n"
            f"For kubectl: {context.command('kubeconfig --output FILE')}  (your own kubeconfig is left alone)\n"
            f"Next: {context.command('status')} · {context.command('runs report')}")
