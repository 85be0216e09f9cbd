"""`etcd restore`: etcd's data as a snapshot holds it, on every member; rehearsed here before a host is asked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from provisioner.compile.etcd import cluster_token
from provisioner.decide import restoring as decide
from provisioner.errors import KubewrightError, RefusedForSafety
from provisioner.model.desired import Desired
from provisioner.model.plan import NOTED, Plan, Verdict
from provisioner.model.snapshot import Restore
from provisioner.operate import etcd, recovery, snapshots
from provisioner.orchestrate.look import snapshots as look
from provisioner.orchestrate.phases import restoring
from provisioner.orchestrate.plan import owner, restorable, survey
from provisioner.orchestrate.plan.approval import Agreed
from provisioner.orchestrate.run.options import Intent
from provisioner.orchestrate.run.verb import Consent
from provisioner.orchestrate.session.phase import Phase
from provisioner.orchestrate.session.session import Session

VERB = "etcd restore"


def plan(session: Session, intent: Intent, agreed: Agreed) -> Plan:
    """Prove that the snapshot can be restored, then look at the hosts; reads only.

    Every host of a member or an API server has to answer: what runs on with the data of before would be a second
    cluster. Raises what the rehearsal does, RefusedForSafety where there is no cluster yet.
    """
    file = _file(intent)
    if intent.verb == VERB:
        session.run.go_on = " ".join(["kubewright etcd restore", str(file), *(f"--allow {a}" for a in intent.allow)])
    found = look.opened(session, file, intent.allow)
    proof, keys = look.rehearsed(session, found)
    snapshots.note_proof(file, proof)
    desired = admitted(session, intent)
    told, seen = _compared(session, keys)
    bump = decide.bump(proof.revision, max(seen, _known(session)))
    session.target.restore = Restore(
        found.db, found.sha256, found.hashed, proof.keys, bump, proof.revision + bump,
        f"{cluster_token(session.cluster.cluster, session.target.secrets.public()['etcd-ca.crt'])}-{session.run.id}",
        None if intent.verb == VERB else file)
    return planned(session, desired, told)


def admitted(session: Session, intent: Intent) -> Desired:
    """Look at the hosts, and return what is desired there; raises where one of them does not answer or is another's."""
    desired = survey.observe(session, survey.looked_at, partial=True)     # the API may be dead, and is not asked
    bootstrap = not survey.is_bootstrapped(session.observed)
    owner.refuse_foreign(session, bootstrap=bootstrap)
    if bootstrap:
        raise RefusedForSafety("there is no cluster yet to put data back into", code="no-cluster",
                               details=["nothing was changed"], hint="kubewright up")
    for host in (*session.cluster.etcd_hosts, *session.cluster.control_planes):
        if host.name in session.unreachable:
            raise session.unreachable[host.name]
    restorable.refuse_others(session, desired, intent.allow)
    return desired


def planned(session: Session, desired: Desired, told: tuple[Verdict, ...], *, holds: bool = False) -> Plan:
    """Return the plan of a restore: what is stopped and started; `holds`: by members that have the data already."""
    session.run.as_they_run |= set(desired.hosts)       # what units read now counts, whatever is asked for
    unchanged = session.go_by(Plan(cluster=session.cluster.cluster, desired=desired, verdicts=told))
    changes = tuple(c for of_host in restoring.stops(session, holds=holds).values() for c in of_host)
    return session.go_by(replace(unchanged, changes=changes))


def _compared(session: Session, keys: Mapping[bytes, int]) -> tuple[tuple[Verdict, ...], int]:
    """Say what the restore does to the objects that are there now, and return the newest revision that was seen."""
    live = restoring.answers(session)
    unseen = "no member answers"
    if live is not None:
        host, status = live
        try:
            now = etcd.revisions(session.access.etcd(host))
            return tuple(Verdict(d.kind, "restore", NOTED, d.sentence)
                         for d in decide.differences(keys, now)), status.revision
        except KubewrightError as fault:
            unseen = fault.message
    return (Verdict("objects", "restore", NOTED, f"what is there now is not seen: {unseen}"),), 0


def _known(session: Session) -> int:
    """Return the newest revision that any snapshot here was taken at, or a restore has led to.

    Where no member answers, nothing else tells.
    """
    place = session.target.inventory.snapshots_dir
    return max([snapshots.reached(place), *(m.revision for m in snapshots.manifests(place))])


def _file(intent: Intent) -> Path:
    if intent.file is None:
        raise KubewrightError("a restore without a snapshot")
    return intent.file


def consent(intent: Intent, found: Plan) -> Consent:
    """Ask for the cluster's data as a whole."""
    return Consent(f"Put the data of cluster {found.cluster} back?", f"restore etcd of {found.cluster}")


def through(intent: Intent, found: Plan) -> tuple[Phase, ...]:
    """Return the phases of a restore."""
    return restoring.PHASES


def finish(session: Session, intent: Intent, epoch: int | None) -> None:
    """Forget a recovery that was begun: what is there now is what was asked for."""
    recovery.forget(session.target.inventory.snapshots_dir)
