"""What a host should be: a list of items, each with the state string that says when it is so.

The state strings are the applier's language (docs/reference/applier-protocol.md): the applier observes an item and
answers with a string of the same form, so `desired == observed` is a comparison of two strings, everywhere.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

from provisioner.model.endpoint import Endpoint
from provisioner.model.phases import PhaseName
from provisioner.model.secret import SecretRef


@dataclass(frozen=True, kw_only=True)
class Item:
    """One thing on a host: `path` is its identity within its kind, `phase` the step that puts it there."""

    kind: ClassVar[str] = ""
    path: str
    phase: PhaseName
    component: str = ""

    def want(self) -> str | None:
        """Return the state string that means "as desired", or None where the bytes are generated on apply."""
        raise NotImplementedError

    def spec(self) -> dict[str, Any]:
        """Return what the applier must know to observe the item."""
        return {"kind": self.kind, "path": self.path}


@dataclass(frozen=True, kw_only=True)
class Directory(Item):
    """A directory with its mode and owner."""

    kind: ClassVar[str] = "directory"
    mode: int = 0o755
    owner: str = "root"
    group: str = "root"

    def want(self) -> str:
        return f"dir {self.mode:04o} {self.owner}:{self.group}"


@dataclass(frozen=True, kw_only=True)
class File(Item):
    """A file with literal text, or with the whole bytes of one secret (then `content` is empty).

    `package` names the OS package that brings a file of its own at this path: what it brings is replaced.
    """

    kind: ClassVar[str] = "file"
    content: str = ""
    package: str = ""
    secret: SecretRef | None = None
    mode: int = 0o644
    owner: str = "root"
    group: str = "root"

    def want(self) -> str:
        if self.secret is not None:
            digest = f"hmac:{self.secret.digest}"
        else:
            digest = "sha256:" + hashlib.sha256(self.content.encode()).hexdigest()
        return f"file {digest} {self.mode:04o} {self.owner}:{self.group}"

    def spec(self) -> dict[str, Any]:
        if self.secret is not None:
            return {"kind": self.kind, "path": self.path, "hmac_key": self.secret.hmac_key}
        return {"kind": self.kind, "path": self.path}


@dataclass(frozen=True, kw_only=True)
class Symlink(Item):
    """A symbolic link."""

    kind: ClassVar[str] = "symlink"
    target: str

    def want(self) -> str:
        return f"link {self.target}"


@dataclass(frozen=True, kw_only=True)
class Artifact(Item):
    """A pinned file under /opt/kubewright, streamed by the stage phase; `source` is artifacts.lock's word for it."""

    kind: ClassVar[str] = "artifact"
    sha256: str
    size: int
    name: str
    version: str
    source: str = ""
    mode: int = 0o755

    def want(self) -> str:
        return f"artifact sha256:{self.sha256} {self.mode:04o} root:root"

    def spec(self) -> dict[str, Any]:
        return {"kind": self.kind, "path": self.path, "sha256": self.sha256, "size": self.size}


@dataclass(frozen=True, kw_only=True)
class Certificate(Item):
    """A leaf certificate and its key; kept while valid, issued anew when it is not what this says.

    `path` is the certificate's file, `key_path` the key's. `ca` names a CA of the inventory's store.
    """

    kind: ClassVar[str] = "certificate"
    key_path: str
    ca: str
    common_name: str
    organization: str = ""
    dns_names: tuple[str, ...] = ()
    ip_addresses: tuple[str, ...] = ()
    server: bool = False
    client: bool = False
    days: int = 365
    owner: str = "root"
    group: str = "root"
    key_mode: int = 0o600

    def want(self) -> None:
        return None

    def spec(self) -> dict[str, Any]:
        return {"kind": self.kind, "path": self.path, "key_path": self.key_path}


@dataclass(frozen=True, kw_only=True)
class Package(Item):
    """An operating system package, by name."""

    kind: ClassVar[str] = "package"

    def want(self) -> str:
        return "installed"


@dataclass(frozen=True, kw_only=True)
class User(Item):
    """A system user without a shell."""

    kind: ClassVar[str] = "user"
    home: str = "/nonexistent"

    def want(self) -> str:
        return "present"


@dataclass(frozen=True, kw_only=True)
class Sysctl(Item):
    """A kernel setting as it is in force now; its file is an item of its own."""

    kind: ClassVar[str] = "sysctl"
    value: str

    def want(self) -> str:
        return self.value


