"""Newer OS packages and reboots of every host, one turn after another, while clients ask and write."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pytest

from tests.lab import figures, moments, outside
from tests.lab.conftest import NODES, Lab, until
from tests.lab.load import LEDGER, VIP, longest_gap, lost_writes
from tests.lab.machines import CONTROL_PLANES
from tests.lab.served import serves

pytestmark = [pytest.mark.lab, pytest.mark.full, pytest.mark.changes("os"), pytest.mark.timeout(1800)]

BOOT = "/proc/sys/kernel/random/boot_id"
ROOM = "/srv/newer"     # on a node: a source of packages of its own
PACKAGE = "kubewright-test-tool"


@pytest.fixture
def rolled(cluster: Lab) -> Iterator[Lab]:
    """A cluster with a Deployment of three and room for a ledger."""
    documents = serves(cluster, "rolled")
    yield cluster
    cluster.kubectl("delete", "--ignore-not-found", "-f", "-", stdin=documents)
    cluster.kubectl("delete", "namespace", LEDGER, timeout=300)


def boots(lab: Lab, hosts: Sequence[str] = NODES) -> dict[str, str]:
    return {host: lab.on(host, "cat", BOOT).strip() for host in hosts}


def cordoned(lab: Lab) -> list[str]:
    nodes = json.loads(lab.kubectl("get", "nodes", "-o", "json"))["items"]
    return [n["metadata"]["name"] for n in nodes if n["spec"].get("unschedulable")]


def rebooted(events: list[dict[str, Any]]) -> list[str]:
    """Return the hosts that were rebooted and seen in another boot, in that order; not those of a run before."""
    return [e["host"] for e in events if e["type"] == "gate" and e["status"] == "ok" and e["phase"] != "prepare"
            and any(said.startswith("rebooted: boot") for said in e["data"]["proved"])]


def make(lab: Lab, host: str, number: int, *, reboots: bool = False) -> str:
    """Make a package of this version on a host, and return the file; it may ask for a reboot as a kernel does."""
    asks = f"touch /run/reboot-required; echo {PACKAGE} > /run/reboot-required.pkgs" if reboots else "true"
    for path, text in {f"{ROOM}/{number}/DEBIAN/control": f"Package: {PACKAGE}\nVersion: {number}\nArchitecture: all\n"
                       "Maintainer: nobody\nDescription: a package of a test\n",
                       f"{ROOM}/{number}/DEBIAN/postinst": f"#!/bin/sh\n{asks}\n"}.items():
        lab.on(host, "sh", "-c", 'mkdir -p "${1%/*}" && printf %s "$2" > "$1"', "-", path, text)
    lab.on(host, "chmod", "755", f"{ROOM}/{number}/DEBIAN/postinst")
    lab.on(host, "dpkg-deb", "--build", "--root-owner-group", f"{ROOM}/{number}", f"{ROOM}/{number}.deb")
    return f"{ROOM}/{number}.deb"


def offers_newer(lab: Lab, host: str, *, reboots: bool = False) -> None:
    """Let a host have version 1 of a package, brought with another one, and its apt know a version 2."""
    lab.on(host, "dpkg", "--install", make(lab, host, 1))
    lab.on(host, "apt-mark", "auto", PACKAGE)
    make(lab, host, 2, reboots=reboots)
    script = """cd "$1" && { dpkg-deb --field 2.deb; echo "Filename: ./2.deb"; echo "Size: $(stat -c %s 2.deb)"
echo "SHA256: $(sha256sum 2.deb | cut -d' ' -f1)"; } > Packages
echo "deb [trusted=yes] file:$1 ./" > /etc/apt/sources.list.d/newer.list"""
    lab.on(host, "sh", "-c", script, "-", ROOM)


def version(lab: Lab, host: str) -> str:
    return lab.on(host, "dpkg-query", "--show", "--showformat=${Version}", PACKAGE).strip()


LOCKS = """import fcntl, time
lock = open('/var/lib/dpkg/lock-frontend', 'r+')
fcntl.lockf(lock, fcntl.LOCK_EX)
time.sleep(20)"""


def test_packages_come_as_planned_held_ones_stay_and_a_lock_is_waited_for(rolled: Lab) -> None:
    for host in ("w1", "w2", "cp2"):
        offers_newer(rolled, host, reboots=host == "cp2")
    rolled.on("w2", "apt-mark", "hold", PACKAGE)
    rolled.on("cp3", "touch", "/run/reboot-required")
    before = boots(rolled)
    shown = rolled.run("upgrade", "--os", "--plan").stdout
    print(shown)
    assert "1 → 2" in shown and f"held, and left as they are: {PACKAGE}" in shown
    plan = rolled.json("upgrade", "--os", "--plan")
    assert {(c["host"], c["kind"], c["path"]) for c in plan["changes"]} == {
        ("w1", "os-package", PACKAGE), ("cp2", "os-package", PACKAGE), ("cp3", "reboot", "host")}
    assert boots(rolled) == before and version(rolled, "w1") == "1", "to show it changes nothing"
    with subprocess.Popen(rolled.entered("w1", "python3", "-c", LOCKS)) as other:
        done = rolled.run("upgrade", "--os", "--yes", timeout=900)
        assert other.wait(60) == 0
    print(done.stderr)
    assert {host: version(rolled, host) for host in ("w1", "w2", "cp2")} == {"w1": "2", "w2": "1", "cp2": "2"}
    now = boots(rolled)
    assert {host for host in NODES if now[host] != before[host]} == {"cp2", "cp3"}, "its new package asked for it"
    assert PACKAGE in rolled.on("w1", "apt-mark", "showauto").split(), "it goes with what needs it, as before"
    assert not cordoned(rolled) and rolled.json("status")["healthy"]
    assert rolled.json("upgrade", "--os", "--plan")["changes"] == [], "a second run has nothing to do"


def test_all_five_are_rebooted_and_no_probe_fails(rolled: Lab) -> None:
    before, began = boots(rolled), time.time()
    with outside.load(rolled) as load:
        load.run_until(5.0)
        done = rolled.run("upgrade", "--os", "--reboot", "--yes", timeout=1500)
        seconds = time.time() - began
        load.run_until(load.seconds() + 5.0)
    print(done.stderr)
    now, events = boots(rolled), rolled.events(began)
    assert all(now[host] != before[host] for host in NODES)
    order = rebooted(events)
    assert sorted(order) == sorted(NODES) and sorted(order[:3]) == sorted(CONTROL_PLANES)
    measured = next(e for e in events if e["type"] == "availability")
    lost = lost_writes(rolled, load.of("writes"))
    failed = [a for a in load.attempts if a.why]
    figures.record("upgrade --os --reboot of five hosts", [seconds], unit="s",
                   turns=[e for e in events if e["type"] == "gate" and e.get("host") and e["status"] == "ok"
                          and e["data"]["proved"][0].startswith("rebooted")])
    figures.record("failed attempts while five hosts are rebooted", [float(len(failed))], unit="failed", limit=0,
                   attempts={name: len(load.of(name)) for name in (VIP, "writes")}, gap=longest_gap(load.of(VIP)),
                   prober=measured["message"], lost=len(lost), failures=[vars(a) for a in failed][:50])
    print(measured["message"], measured["data"]["details"])
    assert not failed and not lost, failed[:10]
    assert measured["status"] == "ok", measured
    assert not cordoned(rolled) and rolled.json("status")["healthy"]
    assert rolled.json("upgrade", "--os", "--plan")["changes"] == [], "no host asks for a reboot"


def told_to_reboot(host: str) -> moments.Told:
    def told(event: Mapping[str, Any]) -> bool:
        return event["type"] == "waiting" and f"{host} to come back from the reboot" in (event.get("message") or "")

    return told


def test_a_run_that_is_killed_while_a_host_reboots_is_gone_on_with_and_none_is_rebooted_twice(rolled: Lab) -> None:
    before = boots(rolled)
    words = ("upgrade", "--os", "--reboot", "--yes", "--only", "cp2", "--only", "w1")
    moments.killed(rolled, "cp2 reboots", told_to_reboot("cp2"), *words)
    began = time.time()
    done = rolled.run(*words, timeout=900)
    print(done.stderr)
    events = rolled.events(began)
    until(rolled.has_booted, 60, "booted")
    now = boots(rolled)
    assert {host for host in NODES if now[host] != before[host]} == {"cp2", "w1"}
    assert rebooted(events) == ["w1"], "cp2 was waited for, and is not rebooted again"
    assert "rebooted already by the roll that goes on here" in done.stderr
    assert not cordoned(rolled) and rolled.json("status")["healthy"]


def test_a_host_that_is_not_back_in_time_stops_the_run_by_name_and_the_next_goes_on(rolled: Lab) -> None:
    before = boots(rolled)
    words = ("upgrade", "--os", "--reboot", "--yes", "--only", "w1", "--only", "w2")
    stopped = rolled.run(*words, "--boot-timeout", "1", check=False)
    print(stopped.stderr)
    assert stopped.returncode == 13 and "w1: rebooting: not back after 1 s" in stopped.stderr
    assert "still serve: API servers cp1, cp2, cp3" in stopped.stderr
    assert "upgrade --os --reboot --only w1" in stopped.stderr
    assert boots(rolled, ["w2"])["w2"] == before["w2"], "none goes on behind it"
    done = rolled.run(*words, timeout=900)
    print(done.stderr)
    now = boots(rolled)
    assert {host for host in NODES if now[host] != before[host]} == {"w1", "w2"}
    assert not cordoned(rolled) and rolled.json("status")["healthy"]
