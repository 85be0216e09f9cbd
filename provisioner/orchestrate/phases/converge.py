"""Carry a phase's changes to the hosts: one Ansible run per batch, none where there is nothing to do."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from provisioner.compile import leavings, web_proxy
from provisioner.converge import bundle, runner
from provisioner.decide import turns as decide
from provisioner.decide.batches import Standing, interrupts
from provisioner.errors import KubewrightError
from provisioner.model.desired import File, Item, Unit
from provisioner.model.phases import PhaseName
from provisioner.model.plan import Change, Turn
from provisioner.orchestrate.gates import own, proofs
from provisioner.orchestrate.phases import together
from provisioner.orchestrate.session import rundir, telling
from provisioner.orchestrate.session.phase import Act, counted, named
from provisioner.orchestrate.session.session import Session
from provisioner.orchestrate.turn import apply, guards, handover, way_back
from provisioner.orchestrate.turn.apply import Changes
from provisioner.orchestrate.turn.reattach import carried

Prove = Callable[[Session, Turn], None]
Ask = Callable[[Session, Sequence[str]], Standing]
"""Asks the cluster what must be known of hosts that are about to be interrupted."""


def nothing_asked(session: Session, hosts: Sequence[str]) -> Standing:
    """Ask nothing: any of the hosts may go first."""
    return Standing()


def phase(name: PhaseName, prove: Prove | None = None, ask: Ask | None = None) -> Act:
    """Return the act that applies all changes of phase `name`, turn by turn, each proved before the next.

    Where nothing else is said, a turn is proved by the hosts' own probes, and a host that says itself that it does not
    serve is repaired before others are touched.
    """

    def holds(session: Session, turn: Turn) -> None:
        proofs.phase_holds(session, name, turn.hosts)

    def serves(session: Session, hosts: Sequence[str]) -> Standing:
        return Standing(down=frozenset(proofs.down(session, name, hosts)))

    def act(session: Session) -> str:
        done = apply_changes(session, name, together.changes(session, name), prove or holds, ask or serves)
        return together.told(session, name, done)

    return act


def apply_changes(session: Session, name: PhaseName, changes: Changes, prove: Prove, ask: Ask = nothing_asked) -> str:
    """Apply `changes` in turns and prove each, in a first start each but the last, which the phase's own gate proves.

    What takes something away from a live cluster has to be allowed: what an earlier run left half down is in no plan
    any more, so nothing else keeps this one from taking down the second. A turn's guards see to that; where it has
    none, the hosts without changes must not be ill, which is asked before the first that serves is interrupted.
    """
    live = not session.the_plan.bootstrap
    harmful = [h for h in changes if interrupts(changes[h])] if live else []
    standing = ask(session, harmful) if harmful else Standing()
    harmful = [h for h in harmful if h not in standing.down]
    turns = decide.turns(session.the_plan, name, changes, workers=session.workers, limit=session.at_once,
                         standing=standing)
    first = next((turn for turn in turns if not turn.guards and set(turn.hosts) & set(harmful)), None)
    for number, turn in enumerate(turns):
        if number:
            session.run.safe_point()
        session.run.works_on(named(name, turn.hosts), [h for later in turns[number + 1:] for h in later.hosts])
        if turn is first:
            proofs.others_serve(session, name, changes)
        step = way_back.step(session, f"{name}.{number}", turn.hosts)
        of_hosts = {h: handover.with_it(session, h, turn, decide.in_order(
            session.the_plan, turn, h, changes[h], session.state_of)) for h in turn.hosts}
        with guards.hold(session, turn):
            if live or number < len(turns) - 1:
                way_back.apply_and_prove(session, step, of_hosts, partial(_prove, session, turn, prove))
            else:
                apply.apply_batch(session, step, of_hosts, together.carrier(session, of_hosts))
    return summary(changes)


def _prove(session: Session, turn: Turn, prove: Prove) -> None:
    prove(session, turn)
    own.hold(session, turn)


def write_by_hand(session: Session, directory: Path) -> int:
    """Write the bundles of all changes but artifacts and preparations, for use by hand; count the hosts."""
    by_host: dict[str, list[Change]] = {}
    for change in session.the_plan.changes:
        if change.phase not in ("prepare", "stage"):
            by_host.setdefault(change.host, []).append(change)
    bundle.write_bundles(directory, by_host, session.target.secrets.resolve, apply.mint(session),
                         lambda host: session.run.id)
    return len(by_host)


def prepare(session: Session) -> str:
    """Install packages and set users and kernel settings by Ansible, where they differ."""
    changes = session.changes("prepare")
    if not changes:
        return ""
    directory = session.run.directory / rundir.BUNDLES / "prepare"
    archives = {host: archive for host in changes if (archive := _packages_for(session, host)) is not None}
    idle = bundle.write_prepare(directory, changes, archives, web_proxy.before_packages(session.cluster),
                                {host: session.manager_of(host).name for host in changes})
    session.run.still_ours()        # neither apt nor dnf asks a fence
    _own(session, {host: [c.item for c in of_host if c.item] for host, of_host in changes.items()})
    wish: list[KubewrightError] = []
    results = carried(session, list(changes), lambda hosts: runner.prepare(
        session.target.inventory, directory, hosts, run_dir=session.run.directory, idle=idle,
        cancel=lambda: _asked_to_stop(session, wish),
        emit=telling.begun(session, "prepare", {h: changes[h] for h in hosts})))
    for host in changes:
        if results[host].ok:
            telling.of_changes(session, host, changes[host])
    for why in wish:            # it has cut the playbook short, which is no fault of a host
        raise why
    session.run.safe_point()
    apply.raise_faults(session, results)
    _own(session, {host: [] for host in changes if host not in session.unreachable})
    _expect_package_files(session, session.changes("prepare"))
    return summary(changes)


def _packages_for(session: Session, host: str) -> Path | None:
    """Return the archive that a host's packages come from, None where they come from its own sources."""
    return session.run.packages.get(session.observed[host].facts.packaged_as)


