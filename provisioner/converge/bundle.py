"""What a host is handed: one JSON request a host, readable by its owner only, with the bytes of its changes."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from provisioner.compile import leavings
from provisioner.errors import KubewrightError
from provisioner.files import write_whole
from provisioner.model.desired import (
    Certificate,
    Directory,
    File,
    Item,
    KernelModule,
    Program,
    SwapOff,
    Symlink,
    Sysctl,
    Tree,
    Unit,
    User,
)
from provisioner.model.observed import PairState
from provisioner.model.plan import Change
from provisioner.model.run import Origin
from provisioner.model.secret import Resolve

Mint = Callable[[Certificate], tuple[bytes, bytes]]
"""Issues a certificate: (certificate PEM, key PEM)."""
StepOf = Callable[[str], str]
"""Gives the step id of a host's batch; the same batch must give the same id, so that a re-run attaches."""

STEP_TIMEOUT = 600


def write_bundles(
    directory: Path, changes_by_host: Mapping[str, Sequence[Change]], resolve: Resolve, mint: Mint, step_of: StepOf,
    *, timeout: int = STEP_TIMEOUT, origin: Origin | None = None, epoch: int | None = None,
) -> None:
    """Write `HOST.json` for every host: the applier's `apply` request (docs/reference/applier-protocol.md).

    The host keeps `origin` with the step's result, so that another machine can tell whose work it finds. `epoch` is the
    run's; a host that knows a newer one refuses. Without it the bundle is for use by hand.
    """
    _private(directory)
    for host, changes in changes_by_host.items():
        request = {"step": step_of(host), "timeout": timeout, "check": False, "epoch": epoch,
                   "origin": (origin or Origin()).to_json(),
                   "changes": [change_request(c, resolve, mint) for c in changes]}
        write_whole(bundle_path(directory, host), json.dumps(request))


def bundle_path(directory: Path, host: str) -> Path:
    """Return where a host's request lies."""
    return directory / f"{host}.json"


def change_request(change: Change, resolve: Resolve, mint: Mint) -> dict[str, Any]:
    """Return one change as the applier reads it, with everything it needs to make it."""
    request: dict[str, Any] = {"kind": change.kind, "path": change.path, "action": change.action,
                               "expect": change.expect, "want": change.want}
    if change.invocation:
        request["invocation"] = change.invocation
    if change.undo:
        request["undo"] = True
    item = change.item
    if item is None:
        if change.action not in ("remove", "restore"):
            raise KubewrightError(f"{change.host}: bundling {change.kind} {change.path}: the change has no item")
        return request | ({"leaves": leavings.of_unit(change.path)} if change.kind == Unit.kind else {})
    return request | item.spec() | _payload(item, resolve, mint)


def _payload(item: Item, resolve: Resolve, mint: Mint) -> dict[str, Any]:
    match item:
        case File():
            data = resolve(item.secret.name) if item.secret is not None else item.content.encode()
            return {"content": _text(data)} | _owned(item.mode, item)
        case Directory():
            return _owned(item.mode, item)
        case Symlink():
            return {"target": item.target}
        case Certificate():
            return _certificate(item, mint)
        case Tree():
            return {"to": item.to} if item.to else {}
        case Program():
            return {"argv": list(item.argv), "timeout": item.seconds, "owner": item.owner, "group": item.group}
        case Unit():
            return {"leaves": leavings.of_unit(item.path)}
        case _:
            raise KubewrightError(f"bundling {item.kind} {item.path}: the applier cannot make this kind")


def _certificate(item: Certificate, mint: Mint) -> dict[str, Any]:
    crt, key = mint(item)
    digest = hashlib.sha256(crt).hexdigest()
    want = PairState(True, f"{item.key_mode:04o} {item.owner}:{item.group}", f"sha256:{digest}")
    return {"want": str(want), "certificate": _text(crt), "key": _text(key)} | _owned(item.key_mode, item)


def _owned(mode: int, item: File | Directory | Certificate) -> dict[str, Any]:
    return {"mode": f"{mode:04o}", "owner": item.owner, "group": item.group}


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode()


def write_prepare(directory: Path, changes_by_host: Mapping[str, Sequence[Change]],
                  archives: Mapping[str, Path] | None = None, before_packages: Sequence[str] = (),
                  managers: Mapping[str, str] | None = None) -> list[str]:
    """Write `HOST.prepare.json` for every host: the lists that playbooks/prepare.yml works through.

    Return the names of those that are empty for all hosts. A host with an archive gets its packages out of that, and
    none of its own sources is asked. `before_packages` are words before each call of the package manager, which is apt
    where `managers` does not say otherwise.
    """
    _private(directory)
    wanted = {host: prepare_vars(changes, (archives or {}).get(host), before_packages,
                                 (managers or {}).get(host, "apt")) for host, changes in changes_by_host.items()}
    for host, lists in wanted.items():
        write_whole(directory / f"{host}.prepare.json", json.dumps(lists))
    return [name for name in prepare_vars([]) if not any(lists[name] for lists in wanted.values())]


def prepare_vars(
        changes: Iterable[Change], archive: Path | None = None, before_packages: Sequence[str] = (),
        manager: str = "apt") -> dict[str, Any]:
    """Return a host's packages, its users, and the commands for all else, as the playbook's variables."""
    changes = list(changes)
    return {
        "manager": manager,
        "packages": [c.path for c in changes if c.kind == "package"],
        "archives": [str(archive)] if archive else [],
        "before_packages": list(before_packages),
        "users": [{"name": c.path, "home": c.item.home} for c in changes
                  if isinstance(c.item, User) and c.action != "add"],
        "commands": list(_commands(changes)),
    }


def _commands(changes: Sequence[Change]) -> Iterator[dict[str, Any]]:
    """Yield what makes new users, loads modules, sets what may be of a module, and ends the use of swap."""
    for change in changes:
        if isinstance(change.item, User) and change.action == "add":
            yield {"argv": ["useradd", "--system", "--no-create-home", "--home-dir", change.item.home,
                            "--shell", "/usr/sbin/nologin", change.path],
                   "passes": [9]}       # there already, by an attempt of ours whose answer was lost
    modules = [c.path for c in changes if c.kind == KernelModule.kind]
    sysctls = [f"{c.path}={c.item.value}" for c in changes if isinstance(c.item, Sysctl)]
    swap = any(c.kind == SwapOff.kind for c in changes)
    yield from ({"argv": argv, "passes": []} for wanted, argv in (
        (modules, ["modprobe", "-a", *modules]), (sysctls, ["sysctl", "-w", *sysctls]),
        (swap, ["swapoff", "-a"]), (swap, ["systemctl", "mask", "--quiet", "swap.target"])) if wanted)


def _private(directory: Path) -> None:
    """Make the directory and what is missing above it 0700 at once; with `parents=True` those above get no mode."""
    for place in (*reversed(directory.parents), directory):
        if not place.is_dir():
            place.mkdir(mode=0o700, exist_ok=True)
    directory.chmod(0o700)
