"""The turns of `upgrade --os`: a host is drained and out of service, gets packages and a reboot, and is proved."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from provisioner.decide import os_roll
from provisioner.model.etcd import EtcdStatus
from provisioner.model.guards import DRAINED, LEADS_ELSEWHERE, OUT_OF_SERVICE
from provisioner.model.os_state import PACKAGE, REBOOT, Newer
from provisioner.model.phases import PHASES, PhaseName
from provisioner.model.plan import Change, Turn
from provisioner.orchestrate.gates import api_servers, etcd_members, node_states, own, proofs
from provisioner.orchestrate.gates.gate_probes import host_probes
from provisioner.orchestrate.phases.verify import cluster_is_healthy
from provisioner.orchestrate.session import runs, telling
from provisioner.orchestrate.session.phase import Act, Phase, counted, named
from provisioner.orchestrate.session.session import Session
from provisioner.orchestrate.turn import drained, guards, reboot, rotation

BACK = 300.0    # seconds for all of a host's units after its boot: images are imported, members catch up


def begin(session: Session) -> str:
    """Undo what a killed run left, and note in which boot each host is found, or was by the roll that goes on."""
    boots = {c.host: c.expect for c in session.the_plan.changes if c.kind == REBOOT}
    runs.note(session, "boots", boots={**boots, **session.target.boots_before})
    return "; ".join(text for text in (rotation.restore(session), drained.restore(session)) if text)


def roll(name: PhaseName, seconds: float) -> Act:
    """Return the act that takes the hosts of a phase through their turns, each proved before the next."""

    def act(session: Session) -> str:
        hosts = list(session.changes(name))
        last = _others_depend_on(session, hosts) if len(hosts) > 1 else []
        turns = os_roll.turns(session.the_plan, name, hosts, workers=session.workers, limit=session.at_once, last=last)
        for number, turn in enumerate(turns):
            if number:
                session.run.safe_point()
            ahead = [h for later in turns[number + 1:] for h in later.hosts]
            session.run.works_on(named(name, turn.hosts), ahead)
            _turn(session, f"{name}.{number}", turn, seconds)
        return counted(len(hosts), "host") if hosts else ""

    return act


def _others_depend_on(session: Session, hosts: Sequence[str]) -> list[str]:
    """Return the host whose member leads and the one that has the VIP: last, so that each moves once."""
    vip = session.cluster.api.vip
    found = [h for h in hosts if vip is not None and session.observed[h].facts.interface_of(str(vip))]
    members = etcd_members.members(session, [h for h in hosts if h in session.members])
    return [*found, *(h for h, seen in members.items() if isinstance(seen, EtcdStatus) and seen.is_leader)]


def _turn(session: Session, step: str, turn: Turn, seconds: float) -> None:
    phase, planned = turn.phases[0], {h: session.changes(turn.phases[0]).get(h, ()) for h in turn.hosts}
    with guards.hold(session, turn):
        with reboot.resting(session, turn.hosts):
            newer = {h: [Newer(c.path, c.expect, c.want) for c in of_host if c.kind == PACKAGE]
                     for h, of_host in planned.items()}
            reboot.bring_packages(session, step, phase, {h: of_host for h, of_host in newer.items() if of_host})
            due = {h: c for h, of_host in planned.items() for c in of_host if c.kind == REBOOT}
            due |= _asked_by(session, phase, [h for h in turn.hosts if newer[h] and h not in due])
            boots: dict[str, str] = {}
            if due:
                boots = reboot.reboot(session, f"{step}-boot", phase, {h: c.expect for h, c in due.items()}, seconds)
            for host, change in due.items():
                telling.of_changes(session, host, [change])
            _are_back(session, turn, boots)
        own.hold(session, turn)
    session.target.done |= {(c.host, c.kind, c.path) for of_host in planned.values() for c in of_host}


def _asked_by(session: Session, phase: PhaseName, hosts: Sequence[str]) -> dict[str, Change]:
    """Return the reboots that packages ask for which have just come."""
    states = reboot.look(session, hosts) if hosts else {}
    return {h: os_roll.reboot_of(h, phase, f"{', '.join(seen.by) or 'the system'} asks for it now", seen.boot)
            for h, seen in states.items() if seen.required}


def _are_back(session: Session, turn: Turn, boots: Mapping[str, str]) -> None:
    """Prove a turn: every unit of its hosts runs and answers, its member has caught up, its Node is Ready since then.
    """
    phase = turn.phases[0]
    proofs.hosts_hold(session, {h: [p for one in PHASES for p in host_probes(session, h, one)] for h in turn.hosts},
                      phase, BACK)
    for host in turn.hosts:
        if LEADS_ELSEWHERE in turn.guards:
            etcd_members.member_has_caught_up(session, host)
        if OUT_OF_SERVICE in turn.guards:
            api_servers.api_server_is_back(session, host, with_its_inputs=False)
    if LEADS_ELSEWHERE in turn.guards:
        etcd_members.etcd_is_one_cluster(session)
    if OUT_OF_SERVICE in turn.guards:
        api_servers.vip_answers(session)
    if DRAINED in turn.guards:
        node_states.nodes_are_ready(session, turn.hosts, boots=boots)


def phases(*, reboots: bool, seconds: float, until: str) -> tuple[Phase, ...]:
    """Return the phases of a roll, no further than `until`."""
    what = "newer packages and a reboot" if reboots else "newer packages, and a reboot where they ask for it"
    docs: dict[PhaseName, str] = {"etcd": f"members on hosts of their own, one at a time: {what}",
                                  "load-balancer": f"balancers on hosts of their own, one at a time: {what}",
                                  "control-plane": f"control planes, one at a time: {what}",
                                  "node": f"workers: {what}"}
    return (Phase("prepare", "what an ended run left is put back, and every host's boot is noted", begin),
            *(Phase(name, docs[name], roll(name, seconds)) for name in os_roll.walked(until)),
            Phase("verify", "every unit, the VIP, DNS and every node", gate=cluster_is_healthy))
