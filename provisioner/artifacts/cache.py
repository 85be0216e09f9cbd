"""The content-addressed cache that all checkouts of one person share.

    sha256/<hex>          the files; a name is only ever given to bytes that hash to it
    index/<key>.json      build key -> the digests that this build gave
    locks/<key>           one flock a build key or a bundle, so that the same thing is not made twice at once
    partial/<key>-<hex>   what came so far of a download with this digest; no file of ours before it hashes to it
    scratch/<key>/        the working directory of the build that holds the lock; left-overs are cleared by the next

Nothing is trusted because it is there: every file is hashed before it is handed out, and removed if it is not what
its name says.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from provisioner.errors import KubewrightError
from provisioner.files import sync_directory, write_whole

_LOCK_DEADLINE = 7200.0
_LOCK_POLL = 0.2


def cache_root(environment: Mapping[str, str] = os.environ) -> Path:
    """Return $KUBEWRIGHT_CACHE, else $XDG_CACHE_HOME/kubewright, else ~/.cache/kubewright."""
    if environment.get("KUBEWRIGHT_CACHE"):
        return Path(environment["KUBEWRIGHT_CACHE"]).absolute()
    base = environment.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(base).expanduser().absolute() / "kubewright"


@dataclass(frozen=True)
class Stored:
    """A file in the cache: its digest and size."""

    sha256: str
    size: int


class Cache:
    """Files by digest, and which build gave which; safe for several processes at once."""

    def __init__(self, root: Path | None = None) -> None:
        self.root = root or cache_root()

    def path(self, sha256: str) -> Path:
        """Return where the file with this digest is or will be."""
        return self.root / "sha256" / sha256

    def partial(self, key: str, sha256: str) -> Path:
        """Return where a download with this digest is collected by whoever holds the lock of this build key.

        Nobody else writes there: images share layers, and architectures an index, and two are fetched at a time.
        """
        return self._directory("partial") / f"{key}-{sha256}"

    def verified(self, sha256: str) -> Path | None:
        """Return the file's path after hashing it, or None; a file that is not what its name says is removed."""
        path = self.path(sha256)
        try:
            found = sha256_of(path)
        except FileNotFoundError:
            return None
        if found == sha256:
            return path
        path.unlink(missing_ok=True)
        return None

    def put(self, source: Path, check: Callable[[Path], None], *, expect: str = "") -> Stored:
        """Take a copy of `source` in: `check` looks at the copy, then it is synced and given its final name.

        With `expect`, a copy of another digest is refused; so neither bad nor half-written bytes get a final name.
        """
        final_dir = self._directory("sha256")
        descriptor, name = tempfile.mkstemp(prefix=".new-", dir=final_dir)
        copy = Path(name)
        try:
            with os.fdopen(descriptor, "wb") as target, source.open("rb") as origin:
                shutil.copyfileobj(origin, target, 1 << 20)
                target.flush()
                os.fchmod(target.fileno(), 0o444)
                os.fsync(target.fileno())
            check(copy)
            stored = Stored(sha256_of(copy), copy.stat().st_size)
            if expect and stored.sha256 != expect:
                raise KubewrightError(f"this machine: store {source.name}: its bytes are not the expected ones",
                                      code="artifact-bad", details=[f"expected sha256 {expect}",
                                                                    f"found    sha256 {stored.sha256}"])
            copy.replace(self.path(stored.sha256))
            sync_directory(final_dir)
        finally:
            copy.unlink(missing_ok=True)
        return stored

    def recall(self, key: str) -> dict[str, Stored]:
        """Return what the build with this key gave, or nothing: names whose every file is still there and whole."""
        try:
            raw = json.loads((self.root / "index" / f"{key}.json").read_text(encoding="utf-8"))
            files = {name: Stored(**value) for name, value in raw["files"].items()}
        except (FileNotFoundError, ValueError, KeyError, TypeError, AttributeError):
            return {}
        return files if all(self.verified(f.sha256) for f in files.values()) else {}

    def remember(self, key: str, files: Mapping[str, Stored], about: Mapping[str, str]) -> None:
        """Write down what a build gave; `about` is for people who look."""
        text = json.dumps({"about": dict(about), "files": {n: asdict(f) for n, f in files.items()}}, indent=1)
        write_whole(self._directory("index") / f"{key}.json", text + "\n", 0o644)

    @contextlib.contextmanager
    def locked(self, key: str, waiting: Callable[[float], None]) -> Iterator[Path]:
        """Hold the lock of one build key and give its empty scratch directory; `waiting` hears the seconds waited.

        The kernel drops the flock with the process, so a killed build never blocks the next one.
        """
        with (self._directory("locks") / key).open("w", encoding="utf-8") as handle:
            _acquire(handle.fileno(), waiting)
            scratch = self._directory("scratch") / key
            shutil.rmtree(scratch, ignore_errors=True)
            scratch.mkdir()
            try:
                yield scratch
            finally:
                shutil.rmtree(scratch, ignore_errors=True)

    def _directory(self, name: str) -> Path:
        path = self.root / name
        path.mkdir(parents=True, exist_ok=True)
        return path


def _acquire(descriptor: int, waiting: Callable[[float], None]) -> None:
    start = time.monotonic()
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            waited = time.monotonic() - start
        if waited > _LOCK_DEADLINE:
            raise KubewrightError("this machine: build artifacts: another build of the same thing does not end",
                                  code="artifact-build", details=[f"waited {waited:.0f} s for it"])
        waiting(waited)
        time.sleep(_LOCK_POLL)


def sha256_of(path: Path) -> str:
    """Return the file's digest as hex."""
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()