def _own(session: Session, items: Mapping[str, Sequence[Item]]) -> None:
    """Let hosts note what Ansible's modules are about to bring; without items, what they have brought."""
    step = f"{session.run.id}.prepare.0"
    desired = session.the_plan.desired.hosts
    leaves = {host: [{**leaving, "of": i.path} for i in desired[host].items if isinstance(i, Unit)
                     for leaving in leavings.of_unit(i.path)] if of_host else [] for host, of_host in items.items()}
    session.hosts.each(
        lambda one: one.own(items[one.name], step=step, epoch=session.run.epoch, leaves=leaves[one.name]), items)


def _asked_to_stop(session: Session, wish: list[KubewrightError]) -> bool:
    """Say whether the run is to end: packages may take minutes, and may be cut anywhere, since apt and dnf outlive us.

    Why is put into `wish`: not everybody says it twice.
    """
    try:
        session.run.safe_point()
    except KubewrightError as why:
        wish.append(why)
    return bool(wish)


def _expect_package_files(session: Session, prepared: Changes) -> None:
    """Let the plan expect the files that packages have just brought; whatever else moved since stays stale."""
    plan = session.the_plan
    brought = {c.path for changes in prepared.values() for c in changes if c.kind == "package"}
    items = {host: [i for i in plan.desired.hosts[host].items if isinstance(i, File) and i.package in brought]
             for host in prepared}
    seen = session.hosts.observe({host: of_host for host, of_host in items.items() if of_host})

    def moved(change: Change) -> Change:
        if change.host not in seen or change.item not in items[change.host]:
            return change
        return replace(change, expect=seen[change.host].state(change.kind, change.path))

    session.go_by(replace(plan, changes=tuple(moved(c) for c in plan.changes)))


def summary(changes: Changes) -> str:
    """Say how much was done, in a few words."""
    total = sum(len(c) for c in changes.values())
    if not total:
        return ""
    return f"{counted(len(changes), 'host')}, {counted(total, 'change')}"
