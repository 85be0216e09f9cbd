"""Snapshots of etcd as files: the data and the keys that it needs, each encrypted to the operators, and a manifest.

`FILE` is the data, `FILE.json` the manifest, `FILE.keys` the secrets of the inventory as they were then, and
`FILE.proved.json` what the last rehearsal showed. A file in the clear, as etcdctl writes it, is read as well.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import io
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from provisioner.errors import RefusedForSafety, UsageFault
from provisioner.files import whole, write_whole
from provisioner.model.finding import Finding
from provisioner.model.snapshot import Manifest, Proof
from provisioner.operate.secrets import SECRET_NAMES, SecretStore

CHUNK = 1 << 20
SUM = 32                # bytes of the SHA-256 that etcd appends
SECTOR = 512            # a database's pages are multiples of it, so a copy without a sum has no rest
AGE = b"age-encryption.org/"
REACHED = "restored-to"
NO_HASH, NO_MANIFEST = "snapshot-without-hash", "snapshot-without-manifest"


def beside(file: Path, what: str) -> Path:
    """Return the file of another kind that goes with a snapshot."""
    return file.with_name(f"{file.name}.{what}")


@dataclass(frozen=True)
class Opened:
    """A snapshot in the clear at `db`; `hashed` says whether etcd's own sum is in it and right.

    `manifest` is None where there is none beside it; `keys` are the secrets by name, empty where none lie beside it.
    """

    db: Path
    hashed: bool
    manifest: Manifest | None
    keys: Mapping[str, bytes]
    sha256: str

    def __repr__(self) -> str:
        return f"Opened({self.db})"


def digest(path: Path) -> str:
    """Return the SHA-256 of a file."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def is_hashed(db: Path) -> bool:
    """Say whether etcd's own sum stands at the end of a snapshot; RefusedForSafety where it is wrong or cut off."""
    size = db.stat().st_size
    if size and size % SECTOR == 0:
        return False
    if size % SECTOR != SUM:
        raise _refused(db, f"{size} bytes, which is no whole snapshot")
    total, left = hashlib.sha256(), size - SUM
    with db.open("rb") as stream:
        while left and (piece := stream.read(min(CHUNK, left))):
            total.update(piece)
            left -= len(piece)
        stands = stream.read()
    if total.digest() != stands:
        raise _refused(db, "its bytes are not those that etcd made the sum of")
    return True


def keep(db: Path, file: Path, manifest: Manifest, store: SecretStore) -> None:
    """Write a snapshot in the clear to `file` with all that goes with it; the data gets its name last."""
    secrets = json.dumps({name: store.resolve(name).decode() for name in SECRET_NAMES}
                         | {name: text for name, text in store.public().items()})
    sealed = io.BytesIO()
    store.seal(io.BytesIO(secrets.encode()), sealed)
    try:
        write_whole(beside(file, "keys"), sealed.getvalue())
        write_whole(beside(file, "json"), json.dumps(manifest.to_json(), indent=1) + "\n")
        beside(file, "proved.json").unlink(missing_ok=True)
        with whole(file) as stream, db.open("rb") as plain:
            store.seal(plain, stream)
    except OSError as fault:
        raise UsageFault(f"{file}: writing the snapshot: {fault.strerror}", hint=f"df -h {file.parent}") from None


