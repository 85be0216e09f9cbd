"""What we put on a host is remembered there before it is made, and forgotten when it is gone."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from provisioner.applier import apt as of_apt
from provisioner.applier import generations, leavings, packages
from provisioner.applier.apply import Run
from tests.unit.applier.support import ME, US, FakeHost, file_change, state_of, unit_change
from tests.unit.applier.test_store import entry

LEAVES = {"x.service": [{"kind": "data", "path": "/var/lib/x"}]}
UNIT_FILE = "/etc/systemd/system/x.service"


@pytest.fixture(autouse=True)
def directories(box: FakeHost) -> None:
    """Let the host have what every host has."""
    for place in ("/etc/systemd/system", "/var/lib", "/opt"):
        box.path(place).mkdir(parents=True)
    box.put("/proc/self/mountinfo", "")


def apply(box: FakeHost, step: str, *changes: dict[str, Any], status: int = 0) -> Any:
    return box.call("apply", {"step": step, "changes": list(changes), "timeout": 30}, status=status)


def owned(box: FakeHost, *asked: dict[str, Any]) -> dict[str, dict[str, Any]]:
    answer = box.call("observe", {"items": list(asked), "owned": {"leaves": LEAVES}})
    return {f"{row['kind']} {row['path']}": row for row in answer["owned"]}


def removal(row: dict[str, Any]) -> dict[str, Any]:
    return {"kind": row["kind"], "path": row["path"], "action": "remove", "expect": row["state"], "want": "absent"}


def start(box: FakeHost) -> None:
    apply(box, "r.x.0", file_change(UNIT_FILE, "[Service]"), file_change("/etc/x/conf", "1"),
          file_change("/etc/kubewright/inputs/x.service", "/etc/x/conf\n"),
          {**unit_change("x.service", ["/etc/x/conf"], "start"), "leaves": LEAVES["x.service"]})
    box.put("/var/lib/x/data", "precious")


def test_what_a_step_makes_is_remembered_with_the_directories_on_the_way(box: FakeHost) -> None:
    start(box)
    found = owned(box)
    assert {"file /etc/x/conf", "directory /etc/x", f"file {UNIT_FILE}", "unit x.service", "data /var/lib/x",
            "directory /etc/kubewright"} <= found.keys()
    row = found["file /etc/x/conf"]
    assert (row["was"], row["wrote"], row["state"]) == ("absent", state_of("1"), state_of("1"))
    assert found["data /var/lib/x"]["of"] == "x.service"


def test_what_was_there_before_is_not_ours(box: FakeHost) -> None:
    box.put("/etc/x/other", "theirs")
    box.put("/var/lib/x/theirs", "precious")
    apply(box, "s", file_change("/etc/x/same", "1"))
    apply(box, "t", file_change("/etc/x/other", "theirs"))
    assert set(owned(box)) == {"file /etc/x/same"}


def test_data_that_was_there_before_the_units_first_start_is_not_ours(box: FakeHost) -> None:
    box.put("/var/lib/x/theirs", "precious")
    start(box)
    assert "data /var/lib/x" not in owned(box)


def test_an_asked_item_is_not_told_twice(box: FakeHost) -> None:
    apply(box, "s", file_change("/etc/a", "1"))
    assert owned(box, {"kind": "file", "path": "/etc/a"}) == {}


def test_a_file_that_somebody_else_has_changed_shows_it(box: FakeHost) -> None:
    apply(box, "s", file_change("/etc/a", "1"))
    box.put("/etc/a", "by hand")
    row = owned(box)["file /etc/a"]
    assert (row["wrote"], row["state"]) == (state_of("1"), state_of("by hand"))


def test_a_stale_bundle_owns_nothing(box: FakeHost) -> None:
    box.put("/etc/b", "theirs")
    apply(box, "s", file_change("/etc/a", "1"), file_change("/etc/b", "2", expect="absent"), status=16)
    assert owned(box) == {}


def test_a_step_that_is_killed_before_its_first_change_already_owns_it(
        box: FakeHost, monkeypatch: pytest.MonkeyPatch) -> None:
    from provisioner.applier import steps

    def die(run: Run) -> None:
        raise OSError("killed")

    monkeypatch.setattr(Run, "perform", die)
    place = box.path("/var/lib/kubewright/steps/s")
    place.mkdir(parents=True)
    (place / "request.json").write_text(json.dumps({"changes": [file_change("/etc/x/a", "1")]}))
    with pytest.raises(OSError, match="killed"):
        steps.run(box.host, "s")
    items = json.loads(box.path("/var/lib/kubewright/owned.json").read_text())["items"]
    assert {"file /etc/x/a", "directory /etc/x"} <= items.keys()
    assert owned(box) == {}         # nothing of it is there


def test_everything_goes_in_one_step_and_nothing_is_owned_then(box: FakeHost) -> None:
    start(box)
    rows = sorted(owned(box).values(), key=lambda r: (
        ["unit", "file", "data", "directory"].index(r["kind"]), -len(r["path"]), -r["seq"]))
    answer = apply(box, "r.remove.0", *map(removal, rows))
    assert answer["status"] == "done", answer
    assert owned(box) == {}
    there = [p for p in box.root.rglob("*") if p.is_file() and not {"kubewright", "proc"} & {*p.parts}]
    assert there == []
    assert not box.path("/etc/x").exists() and not box.path("/var/lib/x").exists()
    assert box.call("forget", {}) == {"status": "done"}
    assert not box.path("/var/lib/kubewright").exists()


def test_what_a_unit_never_left_is_forgotten_with_it_for_the_next_one_of_its_name_may_be_somebody_elses(
        box: FakeHost) -> None:
    start(box)
    box.path("/var/lib/x/data").unlink()
    box.path("/var/lib/x").rmdir()
    rows = [row for name, row in owned(box).items() if name in ("unit x.service", f"file {UNIT_FILE}")]
    apply(box, "r.remove.0", *map(removal, sorted(rows, key=lambda r: r["kind"], reverse=True)))
    box.put("/var/lib/x/data", "theirs")
    assert "data /var/lib/x" not in owned(box)


def test_a_package_that_went_in_a_step_that_was_killed_is_forgotten_by_the_next(box: FakeHost) -> None:
    apt = brought(box)
    apt.write(["dash", "theirs"], (), {})
    apply(box, "s", file_change("/etc/a", "1"))
    apt.write(["dash", "haproxy", "liblua", "theirs"], ("liblua",), {})     # somebody's now
    assert not [name for name in owned(box) if name.startswith("package")]


def test_a_file_within_removed_data_that_is_kept_stays(box: FakeHost) -> None:
    start(box)
    apply(box, "t", file_change("/var/lib/x/config", "1"))
    box.put("/var/lib/x/config", "by hand")
    apply(box, "r.remove.0", removal(owned(box)["data /var/lib/x"]))
    assert [p.name for p in box.path("/var/lib/x").iterdir()] == ["config"]


def test_what_was_there_before_us_is_put_back_however_often_we_changed_it(box: FakeHost) -> None:
    box.put("/etc/a", "theirs", 0o640)
    was = state_of("theirs", 0o640)
    for number, text in enumerate(("1", "2", "3", "4")):
        expect = state_of(str(number)) if number else was
        assert apply(box, f"s{number}", file_change("/etc/a", text, expect=expect))["status"] == "done"
    assert owned(box)["file /etc/a"]["was"] == was
    back = {"kind": "file", "path": "/etc/a", "action": "restore", "expect": state_of("4"), "want": was, "undo": True}
    assert apply(box, "back", back)["status"] == "done"
    assert (box.path("/etc/a").read_text(), box.path("/etc/a").stat().st_mode & 0o777) == ("theirs", 0o640)
    assert owned(box) == {}


def test_a_directory_of_somebody_elses_gets_its_mode_back(box: FakeHost) -> None:
    box.path("/var/lib/x").mkdir()
    box.path("/var/lib/x").chmod(0o755)
    was, wrote = f"dir 0755 {ME}:{US}", f"dir 0700 {ME}:{US}"
    apply(box, "s", {"kind": "directory", "path": "/var/lib/x", "action": "change", "expect": was, "want": wrote,
                     "mode": "0700", "owner": ME, "group": US})
    row = owned(box)["directory /var/lib/x"]
    assert row["was"] == was
    apply(box, "t", {**removal(row), "want": was})
    assert box.path("/var/lib/x").stat().st_mode & 0o777 == 0o755
    assert owned(box) == {}


def test_streamed_artifacts_are_owned_and_go_with_their_directories(box: FakeHost) -> None:
    wanted = entry("/opt/kubewright/etcd/3.6-abc/etcd", b"binary")
    box.call("store", {"artifacts": [wanted]}, b"binary")
    row = owned(box)["artifact /opt/kubewright/etcd/3.6-abc/etcd"]
    assert row["size"] == 6
    apply(box, "s", removal(row))
    assert not box.path("/opt/kubewright/etcd").exists()


def test_what_a_stream_left_that_lost_its_power_goes_with_its_directory(box: FakeHost) -> None:
    from provisioner.applier import owned as records
    path = "/opt/kubewright/etcd/3.6-abc/etcd"
    records.note_stored(box.host, [path], "r.stage.0")
    box.put("/opt/kubewright/etcd/3.6-abc/.etcd.kubewright-tmp.77", "half of")
    rows = sorted(owned(box).values(), key=lambda r: -len(r["path"]))
    assert [r["path"] for r in rows] == ["/opt/kubewright/etcd/3.6-abc", "/opt/kubewright/etcd", "/opt/kubewright"]
    apply(box, "r.remove.0", *map(removal, rows))
    assert not box.path("/opt/kubewright").exists()


def test_a_host_of_an_earlier_version_is_adopted_by_its_generations(box: FakeHost) -> None:
    start(box)
    box.put("/opt/kubewright/etcd/3.6-abc/etcd", "binary")
    box.path("/var/lib/kubewright/owned.json").unlink()
    found = owned(box)
    assert {"file /etc/x/conf", f"file {UNIT_FILE}", "unit x.service", "directory /etc/kubewright", "data /var/lib/x",
            "artifact /opt/kubewright/etcd/3.6-abc/etcd"} <= found.keys()
    assert found["file /etc/x/conf"]["was"] == "absent"
    assert not box.path("/var/lib/kubewright/owned.json").exists()      # a look changes nothing


def test_what_a_unit_of_an_earlier_version_leaves_is_known_when_the_unit_is_gone_and_the_run_was_killed(
        box: FakeHost) -> None:
    start(box)
    box.path("/var/lib/kubewright/owned.json").unlink()
    rows = [row for name, row in owned(box).items() if name in ("unit x.service", f"file {UNIT_FILE}")]
    gone = [{**removal(row), **({"leaves": LEAVES["x.service"]} if row["kind"] == "unit" else {})}
            for row in sorted(rows, key=lambda r: str(r["kind"]), reverse=True)]
    apply(box, "r.remove.0", *gone)
    assert owned(box)["data /var/lib/x"]["of"] == "x.service"


def test_the_mark_of_a_founded_cluster_is_no_possession(box: FakeHost) -> None:
    mark = "/var/lib/kubewright/etcd/bootstrapped"
    apply(box, "s", file_change(mark, "yes"), file_change("/etc/a", "1"))
    assert set(owned(box)) == {"file /etc/a"}
    box.path("/var/lib/kubewright/owned.json").unlink()
    assert set(owned(box)) == {"file /etc/a"}


def test_a_host_that_never_was_ours_owns_nothing(box: FakeHost) -> None:
    box.put("/opt/kubewright/etcd/3/etcd", "somebody's")
    assert owned(box) == {}
    assert not box.path("/var/lib/kubewright").exists()


class Apt:
    """dpkg and apt as programs first in PATH; `needs` says which other package needs one."""

    def __init__(self, box: FakeHost, there: list[str], automatic: tuple[str, ...] = (), **needs: str) -> None:
        self.place = box.systemd / "apt.json"
        self.write(there, automatic, needs)
        for name in ("dpkg-query", "apt-get", "apt-mark"):
            program = Path(os.environ["PATH"].partition(":")[0]) / name
            program.write_text(f"#!/bin/sh\nexec {sys.executable} -I -S {__file__.replace('test_owned', 'fake_apt')} "
                               f'{self.place} {name} "$@"\n')
            program.chmod(0o755)

    def write(self, there: list[str], automatic: tuple[str, ...], needs: dict[str, str]) -> None:
        self.place.write_text(json.dumps({"there": there, "auto": automatic, "needs": needs}))

    @property
    def there(self) -> list[str]:
        found: list[str] = json.loads(self.place.read_text())["there"]
        return found


ITEMS = [{"kind": "package", "path": "haproxy", "want": "installed"}]


def test_packages_that_came_are_ours_those_that_a_person_installed_meanwhile_are_not(box: FakeHost) -> None:
    apt = Apt(box, ["dash"])
    box.call("own", {"items": ITEMS, "step": "r.prepare.0"})
    apt.write(["dash", "haproxy", "liblua", "vim"], ("liblua",), {})
    box.call("own", {"items": []})
    assert {name: row["asked"] for name, row in owned(box).items()} == {
        "package haproxy": True, "package liblua": False}
    items = json.loads(box.path("/var/lib/kubewright/owned.json").read_text())["items"]
    assert items.keys() == {"package haproxy", "package liblua"}


def test_packages_whose_run_was_killed_in_the_middle_are_ours_all_the_same(box: FakeHost) -> None:
    apt = Apt(box, ["dash"])
    box.call("own", {"items": ITEMS})
    apt.write(["dash", "haproxy"], (), {})
    box.call("own", {"items": ITEMS})       # the next run begins where the first was killed
    assert "package haproxy" in owned(box)


def test_a_package_that_was_there_before_is_not_ours(box: FakeHost) -> None:
    Apt(box, ["dash", "haproxy"])
    box.call("own", {"items": ITEMS})
    box.call("own", {"items": []})
    assert owned(box) == {}


def brought(box: FakeHost, **needs: str) -> Apt:
    apt = Apt(box, ["dash"])
    box.call("own", {"items": ITEMS})
    apt.write(["dash", "haproxy", "liblua", "theirs"], ("liblua",), needs)
    box.call("own", {"items": []})
    return apt


def test_packages_go_with_what_came_with_them(box: FakeHost) -> None:
    apt = brought(box)
    answer = apply(box, "s", removal(owned(box)["package haproxy"]))
    assert answer["status"] == "done", answer
    assert apt.there == ["dash", "theirs"]


def test_a_package_that_something_else_needs_stays_and_is_told(box: FakeHost) -> None:
    apt = brought(box, liblua="theirs")
    apply(box, "s", removal(owned(box)["package haproxy"]))
    assert apt.there == ["dash", "liblua", "theirs"]
    apt = brought(box, haproxy="theirs")
    answer = apply(box, "t", removal(owned(box)["package haproxy"]))
    assert "kept, as other packages need them: haproxy" in answer["changes"][0]["detail"]
    assert "haproxy" in apt.there


def test_a_package_that_somebody_has_asked_for_since_is_theirs(box: FakeHost) -> None:
    apt = brought(box)
    apt.write(apt.there, (), {})        # apt install liblua
    apply(box, "s", removal(owned(box)["package haproxy"]))
    assert apt.there == ["dash", "liblua", "theirs"]


def test_packages_stay_where_going_together_takes_along_what_each_alone_would_not(
        box: FakeHost, monkeypatch: pytest.MonkeyPatch) -> None:
    def run(argv: list[str], **_: Any) -> str:
        if argv[0] == "dpkg-query":
            return "".join(f"installed\t{name}\n" for name in ("a", "b", "c", "theirs", "more"))
        assert "--simulate" in argv, argv
        names = set(argv[argv.index("purge") + 1:])
        lost = {"theirs"} if {"a", "b"} <= names else {"more"} if "c" in names else set()
        return "".join(f"Purg {name} [1]\n" for name in names | lost)

    monkeypatch.setattr(box.host, "run", run)
    assert packages.purge(box.host, ["a", "b", "c"]) == "purged; kept, as other packages need them: a, b, c"


def test_kernel_settings_and_users_are_noted_with_what_they_were(box: FakeHost) -> None:
    box.put("/proc/sys/kernel/panic", "0\n")
    box.call("own", {"items": [{"kind": "sysctl", "path": "kernel.panic", "want": "10"},
                               {"kind": "user", "path": "no-such-user", "want": "present"}]})
    box.put("/proc/sys/kernel/panic", "10\n")
    row = owned(box)["sysctl kernel.panic"]
    assert (row["was"], row["wrote"], row["state"]) == ("0", "10", "10")
    items = json.loads(box.path("/var/lib/kubewright/owned.json").read_text())["items"]
    assert items["user no-such-user"]["was"] == "absent"


def test_forget_takes_no_order_of_an_older_run(box: FakeHost) -> None:
    box.call("fence", {"epoch": 5})
    assert box.call("forget", {"epoch": 4}, status=14)["status"] == "fenced"
    assert box.path("/var/lib/kubewright").exists()


def test_processes_of_a_control_group_are_found_by_its_name_alone(box: FakeHost) -> None:
    child = subprocess.Popen(["sleep", "60"])
    try:
        box.put(f"/proc/{child.pid}/cgroup", "5:pids:/lab/w1/system.slice/containerd.service\n")
        box.put("/proc/1/cgroup", "5:pids:/lab/w1/init.scope\n")
        box.put("/proc/2/cgroup", "5:pids:/lab/w1/system.slice/containerd.service.d\n")
        assert leavings.processes(box.host, "containerd.service") == "there"
        assert leavings.processes(box.host, "kubepods.slice") == "absent"
        assert list(leavings._members(box.host, "containerd.service")) == [child.pid]
    finally:
        child.kill()
        child.wait()


@pytest.mark.parametrize(("top", "path", "ours"), [
    ("0::/init.scope", "0::/system.slice/containerd.service", True),
    ("0::/init.scope", "0::/kubepods.slice/kubepods-burstable.slice/x.scope", True),
    ("0::/init.scope", "0::/system.slice/docker-12ab.scope/system.slice/containerd.service", False),
    ("0::/init.scope", "0::/docker/12ab/kubepods.slice/x.scope", False),
    ("5:pids:/lab/w1/init.scope", "5:pids:/lab/w2/system.slice/containerd.service", False),
])
def test_processes_of_a_container_that_runs_the_same_programs_are_not_ours(
        box: FakeHost, top: str, path: str, ours: bool) -> None:
    box.put("/proc/1/cgroup", f"{top}\n")
    box.put("/proc/77/cgroup", f"{path}\n")
    found = [*leavings._members(box.host, "containerd.service"), *leavings._members(box.host, "kubepods.slice")]
    assert found == ([77] if ours else [])


def test_a_file_that_a_killed_step_had_not_come_to_yet_is_still_ours(
        box: FakeHost, monkeypatch: pytest.MonkeyPatch) -> None:
    from provisioner.applier import owned as records
    apply(box, "s", file_change("/etc/a", "1"))
    records.note(box.host, "t", [file_change("/etc/a", "2", expect=state_of("1"))])     # and killed
    row = owned(box)["file /etc/a"]
    assert row["wrote"] == row["state"] == state_of("1")
    box.put("/etc/a", "by hand")
    assert owned(box)["file /etc/a"]["wrote"] == state_of("2")


def test_data_behind_a_link_of_somebodys_goes_and_the_link_stays(box: FakeHost) -> None:
    box.path("/data/x").mkdir(parents=True)
    box.path("/var/lib/x").symlink_to(box.path("/data/x"))
    start(box)
    box.path("/var/lib/kubewright/owned.json").unlink()     # also where nobody noted that it was there before
    row = owned(box)["data /var/lib/x"]
    apply(box, "r.remove.0", {**removal(row), "want": row["was"]})
    assert box.path("/var/lib/x").is_symlink() and list(box.path("/data/x").iterdir()) == []
    assert "data /var/lib/x" not in owned(box)


def test_data_on_a_file_system_of_its_own_goes_and_is_gone_then(
        box: FakeHost, monkeypatch: pytest.MonkeyPatch) -> None:
    box.put("/var/lib/x/lost+found/1/2", "fsck's")
    monkeypatch.setattr(os.path, "ismount", lambda path: path == str(box.path("/var/lib/x")))
    empty = leavings.data(box.host, "/var/lib/x")
    assert empty == leavings.emptied(box.host, "/var/lib/x") == f"empty 0755 {ME}:{US}"
    box.put("/var/lib/x/a/b", "ours")
    box.path("/var/lib/x").chmod(0o711)
    assert leavings.data(box.host, "/var/lib/x") == "there"
    leavings.remove(box.host, {"kind": "data", "path": "/var/lib/x", "want": empty})
    assert leavings.data(box.host, "/var/lib/x") == empty
    assert box.path("/var/lib/x/lost+found/1/2").exists()


def test_mounts_that_go_with_another_are_not_taken_off_twice_and_what_is_mounted_keeps_its_files(
        box: FakeHost, monkeypatch: pytest.MonkeyPatch) -> None:
    inside, other = box.put("/var/lib/x/v/precious", "theirs").parent, box.path("/var/lib/x/peer")
    taken_off: list[str] = []

    def umount(argv: list[str], **_: Any) -> str:
        taken_off.append(argv[-1])
        box.put("/proc/self/mountinfo", "")         # both are gone, as their parents are peers
        (inside / "precious").rename(box.path("/home"))
        return ""

    box.put("/proc/self/mountinfo", "".join(f"1 1 0:1 / {place} rw\n" for place in (inside, other)))
    monkeypatch.setattr(box.host, "run", umount)
    leavings.remove(box.host, {"kind": "data", "path": "/var/lib/x", "want": "absent"})
    assert taken_off == [str(other)]
    assert box.path("/home").read_text() == "theirs"


def test_a_mount_of_the_machines_own_stays_when_it_is_emptied(
        box: FakeHost, monkeypatch: pytest.MonkeyPatch) -> None:
    box.put("/var/lib/x/a/b", "1")
    monkeypatch.setattr(os.path, "ismount", lambda path: path == str(box.path("/var/lib/x")))
    leavings.delete(str(box.path("/var/lib/x")), ())
    assert list(box.path("/var/lib/x").iterdir()) == []


def test_a_link_in_data_is_removed_and_not_what_it_leads_to(box: FakeHost) -> None:
    outside = box.put("/home/precious", "x")
    box.put("/var/lib/x/a", "1")
    box.path("/var/lib/x/link").symlink_to(outside.parent)
    leavings.delete(str(box.path("/var/lib/x")), ())
    assert outside.read_text() == "x" and not box.path("/var/lib/x").exists()


@pytest.mark.parametrize(("said", "names"), [
    ("Purg haproxy [2.6]\nRemv liblua:amd64 [5.3]\n", {"haproxy", "liblua"}),
    ("Reading package lists...\nNOTE: simulation\n", set()),
])
def test_what_apt_would_remove_is_read_of_its_simulation(said: str, names: set[str]) -> None:
    assert of_apt.removals(said) == names


def test_the_original_is_kept_beside_two_generations(box: FakeHost) -> None:
    box.put("/etc/a", "theirs")
    for number in range(4):
        expect = state_of(str(number)) if number else state_of("theirs")
        apply(box, f"s{number}", file_change("/etc/a", str(number + 1), expect=expect))
    (ends,) = generations.ends(box.host)
    assert ends[0]["number"] == 0 and ends[0]["state"] == state_of("theirs")
