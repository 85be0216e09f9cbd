"""Whose a host is. Nobody takes a host that is another cluster's, unless that is what was asked for."""

from __future__ import annotations

import hashlib
import re

from provisioner.compile import pki as table
from provisioner.compile.etcd import BOOTSTRAPPED, DATA_DIR, JOINING
from provisioner.errors import RefusedForSafety
from provisioner.model.desired import File, MemberLog
from provisioner.model.observed import ABSENT, HostObserved, Owner
from provisioner.operate import pki
from provisioner.orchestrate.session.session import Session
from provisioner.transport.pool import raise_all

# Words after `--allow`.
TAKE = "another-cluster"
NAMESPACE = "namespace-removed"
# Written after the first etcd gate: from then on no member may ever be started as part of a new cluster.
BOOTSTRAP_MARK = File(path=BOOTSTRAPPED, phase="etcd")
JOINING_MARK = File(path=JOINING, phase="etcd")
MEMBER = MemberLog(path=f"{DATA_DIR}/member", phase="etcd")
CAS = tuple(File(path=path, phase="pki") for path in table.CAS)
_OF_CLUSTER = re.compile(r".+-ca of (.+)")      # how operate/secrets.py names a CA


def ours(session: Session) -> Owner:
    """Return this inventory's cluster as hosts remember it; its CA is "" until the first `up` has made one."""
    ca = session.target.secrets.ca_certificates().get("cluster", "")
    return Owner(session.cluster.cluster, f"sha256:{hashlib.sha256(ca.encode()).hexdigest()}" if ca else "")


def refuse_foreign(session: Session, *, bootstrap: bool) -> None:
    """Set `session.target.foreign`, and raise RefusedForSafety where a host is another cluster's and may not be taken.

    `--allow another-cluster` takes hosts that hold no etcd data. Where this very cluster is bootstrapped by another CA,
    nothing is allowed: our certificates would shut out the live members.
    """
    found = {host: words for host, seen in session.observed.items()
             if (words := _foreign(session, seen)) and not (bootstrap and _is_no_run_of_ours(seen))}
    without_ca = not bootstrap and not session.target.secrets.exists
    kept = [host for host in found if _has_members(session.observed[host])]
    if TAKE in session.run.allowed and not without_ca and not kept:
        found = {}
    session.target.foreign = {host: (words, cure([host] if host in kept else [], [host]))
                              for host, words in found.items()}
    if without_ca or any(_is_founded(session.observed[host]) for host in found):
        raise RefusedForSafety(
            f"the cluster on these hosts has another CA than this inventory ({', '.join(found) or 'no CA here'})",
            details=[*(f"{host}: {words}" for host, words in found.items()),
                     "nothing was changed; the cluster keeps running"], code="foreign-ca",
            hint=f"use the inventory that built it; its secrets belong into {session.target.inventory.secrets_dir}")
    if found:
        others = [f"{host}: {words}" for host, words in found.items()]
        raise RefusedForSafety(
            others[0] if len(others) == 1 else f"{len(others)} hosts are another cluster's",
            details=[*(others if len(others) > 1 else ()), "nothing was changed; what runs there goes on"],
            code="foreign-host", hint=cure(kept, list(found)))


def cure(kept: list[str], found: list[str]) -> str:
    """Return what to do: another host, or the word that takes these; etcd data is never taken."""
    hosts = ", ".join(found)
    if kept:
        return f"take {hosts} out of cluster.yaml, or use the inventory that built it"
    return f"take {hosts} out of cluster.yaml; or, to take it away from there: kubewright up --allow {TAKE}"


def _foreign(session: Session, seen: HostObserved) -> str:
    """Say which other cluster a host belongs to, "" where it is ours or nobody's.

    A CA that is there decides, by its bytes and by the cluster that it names: an inventory may have been copied with
    its secrets. A host that was begun with and got no CA yet is known by what it remembers.
    """
    own, public = ours(session), session.target.secrets.public()
    cas, name = _cas(seen), _name(seen)
    another = [path for path, text in cas.items() if pki.is_another(text, public[table.CAS[path]])]
    told = f"belongs to cluster {name}" if name not in ("", own.cluster) else "belongs to another cluster"
    if another and name == own.cluster:
        whose = "another CA than that of this inventory" if own.ca else "a CA, and this inventory has none yet"
        return f"{told} of the name {name}: {another[0]} is {whose}"
    if another:
        return f"{told}: {another[0]} is another CA than that of this inventory"
    if name not in ("", own.cluster):
        return f"{told}: " + ("its CA was copied into this inventory" if cas else "a run of it began there")
    if seen.owner and not cas and own.ca and seen.owner.ca != own.ca:
        return f"{told} of the name {name}: a run of it began there"
    return ""


def _cas(seen: HostObserved) -> dict[str, str]:
    """Return the CA certificates that are on a host, by their paths."""
    texts = {path: str(seen.extra("file", path).get("text", "")) for path in table.CAS}
    return {path: text for path, text in texts.items() if pki.common_name(text)}


def _name(seen: HostObserved) -> str:
    """Return the cluster of ours that a host belongs to as it remembers, or as its CA says; "" for none of ours."""
    named = [m[1] for text in _cas(seen).values() if (m := _OF_CLUSTER.fullmatch(pki.common_name(text)))]
    return seen.owner.cluster if seen.owner else named[0] if named else ""


def _is_no_run_of_ours(seen: HostObserved) -> bool:
    """Say whether no run of ours was ever here: such a host is for the check of other tools' clusters to judge."""
    return not _name(seen) and seen.epoch == 0


def _is_founded(seen: HostObserved) -> bool:
    return seen.state(BOOTSTRAP_MARK.kind, BOOTSTRAP_MARK.path) != ABSENT


def _has_members(seen: HostObserved) -> bool:
    return _is_founded(seen) or seen.state(MEMBER.kind, MEMBER.path) != ABSENT


def claim(session: Session) -> None:
    """Let every host remember that it is this cluster's, before the first change; the lock must be held.

    RefusedForSafety where a run of another cluster was quicker since the survey.
    """
    own = ours(session)
    hosts = {host: seen for host, seen in session.observed.items()
             if seen.owner != own and host not in session.unreachable}
    epoch = session.run.epoch or 0
    raise_all(session.hosts.map(lambda one: one.fence(
        epoch, owner=own, instead_of=hosts[one.name].owner), hosts))
