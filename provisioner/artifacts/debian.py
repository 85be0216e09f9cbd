"""The source `debian`: a file of an installed Debian package, for what only tests need (busybox)."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

from provisioner.artifacts.catalogue import DebianSource, machine_arch
from provisioner.errors import PreflightRefused


def package_version(source: DebianSource) -> str:
    """Return the version of the installed package, or refuse with the command that installs it."""
    if shutil.which("dpkg-query") is None:
        raise PreflightRefused(f"this machine: take {source.package}: not a Debian machine", code="artifact-debian")
    done = subprocess.run(["dpkg-query", "-W", "-f=${db:Status-Status} ${Version}", source.package], text=True,
                          timeout=60, capture_output=True, check=False)
    status, _, version = done.stdout.partition(" ")
    if done.returncode or status != "installed":
        raise PreflightRefused(f"this machine: take {source.package}: the package is not installed",
                               code="artifact-debian", hint=f"sudo apt-get install -y {source.package}")
    return version


def take(source: DebianSource, arch: str, work: Path) -> dict[str, Path]:
    """Copy the package's files below `work`; only for this machine's own architecture."""
    here = machine_arch()
    if arch != here:
        raise PreflightRefused(f"this machine: take {source.package}: it is {here} here, {arch} is wanted",
                               code="artifact-debian")
    package_version(source)
    taken = {}
    for name, origin in source.files.items():
        taken[name] = work / name
        shutil.copyfile(origin, taken[name])
    return taken
