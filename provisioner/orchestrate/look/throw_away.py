"""A member that is started from a snapshot on this machine's loopback, asked, and thrown away.

It dies with us, also at a `kill -9` (converge/leash.py), and all that it writes lies in the run's private directory,
which the next verb empties where we could not. Its certificates are made for it: nobody else on the machine may ask.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from provisioner.artifacts.catalogue import machine_arch
from provisioner.artifacts.supply import held
from provisioner.converge import leash
from provisioner.errors import KubewrightError, RefusedForSafety
from provisioner.files import write_whole
from provisioner.model.artifact import ArtifactLock
from provisioner.model.desired import Certificate
from provisioner.operate import etcd, pki
from provisioner.operate.access import Access

BEGUN = 60.0            # seconds for a member of one to serve: it has nobody to wait for
RESTORED = 600.0        # seconds for etcdutl to write a data directory anew
KILLED = 10.0           # seconds for a killed process to be gone
DAMAGED = "snapshot-damaged"
_Tls = tuple[list[str], tuple[Path, Path, Path]]      # etcd's flags, and the files of its only client


@dataclass(frozen=True)
class Programs:
    """etcd's own programs as the lock pins them, to be run on this machine."""

    etcd: Path
    etcdutl: Path


def programs(lock: ArtifactLock, directory: Path) -> Programs:
    """Return the pinned programs, copied to a directory: the cache keeps files, not programs.

    RefusedForSafety where they are not here for this machine's kind of processor.
    """
    arch = machine_arch()
    copies = {}
    for name in ("etcd", "etcdutl"):
        wanted = [a for a in lock.for_arch(arch) if a.name == name]
        found = held(ArtifactLock(tuple(wanted)))
        if not wanted or wanted[0].sha256 not in found:
            raise RefusedForSafety(
                f"this machine: {name} for {arch}, which reads snapshots here, is not "
                + ("in the cache" if wanted else "in artifacts.lock"), code="no-etcd-here",
                details=["nothing was changed"],
                hint="kubewright artifacts build --component etcd" + ("" if wanted else f" --arch {arch} --write-lock"))
        copies[name] = directory / name
        shutil.copyfile(found[wanted[0].sha256], copies[name])
        copies[name].chmod(0o700)
    return Programs(**copies)


def revision_of(programs: Programs, db: Path) -> int:
    """Read a snapshot from its first key to its last and return its revision; RefusedForSafety where etcdutl cannot."""
    said: dict[str, Any] = json.loads(_ran([str(programs.etcdutl), "snapshot", "status", str(db), "-w", "json"], db))
    return int(said["revision"])


@contextmanager
def member(programs: Programs, db: Path, directory: Path, *, hashed: bool = True) -> Iterator[Access]:
    """Restore a snapshot into an empty directory and serve it from there, to us alone, while the block lasts."""
    data = directory / "data"
    words = [str(programs.etcdutl), "snapshot", "restore", str(db), "--name=rehearsal", f"--data-dir={data}"]
    with ExitStack() as stack:
        stack.callback(shutil.rmtree, directory, ignore_errors=True)
        peer, client = _free_ports(2)
        url = _peer_url(peer)
        _ran([*words, f"--initial-cluster=rehearsal={url}", f"--initial-advertise-peer-urls={url}",
              *([] if hashed else ["--skip-hash-check"])], db)
        tls = _certificates(directory)
        try:
            access = stack.enter_context(_serving(programs.etcd, data, (peer, client), tls))
        except _Silent as silent:
            raise _to_blame(programs.etcd, directory / "empty", tls, str(silent)) from None
        yield access


class _Silent(Exception):
    """A member that does not serve, with its last words."""


@contextmanager
def _serving(program: Path, data: Path, ports: Sequence[int], tls: _Tls) -> Iterator[Access]:
    """Run a member of one with this data directory while the block lasts; _Silent where it does not come to serve."""
    (server, own), directory, (peer, client) = tls, data.parent, ports
    url, ours, log = _peer_url(peer), f"https://127.0.0.1:{client}", directory / f"{data.name}.log"
    with log.open("wb") as sink, _Leashed([
            str(program), "--name=rehearsal", f"--data-dir={data}", "--log-level=error", "--unsafe-no-fsync",
            f"--listen-client-urls={ours}", f"--advertise-client-urls={ours}", f"--listen-peer-urls={url}",
            f"--initial-advertise-peer-urls={url}", f"--initial-cluster=rehearsal={url}",
            "--client-cert-auth", "--peer-client-cert-auth", *server], directory, sink) as process:
        access = Access(("127.0.0.1", client), *own)
        _await(access, process, log)
        yield access


