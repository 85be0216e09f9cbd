"""Debian packages as a repository of files: for lab nodes, and for machines that reach no source of packages at all."""

from __future__ import annotations

import gzip
import hashlib
import os
import platform
import shutil
import subprocess
import tarfile
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from email.utils import formatdate
from pathlib import Path

from provisioner.artifacts.tarball import add
from provisioner.errors import PreflightRefused

PLACE = "/var/lib/kubewright/packages"      # where a host unpacks it, in playbooks/prepare.yml; apt reads it from there
_BUILT = 946684800.0            # 2000-01-01: the same packages are the same bytes, whenever they were fetched
_INDEX_SECONDS = 60.0
_APT_SECONDS = 900.0
# apt asks nothing of this machine's own state: a list of nothing installed makes it bring all that is depended on.
_APT = ("-o", "APT::Sandbox::User=root", "-o", "Acquire::Languages=none", "-o", "Debug::NoLocking=1",
        "-o", "APT::Install-Recommends=false", "-o", "Acquire::Retries=2", "-o", "Acquire::http::Timeout=30")


@dataclass(frozen=True)
class PackageFile:
    """A package of the repository: its control text and what apt needs to fetch and check the file."""

    filename: str
    control: str
    size: int
    sha256: str


@dataclass(frozen=True)
class Fetched:
    """The packages for one system: the repository as a tar, and the version of every package in it."""

    archive: Path
    versions: dict[str, str]


def packages_text(packages: Iterable[PackageFile]) -> str:
    """Return the `Packages` index of a flat repository."""
    stanzas = (f"{p.control.strip()}\nFilename: ./{p.filename}\nSize: {p.size}\nSHA256: {p.sha256}\n"
               for p in sorted(packages, key=lambda p: p.filename))
    return "\n".join(stanzas)


def release_text(indexes: Mapping[str, bytes], built: float) -> str:
    """Return the `Release` file: every index with its size and digest, and when it was built (apt asks for it)."""
    sums = "".join(f" {hashlib.sha256(data).hexdigest()} {len(data)} {name}\n"
                   for name, data in sorted(indexes.items()))
    return ("Origin: kubewright\nLabel: kubewright\nSuite: files\nCodename: files\n"
            f"Date: {formatdate(built, usegmt=True)}\n"
            f"Description: packages beside a cluster, unsigned\nSHA256:\n{sums}")


def versions_in(index: str) -> dict[str, str]:
    """Return package -> version of a `Packages` index."""
    stanzas = (dict(line.split(": ", 1) for line in stanza.splitlines() if ": " in line and line[0] != " ")
               for stanza in index.split("\n\n"))
    return {fields["Package"]: fields["Version"] for fields in stanzas if "Package" in fields}


def build_index(directory: Path, built: float | None = None) -> int:
    """Write Packages, Packages.gz and Release for the .deb files in `directory`; how many packages there are.

    `built` is the date that Release tells, now where none is said.
    """
    packages = [_read_package(path) for path in sorted(directory.glob("*.deb"))]
    plain = packages_text(packages).encode()
    indexes = {"Packages": plain, "Packages.gz": gzip.compress(plain, mtime=0)}
    for name, data in indexes.items():
        (directory / name).write_bytes(data)
    (directory / "Release").write_text(release_text(indexes, time.time() if built is None else built))
    return len(packages)


def _read_package(path: Path) -> PackageFile:
    control = _run(["dpkg-deb", "--field", str(path)], f"reading {path.name}", _INDEX_SECONDS)
    # apt asks for the epoch's colon unescaped or escaped, depending on its version: a plain name is safe.
    plain = path.with_name(path.name.replace("%3a", "_"))
    if plain != path:
        path.replace(plain)
    return PackageFile(filename=plain.name, control=control, size=plain.stat().st_size,
                       sha256=hashlib.sha256(plain.read_bytes()).hexdigest())


