"""Proofs about etcd: the members are one cluster, and no restart of one takes away what the others need."""

from __future__ import annotations

from collections.abc import Sequence

from provisioner.decide.etcd import disagreements
from provisioner.errors import GateFailed, KubewrightError
from provisioner.model.etcd import EtcdStatus
from provisioner.operate import etcd
from provisioner.orchestrate.gates.gate_probes import MEMBER_IS_READY
from provisioner.orchestrate.gates.proofs import kept_there, that_serve, wait_until
from provisioner.orchestrate.session.session import Session


def members(session: Session, hosts: Sequence[str]) -> dict[str, EtcdStatus | KubewrightError]:
    """Ask the members of `hosts` now; one that does not answer has its fault."""
    answers: dict[str, EtcdStatus | KubewrightError] = {}
    for host in hosts:
        try:
            answers[host] = etcd.status(session.access.etcd(host))
        except KubewrightError as fault:
            answers[host] = fault
    return answers


def answering(session: Session, hosts: Sequence[str]) -> dict[str, EtcdStatus]:
    """Return what the members of `hosts` say that answer now."""
    return {host: answer for host, answer in members(session, hosts).items() if isinstance(answer, EtcdStatus)}


def etcd_is_one_cluster(session: Session) -> None:
    """Prove that the members are exactly the inventory's, agree on a leader and are of one cluster."""
    hosts = session.members
    wait_until(session, "etcd", lambda: _etcd_faults(session, hosts),
               proof=f"one etcd cluster of {', '.join(hosts)} with one agreed leader")


def other_members_serve(session: Session, hosts: Sequence[str]) -> None:
    """Prove that every member but those of `hosts`, which are about to be restarted, is in good health."""
    others = [h for h in session.members if h not in hosts]
    if not others:
        return
    try:
        wait_until(session, "etcd", lambda: _etcd_faults(session, others), when="before",
                   proof=f"the other etcd members serve: {', '.join(others)}")
    except GateFailed as fault:
        fault.details = (*fault.details, kept_there())
        raise


def _etcd_faults(session: Session, asked: Sequence[str]) -> str:
    answers = members(session, asked)
    statuses = [a for a in answers.values() if isinstance(a, EtcdStatus)]
    silent = [f"{host}: {a.message}" for host, a in answers.items() if isinstance(a, KubewrightError)]
    names = session.members
    return "; ".join([*silent, *disagreements(statuses, names, asked=len(asked), joining=session.joining_urls)])


def member_has_caught_up(session: Session, host: str) -> None:
    """Prove that `host`'s member has taken in all that any other had when this was first asked."""
    others = answering(session, [h for h in session.members if h != host])
    goal = max((a.raft_index for a in others.values()), default=0)

    def look() -> str:
        index = etcd.status(session.access.etcd(host)).raft_index
        return "" if index >= goal else f"{host} is at raft index {index} of {goal}"

    wait_until(session, "etcd", look, proof=f"{host}'s etcd member has caught up with the others")


def a_quorum_serves(session: Session) -> bool:
    """Say whether any member has a majority behind it; asked on their own hosts, where it takes no credentials."""
    return bool(that_serve(session, dict.fromkeys(session.members, MEMBER_IS_READY)))
