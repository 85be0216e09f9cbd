"""Machines that were somebody's before: where we can work, we work; where not, `check` says so for each and all."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from provisioner.lab.network import BRIDGE, in_network
from provisioner.lab.processes import run
from tests.lab import figures
from tests.lab.apart import apart
from tests.lab.conftest import NODES, Lab

pytestmark = [pytest.mark.lab, pytest.mark.full, pytest.mark.timeout(900)]
PROXY = "http://192.0.2.1:3128"


@pytest.fixture(scope="module")
def machines() -> Iterator[Lab]:
    """Five empty nodes in an instance of their own, whose CoreDNS asks whoever the hosts ask."""
    with apart("past") as lab:
        text = lab.file.read_text(encoding="utf-8")
        lab.file.write_text("".join(line for line in text.splitlines(keepends=True) if "upstreams: []" not in line),
                            encoding="utf-8")
        lab.run("lab", "up")
        yield lab


def sh(lab: Lab, host: str, script: str) -> None:
    lab.on(host, "sh", "-ec", script)


def bridge(lab: Lab, verb: str) -> None:
    """Give the VIP to the machine that the nodes' bridge belongs to, or take it from there."""
    run(list(in_network(lab.instance, ("ip", "address", verb, "10.77.0.10/32", "dev", BRIDGE))), doing="moving the VIP")


def test_fresh_nodes_are_asked_everything_in_three_seconds(machines: Lab) -> None:
    took = []
    for _ in range(3):
        began = time.monotonic()
        report = machines.json("check")
        took.append(time.monotonic() - began)
        assert report["fit"] and {c["result"] for c in report["checks"]} <= {"ok", "warning"}
        assert {c["asked"] for c in report["checks"] if c["name"] != "vip"} == {5}
    figures.record("`check` of five fresh nodes", took, unit="s", limit=3)


def test_each_unfit_machine_is_named_beside_the_others_and_nothing_is_changed(machines: Lab) -> None:
    sh(machines, "cp1", "echo 'AllowTcpForwarding no' > /etc/ssh/sshd_config.d/00-hard.conf; systemctl reload ssh")
    sh(machines, "cp2", "usermod -s /usr/sbin/nologin admin")
    sh(machines, "cp3", "mv /usr/lib/python3.11/json /usr/lib/python3.11/json-away")
    sh(machines, "w1", "apt-get update && apt-get install -y iptables && iptables -P FORWARD DROP")
    sh(machines, "w2", "echo 'deb [trusted=yes] http://nowhere.invalid/ ./' > /etc/apt/sources.list; "
                       "mkdir /data && ln -s /data /etc/containerd")
    done = machines.run("check", check=False)
    told = done.stderr
    assert done.returncode == 11, told
    for line in ("cp1: forwarding: sshd forbids forwarding", "cp2: ssh: the login of admin only says: This account is",
                 "cp3: python: its Python is not whole: ModuleNotFoundError: No module named 'json'",
                 "w1: firewall: its firewall drops what is forwarded for Pods",
                 "http://nowhere.invalid the name does not resolve",
                 "w2: directories: /etc/containerd is a link to /data"):
        assert line in told, told
    assert "Traceback" not in told and "on cp3: apt-get install -y python3" in told
    refused = machines.run("up", "--yes", check=False)
    assert refused.returncode in (11, 12), refused.stderr
    assert [machines.on(h, "ls", "/var/lib/kubewright", check=False) for h in NODES] == [""] * 5


def test_a_vip_that_somebody_has_and_a_key_that_openssh_refuses_are_found_before_the_first_change(
        machines: Lab) -> None:
    machines.reset()
    key = machines.directory / ".kubewright" / "id_ed25519"
    bridge(machines, "add")
    key.chmod(0o644)
    try:
        done = machines.run("up", "--yes", check=False)
    finally:
        key.chmod(0o600)
        bridge(machines, "del")
    assert done.returncode == 11, done.stderr
    assert "another machine has the VIP 10.77.0.10" in done.stderr
    assert f"ssh does not use the key {key}: others may read it" in done.stderr
    assert f"chmod 600 {key}" in done.stderr
    assert machines.json("check")["fit"]


def test_machines_with_a_past_that_does_no_harm_become_a_cluster(machines: Lab) -> None:
    sh(machines, "cp2", "mkdir -p /etc/systemd/system.conf.d; printf '[Manager]\\nDefaultEnvironment="
                        f"http_proxy={PROXY} https_proxy={PROXY} HTTP_PROXY={PROXY} HTTPS_PROXY={PROXY}\\n' "
                        "> /etc/systemd/system.conf.d/proxy.conf; systemctl daemon-reload")
    sh(machines, "cp3", "echo 'nameserver 127.0.0.53' > /etc/resolv.conf")
    sh(machines, "w1", "echo net.ipv4.ip_forward=0 > /etc/sysctl.d/99-hard.conf")
    sh(machines, "w2", "echo 'deb cdrom:[Debian GNU/Linux 12 _Bookworm_]/ bookworm main' "
                       "> /etc/apt/sources.list.d/cd.list; hostname NUC-1; echo NUC-1 > /etc/hostname; "
                       "sed -i '1i echo Welcome to this machine' /home/admin/.bashrc || "
                       "echo 'echo Welcome to this machine' > /home/admin/.bashrc")
    report = machines.json("check")
    assert report["fit"], report
    assert ("w1", "sysctl") in {(f["host"], f["check"]) for f in report["findings"]}
    machines.run("up", "--yes")
    machines.run("ready", "--timeout", "120")
    assert "No changes" in machines.run("plan").stdout
    names = machines.kubectl("get", "nodes", "-o", "name").split()
    assert sorted(names) == sorted(f"node/{name}" for name in NODES)
    assert machines.json("check")["fit"], "our own VIP is nobody else's"
