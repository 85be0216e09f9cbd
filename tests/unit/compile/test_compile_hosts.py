"""What holds for every host of every cluster that we compile."""

from __future__ import annotations

import dataclasses
import json
import re
from pathlib import Path, PurePosixPath

import pytest

from provisioner.compile import parts
from provisioner.compile.kubelet import REGISTRATION
from provisioner.compile.objects import HOSTS_LIST
from provisioner.model.applied import HOST_PATH
from provisioner.model.desired import Certificate, Desired, Directory, File, HostDesired, Symlink, Unit
from provisioner.model.paths import data_dir
from provisioner.model.phases import PHASES
from tests.unit.compile.compile_fixture import SECRET_BYTES, compiled, facts_of, inventory

HOSTS = {
    "cp1": {"address": "10.77.0.11", "roles": ["control-plane"]},
    "cp2": {"address": "10.77.0.12", "roles": ["control-plane", "worker"]},
    "e1": {"address": "10.77.0.31", "roles": ["etcd"]},
    "lb1": {"address": "10.77.0.41", "roles": ["load-balancer"]},
    "w1": {"address": "10.77.0.21", "roles": ["worker"], "labels": {"zone": "a"}},
    "spare": {"address": "10.77.0.51", "roles": []},
}
STACKED = inventory()
SPREAD = inventory(hosts=HOSTS)
PLAIN = inventory(api={"external": "lb.example.org:6443"}, network={
    "hosts": ["10.77.0.0/24"], "pods": ["10.244.0.0/16"], "services": ["10.96.0.0/16"], "plugin": "none"})

CASES = {f"{kind}-{host.name}": host for kind, cluster in (("stacked", STACKED), ("spread", SPREAD), ("plain", PLAIN))
         for host in compiled(cluster).hosts.values()}

# What an installed system already has; every other directory must be an item before the first file in it.
OF_THE_SYSTEM = {"/etc", "/opt", "/usr/local/bin", "/var/lib", "/etc/systemd/system", "/etc/sysctl.d",
                 "/etc/modules-load.d"}

every_host = pytest.mark.parametrize("host", CASES.values(), ids=CASES.keys())


def units(host: HostDesired) -> list[Unit]:
    return [item for item in host.items if isinstance(item, Unit)]


def text(host: HostDesired, path: str) -> str:
    item = host.find("file", path)
    assert isinstance(item, File), f"{host.name} has no file {path}"
    return item.content


def unit_text(host: HostDesired, unit: Unit) -> str:
    return text(host, next(path for path in unit.inputs if path.startswith(parts.UNIT_DIR)))


@every_host
def test_every_item_has_a_known_phase_and_stands_in_order(host: HostDesired) -> None:
    numbers = [PHASES.index(item.phase) for item in host.items]
    assert numbers == sorted(numbers)
    for phase in PHASES:
        kinds = [item.kind == "unit" for item in host.of_phase(phase)]
        assert kinds == sorted(kinds), f"a unit of {phase} stands before a file"


@every_host
def test_every_path_appears_once(host: HostDesired) -> None:
    paths = [(item.kind if not item.path.startswith("/") else "", item.path) for item in host.items]
    paths += [("", item.key_path) for item in host.items if isinstance(item, Certificate)]
    assert len(paths) == len(set(paths))


@every_host
def test_every_directory_is_there_before_what_lies_in_it(host: HostDesired) -> None:
    there = set(OF_THE_SYSTEM)
    for item in host.items:
        if isinstance(item, File | Symlink | Certificate | Directory):
            assert str(PurePosixPath(item.path).parent) in there, item.path
        if isinstance(item, Directory):
            there.add(item.path)


@every_host
def test_every_input_of_a_unit_is_an_item_of_no_later_phase(host: HostDesired) -> None:
    phase_of = {item.path: PHASES.index(item.phase) for item in host.items if item.kind != "unit"}
    for unit in units(host):
        assert unit.inputs
        for path in unit.inputs:
            assert path in phase_of, f"{unit.path} reads {path}, which nobody makes"
            assert phase_of[path] <= PHASES.index(unit.phase)


@every_host
def test_every_unit_lists_its_inputs_on_the_host_for_the_stamp(host: HostDesired) -> None:
    for unit in units(host):
        assert text(host, f"/etc/kubewright/inputs/{unit.path}").splitlines() == list(unit.inputs)
        assert f"\nExecStartPre=-+/opt/kubewright/bin/stamp {unit.path}\n" in unit_text(host, unit)
    if units(host):
        assert host.find("file", "/opt/kubewright/bin/stamp") is not None


