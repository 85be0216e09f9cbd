"""One inventory: a directory with cluster.yaml, and where everything that belongs to it lies."""

from __future__ import annotations

import errno
import stat
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING

from provisioner.errors import InventoryRefused, UsageFault
from provisioner.model.secret import INDEX

if TYPE_CHECKING:
    from provisioner.model.cluster import Cluster

FILE_NAME = "cluster.yaml"
EXAMPLE = "example"             # explains every key, and is refused as it is: its operators are nobody
BEGIN = "kubewright init [USER@]ADDRESS..."


@dataclass(frozen=True)
class Inventory:
    """A validated cluster.yaml with the paths beside it; opening it contacts no host and creates nothing.

    `path` is the directory (absolute), `file` the cluster.yaml in it; `identity` the private key that opens secrets,
    where it is not one that we log in with; `ask_become` gives sudo's password, asking a person for it once.
    """

    path: Path
    cluster: Cluster
    file: Path
    identity: Path | None = None
    ask_become: Callable[[], str] | None = field(default=None, repr=False, compare=False)

    @classmethod
    def open(cls, path: Path | str) -> Inventory:
        """Read and validate the inventory in directory `path` (or the cluster.yaml itself), or refuse it."""
        from provisioner.model.load import load_cluster  # pydantic costs 70 ms: only for those who read a file

        file = _file_of(Path(path))
        read = cls(path=file.parent, cluster=load_cluster(_text_of(file), _shown(file)), file=file)
        return replace(read, cluster=read.cluster.model_copy(update={"operators": read.operators}))

    @property
    def artifacts_lock_path(self) -> Path:
        """Return the file that pins every artifact."""
        return self.path / "artifacts.lock"

    @property
    def state_dir(self) -> Path:
        """Return the git-ignored directory for runs and caches; it may not exist yet."""
        return self.path / ".kubewright"

    @property
    def runs_dir(self) -> Path:
        """Return where each run keeps its events and bundles."""
        return self.state_dir / "runs"

    @property
    def snapshots_dir(self) -> Path:
        """Return where snapshots of etcd go that nobody names a place for, encrypted to the operators."""
        return self.state_dir / "snapshots"

    @property
    def applied_path(self) -> Path:
        """Return this machine's copy of what the cluster was last made from; the hosts have it too."""
        return self.state_dir / "last-applied.yaml"

    @property
    def logins_path(self) -> Path:
        """Return where this machine remembers how hosts were logged in to, for those that leave the inventory."""
        return self.state_dir / "last-logins.yaml"

    @property
    def secrets_dir(self) -> Path:
        """Return where the encrypted secrets rest; a lab's are thrown away with it, so they are not committed."""
        return self._kept / "secrets"

    @property
    def has_secrets(self) -> bool:
        """Say whether the CAs were made: their index is written last. A registry's login lies there before that too."""
        return (self.secrets_dir / INDEX).is_file()

    @property
    def known_hosts_path(self) -> Path:
        """Return the file of pinned host keys; no other file is believed."""
        return self._kept / "known_hosts"

    @property
    def ssh_key_path(self) -> Path | None:
        """Return the private key we log in with, or None for the agent and the usual files."""
        return self._lab_key if self.cluster.lab else self._expand(self.cluster.ssh.key)

    @property
    def operators(self) -> tuple[str, ...]:
        """Return the SSH public keys that may read the secrets; a lab without any uses its own generated key."""
        public = self._lab_key.with_suffix(".pub")
        if self.cluster.operators or not self.cluster.lab or not public.is_file():
            return self.cluster.operators
        return (public.read_text(encoding="utf-8").strip(),)

    @property
    def identity_files(self) -> tuple[Path, ...]:
        """Return the private keys that may open secrets: the one that was named, else all that we may log in with."""
        if self.identity is not None:
            return (self.identity,)
        usual = [Path.home() / ".ssh" / name for name in ("id_ed25519", "id_rsa")]
        return (*((self.ssh_key_path,) if self.ssh_key_path else ()), *usual)

    def ssh_key_of(self, host: str) -> Path | None:
        """Return the private key for one host, which may differ from the cluster's."""
        if self.cluster.lab and self.cluster.hosts[host].ssh.key is None:
            return self._lab_key
        return self._expand(self.cluster.ssh_of(host).key)

    @property
    def _kept(self) -> Path:
        return self.state_dir if self.cluster.lab else self.path

    @property
    def _lab_key(self) -> Path:
        return self.state_dir / "id_ed25519"

    def _expand(self, key: str | None) -> Path | None:
        return self.path / Path(key).expanduser() if key else None


