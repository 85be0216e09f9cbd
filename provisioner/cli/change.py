"""What `up`, `resume` and `retry` share: observe, plan, ask, and carry the plan out phase by phase."""

from __future__ import annotations

import sys
import time
from dataclasses import replace
from typing import TYPE_CHECKING, TextIO

import click

from provisioner.cli.consent import agreed, can_ask
from provisioner.cli.context import Context
from provisioner.cli.streams import to_nothing
from provisioner.errors import GateFailed, Interrupted, of_full_disk

if TYPE_CHECKING:
    from provisioner.model.events import Emit
    from provisioner.model.plan import Plan
    from provisioner.orchestrate.run.options import Intent
    from provisioner.orchestrate.session.session import Session

NOT_KEPT = "What came after that is not recorded here; the hosts know what each step did there."


def perform(context: Context, intent: Intent, *, yes: bool, events: bool) -> int:
    """Do what was asked, each phase proved before the next, and return the exit code."""
    from provisioner.decide.batches import Limit
    from provisioner.model.availability import budget_of
    from provisioner.orchestrate.plan.approval import Agreed

    budget, limit = budget_of(intent.slo), Limit.parse(intent.max_unavailable)
    held_to = Agreed.before(context.inventory, intent.plan_file, intent.allow)
    intent = replace(intent, allow=held_to.allowed)  # what the plan was allowed, whoever goes on with the run is too
    yes = yes or intent.plan_file is not None      # it was shown already
    context.enter_lab()
    from provisioner.orchestrate.lock import cluster_lock
    from provisioner.orchestrate.plan import members, owner
    from provisioner.orchestrate.plan.preflight import fit_survey, known_checks
    from provisioner.orchestrate.plan.survey import create_secrets
    from provisioner.orchestrate.run import engine, may_begin
    from provisioner.orchestrate.run.verbs import UP, VERIFY
    from provisioner.orchestrate.session import degraded, runs
    from provisioner.orchestrate.session.session import open_session
    from provisioner.orchestrate.turn import apply
    from provisioner.orchestrate.watch import prober

    began = time.monotonic()
    known_checks(intent.skip)
    intent.fits(context.inventory.cluster, UP)
    with open_session(context.inventory, lambda event: None, run=True) as session:
        session.emit, session.max_unavailable = readers(context, session, events), limit
        session.origin, session.options = runs.origin(session, intent.verb), intent.to_json()
        session.allowed = held_to.allowed
        degraded.leave_out(session, intent.without)
        locked = cluster_lock.look(session)
        plan = intent.narrow(session, held_to.hold(session, fit_survey(session, intent.skip)), UP)
        members.refuse(plan)
        apply.open_secrets(session)
        may_begin.to_begin(session, intent.allow)
        asks = plan.has_work and not yes
        if not events or asks:
            _show(context, plan, time.monotonic() - began, whole=asks and can_ask())
        if asks and not _agreed(context, session):
            click.echo("Nothing was changed.", err=True)
            return 0
        if not plan.has_work:
            engine.run(session, VERIFY)
        else:
            with locked.held():
                if not session.secrets.exists:
                    plan = intent.narrow(session, held_to.hold_generated(create_secrets(session)), UP)
                owner.claim(session)
                engine.run(session, intent.phases(UP), prober.during(session, budget))
    if not events:
        click.echo(_end(context, session, time.monotonic() - began, plan))
    return 0


def readers(context: Context, session: Session, events: bool) -> Emit:
    """Return who reads a run's events: its file, and the console or with `events` whoever reads stdout.

    When nobody reads any more (`up | head`), or the file can be written no more, the run stops where nothing is half
    done: the first as at Ctrl-C, the second as a fault of this machine.
    """
    from provisioner.report.console import Console, json_lines, to_all, to_file, while_read

    stream = sys.stdout if events else sys.stderr
    reader = json_lines(stream) if events else Console(stream, verbose=context.verbose)
    unread, unkept = _Unread(stream), _Unkept(session)
    session.safe_points += [unread.check, unkept.check]
    return to_all([while_read(to_file(session.run_dir / "events.jsonl"), unkept.found),
                   while_read(reader, unread.found)])


class _Unread:
    """Whether nobody reads what we write any more; no signal, for at Ctrl-C `| tee` leaves too and that is one wish."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._fault: OSError | None = None

    def found(self, fault: OSError) -> None:
        """Write to nothing from now on: what stands in the stream's buffer would be the next fault."""
        self._fault = fault
        to_nothing(self._stream.fileno())

    def check(self) -> None:
        """Raise Interrupted when it is so, GateFailed for a full disk: called where nothing is half done."""
        if self._fault is not None:
            raise of_full_disk(self._fault, GateFailed) or Interrupted("Stopped.")


class _Unkept:
    """Whether the run's own record can be written no more: told where nothing is half done, never in between."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._told = False

    def found(self, fault: OSError) -> None:
        """Note that what comes from now on is not recorded here."""
        self._session.not_kept = f"{self._session.run_dir / 'events.jsonl'}: {fault.strerror}"

    def check(self) -> None:
        """Raise GateFailed when it is so, once: called where nothing is half done."""
        if self._session.not_kept and not self._told:
            self._told = True
            raise GateFailed(f"this machine: keeping the run's events: {self._session.not_kept}", code="events-lost",
                             details=["stopped where nothing is half done; what was done stays done", NOT_KEPT],
                             hint=f"df -h {self._session.run_dir}")


def _show(context: Context, plan: Plan, seconds: float, *, whole: bool) -> None:
    """Show the plan before it is done: all of it to someone who is asked, else its totals."""
    from provisioner.report.plan_text import plan_text

    text = plan_text(plan, context.inventory.cluster, seconds=seconds)
    whole = whole or context.verbose or plan.is_empty
    click.echo(text if whole else text.splitlines()[-1], err=True)


def _agreed(context: Context, session: Session) -> bool:
    verb, cluster = "Build" if session.the_plan.bootstrap else "Change", session.cluster.cluster
    return agreed(context, f"{verb} cluster {cluster}?", f"{verb.lower()} cluster {cluster}", yes=False)


def _end(context: Context, session: Session, seconds: float, plan: Plan) -> str:
    from provisioner.report.impact import count

    cluster = context.inventory.cluster
    ready = [h for h in session.answering(cluster.nodes) if h not in session.waits_for_cni]
    left = [f"Left out: {', '.join(session.unreachable)}"] if session.unreachable else []
    left += [f"{session.not_kept}. {NOT_KEPT}"] if session.not_kept else []
    left += ["Not all of what differs was asked for: see the plan"] if session.narrowed else []
    waiting = [f"Nodes wait for a CNI: {', '.join(session.waits_for_cni)}. Next: kubectl apply -f YOUR-NETWORK.yaml, "
               f"then {context.command('up')}"] if session.waits_for_cni else []
    return "\n".join([
        f"Cluster {cluster.cluster} is ready in {seconds:.1f}s.  {count(session.made, 'change')}, "
        f"{count(len(ready), 'node')} Ready, API {cluster.api_endpoint.url}", *waiting, *left,
        f"For kubectl: {context.command('kubeconfig --output FILE')}  (your own kubeconfig is left alone)",
        f"Next: {context.command('plan' if left else 'status')} · {context.command('runs report')}"])
