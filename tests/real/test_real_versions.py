"""What is believed of the pinned binaries, asked of themselves: what they take, and how they read what we write."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from provisioner.compile.render import render
from tests.real.binaries import ROOT, binary

NAMES = ("123", "on", "2024", "1e3", "0x1f", "null", "w1.example.org")

pytestmark = [pytest.mark.binaries, pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def binaries(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a directory with kubectl and kube-proxy as the lab's lock pins them."""
    directory = tmp_path_factory.mktemp("binaries")
    for name in ("kubectl", "kube-proxy"):
        binary(name, directory)
    return directory


def run(*command: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False, cwd=ROOT)


def test_the_tables_of_what_a_version_takes_are_what_its_binaries_say(binaries: Path) -> None:
    done = run(sys.executable, "scripts/takes", "--check")
    assert done.returncode == 0, done.stdout + done.stderr


def kubeconfig(name: str) -> str:
    return render("/etc/kubernetes/kubeconfig", cluster=name, server="https://127.0.0.1:7443", ca="/ca", user=name,
                  certificate="/c", key="/k")


@pytest.mark.parametrize("name", NAMES)
def test_kubectl_reads_a_cluster_of_any_name_as_that_name(name: str, binaries: Path, tmp_path: Path) -> None:
    file = tmp_path / "config"
    file.write_text(kubeconfig(name))
    done = run(binaries / "kubectl", "--kubeconfig", file, "config", "view", "-o", "json")
    assert done.returncode == 0, done.stderr
    read = json.loads(done.stdout)
    assert (read["current-context"], read["clusters"][0]["name"], read["users"][0]["name"]) == (name, name, name)


def test_kubectl_refuses_a_name_that_is_not_quoted(binaries: Path, tmp_path: Path) -> None:
    file = tmp_path / "config"
    file.write_text(kubeconfig("123").replace('"123"', "123"))
    done = run(binaries / "kubectl", "--kubeconfig", file, "config", "view")
    assert done.returncode != 0
    assert "cannot unmarshal number" in done.stderr


@pytest.mark.parametrize("name", NAMES)
def test_kube_proxy_reads_a_host_of_any_name_as_that_name(name: str, binaries: Path, tmp_path: Path) -> None:
    given, taken = tmp_path / "given.yaml", tmp_path / "taken.yaml"
    given.write_text(render("/etc/kubernetes/kube-proxy.yaml", name=name, mode="nftables", pods=["10.244.0.0/16"],
                            kubeconfig="/k", metrics_port=10249, health_port=10256))
    done = run(binaries / "kube-proxy", "--config", given, "--write-config-to", taken)
    assert done.returncode == 0, done.stderr
    assert f'hostnameOverride: "{name}"\n' in taken.read_text() or f"hostnameOverride: {name}\n" in taken.read_text()
