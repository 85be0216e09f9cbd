"""One run at a time: a record on each control plane, held by a majority, and an epoch that outdates older runs."""

from __future__ import annotations

import getpass
import threading
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from socket import gethostname
from typing import Any

from provisioner.decide import lock
from provisioner.decide.lock import RENEW, TTL, Claim, Groups, Record, claims, has_majority
from provisioner.errors import KubewrightError, LockHeld, PlanStale, Unreachable
from provisioner.orchestrate.lock import process
from provisioner.orchestrate.plan import applied
from provisioner.orchestrate.session.session import Session
from provisioner.transport.hosts import LOCK_TIMEOUT
from provisioner.transport.pool import raise_all
from provisioner.transport.target import targets_of

AGAIN = 0.5             # seconds between two looks while too few hosts answer
LOST = "lock-lost"
NOT_SEEN = "lock-unseen"


def look(session: Session) -> ClusterLock:
    """Return the lock of a run that is about to look at the cluster; raises LockHeld when another run has it.

    Takes nothing: `held` takes the lock as it was seen here, so that a plan made in between holds. Hosts that do not
    answer are for the survey to tell.
    """
    session.tell("lock-asked")
    groups = _memberships(session)      # of before too, as far as this machine knows it
    seen = read(session, sorted({host for group in groups for host in group}))
    decision = lock.decide(seen, groups, process.is_dead)
    if decision.holder is not None:
        raise _held(seen, decision.holder)
    return ClusterLock(session, seen)


def read(session: Session, hosts: Iterable[str]) -> dict[str, Record]:
    """Return the records of the hosts that answer; a step that runs there delays nothing."""
    return _records(_ask_all(session, hosts))


def _ask_all(session: Session, hosts: Iterable[str]) -> dict[str, dict[str, Any] | KubewrightError]:
    return session.hosts.map(lambda one: one.lock({"do": "read"}), hosts, patient=False)


def _records(outcomes: Mapping[str, dict[str, Any] | KubewrightError]) -> dict[str, Record]:
    return {h: Record.of_answer(a) for h, a in outcomes.items() if not isinstance(a, KubewrightError)}


def holders(session: Session) -> list[Record]:
    """Return one record of every run that has the lock or is left in it, the freshest of each.

    Raises one error with all control planes when none of them answers.
    """
    outcomes = _ask_all(session, _names(session))
    records = _records(outcomes)
    if not records:
        raise_all(outcomes)
    return _freshest(records)


def alive(session: Session) -> frozenset[str]:
    """Return the runs that work now, as far as the control planes can tell: renewed in time, and not known to be dead.
    """
    return frozenset(record.run for record in holders(session)
                     if record.age < 2 * RENEW and not process.is_dead(record.process))


def line(session: Session) -> str:
    """Return who holds the lock as `status` tells it, "" where nobody does or no control plane was observed."""
    seen = read(session, session.reachable(_names(session)))
    return "; ".join(f"{told(record)}, renewed {record.age:.0f} s ago" for record in _freshest(seen))


def _freshest(seen: Mapping[str, Record]) -> list[Record]:
    return [min((seen[h] for h in hosts), key=lambda record: record.age) for hosts in claims(seen).values()]


def give_back(session: Session, claim: Claim, hosts: Iterable[str]) -> dict[str, dict[str, Any] | KubewrightError]:
    """Release what `claim` holds on these hosts, and only that; return every host's outcome."""
    request = {"do": "release", "run": claim[0], "epoch": claim[1]}
    return session.hosts.map(lambda one: one.lock(request), hosts, patient=False)


def unlock(session: Session, held: Sequence[Record]) -> dict[str, KubewrightError]:
    """Take the lock away from these runs; the next run's epoch stops what they may still do on hosts.

    Returns the control planes that could not be told: where a majority has been, what is left there binds nobody.
    Raises one error with them where it has not.
    """
    silent: dict[str, KubewrightError] = {}
    for record in held:
        outcomes = give_back(session, record.claim, _names(session))
        silent |= {host: o for host, o in outcomes.items() if isinstance(o, KubewrightError)}
        if not has_majority(outcomes.keys() - silent.keys(), [_names(session)]):
            raise_all(outcomes)
    return silent


def told(record: Record) -> str:
    """Return owner, machine, since when, and which run, as one phrase."""
    since = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(record.since))
    return f"{record.owner} on {record.machine} since {since} (run {record.run})"


def _names(session: Session) -> list[str]:
    return sorted(h.name for h in session.cluster.control_planes)


