"""What `up`, `resume` and `retry` say: the plan, the question, and how it ended; what they do is run/perform.py."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING, TextIO

import click

from provisioner.cli.consent import agreed, can_ask
from provisioner.cli.context import Context
from provisioner.cli.streams import to_nothing
from provisioner.errors import GateFailed, Interrupted, of_full_disk

if TYPE_CHECKING:
    from collections.abc import Callable

    from provisioner.model.events import Emit
    from provisioner.model.inventory import Inventory
    from provisioner.model.plan import Plan
    from provisioner.orchestrate.run.options import Intent
    from provisioner.orchestrate.run.perform import Performed
    from provisioner.orchestrate.run.verb import Consent
    from provisioner.orchestrate.session.live_run import LiveRun
    from provisioner.orchestrate.session.session import Session

NOT_KEPT = "What came after that is not recorded here; the hosts know what each step did there."


def change(context: Context, intent: Intent, *, yes: bool, events: bool) -> int:
    """Do what was asked, show and ask before it is done, tell how it ended, and return the exit code."""
    yes = yes or intent.plan_file is not None      # it was shown already
    began = time.monotonic()

    def ask(plan: Plan, consent: Consent) -> bool:
        asks = plan.has_work and not yes
        if not events or asks:
            _show(context, plan, time.monotonic() - began, whole=asks and can_ask())
        return not asks or agreed(context, consent.question, consent.doing, yes=False)

    return carry_out(context, intent, ask, lambda done: _end(context, done.session, time.monotonic() - began),
                     events=events)


def carry_out(
    context: Context, intent: Intent, ask: Callable[[Plan, Consent], bool], end: Callable[[Performed], str], *,
    events: bool, inventory: Inventory | None = None,
) -> int:
    """Do what was asked, say how it came to its `end` or that nothing was changed, and return the exit code.

    With an `inventory` of its own the way to the hosts is open already.
    """
    from provisioner.orchestrate.run.perform import Caller, no_way_in, perform

    enter = context.enter_lab if inventory is None else no_way_in
    done = perform(inventory or context.inventory, intent,
                   Caller(ask, lambda session: readers(context, session, events), enter))
    if not done.agreed:
        click.echo("Nothing was changed.", err=True)
    elif not events:
        click.echo(end(done))
    return 0


def readers(context: Context, session: Session, events: bool) -> Emit:
    """Return who reads a run's events: its file, and the console or with `events` whoever reads stdout.

    When nobody reads any more (`up | head`), or the file can be written no more, the run stops where nothing is half
    done: the first as at Ctrl-C, the second as a fault of this machine.
    """
    from provisioner.report.console import Console, json_lines, to_all, to_file, while_read

    stream = sys.stdout if events else sys.stderr
    reader = json_lines(stream) if events else Console(stream, verbose=context.verbose)
    unread, unkept = _Unread(stream), _Unkept(session.run)
    session.run.safe_points += [unread.check, unkept.check]
    return to_all([while_read(to_file(session.run.directory / "events.jsonl"), unkept.found),
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

    def __init__(self, run: LiveRun) -> None:
        self._run = run
        self._told = False

    def found(self, fault: OSError) -> None:
        """Note that what comes from now on is not recorded here."""
        self._run.not_kept = f"{self._run.directory / 'events.jsonl'}: {fault.strerror}"

    def check(self) -> None:
        """Raise GateFailed when it is so, once: called where nothing is half done."""
        if self._run.not_kept and not self._told:
            self._told = True
            raise GateFailed(f"this machine: keeping the run's events: {self._run.not_kept}", code="events-lost",
                             details=["stopped where nothing is half done; what was done stays done", NOT_KEPT],
                             hint=f"df -h {self._run.directory}")


def _show(context: Context, plan: Plan, seconds: float, *, whole: bool) -> None:
    """Show the plan before it is done: all of it to someone who is asked, else its totals."""
    from provisioner.report.plan_text import plan_text

    text = plan_text(plan, context.inventory.cluster, seconds=seconds)
    whole = whole or context.verbose or plan.is_empty
    click.echo(text if whole else text.splitlines()[-1], err=True)


def _end(context: Context, session: Session, seconds: float) -> str:
    from provisioner.report.impact import count

    cluster, without_cni = context.inventory.cluster, session.target.waits_for_cni
    ready = [h for h in session.answering(cluster.nodes) if h not in without_cni]
    apart = [h for h in session.unreachable if h not in session.run.not_looked_at]
    left = [f"Left out: {', '.join(apart)}"] if apart else []
    left += [f"Not looked at, as asked: {count(len(session.run.not_looked_at), 'host')}"
             ] if session.run.not_looked_at else []
    left += [f"{session.run.not_kept}. {NOT_KEPT}"] if session.run.not_kept else []
    left += ["Not all of what differs was asked for: see the plan"] if session.target.narrowed else []
    waiting = [f"Nodes wait for a CNI: {', '.join(without_cni)}. Next: kubectl apply -f YOUR-NETWORK.yaml, "
               f"then {context.command('up')}"] if without_cni else []
    trial = session.target.trial
    tried = [f"On trial: {trial.words(session.cluster.kubernetes)}. Then {context.command('upgrade --finish')}, or "
             f"{context.command('upgrade --back')}"] if trial else []
    return "\n".join([
        f"Cluster {cluster.cluster} is ready in {seconds:.1f}s.  {count(session.run.made, 'change')}, "
        f"{count(len(ready), 'node')} Ready, API {cluster.api_endpoint.url}", *waiting, *tried, *left,
        f"For kubectl: {context.command('kubeconfig --output FILE')}  (your own kubeconfig is left alone)",
        f"Next: {context.command('plan' if left else 'status')} · {context.command('runs report')}"])
