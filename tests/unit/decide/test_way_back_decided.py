"""What goes back is decided from what a host kept: cases of rows in, changes or a reason out."""

from __future__ import annotations

from dataclasses import replace

import pytest

from provisioner.compile.etcd import BOOTSTRAPPED
from provisioner.decide import way_back
from provisioner.model.desired import Directory, File, HostDesired, Symlink, Unit
from provisioner.model.generations import Kept
from provisioner.model.observed import HostObserved, ObservedItem
from provisioner.model.plan import Change
from tests.unit.compile.compile_fixture import facts

UNIT, CONF, LIST = "/etc/systemd/system/x.service", "/etc/x.conf", "/etc/kubewright/inputs/x.service"
ETCD = "/usr/local/bin/etcd"
X = Unit(path="x.service", phase="node", component="x", inputs=(UNIT, CONF, "/pki/x.crt"))
HOST = HostDesired("h", (
    File(path="/pki/x.crt", phase="pki"), Symlink(path=ETCD, phase="etcd", target="/opt/etcd"),
    Unit(path="etcd.service", phase="etcd", component="etcd", inputs=(ETCD,)),
    Directory(path="/etc/x", phase="node", component="x"), File(path=CONF, phase="node", component="x"),
    File(path=UNIT, phase="node", component="x"), File(path=LIST, phase="node", component="x"), X))


def observed(items: dict[tuple[str, str], ObservedItem] | None = None) -> HostObserved:
    return HostObserved("h", facts("h", "10.77.0.11"), items or {})


def row(path: str, step: str = "run2.node.0", was: str = "file sha256:1 0644 root:root", kind: str = "file",
        now: str = "file sha256:2 0644 root:root", saved: int = 0) -> Kept:
    return Kept(kind, path, step, saved, was, now)


def batch(expect: str = "active enabled current", action: str = "restart", unit: Unit = X) -> list[Change]:
    return [Change("h", "node", "file", CONF, "change", "", "", ""),
            Change("h", unit.phase, "unit", unit.path, action, "", expect, "", unit)]


def done(back: way_back.Back) -> list[tuple[str, str]]:
    return [(c.path, c.action) for c in back.changes]


def test_the_batch_and_what_its_units_read_of_this_run_go_back_then_the_units_restart() -> None:
    rows = [row(CONF), row("/pki/x.crt", "run2.pki.0"), row(ETCD, "run2.etcd.0"), row(UNIT, "run1.node.0")]
    back = way_back.of_batch("run2", batch(), rows, HOST, None)
    assert done(back) == [("/pki/x.crt", "restore"), (CONF, "restore"), ("x.service", "restart")]
    assert back.changes[-1].item and back.changes[-1].item.spec() == {
        "kind": "unit", "path": "x.service", "listed": True}
    assert (back.changes[1].expect, back.changes[1].want) == (rows[0].now, rows[0].was)


def test_what_a_killed_run_wrote_goes_back_only_where_it_is_what_the_unit_ran_with() -> None:
    extra = {"started": {UNIT: "file 1"}}
    seen = observed({("unit", "x.service"): ObservedItem("unit", "x.service", "", extra)})
    rows = [row(CONF), row(UNIT, "run1.node.0"), row(LIST, "run1.node.0")]
    assert done(way_back.of_batch("run2", batch(), rows, HOST, seen))[:-1] == [(CONF, "restore"), (UNIT, "restore")]
    other = [row(CONF), row(UNIT, "run1.node.0", was="file sha256:7 0644 root:root")]
    assert done(way_back.of_batch("run2", batch(), other, HOST, seen))[:-1] == [(CONF, "restore")]


@pytest.mark.parametrize(("rows", "why"), [
    ([], "nothing that it reads was changed"),
    ([row(CONF, "run1.node.0")], "nothing that it reads was changed"),
    ([row(CONF, was="file sha256:2 0644 root:root")], "nothing that it reads was changed"),
    ([row(CONF), row(UNIT, was="absent")], "there was no x.service before"),
    ([row(CONF, was="absent")], "x.service reads /etc/x.conf, which was not there before"),
])
def test_where_nothing_ran_before_there_is_no_way_back(rows: list[Kept], why: str) -> None:
    back = way_back.of_batch("run2", batch(), rows, HOST, None)
    assert (back.changes, why in back.why_not) == ((), True)


def test_a_file_that_a_unit_has_only_since_this_run_goes_with_the_list_that_names_it() -> None:
    listing = Kept("file", LIST, "run2.node.0", 0, "file sha256:1", "file sha256:2", f"{UNIT}\n", f"{UNIT}\n{CONF}\n")
    back = way_back.of_batch("run2", batch(), [row(CONF, was="absent"), listing], HOST, None)
    assert done(back) == [(CONF, "restore"), (LIST, "restore"), ("x.service", "restart")]
    assert back.changes[0].want == "absent"


def test_by_hand_no_unit_is_taken_away() -> None:
    assert way_back.of_rows([row(CONF), row(UNIT, was="absent")], HOST, observed()).why_not == (
        "there was no x.service before")


@pytest.mark.parametrize(("was", "now", "goes"), [
    ("--emulated-version=kube=1.36", "--v=2", False), ("--v=2", "--emulated-version=kube=1.36", True),
    ("--emulated-version=kube=1.36 --v=1", "--emulated-version=kube=1.36 --v=2", True), ("--v=1", "--v=2", True)])
