"""Snapshots of etcd: taken from one member, and proved by a member that is started from them here and thrown away."""

from __future__ import annotations

import datetime as dt
import os
import time
from contextlib import suppress
from pathlib import Path

from provisioner.compile.etcd import ca_fingerprint
from provisioner.errors import GateFailed, KubewrightError, RefusedForSafety
from provisioner.model.etcd import EtcdStatus
from provisioner.model.snapshot import Manifest, Proof
from provisioner.operate import at_rest, etcd, snapshots
from provisioner.operate.access import Access
from provisioner.operate.snapshots import NO_HASH, NO_MANIFEST, Opened
from provisioner.orchestrate.gates import etcd_members
from provisioner.orchestrate.look import throw_away
from provisioner.orchestrate.session import rundir
from provisioner.orchestrate.session.session import Session

STREAM_RATE = 1_000_000     # bytes a second that a stream through SSH reaches at the very least
STREAM_SLACK = 60.0
TRIES = 2                   # a compaction between a snapshot and its count is followed by none for five minutes
SECRETS = b"/registry/secrets/"
CONFIG = "encryption-config"


def default_file(session: Session, now: float) -> Path:
    """Return where a snapshot goes that nobody named a place for."""
    moment = time.strftime("%Y%m%d-%H%M%S", time.gmtime(now))
    return session.target.inventory.snapshots_dir / f"{session.cluster.cluster}-{moment}.db.age"


def private(session: Session) -> Path:
    """Return the directory of this run in which a snapshot may lie in the clear."""
    place = session.run.directory / rundir.SNAPSHOTS
    place.mkdir(mode=0o700, parents=True, exist_ok=True)
    return place


def take(session: Session, file: Path) -> Manifest:
    """Take a snapshot of the member that is furthest, the leader only where no other is, and keep it at `file`.

    It is read from its first key to its last before it gets its name. GateFailed where no member answers,
    RefusedForSafety where something is there already.
    """
    there = [p.name for p in (file, *(snapshots.beside(file, what) for what in ("json", "keys"))) if p.exists()]
    if there:
        raise RefusedForSafety(
            f"{file}: taking a snapshot: {', '.join(there)} is there already", code="snapshot-exists",
            details=["nothing was written: an older snapshot is never given up for a new one"],
            hint="kubewright etcd snapshot    # without --out each has a name of its own")
    session.target.secrets.prove()      # before the minutes that it may take
    place = private(session)
    programs = throw_away.programs(session.target.artifacts, place)
    for attempt in range(TRIES):
        db = place / f"taken-{attempt}.db"
        host, seen = chosen(session)
        try:
            manifest = _taken(session, host, seen, db, programs)
        except etcd.EtcdFault as fault:
            if attempt + 1 == TRIES:
                raise fault
            continue
        break
    snapshots.keep(db, file, manifest, session.target.secrets)
    return manifest


def chosen(session: Session) -> tuple[str, EtcdStatus]:
    """Return the member that a snapshot is taken of, and what it says of itself."""
    answers = etcd_members.members(session, [h.name for h in session.cluster.etcd_hosts])
    seen = {h: a for h, a in answers.items() if isinstance(a, EtcdStatus) and not a.learner}
    if not seen:
        raise GateFailed("no etcd member answers", hint="kubewright etcd members", details=[
            *(a.message for a in answers.values() if isinstance(a, KubewrightError)), "nothing was written"])
    host = max(seen, key=lambda h: (bool(seen[h].leader_id), seen[h].applied, not seen[h].is_leader, h))
    return host, seen[host]