@dataclass(frozen=True, kw_only=True)
class KernelModule(Item):
    """A kernel module, loaded or built in."""

    kind: ClassVar[str] = "module"

    def want(self) -> str:
        return "loaded"


@dataclass(frozen=True, kw_only=True)
class SwapOff(Item):
    """No swap in use."""

    kind: ClassVar[str] = "swap"

    def want(self) -> str:
        return "off"


@dataclass(frozen=True, kw_only=True)
class Socket(Item):
    """A unix socket whose program is asked one line (`extra` has its answer); only looked at, never desired."""

    kind: ClassVar[str] = "socket"
    line: str

    def want(self) -> None:
        return None

    def spec(self) -> dict[str, Any]:
        return {"kind": self.kind, "path": self.path, "line": self.line}


@dataclass(frozen=True, kw_only=True)
class MemberLog(Item):
    """The directory of an etcd member: nothing, a log without an entry, or data; only looked at, never desired."""

    kind: ClassVar[str] = "member"

    def want(self) -> None:
        return None


@dataclass(frozen=True, kw_only=True)
class Tree(Item):
    """A whole directory, known by its inode; moved to `to` in one rename, or removed. Never desired."""

    kind: ClassVar[str] = "tree"
    to: str = ""

    def want(self) -> None:
        return None


@dataclass(frozen=True, kw_only=True)
class Program(Item):
    """An artifact of the store that is run once in a step, as `owner`, for `seconds` at most. Never desired."""

    kind: ClassVar[str] = "program"
    argv: tuple[str, ...] = ()
    seconds: int = 60
    owner: str = "root"
    group: str = "root"

    def want(self) -> None:
        return None


@dataclass(frozen=True, kw_only=True)
class Unit(Item):
    """A systemd unit, running with exactly its inputs.

    `inputs` are the paths whose bytes it reads when it starts (unit file, configuration, certificates, the symlink to
    its binary); `on_change` says what makes it read them again: restart or reload. `down_with` names a unit of this
    host that it cannot serve without: it goes down and up with that one. A stop of one that goes `at_once` kills it.
    """

    kind: ClassVar[str] = "unit"
    inputs: tuple[str, ...] = ()
    on_change: str = "restart"
    down_with: str = ""
    listed: bool = False
    at_once: bool = False

    def want(self) -> str:
        return "active enabled current"

    def spec(self) -> dict[str, Any]:
        inputs: dict[str, Any] = {"listed": True} if self.listed else {"inputs": list(self.inputs)}
        return {"kind": self.kind, "path": self.path, **inputs, **({"at_once": True} if self.at_once else {})}


@dataclass(frozen=True)
class HostDesired:
    """All items of one host, in the order in which a phase applies them."""

    name: str
    items: tuple[Item, ...]

    def of_phase(self, phase: PhaseName) -> tuple[Item, ...]:
        """Return this host's items that `phase` puts there."""
        return tuple(i for i in self.items if i.phase == phase)

    def find(self, kind: str, path: str) -> Item | None:
        """Return the item with this identity, or None."""
        return next((i for i in self.items if i.kind == kind and i.path == path), None)


@dataclass(frozen=True)
class KubeObject:
    """A Kubernetes object to apply; `body` is the whole manifest.

    A Secret with a `certificate` holds that leaf: kept while it is valid, issued when the object is applied.
    """

    phase: PhaseName
    body: Mapping[str, Any]
    certificate: Certificate | None = None

    @property
    def identity(self) -> str:
        """Return `kind namespace/name`, or `kind name` for cluster-scoped objects."""
        meta = self.body["metadata"]
        name = f"{meta['namespace']}/{meta['name']}" if "namespace" in meta else str(meta["name"])
        return f"{self.body['kind']} {name}"


@dataclass(frozen=True)
class EtcdMember:
    """A member the etcd cluster should have."""

    name: str
    address: str
    client_port: int = 2379
    peer_port: int = 2380

    @property
    def client_url(self) -> str:
        return Endpoint(self.address, self.client_port).url

    @property
    def peer_url(self) -> str:
        return Endpoint(self.address, self.peer_port).url


@dataclass(frozen=True)
class Desired:
    """The whole cluster as it should be: a pure function of inventory, facts and artifacts.lock."""

    hosts: Mapping[str, HostDesired]
    objects: tuple[KubeObject, ...] = ()
    members: tuple[EtcdMember, ...] = field(default_factory=tuple)