@every_host
def test_every_unit_comes_back_however_often_it_ends(host: HostDesired) -> None:
    for unit in units(host):
        body = unit_text(host, unit)
        # systemd refuses Restart=always for a oneshot.
        always = "Restart=on-failure" if "Type=oneshot" in body else "Restart=always"
        assert f"\n{always}\n" in body
        assert "\nRestartSec=" in body
        assert "\nStartLimitIntervalSec=0\n" in body


@every_host
def test_only_haproxy_and_keepalived_are_reloaded_and_they_stamp_that(host: HostDesired) -> None:
    for unit in units(host):
        reloads = unit.path in ("haproxy.service", "keepalived.service")
        assert unit.on_change == ("reload" if reloads else "restart")
        assert (f"ExecReload=-+/opt/kubewright/bin/stamp {unit.path}\n" in unit_text(host, unit)) is reloads


@every_host
def test_every_private_key_is_a_certificate_s_or_a_reference(host: HostDesired) -> None:
    for item in host.items:
        if isinstance(item, Certificate):
            assert item.key_mode == 0o600
            assert item.organization != "system:masters"
        if isinstance(item, File) and (item.path.endswith(".key") or item.secret):
            assert item.secret is not None and item.content == "" and item.mode == 0o600


@every_host
def test_every_file_that_a_configuration_names_is_made_here(host: HostDesired) -> None:
    made = {item.path for item in host.items}
    made |= {item.key_path for item in host.items if isinstance(item, Certificate)}
    for item in host.items:
        if isinstance(item, File):
            for path in re.findall(r"/etc/(?:kubernetes|haproxy|kube-flannel)/[\w./-]+", item.content):
                assert path.rstrip(".") in made, f"{item.path} names {path}"


def test_no_secret_bytes_are_anywhere_in_desired() -> None:
    whole = repr(compiled())
    assert not [text for text in SECRET_BYTES.values() if text in whole]
    assert "PRIVATE KEY" not in whole


def test_compile_is_deterministic() -> None:
    backwards = dict(reversed(facts_of(STACKED).items()))
    assert compiled() == compiled()
    assert repr(compiled(STACKED, backwards)) == repr(compiled())


def test_every_template_is_used() -> None:
    asked_for = compiled(inventory(
        config={"etcd": {"snapshotEvery": "6h"}}, time={"servers": ["192.0.2.1"]}, trust=["a certificate"],
        registries={"registry.example.org": {"login": True}}, firewall="ours")).hosts
    of_rhel = compiled(inventory(), facts_of(inventory(), os_id="rhel", os_version="9.4")).hosts
    hosts = (*CASES.values(), *asked_for.values(), *of_rhel.values())
    everything = [item.path for host in hosts for item in host.items
                  if isinstance(item, File)]
    shared = {"/etc/kubernetes/kubeconfig", "/fragments/confined", "/fragments/environment",
              "/etc/containerd/certs.d/hosts.toml", "/opt/kubewright/registries/login"}     # one a registry
    root = data_dir("templates")
    for path in root.rglob("*"):
        relative = path.relative_to(root)
        if path.is_file() and relative.parts[0] != "manifests":
            name = "/" + str(relative).removesuffix(".j2")
            assert name in everything or name in shared, f"nothing renders {relative}"


def without_record(desired: Desired) -> dict[str, HostDesired]:
    """Return the hosts without the file that says what the whole cluster was made from."""
    return {name: HostDesired(name, tuple(i for i in host.items if i.path != HOST_PATH))
            for name, host in desired.hosts.items()}


def test_a_further_worker_changes_nothing_on_the_other_hosts_but_the_record_and_the_list_of_hosts() -> None:
    hosts = STACKED.model_dump(mode="json")["hosts"]
    larger = inventory(hosts=hosts | {"w3": {"address": "10.77.0.23", "roles": ["worker"]}})
    before, after = compiled(STACKED), compiled(larger)
    assert {n: h for n, h in without_record(after).items() if n != "w3"} == without_record(before)
    (listed,) = [o for o in after.objects if o not in before.objects]
    assert listed.identity == HOSTS_LIST and len(after.objects) == len(before.objects)
    assert listed.body["data"] == dict.fromkeys(("cp1", "cp2", "cp3", "w1", "w2", "w3"), "host")


def test_a_host_that_did_not_answer_is_left_out_and_stays_a_peer() -> None:
    facts = facts_of(STACKED)
    del facts["cp2"]
    desired = compiled(STACKED, facts)
    assert list(desired.hosts) == ["cp1", "cp3", "w1", "w2"]
    assert desired.hosts["cp1"] == compiled().hosts["cp1"]
    assert [m.name for m in desired.members] == ["cp1", "cp2", "cp3"]


