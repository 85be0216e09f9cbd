"""Addresses with colons before a port: right in what is compiled from them, though no cluster runs so yet.

`validate` refuses IPv6; these clusters did not come that way.
"""

from __future__ import annotations

from provisioner.compile import control_plane, etcd
from provisioner.compile.context import ClusterContext, HostContext
from provisioner.compile.load_balancer import HAPROXY_CONFIG, VIP_CHECK
from provisioner.model.cluster import Cluster
from provisioner.model.desired import Desired, File
from tests.unit.compile.compile_fixture import PUBLIC, SECRETS, compiled, facts_of, inventory, lock

HOSTS = {
    "cp1": {"address": "fd00::11", "roles": ["control-plane", "load-balancer"]},
    "cp2": {"address": "fd00::12", "roles": ["control-plane", "load-balancer"]},
    "e1": {"address": "fd00::31", "roles": ["etcd"]},
}
SIX = inventory(hosts=HOSTS, api={"vip": "fd00::10", "port": 8443},
                network={"hosts": ["fd00::/64"], "pods": ["fd00:1::/56"], "services": ["fd00:2::/112"]})


def context(cluster: Cluster, host: str) -> HostContext:
    site = ClusterContext(cluster, lock(), SECRETS, PUBLIC)
    return HostContext(site, cluster.machine(host), facts_of(cluster)[host])


def text(desired: Desired, host: str, path: str) -> str:
    item = next(i for i in desired.hosts[host].items if i.path == path)
    assert isinstance(item, File) and isinstance(item.content, str)
    return item.content


def test_etcds_urls_have_brackets() -> None:
    flags = etcd.flags(context(SIX, "e1"))
    assert flags["advertise-client-urls"] == "https://[fd00::31]:2379"
    assert flags["listen-peer-urls"] == "https://[fd00::31]:2380"
    assert control_plane.etcd_servers(context(SIX, "cp1")) == ["https://[fd00::31]:2379"]
    assert "e1=https://[fd00::31]:2380" in text(compiled(SIX), "e1", etcd.INITIAL_ENV)


def test_haproxys_servers_and_the_check_of_the_vip_have_brackets() -> None:
    desired = compiled(SIX)
    lines = [line.split()[1:3] for line in text(desired, "cp1", HAPROXY_CONFIG).splitlines()
             if line.startswith("    server ")]
    assert lines == [["cp1", "[fd00::11]:6443"], ["cp2", "[fd00::12]:6443"]] * 2
    assert "--connect-to '::[fd00::12]:8443'" in text(desired, "cp1", VIP_CHECK)


def test_the_api_s_url_has_brackets_and_its_certificate_has_none() -> None:
    assert SIX.api_endpoint.url == "https://[fd00::10]:8443"
    outside = inventory(api={"external": "[fd00::99]:6443"})
    assert outside.api_endpoint.url == "https://[fd00::99]:6443"
    certificate = next(i for i in compiled(outside).hosts["cp1"].items if i.path.endswith("/apiserver.crt"))
    assert "fd00::99" in certificate.ip_addresses  # type: ignore[attr-defined]
