"""What is others' is left alone: packages, a load balancer's configuration, and the worker of another cluster."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from provisioner.lab.network import in_network
from tests.lab.apart import apart
from tests.lab.conftest import ROOT, Lab
from tests.lab.voters import removed

pytestmark = [pytest.mark.lab, pytest.mark.full, pytest.mark.timeout(1200)]
FRONTEND = """
frontend mine
    bind :8080
    mode http
    http-request return status 200 content-type text/plain string mine
"""
CONFIG = "/etc/haproxy/haproxy.cfg"
PACKAGES = {
    "containerd.io": "Provides: containerd, runc\nConflicts: containerd, runc\nReplaces: containerd, runc",
    "docker-ce": "Depends: containerd.io",
}


@pytest.fixture(scope="module")
def three() -> Iterator[Lab]:
    """Three empty nodes in an instance of their own, of which the cluster A has two."""
    with apart("others", ("cp1", "w1", "w2")) as lab:
        lab.run("lab", "up")
        text = lab.file.read_text(encoding="utf-8")
        removed(lab, "w2")
        yield lab
        lab.file.write_text(text, encoding="utf-8")


def put(lab: Lab, host: str, path: str, text: str) -> None:
    lab.on(host, "sh", "-c", 'mkdir -p "$(dirname "$1")" && printf %s "$2" >> "$1"', "sh", path, text)


def served(lab: Lab) -> str:
    """Return what the load balancer of others on w1 answers."""
    ask = "import urllib.request as u; print(u.urlopen('http://127.0.0.1:8080', timeout=5).read().decode(), end='')"
    return lab.on("w1", "python3", "-c", ask, check=False)


def test_packages_and_files_of_others_are_named_and_kept(three: Lab) -> None:
    for name, fields in PACKAGES.items():
        control = f"Package: {name}\nVersion: 1.7.27-1\nArchitecture: all\nMaintainer: x\nDescription: x\n{fields}\n"
        put(three, "w1", f"/tmp/{name}/DEBIAN/control", control)
        three.on("w1", "dpkg-deb", "-b", f"/tmp/{name}", f"/tmp/{name}.deb")
        three.on("w1", "dpkg", "-i", f"/tmp/{name}.deb")
    three.on("w1", "apt-get", "-q", "update")
    three.on("w1", "apt-get", "-q", "install", "-y", "haproxy")
    put(three, "w1", CONFIG, FRONTEND)
    three.on("w1", "systemctl", "restart", "haproxy")
    assert served(three) == "mine"
    for words in (("check",), ("up", "--yes"), ("up", "--yes", "--skip", "packages", "--skip", "files")):
        done = three.run(*words, check=False)
        if "--skip" not in words:
            assert done.returncode == 11, done.stderr
            assert "would remove containerd.io docker-ce; nothing of others is ever removed" in done.stderr
            assert f"w1: files: {CONFIG} is not ours: somebody has changed what package haproxy" in done.stderr
        else:
            assert done.returncode == 13 and "remove is disabled" in done.stdout + done.stderr, "apt refuses it as well"
        states = three.on("w1", "dpkg-query", "--show", "--showformat=${db:Status-Status} ", *PACKAGES)
        assert states == "installed installed "
        assert served(three) == "mine"


def test_once_they_are_out_of_the_way_the_cluster_is_built(three: Lab) -> None:
    three.on("w1", "apt-get", "-q", "purge", "-y", *PACKAGES)
    three.on("w1", "mv", CONFIG, f"{CONFIG}.before")
    three.run("up", "--yes")
    assert "frontend mine" in three.on("w1", "cat", f"{CONFIG}.before")
    assert "No changes" in three.run("plan").stdout


@pytest.fixture
def b(three: Lab, tmp_path: Path) -> Iterator[Path]:
    """Another cluster's inventory: w2 as its only control plane, and by mistake A's worker."""
    key = three.directory / ".kubewright" / "id_ed25519"
    text = three.file.read_text(encoding="utf-8")
    head = text[:text.index("\nhosts:\n")].replace(f"cluster: {three.instance.name}\n", "cluster: b\n")
    head = head.replace("lab: true", "lab: false", 1)
    head = head.replace("user: admin", f"key: {key}\n  user: admin", 1).replace("vip: 10.77.0.10", "vip: 10.77.0.9", 1)
    operator = key.with_suffix(".pub").read_text(encoding="utf-8").strip()
    (tmp_path / "cluster.yaml").write_text(
        f"{head}\noperators: ['{operator}']\nhosts:\n"
        "  cp9: {address: 10.77.0.22, roles: [etcd, control-plane, load-balancer]}\n"
        "  w1: {address: 10.77.0.21, roles: [worker]}\n", encoding="utf-8")
    shutil.copy(three.directory / "artifacts.lock", tmp_path)
    shutil.copy(key.parent / "known_hosts", tmp_path)
    yield tmp_path


def test_a_first_up_of_another_cluster_takes_no_host_of_this_one(three: Lab, b: Path) -> None:
    before = three.on("w1", "find", "/etc/kubernetes", "/var/lib/kubewright/cluster.json", "-printf", "%p %i %T@\\n")
    assert f'"{three.instance.name}"' in three.on("w1", "cat", "/var/lib/kubewright/cluster.json")
    for words, code in ((("check",), 11), (("plan",), 15), (("up", "--yes"), 15)):
        call = in_network(three.instance, (sys.executable, "-m", "provisioner.cli.main", "-i", str(b), *words))
        done = subprocess.run(call, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
        assert done.returncode == code, done.stdout + done.stderr
        assert "w1: " in done.stderr and f"belongs to cluster {three.instance.name}" in done.stderr
    assert not (b / "secrets").exists()
    assert before == three.on("w1", "find", "/etc/kubernetes", "/var/lib/kubewright/cluster.json", "-printf",
                              "%p %i %T@\\n")
    assert three.on("w2", "ls", "-d", "/var/lib/kubewright", check=False) == ""
    assert three.json("status")["healthy"]
