"""What `check` says to type where firewalld shuts hosts out, typed: into the program that changes its files alone."""

from __future__ import annotations

import shlex
import shutil
import subprocess
from pathlib import Path
from xml.etree import ElementTree

import pytest

from provisioner.applier.firewall import VRRP
from provisioner.operate.checks.past import _in_its_zone, _opened

PROGRAM = shutil.which("firewall-offline-cmd")
pytestmark = [pytest.mark.full, pytest.mark.skipif(PROGRAM is None, reason="apt-get install firewalld")]


def typed(line: str, place: Path) -> None:
    """Type the commands of a line but for the reload; a zone that is asked for is `public`."""
    line = line.replace("$(firewall-cmd --get-zone-of-interface=eth0 || firewall-cmd --get-default-zone)", "public")
    for command in line.replace(";", " && ").split(" && "):
        words = [word for word in shlex.split(command)[1:] if word not in ("--permanent", "--reload")]
        if words:
            done = subprocess.run([str(PROGRAM), "--system-config", str(place), *words], capture_output=True, text=True,
                                  timeout=60, check=False)
            assert done.returncode == 0, done.stderr


def test_packets_are_let_in_by_the_zone_that_has_the_interface_which_keeps_all_else(tmp_path: Path) -> None:
    (tmp_path / "zones").mkdir()
    typed(_in_its_zone("eth0", [(VRRP, 0), ("tcp", 2380), ("udp", 8472)], ["10.0.0.0/24", "fd00::/64"]), tmp_path)
    zone = ElementTree.parse(tmp_path / "zones/public.xml").getroot()    # noqa: S314 - made here
    assert "ssh" in {service.get("name") for service in zone.iter("service")}
    rules = [(rule.get("family"), rule.find("source").get("address"),       # type: ignore[union-attr]
              *(part.get("port") or part.get("value") for part in rule if part.tag in ("port", "protocol")))
             for rule in zone.iter("rule")]
    assert sorted(rules) == [
        ("ipv4", "10.0.0.0/24", "2380"), ("ipv4", "10.0.0.0/24", "8472"), ("ipv4", "10.0.0.0/24", "vrrp"),
        ("ipv6", "fd00::/64", "2380"), ("ipv6", "fd00::/64", "8472")]


def test_pods_have_a_zone_that_lets_through_what_is_theirs(tmp_path: Path) -> None:
    (tmp_path / "zones").mkdir()
    typed(_opened("inet firewalld filter_FORWARD (rejects at its end)", ["10.244.0.0/16", "fd01::/64"], ""), tmp_path)
    zone = ElementTree.parse(tmp_path / "zones/kubewright-pods.xml").getroot()    # noqa: S314 - made here
    assert zone.get("target") == "ACCEPT"
    assert {source.get("address") for source in zone.iter("source")} == {"10.244.0.0/16", "fd01::/64"}
