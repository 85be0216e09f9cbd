"""The state strings: what an item is, told in the words in which `compile` says what it should be."""

from __future__ import annotations

import hashlib
import hmac
import os
import pwd
import stat
from typing import Any, Callable, Mapping, Optional, Sequence

from . import artifacts, files, kernel, leavings, stamps, units
from .host import Fault, Host, Once

ABSENT = "absent"
BUT = " but "           # in a state: what is odd beside what is said before it
PUBLIC = 0o644          # the mode of a certificate's own file; its state has the key's
TEXT_LIMIT = 64 * 1024
Spec = Mapping[str, Any]
Seen = tuple[str, dict[str, Any]]


class Look:
    """One look at a host: what is asked of a tool is asked once for all items, and no file is read twice."""

    def __init__(self, host: Host, specs: Sequence[Spec] = ()) -> None:
        self.host = host
        self.once = Once(host)
        self.sums = stamps.Sums(host)
        self.known_artifacts = artifacts.Known(host)
        self.keys = {s["path"]: s["hmac_key"] for s in specs if s.get("hmac_key")}
        self.units = units.show(host, [s["path"] for s in specs if s["kind"] == "unit"])
        names = [s["path"] for s in specs if s["kind"] == "package"]
        self.packages = {**dict.fromkeys(names, (ABSENT, {})), **_packages(host, names)}
        self._pair_context: Any = None

    def see(self, spec: Spec) -> Seen:
        """Return the state of one item and what else was seen of it."""
        return KINDS[spec["kind"]](self, spec)

    def pair_matches(self, certificate: str, key: str) -> bool:
        """Say whether a certificate and a key belong together: OpenSSL compares them when it loads both."""
        import ssl  # 12 ms that only hosts with certificates pay
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        try:
            # An encrypted key would make OpenSSL ask on the terminal; an empty password makes it fail instead.
            context.load_cert_chain(self.host.at(certificate), self.host.at(key), password=lambda: b"")
        except (ssl.SSLError, OSError):
            return False
        return True


def words(digest: str, mode: int, owner: str) -> str:
    """Return the state of a file from its parts."""
    return f"file {digest} {mode:04o} {owner}"


def digest_of(data: bytes, hmac_key: Optional[str]) -> str:
    """Return `sha256:HEX`, or `hmac:HEX` where the plan must not know the digest of a secret."""
    if hmac_key:
        return "hmac:" + hmac.new(bytes.fromhex(hmac_key), data, "sha256").hexdigest()
    return "sha256:" + hashlib.sha256(data).hexdigest()


def _other(status: os.stat_result) -> str:
    kinds = ((stat.S_ISLNK, "symlink"), (stat.S_ISREG, "file"), (stat.S_ISDIR, "directory"))
    return "other " + next((name for test, name in kinds if test(status.st_mode)), "special")


def _status(look: Look, path: str) -> Optional[os.stat_result]:
    try:
        return os.lstat(look.host.at(path))
    except (FileNotFoundError, NotADirectoryError):
        return None


def _file(look: Look, spec: Spec) -> Seen:
    path, key = spec["path"], spec.get("hmac_key")
    status = _status(look, path)
    if status is None:
        return ABSENT, {}
    if not stat.S_ISREG(status.st_mode):
        return _other(status), {}
    data, status = files.read(look.host.at(path))
    if not key:
        look.sums.put(path, hashlib.sha256(data).hexdigest())
    state = words(digest_of(data, key), stat.S_IMODE(status.st_mode), files.owner_of(status))
    return state, {} if key else _text(data)


def _text(data: bytes) -> dict[str, Any]:
    if len(data) > TEXT_LIMIT:
        return {}
    try:
        return {"text": data.decode()}
    except UnicodeDecodeError:
        return {}


def _directory(look: Look, spec: Spec) -> Seen:
    status = _status(look, spec["path"])
    if status is None:
        return ABSENT, {}
    if not stat.S_ISDIR(status.st_mode):
        return _other(status), {}
    return f"dir {_owned(status)}", {}


def _tree(look: Look, spec: Spec) -> Seen:
    """Tell a directory by its inode, which it keeps when it is renamed and another one under its name has not."""
    status = _status(look, spec["path"])
    if status is None:
        return ABSENT, {}
    if not stat.S_ISDIR(status.st_mode):
        return _other(status), {}
    return f"tree {status.st_ino} {_owned(status)}", {}


def _symlink(look: Look, spec: Spec) -> Seen:
    status = _status(look, spec["path"])
    if status is None:
        return ABSENT, {}
    if not stat.S_ISLNK(status.st_mode):
        return _other(status), {}
    own = status.st_uid == os.geteuid()
    return f"link {os.readlink(look.host.at(spec['path']))}" + ("" if own else f"{BUT}{files.owner_of(status)}"), {}


