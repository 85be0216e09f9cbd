"""What lies on a node where `up` writes, read from this machine at one moment, and what of it is half written."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import re
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from provisioner.applier.files import SUFFIX
from provisioner.lab import nodes
from tests.lab.conftest import Lab

PLACES = ("etc/kubernetes", "etc/kubewright", "etc/systemd/system", "etc/haproxy", "etc/keepalived", "etc/containerd",
          "etc/crictl.yaml", "etc/kube-flannel", "etc/sysctl.d", "etc/modules-load.d", "opt/kubewright",
          "usr/local/bin", "var/lib/kubewright")
KUBELET = "var/lib/kubelet"     # lies on the machine's own disk
# Whole by themselves, whatever the bytes: certificates and keys are made anew by every run that needs them, and what
# the applier notes for itself changes with every step.
WHOLE = ("whole pem", "whole json", "the package's", "whole artifact")
ARTIFACT = re.compile(r"opt/kubewright/[^/]+/[^/]+-([0-9a-f]{8})/[^/]+")
LARGE = 1 << 22


@dataclass
class Disk:
    """State of every path, and the temporary files that have no name of their own yet."""

    states: dict[str, str] = field(default_factory=dict)
    temporary: list[str] = field(default_factory=list)


def look(lab: Lab, host: str, *, artifacts: bool = False) -> Disk:
    """Read a node's disk; `artifacts` compares each with the digest in its path, which takes a second or two."""
    paths = nodes.paths(lab.instance, host)
    conffiles = _conffiles(paths.root)
    found = Disk()
    for base, place in [*((paths.root, place) for place in PLACES), (paths.bound(KUBELET), "config.yaml")]:
        prefix = "" if base == paths.root else f"{KUBELET}/"
        for path in _below(base / place):
            name = prefix + str(path.relative_to(base))
            try:
                state = _state(path, name, conffiles, artifacts)
            except FileNotFoundError:       # renamed or removed as we read
                continue
            if name.startswith("var/lib/kubewright/") and not path.is_file():
                continue
            if SUFFIX not in path.name:
                found.states[name] = state
            elif not name.startswith("var/lib/kubewright/steps/"):      # a died step's own: swept after a minute
                found.temporary.append(name)
    if (paths.bound(KUBELET) / f".config.yaml{SUFFIX}").exists():
        found.temporary.append(f"{KUBELET}/.config.yaml{SUFFIX}")
    return found


def torn(before: Mapping[str, str], struck: Mapping[str, str], after: Mapping[str, str]) -> list[str]:
    """Return what, when the kill struck, was neither as before nor as it became later, nor whole by itself."""
    return sorted(f"{path}: {state}" for path, state in struck.items()
                  if state not in (before.get(path), after.get(path)) and not state.startswith(WHOLE))


def _below(place: Path) -> Iterator[Path]:
    if place.is_symlink() or place.is_file():
        yield place
    for directory, names, files in os.walk(place):
        yield from (Path(directory) / name for name in (*names, *files))


def _state(path: Path, name: str, conffiles: Mapping[str, str], artifacts: bool) -> str:
    status = path.lstat()
    if stat.S_ISLNK(status.st_mode):
        return f"link {path.readlink()}"
    if not stat.S_ISREG(status.st_mode):
        return f"{stat.S_IFMT(status.st_mode):o} {stat.S_IMODE(status.st_mode):04o} {status.st_uid}:{status.st_gid}"
    artifact = ARTIFACT.fullmatch(name)
    if (artifact and not artifacts) or (status.st_size > LARGE and not artifact):
        return f"{status.st_size} bytes"
    data = path.read_bytes()
    if artifact:
        return "whole artifact" if hashlib.sha256(data).hexdigest().startswith(artifact[1]) else "torn artifact"
    return f"{of_bytes(name, data, conffiles)} {stat.S_IMODE(status.st_mode):04o} {status.st_uid}:{status.st_gid}"


def of_bytes(name: str, data: bytes, conffiles: Mapping[str, str]) -> str:
    """Say what a file's bytes are: whole in themselves, those of the OS package, or only their digest."""
    digest = hashlib.sha256(data).hexdigest()[:16]
    if name.endswith((".crt", ".key", ".pub")):
        return f"whole pem {digest}" if _is_pem(data) else f"torn pem {digest}"
    if name.startswith("var/lib/kubewright/"):
        return f"whole json {digest}" if not name.endswith(".json") or _is_json(data) else f"torn json {digest}"
    if conffiles.get(name) == hashlib.md5(data, usedforsecurity=False).hexdigest():
        return "the package's"
    return digest


def _is_pem(data: bytes) -> bool:
    """Say whether the bytes are PEM blocks from the first to the last, each with its base64 whole."""
    block = rb"-----BEGIN ([A-Z ]+)-----\n([A-Za-z0-9+/=\n]+)-----END \1-----\n"
    blocks = list(re.finditer(block, data))
    return bool(blocks) and b"".join(b[0] for b in blocks) == data and all(
        base64.b64decode(b[2].replace(b"\n", b""), validate=True) for b in blocks)


def _is_json(data: bytes) -> bool:
    try:
        json.loads(data)
    except ValueError:
        return False
    return True


def _conffiles(root: Path) -> dict[str, str]:
    """Return the MD5 that dpkg noted of each configuration file of a package."""
    text = (root / "var/lib/dpkg/status").read_text(encoding="utf-8", errors="replace")
    return {m[1]: m[2] for m in re.finditer(r"^ /(\S+) ([0-9a-f]{32})", text, re.MULTILINE)}