class ClusterLock:
    """The lock as one run saw it; `held` is the only way to have it."""

    def __init__(self, session: Session, seen: Mapping[str, Record]) -> None:
        self._session = session
        self._seen = seen
        self._groups: Groups = [_names(session)]
        self._claim: Claim = (session.run.id, 0)
        self._yes: dict[str, float] = {}    # when each host was last asked and said yes, by our boot clock
        self._no: dict[str, Record] = {}    # what hosts have that said no: they say so for good
        self._tried: set[str] = set()       # where a record may be ours
        self._stop = threading.Event()

    @property
    def anybody(self) -> bool:
        """Say whether any control plane told what it has."""
        return bool(self._seen)

    @contextmanager
    def held(self, *, of_those_that_answer: bool = False) -> Iterator[None]:
        """Hold the lock during the block, renewed, with its epoch installed on every host that was observed.

        Raises LockHeld when another run has it, PlanStale when one had it since `look`, Unreachable without a majority.
        With `of_those_that_answer` theirs is a majority: for a run after which there is no cluster any more.
        In the block the session's safe points and `still_ours` raise LockHeld once it is lost. Given back however the
        block ends.
        """
        session = self._session
        self._groups = [tuple(self._seen)] if of_those_that_answer else _memberships(session)
        renewals = [threading.Thread(target=self._keep_renewing, args=(host,), name=f"lock {host}", daemon=True)
                    for host in self._hosts]
        try:
            self._take()
            for renewal in renewals:
                renewal.start()
            self._fence()
            session.run.epoch, session.run.still_ours = self._claim[1], self.confirm
            session.run.safe_points.append(self.check)
            session.tell("lock-held", data={"epoch": session.run.epoch})
            yield
        finally:
            self._stop.set()
            session.run.epoch, session.run.still_ours = None, lambda: None
            with suppress(ValueError):
                session.run.safe_points.remove(self.check)
            for renewal in renewals:
                if renewal.ident is not None:
                    renewal.join(LOCK_TIMEOUT)
            give_back(session, self._claim, self._tried)

    def check(self) -> None:
        """Raise LockHeld when the last renewals say that the lock is lost.

        Asks nobody, but where none was asked for a TTL, as after a sleep of this machine: nobody may have taken it.
        """
        if not self._no and self._why_lost():
            self._renew(self._hosts)
        why = self._why_lost()
        if why:
            raise LockHeld(f"the lock was lost: {why}", code=LOST, hint="kubewright status", details=[
                "stopped where nothing is half done; what was done stays done"])

    def confirm(self) -> None:
        """Ask a majority now whether the lock is ours, as long as that is still possible; raise LockHeld if it is not.

        While too few hosts answer it asks again: within the TTL of the last yes nobody else can have taken it.
        """
        while True:
            asked = _clock()
            self._renew(self._hosts)
            if self._confirmed >= asked:
                return
            self.check()
            time.sleep(AGAIN)

    @property
    def _hosts(self) -> list[str]:
        return sorted({host for group in self._groups for host in group})

    def _take(self) -> None:
        """Take the lock from the first host in name order on: whoever loses that one stops, so one of two gets it.

        Hosts that answered before are not asked again what they have: they refuse if it is not that any more.
        """
        session = self._session
        session.tell("lock-asked")
        outcomes = _ask_all(session, [host for host in self._hosts if host not in self._seen])
        late = _records(outcomes)
        seen = {**self._seen, **late}
        faults = [o.message for o in outcomes.values() if isinstance(o, KubewrightError)]
        decision = lock.decide(seen, self._groups, process.is_dead)
        if decision.holder is not None:
            raise _held(seen, decision.holder)
        if not decision.majority:
            raise _no_majority(seen, self._hosts, faults)
        for fault in faults:
            session.tell("diagnostic", status="failed", message=f"{fault}; the others' word on the lock is enough")
        epoch = max([decision.epoch, *(observed.epoch + 1 for observed in session.observed.values())])
        self._claim = (session.run.id, epoch)
        began = _clock()
        mine = self._take_each(seen)
        if not has_majority(mine & self._seen.keys(), self._groups):    # else nobody can have had it since the look
            moved = [late[host] for host in mine & late.keys() if late[host].version]
            if moved:
                raise _overtaken(max(moved, key=lambda record: record.epoch))
        self._yes = dict.fromkeys(mine, began)
        for record in decision.left:
            session.tell("diagnostic", message=f"the lock was left by {told(record)}; that run is over")

    def _take_each(self, seen: Mapping[str, Record]) -> set[str]:
        """Return the hosts that gave us the lock, a majority; raise the error of the one that did not."""
        mine: set[str] = set()
        for host in sorted(seen):
            self._tried.add(host)
            answer = self._ask(host, seen[host].version)
            if answer is None:
                continue                    # it may be ours all the same: it is given back as well
            if answer["done"]:
                mine.add(host)
                continue
            self._tried.remove(host)
            if not has_majority(mine, self._groups):
                there = Record.of_answer(answer)
                is_over = lock.decide({host: there}, [[host]], process.is_dead).holder is None
                raise _overtaken(there) if is_over else _held({host: there}, there)
        if not has_majority(mine, self._groups):
            raise _no_majority(mine, self._hosts)
        return mine

    def _ask(self, host: str, version: int) -> Mapping[str, Any] | None:
        request = {"do": "take", "seen": version, "run": self._claim[0], "epoch": self._claim[1],
                   "owner": getpass.getuser(), "machine": gethostname(), "process": process.me(), "since": time.time()}
        answer = self._session.hosts.map(lambda one: one.lock(request), [host], patient=False)[host]
        return None if isinstance(answer, KubewrightError) else answer

    def _fence(self) -> None:
        """Install the epoch everywhere, each host when its running step has ended; a newer one there means we lost."""
        epoch = self._claim[1]
        hosts = list(self._session.observed) or [h.name for h in self._session.cluster.machines]
        there = raise_all(self._session.hosts.map(lambda one: one.fence(epoch), hosts))
        newer = {host: e for host, e in there.items() if e > epoch}
        if newer:
            raise LockHeld(f"{', '.join(newer)}: installing epoch {epoch}: a newer run (epoch {max(newer.values())}) "
                           "owns this host", code=LOST, hint="kubewright status")

    def _keep_renewing(self, host: str) -> None:
        """Renew on one host: one that hangs must not keep us from the others."""
        due = _clock() + RENEW
        while not self._stop.is_set():
            if _clock() >= due:
                due = _clock() + RENEW
                self._renew([host])
            self._stop.wait(max(0.0, due - _clock()))

    def _renew(self, hosts: Iterable[str]) -> None:
        """Renew on these hosts, and remember what each says."""
        asked = _clock()
        run, epoch = self._claim
        outcomes = self._session.hosts.map(
            lambda one: one.lock({"do": "renew", "run": run, "epoch": epoch}), hosts, patient=False)
        for host, answer in outcomes.items():
            if isinstance(answer, KubewrightError):
                continue
            if answer["done"]:
                self._yes[host] = max(asked, self._yes.get(host, asked))
            else:
                self._no[host] = Record.of_answer(answer)

    @property
    def _confirmed(self) -> float:
        """Return the moment since which a majority has been asked and said yes."""
        said = dict(self._yes)      # other threads add to it
        moments = sorted(said.values(), reverse=True)
        return next((m for m in moments if has_majority([h for h, at in said.items() if at >= m], self._groups)), 0.0)

    def _why_lost(self) -> str:
        no = dict(self._no)
        if no and not has_majority(set(self._hosts) - no.keys(), self._groups):     # and never can again
            last = max(no.values(), key=lambda record: record.epoch)
            return "it was released by hand" if last.claim == self._claim else f"taken by {told(last)}"
        silent = _clock() - self._confirmed
        return f"no majority of the control planes answered for {silent:.0f} s" if silent >= TTL else ""