def _artifact(look: Look, spec: Spec) -> Seen:
    status = _status(look, spec["path"])
    if status is None:
        return ABSENT, {}
    if not stat.S_ISREG(status.st_mode):
        return _other(status), {}
    if "size" in spec and status.st_size != spec["size"]:
        return f"artifact size:{status.st_size} {_owned(status)}", {}  # wrong already: no need to read 100 MB
    digest = look.known_artifacts.digest(spec["path"], status)
    odd = [f"{place} {_owned(of)}" for place, of in artifacts.odd_parents(look.host, spec["path"])]
    return f"artifact sha256:{digest} {_owned(status)}" + (BUT + ", ".join(odd) if odd else ""), {}


def _certificate(look: Look, spec: Spec) -> Seen:
    status = _status(look, spec["path"])
    if status is None:
        return ABSENT, {}
    if not stat.S_ISREG(status.st_mode):
        return _other(status), {}
    data, _ = files.read(look.host.at(spec["path"]))
    digest = hashlib.sha256(data).hexdigest()
    look.sums.put(spec["path"], digest)
    extra = {"pem": data.decode(errors="replace")}
    key = _status(look, spec["key_path"])
    if key is None or not stat.S_ISREG(key.st_mode):
        return f"certificate sha256:{digest} key-missing", extra
    match = "key-ok" if look.pair_matches(spec["path"], spec["key_path"]) else "key-mismatch"
    wished = f"{PUBLIC:04o} {files.owner_of(key)}"
    odd = "" if _owned(status) == wished else f"{BUT}{_owned(status)}"
    return f"certificate sha256:{digest} {match} {_owned(key)}{odd}", extra


def plain(state: str) -> str:
    """Return a state without what is odd: what a change makes of it that puts its bytes there."""
    return state.partition(BUT)[0]


def _owned(status: os.stat_result) -> str:
    return f"{stat.S_IMODE(status.st_mode):04o} {files.owner_of(status)}"


def _unit(look: Look, spec: Spec) -> Seen:
    seen = look.units[spec["path"]]
    current, causes = stamps.compare(look.host, spec["path"], spec.get("inputs", ()), look.sums)
    extra = units.details(seen, causes)
    if causes:
        found = stamps.started(look.host, spec["path"], causes)
        extra["started"] = {path: _keyed(line, look.keys.get(path)) for path, line in found.items()}
    return units.state(seen, current), extra


def _keyed(line: str, hmac_key: Optional[str]) -> str:
    """Return a stamp's line; a secret's with a keyed digest of its digest, as that of a short one can be guessed."""
    kind, _, digest = line.partition(" ")
    return f"file {digest_of(digest.encode(), hmac_key)}" if hmac_key and kind == "file" else line


def _package(look: Look, spec: Spec) -> Seen:
    name = spec["path"]
    if name not in look.packages:
        look.packages[name] = _packages(look.host, [name]).get(name, (ABSENT, {}))
    return look.packages[name]


def _packages(host: Host, names: list[str]) -> dict[str, Seen]:
    """Ask once for all packages; those of which nothing is there are simply not in the answer."""
    if not names:
        return {}
    from . import managers  # only who asks for packages pays
    found = managers.of(host).states(host, names)
    return {name: (status, {"version": version}) for name, (status, version) in found.items()}


def _user(look: Look, spec: Spec) -> Seen:
    try:
        pwd.getpwnam(spec["path"])
    except KeyError:
        return ABSENT, {}
    return "present", {}


def _module(look: Look, spec: Spec) -> Seen:
    return ("loaded" if kernel.has_module(look.host, spec["path"]) else ABSENT), {}


def _socket(look: Look, spec: Spec) -> Seen:
    """Tell what the program behind a unix socket says to one line; one that does not answer is its own state."""
    from .sockets import ask  # 3 ms that only hosts with such a program pay
    try:
        return "answers", {"text": ask(look.host, spec["path"], spec["line"])}
    except (FileNotFoundError, ConnectionRefusedError):
        return ABSENT, {}
    except (OSError, Fault) as fault:
        return "silent", {"text": str(fault)}


def _member(look: Look, spec: Spec) -> Seen:
    """Tell what is in an etcd member's directory: `there`, `empty`, or nothing."""
    from .raftlog import look as look_at  # only hosts with a member pay
    return look_at(look.host.at(spec["path"]))


def _swap(look: Look, spec: Spec) -> Seen:
    return kernel.swap(look.host), {}


def _left(see: Callable[[Host, str], str]) -> Callable[[Look, Spec], Seen]:
    """Return how an item is seen whose kind has no more to it than its state."""
    return lambda look, spec: (see(look.once, spec["path"]), {})


KINDS: dict[str, Callable[[Look, Spec], Seen]] = {
    "directory": _directory, "file": _file, "symlink": _symlink, "artifact": _artifact, "certificate": _certificate,
    "package": _package, "user": _user, "module": _module, "socket": _socket, "swap": _swap,
    "unit": _unit, "member": _member, "tree": _tree,
    "program": _artifact,       # what is run is looked at as what it is: a file of the store
    **{kind: _left(look) for kind, look in leavings.KINDS.items()},
}
