"""Programs as hosts run them, from the artifact cache, and a control plane of one on loopback: no node is needed."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

from provisioner.artifacts.lockfile import load_lock
from provisioner.artifacts.supply import held
from provisioner.model.artifact import ArtifactLock
from provisioner.model.desired import Certificate
from provisioner.operate import pki
from provisioner.operate.access import Access
from tests.fakes.sshd import free_ports

ROOT = Path(__file__).resolve().parents[2]
LOCK = ROOT / "inventories" / "lab" / "artifacts.lock"
READY = 180.0      # a busy machine starts one in a minute or more


def binary(name: str, directory: Path, lock: Path = LOCK) -> Path:
    """Return a program of the lab's lock, or another, copied to a directory: the cache keeps files, not programs.

    The test is skipped where the cache does not hold it; with KUBEWRIGHT_TEST_BINARIES=required it fails, where that is
    the lab's lock, which all build.
    """
    artifact = load_lock(lock).get(name, "amd64")
    file = held(ArtifactLock((artifact,))).get(artifact.sha256)
    if file is None:
        reason = f"the artifact cache holds no {name} {artifact.version}: kubewright -i inventories/lab artifacts build"
        if os.environ.get("KUBEWRIGHT_TEST_BINARIES") == "required" and lock == LOCK:
            pytest.fail(reason)
        pytest.skip(reason)
    copy = directory / name
    shutil.copyfile(file, copy)
    copy.chmod(0o755)
    return copy


def until(look: Callable[[], Any], seconds: float, what: str) -> Any:
    """Poll until `look` returns something true, and return it."""
    end = time.monotonic() + seconds
    while not (found := look()):
        assert time.monotonic() < end, f"not in {seconds:g} s: {what}"
        time.sleep(0.05)
    return found


def leaf(directory: Path, ca: pki.KeyPair, name: str, **fields: Any) -> tuple[Path, Path]:
    """Issue a certificate as the product does, and return its files."""
    pair = pki.issue(Certificate(path="", key_path="", phase="pki", ca="kubernetes", common_name=name, **fields), ca)
    return written(directory, name, pair)


def written(directory: Path, name: str, pair: pki.KeyPair) -> tuple[Path, Path]:
    files = (directory / f"{name}.crt", directory / f"{name}.key")
    for file, data in zip(files, (pair.certificate, pair.key), strict=True):
        file.write_bytes(data)
        file.chmod(0o600)
    return files


@contextmanager
def control_plane(
        directory: Path, *, locks: tuple[Path, Path] = (LOCK, LOCK), data: Path | None = None,
        flags: Mapping[str, object] | None = None) -> Iterator[Access]:
    """Run one etcd member and one API server with mutual TLS, and return an administrator's way to the server.

    `locks` pin the two, `data` is where the member's are, and `flags` are more of the server's.
    """
    etcd, apiserver = binary("etcd", directory, locks[0]), binary("kube-apiserver", directory, locks[1])
    ca, signing = pki.new_ca("ca of test"), pki.new_signing_key()
    (directory / "ca.crt").write_bytes(ca.certificate)
    server = leaf(directory, ca, "server", dns_names=("localhost", "kubernetes"), ip_addresses=("127.0.0.1",),
                  server=True, client=True)
    admin = leaf(directory, ca, "admin", organization="system:masters", client=True)
    public, private = written(directory, "sa", signing)
    client, peer, port = free_ports(3)
    member = {
        "name": "a", "data-dir": data or directory / "data", "listen-client-urls": f"https://127.0.0.1:{client}",
        "advertise-client-urls": f"https://127.0.0.1:{client}", "listen-peer-urls": f"http://127.0.0.1:{peer}",
        "initial-advertise-peer-urls": f"http://127.0.0.1:{peer}", "initial-cluster": f"a=http://127.0.0.1:{peer}",
        "client-cert-auth": "true", "trusted-ca-file": directory / "ca.crt", "cert-file": server[0],
        "key-file": server[1], "unsafe-no-fsync": "true", "log-level": "error"}
    api = {
        "etcd-servers": f"https://127.0.0.1:{client}", "etcd-cafile": directory / "ca.crt", "etcd-certfile": server[0],
        "etcd-keyfile": server[1], "bind-address": "127.0.0.1", "advertise-address": "127.0.0.1", "secure-port": port,
        "client-ca-file": directory / "ca.crt", "tls-cert-file": server[0], "tls-private-key-file": server[1],
        "authorization-mode": "Node,RBAC", "service-cluster-ip-range": "10.96.0.0/16",
        "service-account-issuer": "https://kubernetes.default.svc.cluster.local", "allow-privileged": "true",
        "service-account-key-file": public, "service-account-signing-key-file": private,
        "shutdown-delay-duration": "0s",
        "endpoint-reconciler-type": "none",     # 1.37 writes no endpoint for a server on loopback, and ends
        **(flags or {})}
    with ExitStack() as stack:
        for program, given in ((etcd, member), (apiserver, api)):
            start(stack, program, given, directory)
        access = Access(("127.0.0.1", port), directory / "ca.crt", *admin)
        until(lambda: is_ready(access), READY, "an API server that is ready: " + str(directory))
        yield access


def start(stack: ExitStack, program: Path, flags: Mapping[str, object], directory: Path) -> subprocess.Popen[bytes]:
    """Start a program that the stack ends; what it says is in a file beside it."""
    log = stack.enter_context((directory / f"{program.name}.log").open("wb"))
    process = stack.enter_context(subprocess.Popen(
        [str(program), *(f"--{name}={value}" for name, value in flags.items())], stdout=log, stderr=log, cwd=directory))
    stack.callback(process.kill)
    return process


def is_ready(access: Access) -> bool:
    """Say whether the API server's readiness, which waits for its own objects too, is there."""
    from provisioner.operate.kube import ApiFault, Kube

    kube = Kube(access)
    try:
        kube.request("GET", "/readyz", timeout=2)
    except (ApiFault, ValueError) as answer:        # ready is the plain word "ok", which is no JSON
        return isinstance(answer, ValueError)
    finally:
        kube.close()
    return True