def open_(file: Path, store: SecretStore, db: Path) -> Opened:
    """Decrypt a snapshot into `db` and see that it is whole and what its manifest says.

    Raises RefusedForSafety where it is not, UsageFault where it cannot be read, InventoryRefused where no key opens it.
    """
    try:
        descriptor = os.open(db, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w+b") as plain, file.open("rb") as stream:
            if stream.read(len(AGE)) == AGE:
                store.unseal(file, plain)
            else:
                stream.seek(0)
                while piece := stream.read(CHUNK):
                    plain.write(piece)
    except OSError as fault:
        raise UsageFault(f"{file}: reading the snapshot: {fault.strerror}", details=["nothing was changed"]) from None
    manifest, sha256 = _manifest(file), digest(db)
    if manifest is not None and (manifest.sha256, manifest.size) != (sha256, db.stat().st_size):
        raise _refused(file, f"{db.stat().st_size} bytes with sha256 {sha256[:16]}, its manifest says "
                             f"{manifest.size} with {manifest.sha256[:16]}")
    return Opened(db, is_hashed(db), manifest, _keys(file, store), sha256)


def _manifest(file: Path) -> Manifest | None:
    place = beside(file, "json")
    if not place.is_file():
        return None
    try:
        return Manifest.read(place.read_text(encoding="utf-8"))
    except ValueError as fault:
        raise _refused(place, str(fault)) from None


def _keys(file: Path, store: SecretStore) -> dict[str, bytes]:
    place, plain = beside(file, "keys"), io.BytesIO()
    if not place.is_file():
        return {}
    store.unseal(place, plain)
    return {str(name): str(text).encode() for name, text in json.loads(plain.getvalue()).items()}


def note_proof(file: Path, proof: Proof) -> None:
    """Keep what a rehearsal showed beside the snapshot."""
    write_whole(beside(file, "proved.json"), json.dumps(proof.to_json(), indent=1) + "\n", 0o644)


def note_reached(directory: Path, revision: int) -> None:
    """Keep the revision at which a restore lets members begin: no later restore of an old file may come back to it."""
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    write_whole(directory / REACHED, f"{max(revision, reached(directory))}\n")


def reached(directory: Path) -> int:
    """Return the highest revision that a restore from this machine has led to, 0 where there was none."""
    place = directory / REACHED
    try:
        return int(place.read_text(encoding="utf-8")) if place.is_file() else 0
    except ValueError:
        raise RefusedForSafety(f"{place}: not what a restore wrote there", code="snapshot-damaged",
                               details=["nothing was changed"], hint=f"rm {place}") from None


@dataclass(frozen=True)
class Newest:
    """The ages in seconds of the newest snapshot and of the newest one that a rehearsal has proved; None: none.

    `taken_on` and `proved_on` are the hosts that keep them, "" for this machine.
    """

    taken: float | None
    proved: float | None
    taken_on: str = ""
    proved_on: str = ""


@dataclass(frozen=True)
class OnHost:
    """What a host's timer keeps there, by its own summary: ages in seconds, and which one was not proved, and why."""

    taken: float | None = None
    proved: float | None = None
    failed: str = ""


def newest(directory: Path, now: float) -> Newest:
    """Return how old the newest snapshots in a directory are, by the time at which they were taken."""
    ages = {file: now - _moment(one.taken) for file, one in _kept(directory)}
    proved = [age for file, age in ages.items() if beside(file, "proved.json").is_file()]
    return Newest(min(ages.values(), default=None), min(proved, default=None))


def on_host(text: str, now: float) -> OnHost:
    """Read the summary of a host's timer; one that is not whole tells nothing."""
    try:
        said = json.loads(text)
        taken, proved = (now - _moment(said[what]) if said[what] else None for what in ("taken", "proved"))
        failed = said["failed"]
        return OnHost(taken, proved, f"{failed['file']}: {failed['saw']}" if failed else "")
    except (KeyError, TypeError, ValueError):
        return OnHost()


def of_all(here: Newest, hosts: Mapping[str, OnHost]) -> Newest:
    """Return the newest of those here and of those on hosts; of two that are equally old the one here."""
    taken = min(_ages(here.taken, {host: one.taken for host, one in hosts.items()}), default=None)
    proved = min(_ages(here.proved, {host: one.proved for host, one in hosts.items()}), default=None)
    return Newest(taken[0] if taken else None, proved[0] if proved else None, taken[1] if taken else "",
                  proved[1] if proved else "")


def _ages(here: float | None, hosts: Mapping[str, float | None]) -> Iterator[tuple[float, str]]:
    return ((age, host) for host, age in {"": here, **hosts}.items() if age is not None)


def of_proofs(hosts: Mapping[str, OnHost]) -> Iterator[Finding]:
    """Judge what hosts proved of the snapshots that they took: one that is not restorable may tell of more."""
    for host, one in hosts.items():
        if one.failed:
            yield Finding("snapshot-proof", host, "error", f"a snapshot that it took is not proved to be restorable: "
                          f"{one.failed}", f"kubewright logs {host} kubewright-etcd-snapshot",
                          expected="every snapshot that a host takes can be restored")


def line(ages: Newest) -> str:
    """Say how old the newest snapshot is, and the newest that was proved to be restorable."""
    if ages.taken is None:
        return "none here: kubewright etcd snapshot"
    proved = "none proved: kubewright etcd restore --rehearse FILE" if ages.proved is None else (
        f"newest proved {_age(ages.proved)} old{_place(ages.proved_on)}")
    return f"newest {_age(ages.taken)} old{_place(ages.taken_on)}, {proved}"


def _place(host: str) -> str:
    return f" on {host}" if host else ""


def _moment(written: str) -> float:
    return dt.datetime.fromisoformat(written).timestamp()


def _age(seconds: float) -> str:
    minutes = int(seconds // 60)
    return f"{minutes} min" if minutes < 120 else f"{minutes // 60} h" if minutes < 48 * 60 else f"{minutes // 1440} d"


def manifests(directory: Path) -> list[Manifest]:
    """Return the manifests of the snapshots in a directory."""
    return [one for _, one in _kept(directory)]


def _kept(directory: Path) -> Iterator[tuple[Path, Manifest]]:
    for place in sorted(directory.glob("*.json")):
        file = place.with_name(place.name.removesuffix(".json"))
        if file.is_file():
            with suppress(ValueError):      # that of something else
                yield file, Manifest.read(place.read_text(encoding="utf-8"))


def _refused(file: Path, saw: str) -> RefusedForSafety:
    return RefusedForSafety(f"{file}: reading the snapshot: {saw}", code="snapshot-damaged",
                            details=["nothing was changed"], hint="use another copy of it")
