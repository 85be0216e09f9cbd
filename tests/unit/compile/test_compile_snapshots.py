"""The timer that takes snapshots on etcd hosts: only where it is asked for, and to the byte as its golden copies.

`UPDATE_GOLDEN=1` writes them anew.
"""

from __future__ import annotations

import json
import os
import runpy
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from nacl.secret import SecretBox

from provisioner.compile import leavings, snapshots
from provisioner.compile.parts import rendered
from provisioner.compile.removal import removals
from provisioner.model.desired import File, HostDesired
from provisioner.model.observed import HostObserved, OwnedItem
from provisioner.model.paths import data_dir
from tests.unit.compile.compile_fixture import compiled, facts_of, inventory

# As etcdctl 3.6.16 answers.
STATUS = (
    '[{"Endpoint":"https://127.0.0.1:35157","Status":{"header":{"cluster_id":18160138810286149976,"member_id":'
    '5212356304310723703,"revision":1,"raft_term":2},"version":"3.6.16","dbSize":28672,"leader":5212356304310723703,'
    '"raftIndex":4,"raftTerm":2,"raftAppliedIndex":4,"dbSizeInUse":16384,"storageVersion":"3.6.0",'
    '"dbSizeQuota":2147483648,"downgradeInfo":{}}}]')
GOLDEN = Path(__file__).resolve().parents[2] / "golden" / "etcd-snapshots"
PROOF = data_dir("templates") / snapshots.PROOF.lstrip("/")
FILES = (snapshots.PROGRAM, snapshots.SETTINGS,
         *(f"/etc/systemd/system/{unit}" for unit in (snapshots.SERVICE, snapshots.TIMER)))


def test_without_a_word_there_is_no_timer() -> None:
    for host in compiled().hosts.values():
        assert not [i.path for i in host.items if "etcd-snapshot" in i.path]


def test_every_etcd_host_and_no_other_has_the_timer_running() -> None:
    hosts = compiled(inventory(config={"etcd": {"snapshotEvery": "6h", "snapshotKeep": 4}})).hosts
    having = [name for name, host in hosts.items() if host.find("unit", snapshots.TIMER)]
    assert having == ["cp1", "cp2", "cp3"]
    assert not [host for host in hosts.values() if host.find("unit", snapshots.SERVICE)], "the timer starts it"


def test_the_snapshots_go_with_the_member_and_not_with_the_timer() -> None:
    """Who only takes the key out of cluster.yaml keeps what was taken."""
    taken = OwnedItem("data", snapshots.PLACE, "there", "absent", of=next(
        unit for unit in leavings.TABLE if {"kind": "data", "path": snapshots.PLACE} in leavings.of_unit(unit)))
    observed = HostObserved("cp1", facts_of(inventory())["cp1"], {}, owned=(taken,))
    assert removals(compiled().hosts["cp1"], observed).changes == ()
    (gone,) = removals(HostDesired("cp1", ()), observed).changes
    assert (gone.action, gone.path) == ("remove", snapshots.PLACE)


@pytest.mark.parametrize(("size", "taken"), [("1", 1), (str(2**60), 0), ("null", 0)])
def test_none_is_taken_where_it_could_fill_the_member_s_disk(tmp_path: Path, size: str, taken: int) -> None:
    tool = tmp_path / "etcdctl"
    tool.write_text('#!/bin/sh\ncase "$1" in endpoint) echo \'' + STATUS.replace(":28672,", f":{size},")
                    + '\';; snapshot) : > "$3";; esac\n')
    tool.chmod(0o755)
    place = tmp_path / "place"
    place.mkdir()
    program = rendered("/opt/kubewright/bin/etcd-snapshot", "etcd", component="etcd", etcdctl=str(tool), etcdutl="true",
                       place=str(place), keep=2)
    script = tmp_path / "etcd-snapshot"
    script.write_text(program.content)
    done = subprocess.run(["sh", str(script)], capture_output=True, text=True, timeout=30, check=False)
    assert len(list(place.glob("etcd-*.db"))) == taken, done.stderr
    assert done.returncode == (0 if taken else 1)
    assert taken or "no snapshot" in done.stderr


@pytest.mark.parametrize("path", FILES)
def test_what_it_runs_is_as_its_golden_copy(path: str) -> None:
    item = compiled(inventory(config={"etcd": {"snapshotEvery": "6h"}})).hosts["cp1"].find("file", path)
    assert isinstance(item, File)
    golden = GOLDEN / Path(path).name
    if os.environ.get("UPDATE_GOLDEN"):
        golden.parent.mkdir(exist_ok=True)
        golden.write_text(item.content)
    assert item.content == golden.read_text()


def test_what_proves_a_snapshot_is_a_program_and_told_what_a_manifest_says() -> None:
    host = compiled(inventory(config={"etcd": {"snapshotEvery": "6h"}})).hosts["cp1"]
    program, settings = (host.find("file", path) for path in (snapshots.PROOF, snapshots.SETTINGS))
    assert isinstance(program, File) and program.mode == 0o755
    assert isinstance(settings, File)
    told = json.loads(settings.content)
    names = runpy.run_path(str(PROOF))
    asked = {word for word in told if f'settings["{word}"]' in program.content}
    assert asked == told.keys(), "nothing is told that is not asked for"
    box = bytes(SecretBox(b"k" * 32).encrypt(b"k8s\0" + b"data" * 50))
    other = bytes(SecretBox(b"k" * 32).encrypt(b"none of Kubernetes'"))
    assert names["opens"](b"k" * 32, box)
    for spoiled in (box[:-1] + bytes([box[-1] ^ 1]), box[:-1], other, b"", bytes(40)):
        assert not names["opens"](b"k" * 32, spoiled)
    assert not names["opens"](b"x" * 32, box)


@given(key=st.binary(min_size=32, max_size=32), plain=st.binary(max_size=300))
def test_it_opens_what_nacl_has_closed(key: bytes, plain: bytes) -> None:
    assert runpy.run_path(str(PROOF))["opens"](key, bytes(SecretBox(key).encrypt(b"k8s\0" + plain)))


def test_a_proof_that_is_killed_leaves_no_manifest_without_its_keys(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    main = runpy.run_path(str(PROOF))["main"]
    file = tmp_path / "etcd-20260101-000000.db"
    file.touch()
    (tmp_path / "keys").write_bytes(b"all of them")
    settings = tmp_path / "settings.json"
    settings.write_text(json.dumps({"place": str(tmp_path), "encryption": str(tmp_path / "keys")}))

    def killed(path: str, document: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(os, "umask", lambda mask: 0)
    monkeypatch.setitem(main.__globals__, "described", lambda settings, file: {})
    monkeypatch.setitem(main.__globals__, "keep", killed)
    with pytest.raises(KeyboardInterrupt):
        main([str(settings)])
    assert Path(f"{file}.encryption").read_bytes() == b"all of them"
    assert not Path(f"{file}.json").exists()
