"""Every check against recorded answers of machines: the cases are data, one file a module of checks."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from provisioner.compile import firewall
from provisioner.errors import KubewrightError
from provisioner.model import ports, releases
from provisioner.model.cluster import Cluster
from provisioner.model.facts import Interface
from provisioner.model.file_system import MIB, FileSystem
from provisioner.model.finding import Finding
from provisioner.model.inspection import Inspection, Listener, Packages
from provisioner.operate.checks import occupied, table
from provisioner.operate.checks.finding import HostSeen, Seen
from provisioner.report.findings import grouped
from provisioner.transport.answers import inspection_of as inspection_of_answer
from provisioner.transport.faults import HostFault
from tests.unit.compile.compile_fixture import LAB, facts, lock
from tests.unit.operate.probed_cases import probed_of

CASES = Path(__file__).parents[2] / "cases" / "checks"
Case = Mapping[str, Any]
ALL = [pytest.param(case, id=f"{file.stem}: {case['name']}")
       for file in sorted(CASES.glob("*.yaml")) for case in yaml.safe_load(file.read_text())]
# Parts that the cases tell as the applier does.
MORE = frozenset({
    "kernel", "container", "capabilities_lost", "controllers", "devices_lost", "confinement", "python_lacks", "units",
    "mounted", "cni", "hosts_file", "resolv", "environment", "locale_refused", "local_ports", "swap_by",
    "host_key", "chains", "input_drops", "netdevs", "sshd", "dpkg", "routes",
    "mirror"})
FREE = [[["/opt/kubewright", "/var/lib"], 50_000]]


def cluster_of(case: Case) -> Cluster:
    text = yaml.safe_load(LAB) | {"config": {}} | case.get("inventory", {})
    for host, spec in case.get("spec", {}).items():
        text["hosts"][host] |= spec
    return Cluster.model_validate(text)


def host_of(cluster: Cluster, name: str, answer: Case) -> HostSeen:
    machine = cluster.machine(name)
    changes: dict[str, Any] = {"cgroup": "v2"} | answer.get("facts", {})
    if "interfaces" in changes:
        changes["interfaces"] = tuple(Interface(n, tuple(a), answer.get("mtu", 1500), *mac)
                                      for n, a, *mac in changes["interfaces"])
    seen = answer.get("inspection", {})
    return HostSeen(machine, facts(name, machine.address, **changes), answer.get("clock_off", 0.0),
                    None if seen is None else inspection_of(seen), answer.get("missing_mib", 0),
                    refused=tuple(HostFault(name, "trying", f["saw"], code=f["code"], hint=f["hint"])
                          for f in answer.get("refused", ())), login=answer.get("login", 0.3))


def file_system_of(row: Case) -> FileSystem:
    """Make a file system of one in MiB, as people write it; without a size all of it is free."""
    told = dict(row)
    free = told.pop("free_mib")
    size = told.pop("size_mib", free)
    return FileSystem(**{**told, "paths": tuple(told["paths"])}, size=size * MIB, used=(size - free) * MIB,
                      free=free * MIB)


def inspection_of(seen: Case) -> Inspection:
    plain = inspection_of_answer({part: told for part, told in seen.items() if part in MORE})
    return replace(
        plain, prepared=seen.get("prepared", False),
        listeners=tuple(Listener(*row) for row in seen.get("listeners", ())),
        there=frozenset(seen.get("there", ())),
        disks=tuple(map(file_system_of, seen.get("places", []))) + tuple(
            file_system_of(dict(zip(("paths", "free_mib", "read_only", "no_exec"), row, strict=False)))
            for row in seen.get("disks", [] if "places" in seen else FREE)),
        swap=seen.get("swap", "off"), product=seen.get("product", ""), links=seen.get("links", {}),
        packages=Packages(*seen["packages"]) if "packages" in seen else Packages(),
        sysctls=tuple((file, key, value) for file, key, value in seen.get("sysctls", ())),
        others=seen.get("others", {}),
        holders=tuple(seen["holders"]) if "holders" in seen else None, unseen=seen.get("unseen", {}),
        forward_drops=tuple(seen.get("forward_drops", ())),
        services_of_others=tuple(seen.get("services_of_others", ())),
        shut_out={chain: tuple((p, n) for p, n in packets) for chain, packets in seen.get("shut_out", {}).items()})


def seen_of(case: Case) -> Seen:
    cluster = cluster_of(case)
    faults: dict[str, KubewrightError] = {
        h: HostFault(h, "connecting", f["saw"], code=f["code"], hint=f["hint"])
        for h, f in case.get("faults", {}).items()}
    probed = probed_of(cluster, case)
    hosts = {n: replace(host_of(cluster, n, a), alone=probed.alone[n] if probed else None)
             for n, a in case["hosts"].items()}
    return Seen(cluster, lock(), hosts, faults, probed, frozenset(case.get("brought", ())))


@pytest.mark.parametrize("case", ALL)
def test_the_checks_find_exactly_what_the_case_says(case: Case) -> None:
    findings = table.run(seen_of(case))
    assert [f"{f.severity} {f.host} {f.check}: {f.saw}" for f in findings] == case["expect"]
    if "cures" in case:
        assert [f.cure for f in findings] == case["cures"]
    if "retry" in case:
        assert [f.retry for f in findings] == case["retry"]


def test_a_kubelet_that_takes_cgroup_v1_is_asked_for_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    case = {"hosts": {"w1": {"facts": {"cgroup": "v1"}}}}
    assert [f.check for f in table.run(seen_of(case))] == ["cgroup"]
    older = replace(releases.MINORS["1.36"], refuses_cgroup_v1=False)
    monkeypatch.setattr(releases, "MINORS", {"1.36": older})
    assert table.run(seen_of(case)) == []


def test_every_check_is_found_by_some_case() -> None:
    found = {line.split()[2].rstrip(":") for param in ALL for line in param.values[0]["expect"]}  # type: ignore[index]
    assert found == {check.name for check in table.CHECKS}


def test_what_no_host_could_be_asked_is_not_answered() -> None:
    seen = seen_of({"hosts": {"w1": {"inspection": None}, "w2": {}},
                    "faults": {"cp1": {"saw": "x", "code": "refused", "hint": ""},
                               "cp2": {"saw": "x", "code": "sudo-password", "hint": ""}}})
    asked = table.asked(seen, table.run(seen))
    assert [asked[name] for name in ("ssh", "sudo", "python", "idle", "os", "disk")] == [4, 3, 2, 2, 2, 1]


def test_what_could_not_be_looked_at_has_not_passed() -> None:
    seen = seen_of({"hosts": {"w1": {"inspection": {"unseen": {"disks": "statvfs: Input/output error"}}}, "w2": {}}})
    findings = table.run(seen)
    assert [(f.check, f.host, f.severity, f.saw) for f in findings] == [
        (check, "w1", "unseen", "not looked at: statvfs: Input/output error")
        for check in ("disk", "room", "inodes", "mounted")]
    assert (table.asked(seen, findings)["disk"], table.asked(seen, findings)["swap"]) == (1, 2)


def test_every_part_of_an_inspection_is_judged_by_a_check_that_says_so() -> None:
    parts = set(Inspection.__dataclass_fields__) - {"prepared", "holders", "unseen"}
    assert {part for check in table.CHECKS for part in check.of} == parts


def test_every_check_has_a_name_of_its_own() -> None:
    names = [check.name for check in table.CHECKS]
    assert sorted(set(names)) == sorted(names)


def test_a_skipped_check_finds_nothing_and_the_others_still_do() -> None:
    seen = seen_of({"hosts": {"w1": {"facts": {"os_id": "arch", "cgroup": "v1"}}}})
    assert {f.check for f in table.run(seen)} == {"os", "cgroup"}
    assert {f.check for f in table.run(seen, ["os"])} == {"cgroup"}


def test_what_no_plan_can_be_made_without_cannot_be_skipped() -> None:
    assert {c.name for c in table.CHECKS} - set(table.SKIPPABLE) == {*table.REACHING, "init", "arch", "address",
                                                                      "own-address"}


def test_hosts_with_one_cause_share_a_line_and_a_cure() -> None:
    squat = {"inspection": {"listeners": [[10250, "::", "kubelite", 9, "snap.microk8s.service"]]}}
    groups = grouped(table.run(seen_of({"hosts": {"cp1": squat, "w1": squat, "w2": {}}})))
    assert [(g.hosts, g.saw, g.cures) for g in groups] == [
        (("cp1", "w1"), "port 10250, which kubelet needs, is in use by kubelite (snap.microk8s.service)",
         ("on cp1, w1: systemctl disable --now snap.microk8s.service",))]


def test_cures_that_differ_stay_apart() -> None:
    cures = {"a": "on a: kill 1", "b": "on b: kill 2", "c": ""}
    groups = grouped([Finding("ports", host, "error", "x", cure) for host, cure in cures.items()])
    assert [(g.hosts, g.cures) for g in groups] == [(("a", "b", "c"), ("on a: kill 1", "on b: kill 2"))]


def test_every_port_of_the_table_is_some_hosts_and_asked_for() -> None:
    known = set(ports.NAMES)
    cluster = cluster_of({})
    assert set(occupied.ports_to_ask(cluster)) == known | {cluster.api.port}


def test_what_hosts_send_each_other_is_asked_where_it_arrives() -> None:
    cluster = cluster_of({})
    assert firewall.needed(cluster, cluster.machine("cp1")) == (
        ("112", 0), ("tcp", 2380), ("tcp", 6443), ("tcp", 10250), ("udp", 8472))
    assert firewall.needed(cluster, cluster.machine("w1")) == (("tcp", 10250), ("udp", 8472))
    alone = cluster_of({"inventory": {"hosts": {"cp1": yaml.safe_load(LAB)["hosts"]["cp1"]}}})
    assert firewall.needed(alone, alone.machine("cp1")) == ()


def test_a_host_that_is_only_prepared_needs_no_port() -> None:
    cluster = cluster_of({"spec": {"w1": {"roles": []}}})
    assert occupied.uses(cluster, cluster.machine("w1")) == ()


def test_every_cure_for_a_host_is_one_that_a_shell_can_read() -> None:
    findings = [f for param in ALL for f in table.run(seen_of(param.values[0]))]  # type: ignore[arg-type]
    cures = {f.cure.partition(": ")[2] for f in findings if f.cure.startswith(f"on {f.host}")}
    assert len(cures) > 50
    for cure in cures:
        done = subprocess.run(["bash", "-n", "-c", cure], capture_output=True, text=True, timeout=20, check=False)
        assert done.returncode == 0, f"{cure}: {done.stderr}"


def test_where_no_packet_was_to_have_full_size_none_is_said_to_pass() -> None:
    case = {"hosts": {"cp1": {}, "w1": {}}, "ways": []}
    routed = {**case, "inventory": {"config": {"flannel": {"Backend": {"Type": "host-gw"}}}}}
    for one, mtu in ((case, 2), (routed, 0)):
        asked = table.asked(seen_of(one), [])
        assert (asked["mtu"], asked["reach"]) == (mtu, 2)


@pytest.mark.parametrize(("before", "after"), [
    ("192.0.2.11 cp1-old cp1 www\n", "192.0.2.11 cp1-old www\n10.77.0.11 cp1\n"),
    ("192.0.2.11\tcp1\n192.0.2.111 cp1.example\n", "192.0.2.11\n192.0.2.111 cp1.example\n10.77.0.11 cp1\n")])
def test_the_cure_of_a_name_led_astray_moves_no_other_name(tmp_path: Path, before: str, after: str) -> None:
    address, *names = before.split("\n")[0].split()
    file = tmp_path / "hosts"
    file.write_text(before)
    (found,) = table.run(seen_of({"hosts": {"w1": {"inspection": {"hosts_file": [
        ["127.0.0.1", ["localhost"]], [address, names]]}}}}))
    cure = found.cure.removeprefix("on w1: ").replace("/etc/hosts", str(file))
    subprocess.run(["/bin/bash", "-c", cure], check=True, timeout=10)
    assert file.read_text() == after
