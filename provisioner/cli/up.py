"""`up`: make the cluster what the inventory says; a second run changes nothing."""

from __future__ import annotations

from pathlib import Path

import click

from provisioner.cli import complete
from provisioner.cli.change import change
from provisioner.cli.context import Context
from provisioner.model.phases import BEGINNINGS


@click.command()
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option("--skip", multiple=True, metavar="CHECK", shell_complete=complete.checks,
              help="Leave out a check of the machines; may be repeated.")
@click.option("--plan", "plan_file", metavar="FILE", type=click.Path(dir_okay=False, path_type=Path),
              help="Do exactly what `plan --out FILE` kept, or nothing if anything has moved since.")
@click.option("--allow", multiple=True, metavar="RULE", shell_complete=complete.rules,
              help="Allow a change of the inventory that needs a word; `plan` names it. May be repeated.")
@click.option("--max-unavailable", default="1", metavar="N|N%", show_default=True,
              help="How many workers may be worked on at a time when something restarts there: a number, or a share of "
                   "all workers, rounded down. Control planes go one at a time.")
@click.option("--slo", multiple=True, metavar="BUDGET",
              help="What may go wrong while services restart: failures=N, cuts=N, gap=500ms or 2s; then the run stops "
                   "where nothing is half done, exit 13. May be repeated.")
@click.option("--without", multiple=True, metavar="HOST", shell_complete=complete.hosts,
              help="Leave out a worker, for one that does not answer; may be repeated.")
@click.option("--only", multiple=True, metavar="HOST", shell_complete=complete.hosts,
              help="Do this worker alone, as when it is new: other workers are not looked at; may be repeated.")
@click.option("--from", "start", default="", metavar="PHASE", shell_complete=complete.phases,
              help=f"Begin at this phase; those before it are only proved. Phases: {', '.join(BEGINNINGS)}.")
@click.option("--bundle", default="", metavar="FILE", type=click.Path(),
              help="Take binaries, images and OS packages from what `artifacts bundle` wrote: hosts reach nothing. "
                   "It is checked whole before a host is contacted.")
@click.option("--events", is_flag=True, help="Write the run's events as JSON lines to stdout.")
@click.pass_obj
def up(context: Context, yes: bool, skip: tuple[str, ...], plan_file: Path | None, allow: tuple[str, ...],
       max_unavailable: str, slo: tuple[str, ...],
       without: tuple[str, ...], only: tuple[str, ...], start: str, bundle: str, events: bool) -> int:
    """Observe, plan, and make every host what the inventory says, phase by phase, each proved before the next."""
    from provisioner.orchestrate.run.options import Intent

    intent = Intent("up", skip, allow, max_unavailable, slo, without, start, only, bool(only), plan_file,
                    bundle=str(Path(bundle).absolute()) if bundle else "")
    return change(context, intent, yes=yes, events=events)