def find_inventory(argument: str | None, environ: Mapping[str, str], cwd: Path) -> Path:
    """Return the inventory directory: `-i`, else $KUBEWRIGHT_INVENTORY, else the only one in ./inventories."""
    named = argument or environ.get("KUBEWRIGHT_INVENTORY")
    if named:
        return cwd / Path(named).expanduser()
    found = _inventories(cwd)
    if len(found) == 1:
        return found[0]
    if found:
        raise UsageFault(
            "which inventory? there is more than one in inventories/",
            details=[f"  {directory.relative_to(cwd)}" for directory in found],
            hint=_try([directory.relative_to(cwd) for directory in found]),
            code="inventory-ambiguous",
        )
    raise UsageFault(
        "no inventory: no cluster.yaml in a directory of inventories/, and neither -i nor $KUBEWRIGHT_INVENTORY is set",
        hint=BEGIN,
        code="inventory-missing",
    )


def _file_of(path: Path) -> Path:
    """Return the cluster.yaml of `path`, or say what is there instead and which inventories there are."""
    try:
        file = path / FILE_NAME if path.is_dir() else path
        kind = _what_is_there(file)
    except OSError as err:      # a name that is too long, a directory that we may not enter
        file, kind = path, f"looking for it: {err.strerror}"
    if kind:
        there = _inventories(Path.cwd())
        raise InventoryRefused(
            f"{_shown(file)}: {kind}", details=_near(file, there), code="inventory-missing",
            hint=_try(there, path.name))
    return file.resolve()


def _try(there: Sequence[Path], name: str = "") -> str:
    """Return how to go on with the directory whose name is next to `name`; the example is there to be copied."""
    own = {directory.name: directory for directory in there if directory.name != EXAMPLE}
    meant = get_close_matches(name, own, n=1) or list(own)[:1]
    return f"kubewright -i {_shown(own[meant[0]])} validate" if meant else BEGIN


def _what_is_there(file: Path) -> str:
    """Say what `file` is if it is no file that can be read as one; nothing if it is."""
    try:
        mode = file.stat().st_mode
    except FileNotFoundError:
        return f"a link to {file.readlink()}, where there is nothing" if file.is_symlink() else "there is no such file"
    except OSError as err:
        if err.errno == errno.ELOOP:
            return "a link that leads back to itself"
        raise
    if stat.S_ISREG(mode):
        return ""
    kinds = ((stat.S_ISDIR, "a directory"), (stat.S_ISFIFO, "a pipe"), (stat.S_ISSOCK, "a socket"))
    return next((name for is_it, name in kinds if is_it(mode)), "a device") + "; an inventory is a file"


def _near(file: Path, there: Sequence[Path]) -> list[str]:
    """Return what may have been meant, as lines: a file beside it, or the inventories that there are."""
    other = file.with_suffix(".yml")
    if file.name == FILE_NAME and other.is_file():
        return [f"{_shown(other)} is there: an inventory is called {FILE_NAME}"]
    return ["inventories here:", *(f"  {_shown(directory)}" for directory in there)] if there else []


def _inventories(here: Path) -> list[Path]:
    return sorted(file.parent for file in (here / "inventories").glob(f"*/{FILE_NAME}"))


def _text_of(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except UnicodeDecodeError as err:
        raise InventoryRefused(f"{_shown(file)}: not UTF-8 text: {err.reason} at byte {err.start}") from err
    except OSError as err:
        raise InventoryRefused(f"{_shown(file)}: reading: {err.strerror}") from err


def _shown(file: Path) -> str:
    """Name the file as short as it can be pasted from here."""
    here = Path.cwd()
    return str(file.relative_to(here)) if file.is_relative_to(here) else str(file)
