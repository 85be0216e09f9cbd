"""Snapshots of real members on loopback: taken, kept, refused where they are not whole or not ours, and rehearsed."""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from nacl.secret import SecretBox

from provisioner.artifacts.lockfile import load_lock
from provisioner.compile import snapshots as timed
from provisioner.compile.etcd import ca_fingerprint
from provisioner.compile.render import render
from provisioner.errors import GateFailed, KubewrightError, RefusedForSafety
from provisioner.model.paths import data_dir
from provisioner.model.snapshot import Manifest
from provisioner.operate import etcd, snapshots
from provisioner.operate.access import Access
from provisioner.operate.secrets import SecretStore
from provisioner.orchestrate.look import snapshots as look
from provisioner.orchestrate.look import throw_away
from provisioner.orchestrate.session.session import Session
from tests.fakes.session import FakeAccess, World
from tests.real.binaries import LOCK, binary, until
from tests.unit.operate.test_etcd import running

pytestmark = [pytest.mark.binaries, pytest.mark.timeout(180)]
NAMES = ["cp1", "cp2", "cp3"]
KEYS = 300
STATUS = etcd.status        # which hosts in memory answer in its place


def put(access: Access, key: str, value: bytes) -> None:
    with etcd.client_of(access, 10, "writing") as (client, _):
        client.put(key, value)


def closed(config: bytes, plain: bytes) -> bytes:
    """Return a value as an API server stores it."""
    key = json.loads(config)["resources"][0]["providers"][0]["secretbox"]["keys"][0]
    box = SecretBox(base64.b64decode(key["secret"])).encrypt(plain)
    return f"k8s:enc:secretbox:v1:{key['name']}:".encode() + bytes(box)


@pytest.fixture(scope="module")
def members(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Access]]:
    with running(tmp_path_factory.mktemp("members"), NAMES) as found:
        yield found


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, members: dict[str, Access]) -> World:
    made = World.make(tmp_path, monkeypatch)
    made.secrets().create(made.inventory.cluster.cluster)
    monkeypatch.setattr(FakeAccess, "etcd", lambda self, host: members[host])
    monkeypatch.setattr(etcd, "status", STATUS)
    return made


def session_of(world: World) -> Session:
    session = world.session(run=False)
    session.target.artifacts = load_lock(LOCK)
    return session


@pytest.fixture
def filled(world: World, members: dict[str, Access]) -> World:
    """Return the world whose members hold keys, one of them a Secret that its API servers would have closed."""
    config = world.secrets().resolve("encryption-config")
    put(members["cp1"], "/registry/secrets/default/token", closed(config, b"k8s\0\n\x0c\n\x02v1\x12\x06Secret"))
    for number in range(KEYS):
        put(members["cp1"], f"/registry/configmaps/default/c{number}", b"k8s\0" + os.urandom(200))
    return world


def test_a_snapshot_is_kept_encrypted_with_all_that_a_restore_needs_and_is_proved(
        filled: World, members: dict[str, Access], tmp_path: Path) -> None:
    file = tmp_path / "one.db.age"
    with session_of(filled) as session:
        taken = look.take(session, file)
    assert (taken.keys, sorted(m.partition("=")[0] for m in taken.members)) == (KEYS + 1, NAMES)
    assert taken.revision == etcd.status(members["cp1"]).revision
    for part in (file, snapshots.beside(file, "keys")):
        assert part.read_bytes().startswith(b"age-encryption.org/")
        assert part.stat().st_mode & 0o777 == 0o600
    assert not any(b"/registry/configmaps" in part.read_bytes() for part in tmp_path.glob("one*"))
    assert Manifest.read(snapshots.beside(file, "json").read_text()) == taken
    now = time.time()
    assert snapshots.newest(tmp_path, now).proved is None

    with session_of(filled) as session:
        found = look.opened(session, file)
        assert found.keys["ca.key"] == filled.secrets().resolve("ca.key")
        proof, keys = look.rehearsed(session, found)
    assert (proof.keys, proof.revision, proof.hash) == (taken.keys, taken.revision, True)
    assert proof.secret == "secrets/default/token"
    assert keys.keys() == etcd.revisions(members["cp2"]).keys()
    snapshots.note_proof(file, proof)
    ages = snapshots.newest(tmp_path, now)
    assert ages.taken == ages.proved and ages.taken is not None and ages.taken < 60
    assert not [d for run in filled.inventory.runs_dir.iterdir() for d in run.glob("snapshots")]


