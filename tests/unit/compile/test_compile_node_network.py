"""What a node's network needs of the host: directories of its own, a resolver that Pods reach, settings that stay."""

from __future__ import annotations

import json
import subprocess
import tomllib
from pathlib import Path

import pytest
import yaml

from provisioner.model.desired import Desired, File, HostDesired
from tests.unit.compile.compile_fixture import compiled, facts_of, inventory

STUB = "/run/systemd/resolve/resolv.conf"


def text(host: HostDesired, path: str) -> str:
    item = host.find("file", path)
    assert isinstance(item, File)
    return item.content


W1 = compiled().hosts["w1"]


def corefile(desired: Desired) -> str:
    found = next(o.body for o in desired.objects if o.body["kind"] == "ConfigMap"
                 and o.body["metadata"]["name"] == "coredns")
    return str(found["data"]["Corefile"])


@pytest.mark.parametrize(("seen", "resolver"), [("/etc/resolv.conf", None), (STUB, STUB), ("", None)])
def test_the_kubelet_hands_pods_the_servers_behind_the_hosts_stub(seen: str, resolver: str | None) -> None:
    cluster = inventory(config={})
    host = compiled(cluster, facts_of(cluster, resolv_conf=seen)).hosts["w1"]
    assert yaml.safe_load(text(host, "/var/lib/kubelet/config.yaml")).get("resolvConf") == resolver


def test_what_the_inventory_says_of_the_resolver_stands_above_what_was_seen() -> None:
    cluster = inventory(config={"kubelet": {"resolvConf": "/etc/own.conf"}})
    host = compiled(cluster, facts_of(cluster, resolv_conf=STUB)).hosts["w1"]
    assert yaml.safe_load(text(host, "/var/lib/kubelet/config.yaml"))["resolvConf"] == "/etc/own.conf"


def test_coredns_asks_the_hosts_servers_where_there_are_any() -> None:
    cluster = inventory(config={})
    assert "forward . /etc/resolv.conf {" in corefile(compiled(cluster))
    facts = facts_of(cluster, resolv_conf="") | {"w2": facts_of(cluster)["w2"]}
    assert "forward . /etc/resolv.conf {" in corefile(compiled(cluster, facts))


def test_coredns_asks_nobody_where_no_host_knows_a_server() -> None:
    cluster = inventory(config={})
    assert "forward" not in corefile(compiled(cluster, facts_of(cluster, resolv_conf="")))


@pytest.mark.parametrize(("config", "line"), [
    ({"coredns": {"upstreams": ["10.0.0.2"]}}, "forward . 10.0.0.2 {"),
    ({"kubelet": {"resolvConf": "/etc/own.conf"}}, "forward . /etc/resolv.conf {"),
])
def test_upstreams_that_the_inventory_names_are_asked_whatever_was_seen(config: dict, line: str) -> None:
    cluster = inventory(config=config)
    assert line in corefile(compiled(cluster, facts_of(cluster, resolv_conf="")))


def test_the_kernel_is_as_the_kubelet_wants_it_whatever_file_won_at_boot() -> None:
    before, _, _ = text(W1, "/etc/systemd/system/kubelet.service").partition("ExecStart=/")
    (line,) = (line for line in before.splitlines() if "systemd-sysctl " in line)
    file = line.removeprefix("ExecStartPre=-+/lib/systemd/systemd-sysctl ")
    assert "kernel.panic = " in text(W1, file), "the file that it reads is one of ours"


def test_the_pod_network_of_ours_is_read_from_a_directory_where_nobody_else_writes() -> None:
    config = tomllib.loads(text(W1, "/etc/containerd/config.toml"))
    cni = config["plugins"]["io.containerd.cri.v1.runtime"]["cni"]
    assert cni == {"conf_dir": "/etc/kubewright/cni", "bin_dirs": ["/opt/kubewright/cni"]}
    assert "final=/etc/kubewright/cni/10-kubewright.conflist" in text(W1, "/opt/kubewright/bin/write-cni-config")


def test_a_network_of_one_s_own_finds_the_standard_directories() -> None:
    own = compiled(inventory(network={"hosts": ["10.77.0.0/24"], "plugin": "none"})).hosts["w1"]
    config = own.find("file", "/etc/containerd/config.toml")
    assert isinstance(config, File)
    cni = tomllib.loads(config.content)["plugins"]["io.containerd.cri.v1.runtime"]["cni"]
    assert cni == {"conf_dir": "/etc/cni/net.d", "bin_dirs": ["/opt/cni/bin"]}
    assert {i.path for i in own.items if i.path.startswith("/opt/cni")} == {
        "/opt/cni", "/opt/cni/bin", "/opt/cni/bin/loopback"}


def test_a_node_that_has_its_subnet_has_its_cni_file_before_containerd_reads_the_directory(tmp_path: Path) -> None:
    unit = text(W1, "/etc/systemd/system/containerd.service")
    assert unit.index("ExecStartPre=-/opt/kubewright/bin/write-cni-config") < unit.index("ExecStart=/")
    env, final = tmp_path / "subnet.env", tmp_path / "cni/10-kubewright.conflist"
    final.parent.mkdir()
    script = text(W1, "/opt/kubewright/bin/write-cni-config").replace("/run/flannel/subnet.env", str(env)).replace(
        "/etc/kubewright/cni/10-kubewright.conflist", str(final))
    early = subprocess.run(["sh", "-c", script], check=True, timeout=60, capture_output=True)
    assert early.stdout == b"no subnet yet\n"
    assert not final.exists()
    env.write_text("FLANNEL_NETWORK=10.244.0.0/16\nFLANNEL_SUBNET=10.244.3.1/24\nFLANNEL_MTU=1450\n")
    subprocess.run(["sh", "-c", script], check=True, timeout=60)
    assert json.loads(final.read_text())["plugins"][0]["ipam"]["ranges"] == [[{"subnet": "10.244.3.0/24"}]]