def test_a_host_without_roles_is_only_prepared() -> None:
    spare = compiled(SPREAD).hosts["spare"]
    assert {item.kind for item in spare.items} == {"package", "swap", "module", "sysctl", "file"}
    assert {item.path for item in spare.items if item.kind == "file"} == {
        "/etc/modules-load.d/kubewright.conf", "/etc/sysctl.d/99-zz-kubewright.conf"}


@pytest.mark.parametrize(("name", "expected"), [
    ("cp1", {"containerd", "kubewright-images", "haproxy", "kube-apiserver", "kube-controller-manager",
             "kube-scheduler", "kubelet", "kube-proxy", "flanneld", "kubewright-network-watch"}),
    ("e1", {"etcd", "haproxy"}),
    ("lb1", {"haproxy", "keepalived"}),
    ("w1", {"containerd", "kubewright-images", "haproxy", "kubelet", "kube-proxy", "flanneld",
            "kubewright-network-watch"}),
])
def test_a_host_runs_what_its_roles_need_and_no_more(name: str, expected: set[str]) -> None:
    host = compiled(SPREAD).hosts[name]
    assert {unit.path.removesuffix(".service") for unit in units(host)} == expected
    staged = {item.path for item in host.items if item.kind == "artifact"}
    linked = {item.target for item in host.items if isinstance(item, Symlink)}
    assert staged == linked


def test_a_pod_network_of_one_s_own_leaves_no_trace_of_flannel() -> None:
    desired = compiled(PLAIN)
    assert "flannel" not in repr(without_record(desired)) and "flannel" not in repr(desired.objects)
    assert desired.hosts["w1"].find("symlink", "/opt/cni/bin/loopback") is not None


def test_a_kubelet_is_told_its_name_only_where_the_machine_has_another() -> None:
    facts = facts_of(STACKED)
    facts["w1"] = dataclasses.replace(facts["w1"], hostname="ip-10-77-0-21")
    hosts = compiled(STACKED, facts).hosts
    path = "/etc/systemd/system/kubelet.service"
    assert "--hostname-override=w1 " in text(hosts["w1"], path)
    assert "--hostname-override" not in text(hosts["w2"], path)
    assert "hostnameOverride: w1\n" in text(hosts["w1"], "/etc/kubernetes/kube-proxy.yaml")


def test_only_a_machine_without_cap_sys_resource_restricts_oom_scores() -> None:
    path = "/etc/containerd/config.toml"
    free = compiled(STACKED, facts_of(STACKED, cap_sys_resource=True)).hosts["w1"]
    assert "restrict_oom_score_adj = true" in text(compiled().hosts["w1"], path)
    assert "restrict_oom_score_adj" not in text(free, path)


def test_control_planes_take_no_pods_unless_they_are_workers_too() -> None:
    hosts = compiled(SPREAD).hosts
    taint = "--register-with-taints=node-role.kubernetes.io/control-plane=:NoSchedule"
    assert taint in text(hosts["cp1"], REGISTRATION)
    assert "--register-with-taints" not in text(hosts["cp2"], REGISTRATION)
    assert "--node-labels=zone=a" in text(hosts["w1"], REGISTRATION)


def test_labels_and_taints_are_no_reason_to_restart_a_kubelet() -> None:
    taint = {"key": "a.b/c", "value": "d", "effect": "NoExecute"}
    marked = HOSTS | {"w1": HOSTS["w1"] | {"labels": {"zone": "b"}, "taints": [taint]},  # type: ignore[operator]
                      "cp1": HOSTS["cp1"] | {"roles": ["control-plane", "worker"]}}  # type: ignore[operator]
    before, after = compiled(SPREAD).hosts, compiled(inventory(hosts=marked)).hosts
    for name in ("w1", "cp1"):
        unit = after[name].find("unit", "kubelet.service")
        assert isinstance(unit, Unit)
        differ = [i.path for i in after[name].items if i != before[name].find(i.kind, i.path) and i.phase != "verify"]
        assert differ == [REGISTRATION] and not set(differ) & set(unit.inputs)
    assert '"--node-labels=zone=b --register-with-taints=a.b/c=d:NoExecute"\n' in text(after["w1"], REGISTRATION)


def test_desired_states_do_not_depend_on_this_machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    before = compiled()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("LANG", "tr_TR.UTF-8")
    assert compiled() == before


def test_the_network_configuration_is_json() -> None:
    conf = json.loads(text(compiled().hosts["w1"], "/etc/kube-flannel/net-conf.json"))
    assert conf == {"Network": "10.244.0.0/16", "EnableNFTables": True, "Backend": {"Type": "vxlan"}}