def damaged(file: Path, how: str) -> Path:
    """Return a copy of a snapshot, in the clear or encrypted, with its manifest and keys, that is damaged."""
    data = bytearray(file.read_bytes())
    copy = file.with_name(f"{how}-{file.name}")
    if how == "cut":
        data = data[:len(data) // 2 + 7]
    elif how == "flipped":
        data[len(data) // 2] ^= 1
    elif how == "empty":
        data = bytearray()
    copy.write_bytes(data)
    for part in ("json", "keys"):
        shutil.copy(snapshots.beside(file, part), snapshots.beside(copy, part))
    return copy


def plain_of(session: Session, file: Path, target: Path) -> Path:
    """Return a snapshot in the clear with its manifest beside it."""
    found = look.opened(session, file)
    shutil.copy(found.db, target)
    found.db.unlink()
    for part in ("json", "keys"):
        shutil.copy(snapshots.beside(file, part), snapshots.beside(target, part))
    return target


@pytest.fixture
def snapshot(filled: World, tmp_path: Path) -> Path:
    file = tmp_path / "one.db.age"
    with session_of(filled) as session:
        look.take(session, file)
    return file


@pytest.mark.parametrize("how", ["cut", "flipped", "empty"])
@pytest.mark.parametrize("form", ["sealed", "plain", "bare"])
def test_a_snapshot_that_is_damaged_is_refused_in_whatever_form(
        filled: World, snapshot: Path, tmp_path: Path, how: str, form: str) -> None:
    with session_of(filled) as session:
        file = snapshot if form == "sealed" else plain_of(session, snapshot, tmp_path / "plain.db")
        file = damaged(file, how)
        if form == "bare":
            snapshots.beside(file, "json").unlink()
        with pytest.raises(KubewrightError) as refused:
            look.opened(session, file, (snapshots.NO_MANIFEST,))
    assert refused.value.code in ("snapshot-damaged", snapshots.NO_HASH)
    assert "nothing was changed" in refused.value.details


def test_damage_that_no_sum_tells_is_found_when_the_snapshot_is_read(
        filled: World, snapshot: Path, tmp_path: Path) -> None:
    with session_of(filled) as session:
        plain = plain_of(session, snapshot, tmp_path / "plain.db")
        data = bytearray(plain.read_bytes()[:-32])
        data[4096 * 2:4096 * 6] = bytes(4096 * 4)
        plain.write_bytes(data + hashlib.sha256(data).digest())
        snapshots.beside(plain, "json").unlink()
        with pytest.raises(RefusedForSafety) as refused:
            look.rehearsed(session, look.opened(session, plain, (snapshots.NO_MANIFEST,)))
    assert refused.value.code == "snapshot-damaged"


EMPTY = "#!/bin/sh\nexit 3\n"
WITHOUT_DATA = ('#!/bin/sh\nfor word in "$@"; do case $word in --data-dir=*/data) echo torn page; exit 3;; esac; done\n'
                'exec {} "$@"\n')


@pytest.mark.parametrize(("name", "text", "code", "said"), [
    ("etcdutl", "no program", "etcd-unfit", "the etcdutl that artifacts.lock pins cannot be run: Exec format error"),
    ("etcdutl", EMPTY, "etcd-unfit", "the etcdutl that artifacts.lock pins does not work: no word"),
    ("etcd", "no program", "etcd-unfit", "the etcd that artifacts.lock pins does not serve, without any data either"),
    ("etcd", EMPTY, "etcd-unfit", "the etcd that artifacts.lock pins does not serve, without any data either"),
    ("etcd", WITHOUT_DATA, "snapshot-damaged", "a member started from the snapshot does not serve: torn page")],
    ids=["etcdutl no program", "etcdutl fails", "etcd no program", "etcd fails", "etcd fails on this data alone"])
def test_whether_the_snapshot_or_the_pinned_program_is_bad_is_told(
        filled: World, snapshot: Path, tmp_path: Path, name: str, text: str, code: str, said: str) -> None:
    with session_of(filled) as session:
        plain = plain_of(session, snapshot, tmp_path / "plain.db")
    programs = throw_away.programs(load_lock(LOCK), tmp_path)
    bad = tmp_path / f"bad-{name}"
    bad.write_text(text.format(programs.etcd), encoding="utf-8")
    bad.chmod(0o700)
    (tmp_path / "rehearsal").mkdir()
    with pytest.raises(RefusedForSafety) as refused, throw_away.member(
            dataclasses.replace(programs, **{name: bad}), plain, tmp_path / "rehearsal"):
        raise AssertionError("it serves")
    assert refused.value.code == code
    assert said in refused.value.message and "nothing was changed" in refused.value.details


def test_a_copy_without_etcds_sum_or_without_a_manifest_has_to_be_named(
        filled: World, snapshot: Path, tmp_path: Path) -> None:
    with session_of(filled) as session:
        plain = plain_of(session, snapshot, tmp_path / "plain.db")
        with pytest.raises(RefusedForSafety) as refused:
            look.opened(session, _renamed(plain, "bare.db"))
        assert refused.value.code == snapshots.NO_MANIFEST
    with session_of(filled) as session:
        copy = tmp_path / "copy.db"
        copy.write_bytes(plain.read_bytes()[:-32])
        with pytest.raises(RefusedForSafety) as refused:
            look.opened(session, copy, (snapshots.NO_MANIFEST,))
        assert refused.value.code == snapshots.NO_HASH
    with session_of(filled) as session:
        proof, _ = look.rehearsed(session, look.opened(session, copy, (snapshots.NO_MANIFEST, snapshots.NO_HASH)))
    assert (proof.hash, proof.secret, proof.keys) == (None, "secrets/default/token", KEYS + 1)


def _renamed(file: Path, name: str) -> Path:
    return Path(shutil.copy(file, file.with_name(name)))


def test_a_snapshot_of_another_cluster_or_with_other_keys_is_refused(
        filled: World, snapshot: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch, session_of(filled) as session:
        patch.setattr(look, "ca", lambda session: "ab" * 32)
        with pytest.raises(RefusedForSafety) as refused:
            look.opened(session, snapshot)
    assert refused.value.code == "snapshot-foreign" and "another cluster" in refused.value.message

    (tmp_path / "other").mkdir()
    with pytest.MonkeyPatch.context() as patch:
        other = World.make(tmp_path / "other", patch)
        other.secrets().create("lab")
        config = other.secrets().resolve("encryption-config")
    with session_of(filled) as session:
        found = look.opened(session, snapshot)
        session.target.secrets._opened["encryption-config"] = config
        with pytest.raises(RefusedForSafety, match=r"decrypting /registry/secrets/default/token with the keys of this"):
            look.rehearsed(session, found)


def test_a_snapshot_with_a_key_less_than_its_manifest_says_is_refused(filled: World, snapshot: Path) -> None:
    place = snapshots.beside(snapshot, "json")
    document = json.loads(place.read_text())
    place.write_text(json.dumps(document | {"keys": document["keys"] + 1}))
    with session_of(filled) as session, pytest.raises(RefusedForSafety, match=f"{KEYS + 1} keys at revision"):
        look.rehearsed(session, look.opened(session, snapshot))
    place.write_text(json.dumps(document | {"hash": document["hash"] ^ 1}))
    with session_of(filled) as session, pytest.raises(RefusedForSafety, match="hash"):
        look.rehearsed(session, look.opened(session, snapshot))


def test_where_no_member_answers_nothing_is_written(world: World, tmp_path: Path,
                                                     monkeypatch: pytest.MonkeyPatch) -> None:
    gone = Access(("127.0.0.1", 9), tmp_path / "ca", tmp_path / "crt", tmp_path / "key")
    for name in ("ca", "crt", "key"):
        (tmp_path / name).write_bytes(b"")
    monkeypatch.setattr(FakeAccess, "etcd", lambda self, host: gone)
    with session_of(world) as session, pytest.raises(GateFailed, match="no etcd member answers"):
        look.take(session, tmp_path / "out.db.age")
    assert not list(tmp_path.glob("*out*"))


def test_a_rehearsal_that_is_killed_leaves_no_process_and_its_data_goes_with_the_next_verb(
        filled: World, snapshot: Path) -> None:
    """Kill -9 of the process that rehearses, while its member runs."""
    code = ("import os, sys, time\nfrom pathlib import Path\nfrom provisioner.artifacts.lockfile import load_lock\n"
            "from provisioner.orchestrate.look import throw_away\nplace = Path(sys.argv[1])\n"
            "programs = throw_away.programs(load_lock(Path(sys.argv[3])), place)\n(place / 'r').mkdir()\n"
            "with throw_away.member(programs, Path(sys.argv[2]), place / 'r'):\n    print('up', flush=True)\n"
            "    time.sleep(60)\n")
    with session_of(filled) as session:
        db = look.opened(session, snapshot).db
        child = subprocess.Popen([sys.executable, "-c", code, str(db.parent), str(db), str(LOCK)],
                                 stdout=subprocess.PIPE, cwd=LOCK.parents[2])
        assert child.stdout is not None and child.stdout.readline() == b"up\n"
        assert _running(db.parent)
        os.kill(child.pid, signal.SIGKILL)
        child.wait(10)
        until(lambda: not _running(db.parent), 20, "the member is gone")
        child.stdout.close()
    assert not db.parent.exists()


def _running(place: Path) -> list[str]:
    found = []
    for one in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = one.read_bytes().decode(errors="replace")
        except OSError:
            continue
        if str(place) in words and "/etcd\0" in words:
            found.append(words)
    return found


def test_a_host_s_own_program_takes_snapshots_and_keeps_the_newest(members: dict[str, Access], tmp_path: Path) -> None:
    """The program that the timer starts, with this machine's places in those of the host."""
    place, programs = tmp_path / "place", tmp_path / "programs"
    place.mkdir()
    programs.mkdir()
    way = members["cp1"]
    etcdctl = (f"{binary('etcdctl', programs)} --endpoints=https://127.0.0.1:{way.address[1]} --cacert={way.ca_file} "
               f"--cert={way.cert_file} --key={way.key_file} --command-timeout=60s")
    text = render(timed.PROGRAM, etcdctl=etcdctl, etcdutl=str(binary("etcdutl", programs)), place=str(place), keep=2)
    (place / "etcd-20200101-000000.db").write_bytes(b"old")
    (place / "notes.txt").write_bytes(b"somebody's")
    taken: set[str] = set()
    for _ in range(2):
        subprocess.run(["sh", "-c", text], check=True, capture_output=True, timeout=60)
        taken |= {file.name for file in place.glob("etcd-*.db")} - {"etcd-20200101-000000.db"}
        time.sleep(1.0 - time.time() % 1.0)     # a name is free again with the next second
    assert {file.name for file in place.iterdir()} == {*taken, "notes.txt"} and len(taken) == 2
    for name in taken:
        assert snapshots.is_hashed(place / name)
        assert (place / name).stat().st_mode & 0o777 == 0o600
    broken = text.replace(f"--cacert={way.ca_file}", f"--cacert={way.key_file}")
    failed = subprocess.run(["sh", "-c", broken], capture_output=True, timeout=120, check=False)
    assert failed.returncode != 0 and len(list(place.glob("etcd-*.db"))) == 2, "what is kept stays"


def settings_of(way: Access, programs: Path, place: Path, store: SecretStore) -> dict[str, Any]:
    """Return what a host's program is told, with this machine's places in those of the host."""
    config = place.parent / "encryption-config.yaml"
    config.write_bytes(store.resolve("encryption-config"))
    return {
        "etcdctl": [str(binary("etcdctl", programs)), f"--endpoints=https://127.0.0.1:{way.address[1]}",
                    f"--cacert={way.ca_file}", f"--cert={way.cert_file}", f"--key={way.key_file}"],
        "etcdutl": str(binary("etcdutl", programs)), "etcd": str(binary("etcd", programs)), "place": str(place),
        "encryption": str(config), "member": "cp1", "cluster": "lab", "kubernetes": "1.36.3",
        "etcd_ca": ca_fingerprint(store.public()["etcd-ca.crt"])}


def test_a_host_s_own_program_proves_what_it_took_and_says_what_is_not_as_it_was(
        filled: World, members: dict[str, Access], tmp_path: Path) -> None:
    place, programs = tmp_path / "place", tmp_path / "programs"
    place.mkdir()
    programs.mkdir()
    way = members["cp1"]
    told = settings_of(way, programs, place, filled.secrets())
    settings = tmp_path / "settings.json"
    settings.write_text(json.dumps(told))
    file = place / "etcd-20261129-120000.db"
    subprocess.run([*told["etcdctl"], "snapshot", "save", str(file)], check=True, capture_output=True, timeout=60)

    def prove(*names: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run([sys.executable, "-I", str(data_dir("templates") / timed.PROOF.lstrip("/")),
                               str(settings), *names], capture_output=True, text=True, timeout=120, check=False)

    done = prove()
    assert done.returncode == 0, done.stderr
    manifest = Manifest.read(Path(f"{file}.json").read_text())
    assert manifest.etcd_ca == ca_fingerprint(filled.secrets().public()["etcd-ca.crt"])
    proof = json.loads(Path(f"{file}.proved.json").read_text())
    assert proof["hash"] is True and proof["keys"] == manifest.keys and proof["secret"].startswith("secrets/")
    assert not (place / "rehearsal").exists() and not _running(place)
    seen = snapshots.on_host((place / "summary.json").read_text(), time.time())
    assert seen.proved is not None and seen.failed == ""
    with session_of(filled) as session:     # what a host took is restored like any other
        found = look.opened(session, file)
        assert look.rehearsed(session, found)[0].hash is True

    Path(f"{file}.encryption").write_bytes(another_key(told["encryption"]))
    done = prove()
    assert done.returncode == 1 and "none of the keys beside it opens secrets/" in done.stderr
    assert not Path(f"{file}.proved.json").exists()
    manifest_file = Path(f"{file}.json")
    whole = json.loads(manifest_file.read_text())
    for change, why in (({"hash": 1}, "has other data: hash"), ({"keys": 1}, "keys, the one that it was taken of"),
                        ({"sha256": "0" * 64}, "its sha256 is")):
        manifest_file.write_text(json.dumps({**whole, **change}))
        assert prove(file.name).returncode == 1
        failed = snapshots.on_host((place / "summary.json").read_text(), time.time())
        assert why in failed.failed and failed.proved is None, failed


def another_key(config: str) -> bytes:
    """Return an EncryptionConfiguration that names its key as the one there does, and has another."""
    text = Path(config).read_text()
    document = json.loads(text)
    for of_resources in document["resources"]:
        for provider in of_resources["providers"]:
            for key in provider.get("secretbox", {}).get("keys", ()):
                key["secret"] = base64.b64encode(b"x" * 32).decode()
    return json.dumps(document).encode()
