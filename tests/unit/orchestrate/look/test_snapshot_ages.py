"""How old the newest snapshot is, and the newest proved one: what `status` says of them."""

from __future__ import annotations

import datetime as dt
import json
from pathlib import Path

import pytest

from provisioner.errors import RefusedForSafety
from provisioner.model.snapshot import Manifest
from provisioner.operate.snapshots import line, newest
from provisioner.orchestrate.look import snapshots as look
from tests.fakes.session import World

NOW = dt.datetime(2026, 11, 20, 12, 0, tzinfo=dt.UTC)


def kept(place: Path, name: str, hours: float, *, proved: bool = False, data: bool = True) -> None:
    taken = (NOW - dt.timedelta(hours=hours)).isoformat(timespec="seconds")
    manifest = Manifest("lab", "ca", "1", "cp1", ("cp1=https://a:2380",), "3.6", "1.36.3", 9, 3, 4, 1, "s", 20, taken)
    (place / f"{name}.json").write_text(json.dumps(manifest.to_json()))
    if data:
        (place / name).write_bytes(b"x")
    if proved:
        (place / f"{name}.proved.json").write_text("{}")


@pytest.mark.parametrize(("snapshots", "said"), [
    ([], "none here: kubewright etcd snapshot"),
    ([("a", 1.0, False)], "newest 60 min old, none proved: kubewright etcd restore --rehearse FILE"),
    ([("a", 30, True), ("b", 3, False)], "newest 3 h old, newest proved 30 h old"),
    ([("a", 100, True), ("b", 72, True)], "newest 3 d old, newest proved 3 d old"),
])
def test_the_ages_are_of_when_they_were_taken(
        tmp_path: Path, snapshots: list[tuple[str, float, bool]], said: str) -> None:
    for name, hours, proved in snapshots:
        kept(tmp_path, name, hours, proved=proved)
    assert line(tmp_path, NOW.timestamp()) == said


def test_a_manifest_whose_data_is_gone_and_files_of_others_count_for_nothing(tmp_path: Path) -> None:
    kept(tmp_path, "gone", 1, data=False, proved=True)
    (tmp_path / "notes").write_text("x")
    (tmp_path / "notes.json").write_text("[]")
    assert newest(tmp_path, NOW.timestamp()).taken is None
    assert line(tmp_path / "nowhere", NOW.timestamp()).startswith("none here")


@pytest.mark.parametrize("there", ["s.db.age", "s.db.age.keys", "s.db.age.json"])
def test_a_snapshot_is_never_written_over_another(world: World, tmp_path: Path, there: str) -> None:
    (tmp_path / there).write_bytes(b"the only copy")
    with pytest.raises(RefusedForSafety, match="is there already"):
        look.take(world.session(), tmp_path / "s.db.age")
    assert (tmp_path / there).read_bytes() == b"the only copy"
