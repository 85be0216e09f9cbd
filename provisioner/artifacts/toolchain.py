"""The pinned Go toolchain: this machine's own where it is that one, else module golang.org/toolchain in our cache.

    toolchains/<version>.linux-<arch>/     as Go unpacks that module; hashed as a whole before it is used

Its digest is the one that Go's checksum database has (`h1:`), over the names and bytes of all files, so it can be asked
of the unpacked directory too.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import threading
import zipfile
import zlib
from base64 import b64encode
from collections.abc import Callable, Iterable
from pathlib import Path

from provisioner.artifacts import goproxy
from provisioner.artifacts.cache import Cache
from provisioner.artifacts.catalogue import Catalogue, machine_arch
from provisioner.artifacts.gosource import go_environment
from provisioner.errors import PreflightRefused

_MODULE = "golang.org/toolchain"
_ASKED = 60.0                       # seconds for this machine's own `go` to say which it is
_CANNOT_BE_NAMED = "_go.mod"        # a module's zip holds one go.mod, so those of the toolchain have this name in it

Progress = Callable[[str], None]


class Toolchain:
    """Finds or brings the pinned Go, once; safe for several threads and processes."""

    def __init__(self, catalogue: Catalogue, cache: Cache) -> None:
        self.name = catalogue.toolchain
        self._sums = catalogue.toolchain_sums
        self._cache = cache
        self._lock = threading.Lock()
        self._found: Path | None = None

    def go(self, progress: Progress) -> Path:
        """Return the `go` to call; PreflightRefused where no proxy gives it or gives other bytes than the pinned."""
        with self._lock:
            if self._found is None:
                self._found = self.on_path() or self._kept(progress)
            return self._found

    def on_path(self) -> Path | None:
        """Return this machine's own `go` where it is exactly the pinned one: another makes other bytes."""
        found = shutil.which("go")
        if found is None:
            return None
        try:
            done = subprocess.run([found, "env", "GOVERSION"], env=go_environment("amd64"), text=True, timeout=_ASKED,
                                  capture_output=True, check=False)
        except (OSError, subprocess.TimeoutExpired):    # a broken one, or a shim that waits for its network
            return None
        return Path(found) if done.stdout.strip() == self.name else None

    def _kept(self, progress: Progress) -> Path:
        arch = machine_arch()
        wanted = self._sums.get(arch)
        if wanted is None:
            raise PreflightRefused(f"this machine: build artifacts: {self.name} is pinned, and not for {arch}",
                                   code="toolchain", hint=f"install {self.name} and put it first in PATH")
        version = f"v0.0.1-{self.name}.linux-{arch}"
        home = self._cache.root / "toolchains" / f"{self.name}.linux-{arch}"
        with self._cache.locked(home.name, lambda waited: progress(
                f"{self.name}: another process is fetching it, waited {waited:.0f} s")) as scratch:
            if not home.is_dir() or _digest_of_directory(home, version) != wanted:
                archive = scratch / "toolchain.zip"
                goproxy.fetch_module(_MODULE, version, archive, progress)
                progress(f"{self.name}: unpacking")
                _unpack(archive, version, wanted, scratch / "unpacked")
                shutil.rmtree(home, ignore_errors=True)
                home.parent.mkdir(parents=True, exist_ok=True)
                (scratch / "unpacked").replace(home)
        return home / "bin" / "go"


def digest(files: Iterable[tuple[str, str]]) -> str:
    """Return Go's `h1:` of files, given as name and sha256 (hex)."""
    lines = "".join(f"{sha256}  {name}\n" for name, sha256 in sorted(files))
    return "h1:" + b64encode(hashlib.sha256(lines.encode()).digest()).decode()


def _unpack(archive: Path, version: str, wanted: str, into: Path) -> None:
    """Unpack what has the wanted digest, which covers every name, and nothing else."""
    prefix = f"{_MODULE}@{version}/"
    try:
        with zipfile.ZipFile(archive) as packed:
            found = digest((name, _sha256_in(packed, name)) for name in packed.namelist())
            if found != wanted:
                raise PreflightRefused(f"this machine: fetch {prefix[:-1]}: its bytes are not the pinned ones",
                                       code="toolchain", details=[f"pinned {wanted}", f"came   {found}"],
                                       hint="export GOPROXY=ADDRESS of a proxy that has Go's own")
            for name in packed.namelist():
                _write(packed, name, into, name.removeprefix(prefix))
    except (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError) as fault:     # not all damage has a name of its own
        raise PreflightRefused(f"this machine: fetch {prefix[:-1]}: what came is no zip file: {fault}",
                               code="toolchain", hint="export GOPROXY=ADDRESS of a proxy that has it") from None


def _write(packed: zipfile.ZipFile, name: str, into: Path, relative: str) -> None:
    """Write one file as Go does: what stands for a go.mod becomes one too, commands may be executed."""
    target = into / relative
    target.parent.mkdir(parents=True, exist_ok=True)
    with packed.open(name) as source, target.open("wb") as file:
        shutil.copyfileobj(source, file, 1 << 20)
    if target.name == _CANNOT_BE_NAMED:
        shutil.copyfile(target, target.with_name("go.mod"))
    if relative.startswith(("bin/", "pkg/tool/")):
        target.chmod(0o755)


def _sha256_in(packed: zipfile.ZipFile, name: str) -> str:
    found = hashlib.sha256()
    with packed.open(name) as source:
        while chunk := source.read(1 << 20):
            found.update(chunk)
    return found.hexdigest()


def _digest_of_directory(home: Path, version: str) -> str:
    """Return the digest of the module that was unpacked into `home`; the go.mod files are not in it."""
    files = []
    for directory, _, names in os.walk(home):
        for name in set(names) - ({"go.mod"} if _CANNOT_BE_NAMED in names else set()):
            path = Path(directory, name)
            with path.open("rb") as file:
                files.append((f"{_MODULE}@{version}/{path.relative_to(home).as_posix()}",
                              hashlib.file_digest(file, "sha256").hexdigest()))
    return digest(files)
