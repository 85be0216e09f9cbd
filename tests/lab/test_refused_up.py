"""`up` on nodes that are not fit: everything is told at once, and both nodes are afterwards what they were."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from tests.lab import figures
from tests.lab.apart import apart
from tests.lab.conftest import Lab, managed_mtimes, until

pytestmark = [pytest.mark.lab, pytest.mark.timeout(300)]
HOSTS = ("cp1", "w1")


@pytest.fixture(scope="module")
def two() -> Iterator[Lab]:
    """Two empty nodes in an instance of their own; empty machines are what preflight is about."""
    with apart("preflight", HOSTS) as lab:
        lab.run("lab", "up")
        yield lab


def state(lab: Lab) -> dict[str, str]:
    packages = {f"{host} packages": lab.on(host, "dpkg-query", "--show") for host in HOSTS}
    ours = {f"{host} ours": lab.on(host, "ls", "-d", "/var/lib/kubewright", check=False) for host in HOSTS}
    return managed_mtimes(lab, HOSTS) | packages | ours


def test_a_fresh_node_is_fit_and_its_key_is_pinned_already(two: Lab) -> None:
    assert two.json("check")["fit"]
    assert {key["state"] for key in two.json("trust")["keys"]} == {"pinned"}


def test_up_on_unfit_nodes_tells_all_and_changes_nothing_and_goes_on_once_cured(two: Lab) -> None:
    two.on("cp1", "systemd-run", "--quiet", "--unit=squatter", "python3", "-m", "http.server", "6443")
    until(lambda: ":6443" in two.on("cp1", "ss", "-ltn"), 20, "the squatter listens")
    two.on("w1", "mkdir", "-p", "/var/lib/k0s")
    before = state(two)
    done = two.run("up", "--yes", check=False)
    assert done.returncode == 11
    assert "cp1: ports: port 6443, which kube-apiserver needs, is in use by python3 (squatter.service)" in done.stderr
    assert "w1: cluster: k0s is there (/var/lib/k0s); it is left alone" in done.stderr
    assert state(two) == before
    assert before["cp1 ours"] == "", "we were never there"
    two.on("cp1", "systemctl", "stop", "squatter")
    two.on("w1", "rmdir", "/var/lib/k0s")
    assert two.json("check")["fit"]


def test_sudo_with_a_password_is_named_in_three_seconds_and_never_hangs(two: Lab) -> None:
    two.on("w1", "rm", "/etc/sudoers.d/90-lab")
    began = time.monotonic()
    done = two.run("check", check=False, timeout=10)
    figures.record("`check` on a machine whose sudo asks for a password", [time.monotonic() - began], unit="s", limit=3)
    assert done.returncode == 11
    assert "w1: sudo: sudo asks for a password" in done.stderr