def _to_blame(program: Path, data: Path, tls: _Tls, said: str) -> RefusedForSafety:
    """Say which it was that did not come to serve, by a member without any data: the snapshot, or etcd itself."""
    try:
        with _serving(program, data, _free_ports(2), tls):
            return RefusedForSafety(
                f"this machine: a member started from the snapshot does not serve: {said or 'no word'}", code=DAMAGED,
                details=["a member without any data, of the same etcd, does", "nothing was changed"],
                hint="use another copy of it")
    except _Silent as alone:
        return _unfit("etcd", f"does not serve, without any data either: {alone or 'no word'}")


def _unfit(name: str, what: str) -> RefusedForSafety:
    return RefusedForSafety(f"this machine: the {name} that artifacts.lock pins {what}", code="etcd-unfit",
                            details=["nothing is said of the snapshot by that", "nothing was changed"],
                            hint="kubewright artifacts build --component etcd --write-lock")


class _Leashed:
    """A process that is gone when its block is left, and when we are."""

    def __init__(self, command: Sequence[str], directory: Path, log: Any) -> None:
        words = leash.leashed(str(directory / "leash.pid"), *command)
        self.process = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=directory,
                                        start_new_session=True, env={"PATH": os.environ.get("PATH", "")})

    def __enter__(self) -> subprocess.Popen[bytes]:
        return self.process

    def __exit__(self, *_: object) -> None:
        self.process.terminate()        # the leash kills what it holds, and ends
        try:
            self.process.wait(KILLED)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait(KILLED)


def _run(*words: str) -> subprocess.CompletedProcess[str]:
    """Run etcdutl; RefusedForSafety where this machine cannot."""
    try:
        return subprocess.run(words, capture_output=True, text=True, errors="replace", check=False, timeout=RESTORED,
                              stdin=subprocess.DEVNULL, env={"PATH": os.environ.get("PATH", "")})
    except OSError as fault:
        raise _unfit("etcdutl", f"cannot be run: {fault.strerror}") from None


def _ran(words: Sequence[str], db: Path) -> str:
    """Run etcdutl on a snapshot; what it refuses is a snapshot that is damaged, if it can say its own version."""
    try:
        done = _run(*words)
    except subprocess.TimeoutExpired:
        raise KubewrightError(f"this machine: {words[1]} {words[2]} {db.name}: not ended after {RESTORED:g} s",
                              hint="df -h .") from None
    if done.returncode:
        said = " ".join((done.stderr or done.stdout).split())[-300:]
        if (version := _run(words[0], "version")).returncode or "etcdutl version" not in version.stdout:
            raise _unfit("etcdutl", f"does not work: {said or 'no word'}")
        raise RefusedForSafety(f"{db.name}: etcdutl {words[2]}: {said}", code=DAMAGED,
                               details=["nothing was changed"], hint="use another copy of it")
    return done.stdout


def _certificates(directory: Path) -> _Tls:
    """Make a CA for this one member; return etcd's flags for it, and the files of its only client."""
    ca = pki.new_ca("etcd rehearsal")
    leaf = Certificate(path="", key_path="", phase="pki", ca="etcd", common_name="rehearsal", dns_names=("localhost",),
                       ip_addresses=("127.0.0.1",), server=True, client=True)
    pair = pki.issue(leaf, ca)
    files = (directory / "ca.crt", directory / "member.crt", directory / "member.key")
    for file, data in zip(files, (ca.certificate, pair.certificate, pair.key), strict=True):
        write_whole(file, data)
    flags = [f"--{who}{what}={file}" for who in ("", "peer-")
             for what, file in zip(("trusted-ca-file", "cert-file", "key-file"), files, strict=True)]
    return flags, files


def _await(access: Access, process: subprocess.Popen[bytes], log: Path) -> None:
    end = time.monotonic() + BEGUN
    while process.poll() is None and time.monotonic() < end:
        try:
            if etcd.status(access).leader_id:
                return
        except KubewrightError:
            time.sleep(0.05)
    raise _Silent(" ".join(log.read_text(errors="replace").split())[-300:])


def _peer_url(port: int) -> str:
    return f"https://127.0.0.1:{port}"


def _free_ports(count: int) -> list[int]:
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [int(one.getsockname()[1]) for one in sockets]
