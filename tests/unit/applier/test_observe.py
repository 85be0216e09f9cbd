from __future__ import annotations

import base64
import dataclasses
from pathlib import Path

import pytest

from provisioner.applier import facts
from provisioner.model.facts import Facts, Interface
from tests.unit.applier.support import FakeHost

ADDRESSES = """[{"ifname":"lo","mtu":65536,"addr_info":[{"family":"inet","local":"127.0.0.1","prefixlen":8,
"scope":"host"}]},{"ifname":"host0","mtu":1500,"link_netnsid":0,"addr_info":[{"family":"inet","local":"10.77.0.11",
"prefixlen":24,"scope":"global"},{"family":"inet6","local":"fe80::1","prefixlen":64,"scope":"link"}]},
{"ifname":"veth12","mtu":1450,"link_netnsid":3,"addr_info":[{"family":"inet6","local":"fe80::2","prefixlen":64,
"scope":"link"}]},{"ifname":"eth1","mtu":9000,"addr_info":[]},{}]"""


@pytest.fixture
def furnished(box: FakeHost, tmp_path: Path) -> FakeHost:
    program = tmp_path / "bin/ip"
    program.write_text(f"#!/bin/sh\ncat <<'E'\n{ADDRESSES.replace(',{}]', ']')}\nE\n")
    program.chmod(0o755)
    box.put("/etc/os-release", 'NAME="Debian"\nID=debian\nVERSION_ID="12"\n')
    box.put("/etc/machine-id", "abc\n")
    box.put("/proc/sys/kernel/random/boot_id", "b00t\n")
    box.put("/proc/meminfo", "MemTotal:        4046848 kB\nMemFree: 1 kB\n")
    box.put("/proc/self/status", "CapEff:\t000001fffeffffff\n")
    box.path("/var/lib").mkdir(parents=True)
    return box


def test_the_facts_are_exactly_the_fields_of_the_models_facts(furnished: FakeHost) -> None:
    seen = facts.gather(furnished.host)
    assert set(seen) == {f.name for f in dataclasses.fields(Facts)}
    value = Facts(**{**seen, "interfaces": tuple(Interface(**{**i, "addresses": tuple(i["addresses"])})
                                                 for i in seen["interfaces"])})
    assert value.interface_of("10.77.0.11") == "host0"
    assert (value.os_id, value.os_version, value.machine_id, value.boot_id) == ("debian", "12", "abc", "b00t")
    assert (value.memory_mib, value.cgroup, value.cap_sys_resource) == (3952, "v1", False)


def test_pods_interfaces_and_link_local_addresses_are_left_out(furnished: FakeHost) -> None:
    assert facts.gather(furnished.host)["interfaces"] == [
        {"name": "lo", "addresses": ["127.0.0.1/8"], "mtu": 65536, "mac": ""},
        {"name": "host0", "addresses": ["10.77.0.11/24"], "mtu": 1500, "mac": ""},
        {"name": "eth1", "addresses": [], "mtu": 9000, "mac": ""}]


def test_a_capability_and_cgroup_v2_are_read_from_where_the_kernel_says_them(furnished: FakeHost) -> None:
    furnished.put("/proc/self/status", "CapEff:\t000001ffffffffff\n")
    furnished.put("/sys/fs/cgroup/cgroup.controllers", "cpu memory\n")
    seen = facts.gather(furnished.host)
    assert (seen["cgroup"], seen["cap_sys_resource"]) == ("v2", True)


def test_facts_of_a_bare_host_are_empty_not_a_failure(box: FakeHost) -> None:
    seen = facts.gather(box.host)
    assert (seen["os_id"], seen["memory_mib"]) == ("", 0)


def test_an_unknown_kind_is_refused(box: FakeHost) -> None:
    assert "unknown kind: 'magic'" in box.call("observe", {"items": [{"kind": "magic", "path": "/x"}]}, status=1)


def test_read_gives_the_bytes_and_follows_no_symlink(box: FakeHost) -> None:
    box.put("/etc/kubernetes/admin.conf", b"\x00secret", 0o600)
    box.path("/etc/link").symlink_to("kubernetes/admin.conf")
    (content,) = box.call("read", {"paths": ["/etc/kubernetes/admin.conf"]})["contents"]
    assert base64.b64decode(content) == b"\x00secret"
    assert "symbolic link" in box.call("read", {"paths": ["/etc/link"]}, status=1)
    assert "No such file" in box.call("read", {"paths": ["/etc/kubernetes/admin.conf", "/etc/none"]}, status=1)