def _taken(session: Session, host: str, seen: EtcdStatus, db: Path, programs: throw_away.Programs) -> Manifest:
    access = session.access.etcd(host)
    with os.fdopen(os.open(db, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as plain:
        seen = etcd.snapshot(access, plain.write, timeout=STREAM_SLACK + seen.db_size / STREAM_RATE)
    if not snapshots.is_hashed(db):
        raise GateFailed(f"{host}: streaming a snapshot: it ended without etcd's own sum", details=["nothing was kept"],
                         hint="kubewright etcd snapshot")
    revision = throw_away.revision_of(programs, db)
    hashed, since = etcd.hash_of(access, revision)
    return Manifest(
        session.cluster.cluster, ca(session), f"{seen.cluster_id:x}", host,
        tuple(f"{m.name}={','.join(m.peer_urls)}" for m in seen.members), seen.version, session.cluster.kubernetes,
        revision, etcd.count(access, revision=revision), hashed, since, snapshots.digest(db), db.stat().st_size,
        dt.datetime.now(dt.UTC).isoformat(timespec="seconds"))


def ca(session: Session) -> str:
    """Return the fingerprint of the CA by which members of this cluster know each other."""
    return ca_fingerprint(session.target.secrets.public()["etcd-ca.crt"])


def opened(session: Session, file: Path, allowed: tuple[str, ...] = ()) -> Opened:
    """Decrypt a snapshot into this run's private directory, and refuse one that is not whole or not this cluster's.

    `allowed` may name what a copy lacks that etcdctl or a person made: etcd's own sum, or a manifest.
    """
    found = snapshots.open_(file, session.target.secrets, private(session) / "given.db")
    manifest = found.manifest
    if manifest is not None and manifest.etcd_ca != ca(session):
        raise RefusedForSafety(
            f"{file}: it is of another cluster: {manifest.cluster} with etcd CA {manifest.etcd_ca[:16]}, "
            f"this is {session.cluster.cluster} with {ca(session)[:16]}", code="snapshot-foreign",
            details=["nothing was changed"], hint="use the inventory that it was taken with")
    if not found.hashed and NO_HASH not in allowed:
        raise RefusedForSafety(
            f"{file}: it has no sum of etcd's: it is a copy of a member's file, not a snapshot", code=NO_HASH,
            details=["what such a copy lacks cannot be seen: what was still in the member's log, and any damage",
                     "nothing was changed"], hint=f"kubewright etcd restore {file} --allow {NO_HASH}")
    if manifest is None and NO_MANIFEST not in allowed:
        raise RefusedForSafety(
            f"{file}: no {file.name}.json is beside it, which says whose data it is", code=NO_MANIFEST,
            details=["without it only a Secret that our keys open shows that it is this cluster's",
                     "nothing was changed"], hint=f"kubewright etcd restore {file} --allow {NO_MANIFEST}")
    return found


def rehearsed(session: Session, found: Opened) -> tuple[Proof, dict[bytes, int]]:
    """Start a member from a snapshot here, compare what it holds, and throw it away; no cluster is asked anything.

    Returns what was proved, and each key with the revision that it was last written at. RefusedForSafety where the
    member has other keys than the one that the snapshot was taken of, or the keys beside it open no Secret.
    """
    began = time.monotonic()
    place = private(session)
    programs = throw_away.programs(session.target.artifacts, place)
    revision = throw_away.revision_of(programs, found.db)
    with throw_away.member(programs, found.db, _empty(place / "rehearsal"), hashed=found.hashed) as access:
        keys = etcd.revisions(access)
        proof = Proof(revision, len(keys), _same(found.manifest, access, revision, len(keys)),
                      _secret(session, found, access), round(time.monotonic() - began, 1),
                      dt.datetime.now(dt.UTC).isoformat(timespec="seconds"))
    return proof, keys


def _empty(place: Path) -> Path:
    place.mkdir(mode=0o700)
    return place


def _same(manifest: Manifest | None, access: Access, revision: int, keys: int) -> bool | None:
    """Compare with what the manifest's member had; None where there is nothing to compare a hash with."""
    if manifest is None:
        return None
    if (manifest.revision, manifest.keys) != (revision, keys):
        raise _other(f"{keys} keys at revision {revision}, its manifest says {manifest.keys} at {manifest.revision}")
    hashed, since = etcd.hash_of(access, revision)
    if since != manifest.compacted:
        return None
    if hashed != manifest.hash:
        raise _other(f"hash {hashed:08x} at revision {revision}, its manifest says {manifest.hash:08x}")
    return True


def _secret(session: Session, found: Opened, access: Access) -> str:
    """Return the name of a Secret that was decrypted, empty where there is none; with the keys beside the snapshot.

    And with those that the API servers have now, else they could not read what is restored.
    """
    first = etcd.first(access, SECRETS)
    if first is None:
        return ""
    key, value = first[0].decode(errors="replace"), first[1]
    ours = session.target.secrets.resolve(CONFIG)
    for whose, config in (("the keys beside it", found.keys.get(CONFIG)), ("the keys of this inventory", ours)):
        try:
            if config is not None:
                at_rest.opened(value, config)
        except at_rest.NotOpened as why:
            raise RefusedForSafety(f"the snapshot: decrypting {key} with {whose}: {why}", code="snapshot-keys",
                                   details=["restored, the API servers could not read its Secrets",
                                            "nothing was changed"],
                                   hint="use the inventory and the secrets that it was taken with") from None
    return key.removeprefix("/registry/")


def _other(saw: str) -> RefusedForSafety:
    return RefusedForSafety(f"the snapshot: a member started from it has {saw}", code="snapshot-damaged",
                            details=["nothing was changed"], hint="use another copy of it")


def clean(session: Session) -> None:
    """Remove what lies in the clear, as soon as nobody needs it any more."""
    with suppress(FileNotFoundError):
        for file in private(session).glob("*.db"):
            file.unlink()