def here() -> str:
    """Return this machine's system as a bundle names it: debian-12; empty where it does not say."""
    try:
        says = platform.freedesktop_os_release()
    except OSError:
        return ""
    return f"{says.get('ID', '')}-{says.get('VERSION_ID', '')}"


def fetch(names: Sequence[str], system: str, arch: str, target: Path, sources: Sequence[str] = (),
          progress: Callable[[str], None] = lambda text: None) -> Fetched:
    """Write the packages with all that they depend on to `target`, as apt's sources here have them.

    `sources` are lines of a sources.list in place of this machine's. PreflightRefused where this machine is of another
    system (its sources are of others), or apt cannot have one.
    """
    if not sources and here() != system:
        raise PreflightRefused(f"this machine: fetch packages for {system}: it is {here() or 'unknown'} itself",
                               code="bundle-packages", hint="kubewright artifacts bundle --without-packages")
    with tempfile.TemporaryDirectory(prefix=".kubewright-packages-", dir=target.parent) as scratch:
        work = Path(scratch)
        for directory in ("state/lists/partial", "cache/archives/partial", "log"):
            (work / directory).mkdir(parents=True)
        (work / "status").touch()
        own = [f"Dir::State={work / 'state'}", f"Dir::State::status={work / 'status'}", f"Dir::Cache={work / 'cache'}",
               f"Dir::Log={work / 'log'}", f"APT::Architecture={arch}", f"APT::Architectures={arch}"]
        if sources:
            (work / "sources.list").write_text("".join(f"{line}\n" for line in sources))
            own += [f"Dir::Etc::sourcelist={work / 'sources.list'}", "Dir::Etc::sourceparts=/dev/null"]
        apt = ["apt-get", *_APT, *(word for setting in own for word in ("-o", setting))]
        progress(f"reading the package lists for {system}")
        _run([*apt, "-q", "update"], f"reading the package lists for {system}", _APT_SECONDS)
        progress(f"fetching packages for {system}")
        _run([*apt, "-q", "-y", "--download-only", "install", *names], f"fetching packages for {system}", _APT_SECONDS)
        archives = work / "cache" / "archives"
        build_index(archives, _BUILT)
        versions = versions_in((archives / "Packages").read_text(encoding="utf-8"))
        lacking = sorted(set(names) - versions.keys())
        if lacking:
            raise PreflightRefused(f"this machine: fetching packages for {system}: apt left no {', '.join(lacking)}",
                                   details=["a source of files is used where it is: name it `copy:`, not `file:`"],
                                   code="bundle-packages")
        # Trusted, as an operator has signed the digest of the whole.
        (archives / "sources.list").write_text(f"deb [trusted=yes] file:{PLACE} ./\n")
        _pack(archives, target)
    return Fetched(target, versions)


_BESIDE = ("Packages", "Packages.gz", "Release", "sources.list")


def _pack(directory: Path, target: Path) -> None:
    with tarfile.open(target, "w", format=tarfile.USTAR_FORMAT) as packed:
        for path in sorted(directory.iterdir()):
            if path.is_file() and (path.suffix == ".deb" or path.name in _BESIDE):
                add(packed, path.name, path)


def _run(command: Sequence[str], doing: str, seconds: float) -> str:
    if shutil.which(command[0]) is None:
        raise PreflightRefused(f"this machine: {doing}: there is no {command[0]}", code="bundle-packages",
                               hint="kubewright artifacts bundle --without-packages")
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=seconds, check=False,
                              env={**os.environ, "LC_ALL": "C.UTF-8", "DEBIAN_FRONTEND": "noninteractive"})
    except subprocess.TimeoutExpired:
        raise PreflightRefused(f"this machine: {doing}: not done in {seconds:.0f} s", code="bundle-packages") from None
    if done.returncode:
        raise PreflightRefused(f"this machine: {doing}: {command[0]}: exit {done.returncode}", code="bundle-packages",
                               details=(done.stderr or done.stdout).strip().splitlines()[-10:])
    return done.stdout
