"""How old the newest snapshot is, and the newest proved one: what `status` says of them."""

from __future__ import annotations

import datetime as dt
import json
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from provisioner.compile.snapshots import SUMMARY as SNAPSHOTS_ON_HOST
from provisioner.errors import RefusedForSafety
from provisioner.model.cluster import Cluster
from provisioner.model.snapshot import Manifest
from provisioner.operate.snapshots import OnHost, line, newest, of_all, of_proofs, on_host
from provisioner.orchestrate.look import doctor, status
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
    assert line(newest(tmp_path, NOW.timestamp())) == said


def test_a_manifest_whose_data_is_gone_and_files_of_others_count_for_nothing(tmp_path: Path) -> None:
    kept(tmp_path, "gone", 1, data=False, proved=True)
    (tmp_path / "notes").write_text("x")
    (tmp_path / "notes.json").write_text("[]")
    assert newest(tmp_path, NOW.timestamp()).taken is None
    assert line(newest(tmp_path / "nowhere", NOW.timestamp())).startswith("none here")


@pytest.mark.parametrize("there", ["s.db.age", "s.db.age.keys", "s.db.age.json"])
def test_a_snapshot_is_never_written_over_another(world: World, tmp_path: Path, there: str) -> None:
    (tmp_path / there).write_bytes(b"the only copy")
    with pytest.raises(RefusedForSafety, match="is there already"):
        look.take(world.session(), tmp_path / "s.db.age")
    assert (tmp_path / there).read_bytes() == b"the only copy"


def told_by_a_host(hours: float, proved: float | None, failed: str = "") -> OnHost:
    """Return what a host's own program writes, read as `status` does."""
    def moment(ago: float | None) -> str:
        return "" if ago is None else (NOW - dt.timedelta(hours=ago)).isoformat(timespec="seconds")

    fault = {"file": "etcd-1.db", "at": moment(0), "saw": failed} if failed else None
    return on_host(json.dumps({"number": 2, "taken": moment(hours), "proved": moment(proved), "failed": fault}),
                   NOW.timestamp())


def test_snapshots_that_hosts_keep_count_and_it_is_said_where_they_lie(tmp_path: Path) -> None:
    kept(tmp_path, "here", 5, proved=True)
    here = newest(tmp_path, NOW.timestamp())
    hosts = {"cp1": told_by_a_host(1, None), "cp2": told_by_a_host(2, 2)}
    assert line(of_all(here, hosts)) == "newest 60 min old on cp1, newest proved 2 h old on cp2"
    assert line(of_all(here, {"cp1": told_by_a_host(9, 9)})) == "newest 5 h old, newest proved 5 h old"
    assert list(of_proofs(hosts)) == []


def test_one_that_its_host_did_not_prove_is_named_with_what_was_seen() -> None:
    (found,) = of_proofs({"cp1": told_by_a_host(1, 1), "cp2": told_by_a_host(1, None, "its sha256 is 1, and was 2")})
    assert (found.host, found.severity) == ("cp2", "error")
    assert found.saw.endswith("etcd-1.db: its sha256 is 1, and was 2")


@pytest.mark.parametrize("text", ["", "{", "[]", '{"taken": "soon", "proved": "", "failed": null}', '{"taken": ""}'])
def test_a_summary_that_is_half_written_or_somebody_elses_tells_nothing(text: str) -> None:
    assert on_host(text, NOW.timestamp()) == OnHost()


def asks_for_snapshots(world: World) -> None:
    text = yaml.safe_load(world.inventory.file.read_text())
    text.setdefault("config", {}).setdefault("etcd", {})["snapshotEvery"] = "6h"
    world.inventory.file.write_text(yaml.safe_dump(text, sort_keys=False))
    world.inventory = replace(world.inventory, cluster=Cluster.model_validate(text))


def summary(failed: dict[str, str] | None = None) -> str:
    taken = (dt.datetime.now(dt.UTC) - dt.timedelta(hours=3)).isoformat(timespec="seconds")
    return json.dumps({"number": 1, "taken": taken, "proved": "" if failed else taken, "failed": failed})


def test_status_reads_what_hosts_keep_and_is_not_healthy_with_one_that_was_not_proved(built: World) -> None:
    asks_for_snapshots(built)
    built.hosts.hosts["cp1"].edit(SNAPSHOTS_ON_HOST, "file sha256:1 0600 root:root", summary())
    seen = status.look(built.session())
    assert seen.snapshots == "newest 3 h old on cp1, newest proved 3 h old on cp1"
    assert not [f for f in seen.findings if f.check == "snapshot-proof"]
    built.hosts.hosts["cp2"].edit(SNAPSHOTS_ON_HOST, "file sha256:2 0600 root:root",
                                  summary({"file": "etcd-1.db", "at": "", "saw": "its sha256 is 1, and was 2"}))
    seen = status.look(built.session())
    (line,) = [line for line in seen.attention if "etcd-1.db" in line]
    assert line.startswith("cp2: ") and "kubewright logs cp2 kubewright-etcd-snapshot" in line


def test_doctor_counts_what_hosts_keep_as_status_does(built: World) -> None:
    def told() -> list[str]:
        with built.session() as session:
            found = doctor.look(session).to_json()["findings"]
        return [str(one["saw"]) for one in found if "etcd: no snapshot" in one["saw"]]

    asks_for_snapshots(built)
    assert told() == ["etcd: no snapshot is kept"]
    built.hosts.hosts["cp1"].edit(SNAPSHOTS_ON_HOST, "file sha256:1 0600 root:root", summary())
    assert told() == []


def test_nobody_is_asked_for_summaries_where_no_timer_is_asked_for(built: World) -> None:
    built.hosts.hosts["cp1"].edit(SNAPSHOTS_ON_HOST, "file sha256:1 0600 root:root", summary())
    assert status.look(built.session()).snapshots.startswith("none here")
