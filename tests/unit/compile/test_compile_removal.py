"""Owned and no longer desired is a removal, in the order in which it can be made; what others changed is kept."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from provisioner.compile import leavings, removal
from provisioner.model.desired import Artifact, Certificate, Directory, File, HostDesired, Item, Package, Symlink, Unit
from provisioner.model.observed import HostObserved, ObservedItem, OwnedItem
from provisioner.model.plan import Change
from tests.unit.compile.compile_fixture import facts

STORE = "/opt/kubewright/etcd"


def owned(kind: str, path: str, seq: int = 1, **more: Any) -> OwnedItem:
    state = {"unit": "active enabled current", "package": "installed", "user": "present", "directory": "dir 0755 a:a",
             "symlink": "link /x"}.get(kind, f"file sha256:{path}")
    wrote = state if kind in ("file", "symlink", "certificate") else ""
    return replace(OwnedItem(kind, path, state, "absent", wrote, seq, asked=kind == "package"), **more)


def compared(items: tuple[Item, ...], *rows: OwnedItem, links: dict[str, str] | None = None) -> removal.Removals:
    seen = {("symlink", path): ObservedItem("symlink", path, f"link {to}") for path, to in (links or {}).items()}
    return removal.removals(HostDesired("w1", items), HostObserved("w1", facts("w1", "192.0.2.1"), seen, owned=rows))


def paths(found: removal.Removals) -> list[str]:
    return [f"{c.kind} {c.path}" for c in found.changes]


def test_units_end_before_their_files_go_and_packages_go_last() -> None:
    rows = (owned("directory", "/etc/x", 1), owned("directory", "/etc/x/y", 2), owned("file", "/etc/x/y/conf", 3),
            owned("unit", "x.service", 4), owned("data", "/var/lib/x", 5, state="there", of="x.service"),
            owned("processes", "x.service", 6, state="there", of="x.service"), owned("user", "x", 7),
            owned("package", "x", 8), owned("sysctl", "kernel.panic", 9, state="10", was="0", wrote="10"))
    found = compared((), *rows)
    assert paths(found) == [
        "unit x.service", "processes x.service", "file /etc/x/y/conf", "data /var/lib/x", "directory /etc/x/y",
        "directory /etc/x", "sysctl kernel.panic", "user x", "package x"]
    assert {c.action for c in found.changes} == {"remove"}
    assert all(c.undo for c in found.changes)


def test_what_came_last_goes_first() -> None:
    rows = [owned("unit", f"{name}.service", number) for number, name in enumerate(("containerd", "kubelet"))]
    assert paths(compared((), *rows)) == ["unit kubelet.service", "unit containerd.service"]


def test_what_is_desired_stays_with_all_that_belongs_to_it() -> None:
    items: tuple[Item, ...] = (
        File(path="/etc/x/conf", phase="node"), Unit(path="x.service", phase="node"),
        Certificate(path="/pki/a.crt", key_path="/pki/a.key", phase="pki", ca="cluster", common_name="a"),
        Package(path="haproxy", phase="prepare"), Directory(path="/etc/keep", phase="node"))
    rows = (owned("symlink", "/etc/x/conf"), owned("directory", "/etc/x"), owned("unit", "x.service"),
            owned("data", "/var/lib/x", state="there", of="x.service"), owned("file", "/pki/a.key"),
            owned("package", "haproxy"), owned("package", "liblua", asked=False), owned("directory", "/etc/keep"))
    assert compared(items, *rows) == removal.Removals()


def test_packages_that_came_with_others_go_with_them_and_alone_only_where_none_of_those_came() -> None:
    liblua, haproxy = owned("package", "liblua", asked=False), owned("package", "haproxy")
    assert paths(compared((), liblua, haproxy)) == ["package haproxy"]
    assert paths(compared((Package(path="haproxy", phase="prepare"),), liblua)) == []
    assert paths(compared((), liblua)) == ["package liblua"]


@pytest.mark.parametrize("kind", ["file", "symlink", "certificate"])
def test_what_somebody_else_has_changed_is_named_and_kept(kind: str) -> None:
    found = compared((), owned(kind, "/etc/a", wrote="as we wrote it"))
    assert found.changes == ()
    (verdict,) = found.kept
    assert (verdict.path, verdict.code, verdict.outcome) == ("w1:/etc/a", removal.KEPT, "noted")


def test_a_kernel_setting_that_somebody_else_has_changed_is_kept() -> None:
    assert compared((), owned("sysctl", "kernel.panic", state="5", was="0", wrote="10")).changes == ()


@pytest.mark.parametrize("was", ["absent", ""])
def test_a_kernel_setting_of_which_nobody_knows_what_it_was_before_is_left(was: str) -> None:
    row = owned("sysctl", "net.netfilter.nf_conntrack_max", state="262144", was=was, of="kube-proxy.service")
    assert compared((), row) == removal.Removals()


def test_what_was_there_before_us_is_put_back() -> None:
    (file,) = compared((), owned("file", "/etc/a", was="file sha256:theirs 0644 root:root")).changes
    assert (file.action, file.want) == ("restore", "file sha256:theirs 0644 root:root")
    (setting,) = compared((), owned("sysctl", "kernel.panic", state="10", was="0", wrote="10")).changes
    assert (setting.action, setting.want) == ("remove", "0")
    (directory,) = compared((), owned("directory", "/srv", was="dir 0700 root:root")).changes
    assert (directory.action, directory.want) == ("remove", "dir 0700 root:root")


def test_a_unit_that_neither_runs_nor_starts_at_boot_needs_nothing() -> None:
    assert compared((), owned("unit", "x.service", state="inactive disabled due")).changes == ()
    assert compared((), owned("unit", "x.service", state="inactive enabled due")).changes != ()


def test_keepalived_ends_in_the_phase_of_its_peers_before_anything_of_it() -> None:
    rows = (owned("unit", "keepalived.service"), owned("file", "/etc/keepalived/keepalived.conf"))
    found = compared((), *rows)
    assert [(c.path, c.phase) for c in found.early] == [("keepalived.service", "load-balancer")]
    assert [(c.path, c.phase) for c in found.late] == [("/etc/keepalived/keepalived.conf", "remove")]


def version(number: int) -> str:
    return f"{STORE}/3.6.{number}-abc/etcd"


def store(*numbers: int) -> list[OwnedItem]:
    return [owned("artifact", version(n), n, size=n * 1_000_000) for n in numbers]


def wanted(number: int) -> tuple[Item, ...]:
    artifact = Artifact(path=version(number), phase="stage", sha256="", size=0, name="etcd", version="")
    return (artifact, Symlink(path="/usr/local/bin/etcd", phase="etcd", target=version(number)))


def test_the_store_keeps_what_is_in_use_and_what_was_before_it() -> None:
    found = compared(wanted(4), *store(1, 2, 3), links={"/usr/local/bin/etcd": version(3)})
    assert paths(found) == [f"artifact {version(2)}", f"artifact {version(1)}"]
    assert found.changes[0].reason == "no longer desired: 2 MB"


def test_going_back_keeps_what_the_link_points_to_now_however_old_it_is() -> None:
    found = compared(wanted(4), *store(1, 2, 3), links={"/usr/local/bin/etcd": version(1)})
    assert paths(found) == [f"artifact {version(3)}", f"artifact {version(2)}"]


def test_nothing_goes_of_a_store_that_has_two() -> None:
    assert compared(wanted(2), *store(1), links={"/usr/local/bin/etcd": version(2)}).changes == ()


def test_the_directory_of_a_version_that_is_kept_stays_too() -> None:
    held = [owned("directory", version(n).removesuffix("/etcd"), n) for n in (1, 2)]
    found = compared(wanted(3), *store(1, 2), *held, links={"/usr/local/bin/etcd": version(2)})
    assert paths(found) == [f"artifact {version(1)}", f"directory {version(1).removesuffix('/etcd')}"]


def test_a_host_that_runs_a_component_no_more_keeps_none_of_its_versions() -> None:
    assert paths(compared((), *store(1, 2))) == [f"artifact {version(2)}", f"artifact {version(1)}"]


def test_only_what_the_host_keeps_goes_back() -> None:
    found = compared((), owned("unit", "x.service"), owned("file", "/etc/a"), owned("data", "/d", state="there"),
                     owned("package", "p"), owned("user", "u"), owned("artifact", version(1)))
    back: dict[bool, list[Change]] = {True: [], False: []}
    for change in found.changes:
        back[removal.goes_back(change)].append(change)
    assert [c.kind for c in back[True]] == ["unit", "file"]
    assert [c.kind for c in back[False]] == ["artifact", "data", "user", "package"]


def test_every_unit_that_leaves_something_is_one_of_ours() -> None:
    from provisioner.model.components import TABLE

    ours = {unit for row in TABLE for unit in row.units}
    assert leavings.TABLE.keys() <= ours
    assert leavings.requests()["etcd.service"] == [
        {"kind": "data", "path": path} for path in ("/var/lib/etcd", "/var/lib/etcd-snapshots")]
