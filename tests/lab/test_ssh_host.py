"""Logging in elsewhere than where the cluster speaks: other addresses of the same nodes, one of them of IPv6."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from provisioner.lab.network import BRIDGE, in_network
from provisioner.lab.processes import run
from tests.lab.conftest import Lab, managed_mtimes, unit_ids

pytestmark = [pytest.mark.lab, pytest.mark.full, pytest.mark.timeout(900)]

PLACES = {"cp1": "10.77.0.111", "w1": "fd77::21"}       # a control plane's carries the tunnels to etcd and the API
SHUT = "add table inet elsewhere\nadd chain inet elsewhere in {{ type filter hook input priority -10; }}\n" \
    "add rule inet elsewhere in ip daddr {} tcp dport 22 drop\n"


@pytest.fixture
def elsewhere(cluster: Lab) -> Iterator[Lab]:
    """A cluster of which two nodes let in at another address only, as its inventory says."""
    text = cluster.file.read_text(encoding="utf-8")
    changed = text
    run(in_network(cluster.instance, ["ip", "address", "replace", "fd77::1/64", "dev", BRIDGE, "nodad"]),
        doing="giving the bridge an address")
    for host, place in PLACES.items():
        address = cluster.inventory.cluster.machine(host).address
        length = "/64" if ":" in place else "/24"
        cluster.on(host, "ip", "address", "replace", place + length, "dev", "host0", *(["nodad"] * (":" in place)))
        cluster.on(host, "nft", SHUT.format(address))
        line = next(line for line in text.splitlines() if line.startswith(f"  {host}: "))
        changed = changed.replace(line, f"{line[:-1]}, ssh: {{host: \"{place}\"}}}}")
    cluster.file.write_text(changed, encoding="utf-8")
    try:
        yield cluster
    finally:
        cluster.file.write_text(text, encoding="utf-8")
        run(in_network(cluster.instance, ["ip", "address", "delete", "fd77::1/64", "dev", BRIDGE]),
            doing="taking the bridge's address off")
        for host, place in PLACES.items():
            cluster.on(host, "nft", "delete table inet elsewhere")
            cluster.on(host, "ip", "address", "delete", place + ("/64" if ":" in place else "/24"), "dev", "host0")
        cluster.run("up", "--yes")


def test_everything_logs_in_at_ssh_host_and_nothing_else_changes(elsewhere: Lab) -> None:
    units, files = unit_ids(elsewhere), managed_mtimes(elsewhere)
    unknown = elsewhere.run("check", check=False)
    assert unknown.returncode == 11, unknown.stdout + unknown.stderr
    assert "the host key is not pinned" in unknown.stdout + unknown.stderr
    shown = elsewhere.run("trust", "--yes", "cp1", "w1")
    assert all(place in shown.stdout + shown.stderr for place in PLACES.values())
    lines = elsewhere.inventory.known_hosts_path.read_text(encoding="utf-8").splitlines()
    assert set(PLACES.values()) <= {line.split(" ")[0] for line in lines}

    elsewhere.run("check")
    assert elsewhere.run("plan", "--detailed-exitcode").stdout.startswith("No changes.")
    assert "No changes." in elsewhere.run("up", "--yes").stderr
    assert elsewhere.json("status")["healthy"] is True
    for host, unit in (("cp1", "etcd"), ("w1", "kubelet")):
        assert elsewhere.run("logs", host, unit, "--lines", "1").stdout.strip()
    assert unit_ids(elsewhere) == units
    assert managed_mtimes(elsewhere) == files


def test_a_change_gets_to_hosts_that_let_in_elsewhere(elsewhere: Lab) -> None:
    """Ansible carries it: its ssh goes to the same places with the same pins."""
    elsewhere.run("trust", "--yes", "cp1", "w1")
    for host in PLACES:
        elsewhere.on(host, "sh", "-c", "echo '# by hand' >> /etc/crictl.yaml")
    assert {c["host"] for c in elsewhere.json("plan")["changes"]} == set(PLACES)
    elsewhere.run("up", "--yes")
    assert all("by hand" not in elsewhere.on(host, "cat", "/etc/crictl.yaml") for host in PLACES)


def test_an_address_that_no_interface_has_is_told_with_what_to_write(cluster: Lab) -> None:
    """w2 as behind a cloud's address, and then as another's machine: said before anything is done."""
    text = cluster.file.read_text(encoding="utf-8")
    line = "  w2: {address: 10.77.0.22, roles: [worker]}"
    assert line in text
    try:
        cluster.on("w2", "ip", "address", "replace", "10.77.0.122/24", "dev", "host0")
        cases = (("ssh: {host: 10.77.0.22}", "hosts.w2.address, or give w2 that address"),
                 ("ssh: {host: 10.77.0.121}", "hosts.w2.ssh.host, where w2 lets us in: 10.77.0.121 is w1"))
        cluster.on("w1", "ip", "address", "replace", "10.77.0.121/24", "dev", "host0")
        for ssh, cure in cases:
            other = line.replace("10.77.0.22", "10.77.0.99")[:-1] + f", {ssh}}}"
            cluster.file.write_text(text.replace(line, other), encoding="utf-8")
            cluster.run("trust", "--yes", "w2")
            done = cluster.run("check", check=False)
            assert done.returncode == 11, done.stdout + done.stderr
            assert "no interface carries 10.77.0.99" in done.stdout + done.stderr
            assert cure in done.stdout + done.stderr
    finally:
        cluster.file.write_text(text, encoding="utf-8")
        for host, place in (("w1", "10.77.0.121/24"), ("w2", "10.77.0.122/24")):
            cluster.on(host, "ip", "address", "delete", place, "dev", "host0", check=False)
    cluster.run("check")