def _memberships(session: Session) -> Groups:
    """Return the control planes now asked for, and those of every membership that was applied last.

    Those that have left the inventory vote as well: else one of three that stays could never have the lock.
    """
    own = applied.here(session.target.inventory)
    known = [*applied.on_hosts(session), *([own] if own else [])]
    for one in known:
        session.hosts.also_reach(targets_of(applied.inventory_of(session.target.inventory, one)))
    names = [tuple(sorted(h.name for h in one.cluster.control_planes)) for one in known]
    return list(dict.fromkeys([*names, tuple(_names(session))]))


def _clock() -> float:
    """Return seconds that also pass while this machine sleeps, as they do for the hosts."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def _held(seen: Mapping[str, Record], record: Record) -> LockHeld:
    where = sorted(h for h, r in seen.items() if r.claim == record.claim and r.held) or sorted(seen)[:1]
    details = [f"last renewed {record.age:.0f} s ago; nothing was changed by this run"]
    if record.age > 3 * RENEW:
        details.append(f"not renewed as it should be: free by itself {max(0.0, TTL - record.age):.0f} s from now")
    return LockHeld(f"{', '.join(where)}: taking the lock: held by {told(record)}", details=details,
                    hint="kubewright unlock    # only if you are sure that this run is over")


def _overtaken(record: Record) -> PlanStale:
    """Return the refusal of a plan made before that run: what it says of batches and phases may be wrong."""
    return PlanStale(f"the plan was made before another run: {told(record)}", code="plan-overtaken",
                     details=["nothing was changed by this one"], hint="kubewright up")


def _no_majority(there: Iterable[str], hosts: Sequence[str], faults: Sequence[str] = ()) -> Unreachable:
    silent = sorted(set(hosts) - set(there))
    return Unreachable(f"{', '.join(silent)}: taking the lock: no majority of the control planes answers",
                       code=NOT_SEEN, details=[*faults, "nothing was changed"], hint="kubewright check")