def test_by_hand_no_api_server_goes_back_to_a_trial_that_has_ended(was: str, now: str, goes: bool) -> None:
    place = "/etc/systemd/system/kube-apiserver.service"
    host = HostDesired("h", (File(path=place, phase="control-plane"), Unit(
        path="kube-apiserver.service", phase="control-plane", component="kube-apiserver", inputs=(place,))))
    rows = [replace(row(place, "run2.control-plane.0"), was_text=was, now_text=now)]
    back = way_back.of_rows(rows, host, observed())
    assert bool(back.changes) is goes
    assert goes or back.why_not == (
        "kube-apiserver.service behaves as its own minor since the trial has ended, and does not return to that")


def test_what_did_not_run_before_is_not_put_back_to_what_did_not_run() -> None:
    back = way_back.of_batch("run2", batch("activating enabled due"), [row(CONF)], HOST, None)
    assert "x.service did not run before either" in back.why_not


def test_a_unit_that_is_new_beside_one_that_is_not_is_stopped_before_its_file_goes() -> None:
    new = Unit(path="y.service", phase="node", inputs=("/etc/systemd/system/y.service",))
    host = HostDesired("h", (*HOST.items, File(path="/etc/systemd/system/y.service", phase="node"), new))
    changes = [*batch(), Change("h", "node", "unit", new.path, "start", "", "absent", "", new)]
    rows = [row(CONF), row("/etc/systemd/system/y.service", was="absent")]
    assert done(way_back.of_batch("run2", changes, rows, host, None)) == [
        ("y.service", "remove"), (CONF, "restore"), ("/etc/systemd/system/y.service", "restore"),
        ("x.service", "restart")]


@pytest.mark.parametrize(("now", "was", "goes"), [("3.6.17", "3.6.16", True), ("3.7.1", "3.6.16", False),
                                                  ("3.6.16", "3.7.1", True)])
def test_etcd_goes_back_within_its_minor_only(now: str, was: str, goes: bool) -> None:
    link = row(ETCD, "run2.etcd.0", kind="symlink", was=f"link /opt/kubewright/etcd/{was}-aa/etcd",
               now=f"link /opt/kubewright/etcd/{now}-bb/etcd")
    back = way_back.of_rows([link], HOST, observed())
    assert bool(back.changes) is goes
    assert goes or back.why_not == (
        f"etcd {now} does not go back to {was}: an earlier minor cannot read a later one's data")


@pytest.mark.parametrize(("others", "goes"), [
    (("3.6.16", "3.7.1"), True), (("3.6.2",), True), (("3.7.1", "3.7.1"), False), ((), False)])
def test_etcd_goes_back_a_minor_only_while_another_member_still_runs_it(others: tuple[str, ...], goes: bool) -> None:
    link = row(ETCD, "run2.etcd.0", kind="symlink", was="link /opt/kubewright/etcd/3.6.16-aa/etcd",
               now="link /opt/kubewright/etcd/3.7.1-bb/etcd")
    unit = Unit(path="etcd.service", phase="etcd", inputs=(ETCD,))
    host = HostDesired("h", (unit,))
    act = Change("h", "etcd", "unit", unit.path, "restart", "", "active enabled due", "", unit)
    assert bool(way_back.of_batch("run2", [act], [link], host, None, others).changes) is goes


def test_marks_of_the_cluster_and_what_the_host_cannot_make_again_stay() -> None:
    pair = row("/pki/x.crt", "run2.pki.0", kind="certificate", was="certificate sha256:1 key-missing")
    rows = [row(CONF), row(BOOTSTRAPPED, "run2.etcd.bootstrapped", was="absent"), pair]
    back = way_back.of_rows(rows, HOST, observed())
    assert done(back) == [(CONF, "restore"), ("x.service", "restart")]
    assert back.stay == ("/pki/x.crt",)


def test_what_a_bundle_by_hand_wrote_and_nothing_here_desires_any_more_stays() -> None:
    back = way_back.of_rows([row(CONF), row("/etc/gone.conf", "20260302-091401-7f3a")], HOST, observed())
    assert (back.stay, [c.path for c in way_back.in_phases(back)]) == (("/etc/gone.conf",), [CONF, "x.service"])


def test_by_hand_the_changes_stand_in_the_order_of_their_phases() -> None:
    rows = [row(CONF), row("/pki/x.crt", "run2.pki.0"), row(ETCD, "run2.etcd.0")]
    back = way_back.of_rows(rows, HOST, observed())
    assert [c.phase for c in way_back.in_phases(back)] == ["pki", "etcd", "etcd", "node", "node"]


def test_the_newest_run_is_the_last_that_changed_something_and_did_not_go_back() -> None:
    rows = [row(CONF, "run1.node.0", saved=1), row(UNIT, "run2.node.0", saved=2),
            row(LIST, "run3.node.0.back", saved=3)]
    assert way_back.newest_run(rows) == "run2"
    assert way_back.newest_run(rows[2:]) == ""
    assert not way_back.of_run(row(CONF, "run2.node.0.back"), "run2")


def test_a_component_has_its_own_items_and_all_that_its_units_read() -> None:
    rows = [row(CONF), row("/pki/x.crt"), row(ETCD), row(LIST)]
    assert [r.path for r in way_back.of_component("x", rows, HOST)] == [CONF, "/pki/x.crt", LIST]
    assert way_back.components(HOST) == ["etcd", "x"]


def test_a_diff_leads_from_now_to_what_was_and_a_secret_has_none() -> None:
    text = Kept("file", CONF, "s", 0, "file sha256:1", "file sha256:2", "old\n", "new\n")
    assert text.diff.splitlines()[-2:] == ["-new", "+old"]
    assert Kept("file", CONF, "s", 0, "file hmac:1", "file hmac:2").diff == "(secret, put back)"
