"""The timer that takes snapshots on etcd hosts: only where it is asked for, and to the byte as its golden copies.

`UPDATE_GOLDEN=1` writes them anew.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from provisioner.compile import leavings, snapshots
from provisioner.model.desired import File
from tests.unit.compile.compile_fixture import compiled, inventory

GOLDEN = Path(__file__).resolve().parents[2] / "golden" / "etcd-snapshots"
FILES = (snapshots.PROGRAM, f"/etc/systemd/system/{snapshots.SERVICE}", f"/etc/systemd/system/{snapshots.TIMER}")


def test_without_a_word_there_is_no_timer() -> None:
    for host in compiled().hosts.values():
        assert not [i.path for i in host.items if "etcd-snapshot" in i.path]


def test_every_etcd_host_and_no_other_has_the_timer_running() -> None:
    hosts = compiled(inventory(config={"etcd": {"snapshotEvery": "6h", "snapshotKeep": 4}})).hosts
    having = [name for name, host in hosts.items() if host.find("unit", snapshots.TIMER)]
    assert having == ["cp1", "cp2", "cp3"]
    assert not [host for host in hosts.values() if host.find("unit", snapshots.SERVICE)], "the timer starts it"
    assert leavings.of_unit(snapshots.TIMER) == [{"kind": "data", "path": snapshots.PLACE}]


@pytest.mark.parametrize("path", FILES)
def test_what_it_runs_is_as_its_golden_copy(path: str) -> None:
    item = compiled(inventory(config={"etcd": {"snapshotEvery": "6h"}})).hosts["cp1"].find("file", path)
    assert isinstance(item, File)
    golden = GOLDEN / Path(path).name
    if os.environ.get("UPDATE_GOLDEN"):
        golden.parent.mkdir(exist_ok=True)
        golden.write_text(item.content)
    assert item.content == golden.read_text()
