"""The few shapes that every part is made of: a directory, a file from its template, a binary, a unit, an object."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import PurePosixPath
from typing import Any, NamedTuple

from provisioner.compile.context import HostContext
from provisioner.compile.render import documents, render
from provisioner.model.desired import Artifact, Directory, File, Item, KubeObject, Symlink, Unit
from provisioner.model.phases import PhaseName


class Leaving(NamedTuple):
    """What a unit's running leaves on its host: a kind in the applier's language, and its name there."""

    kind: str
    path: str


STAMP = "/opt/kubewright/bin/stamp"
INPUTS_DIR = "/etc/kubewright/inputs"
BIN_DIR = "/usr/local/bin"
UNIT_DIR = "/etc/systemd/system"
CREDENTIALS_DIR = "/run/credentials"
MANAGED_BY = {"app.kubernetes.io/managed-by": "kubewright"}


def directories(paths: Iterable[str], phase: PhaseName) -> list[Item]:
    """Return plain directories, root's and readable."""
    return [Directory(path=path, phase=phase) for path in paths]


def rendered(
        path: str, phase: PhaseName, *, component: str = "", mode: int = 0o644, package: str = "", **values: Any,
) -> File:
    """Return the file at `path` from the template that is stored under the same path."""
    return File(path=path, phase=phase, component=component, mode=mode, package=package,
                content=render(path, **values))


def managed(phase: PhaseName, manifest: str, **values: Any) -> Iterator[KubeObject]:
    """Yield the Kubernetes objects of a manifest, with the label by which they are known as ours."""
    for body in documents(manifest, **values):
        body["metadata"]["labels"] = {**body["metadata"].get("labels", {}), **MANAGED_BY}
        yield KubeObject(phase=phase, body=body)


def binary(ctx: HostContext, name: str, phase: PhaseName, directory: str = BIN_DIR) -> list[Item]:
    """Return the pinned artifact and the link that makes it the one in use; going back is the link's old target."""
    locked = ctx.artifact(name)
    return [
        Artifact(path=locked.host_path, phase="stage", component=locked.component, sha256=locked.sha256,
                 size=locked.size, name=name, version=locked.version, source=locked.source),
        Symlink(path=f"{directory}/{name}", phase=phase, component=locked.component, target=locked.host_path),
    ]


def credential(unit: str, path: str) -> str:
    """Return where `unit`'s own user reads its private copy of root's file `path`.

    systemd makes the copy at every start (`LoadCredential=`) and removes it at the end, so a renewed file is seen after
    a restart, which its place among the unit's inputs brings about.
    """
    return f"{CREDENTIALS_DIR}/{unit}/{PurePosixPath(path).name}"


def service(
        name: str, phase: PhaseName, inputs: Sequence[str], *, component: str = "", credentials: Sequence[str] = (),
        down_with: str = "", on_change: str = "restart", **values: Any) -> list[Item]:
    """Return a unit of ours: its file, the list of its inputs, and the unit running with exactly these.

    The unit file is closed to others, as CIS 1.1 and 4.1.1 want it. `credentials` are root's files of which the unit
    gets private copies.
    """
    if credentials:
        values["credentials"] = [(PurePosixPath(path).name, path) for path in credentials]
    path = f"{UNIT_DIR}/{name}"
    file = rendered(path, phase, component=component, mode=0o600, unit=name, stamp=STAMP, **values)
    return [file, *_running(name, phase, [path, *inputs], component, on_change, down_with)]


def distribution_service(
        name: str, phase: PhaseName, inputs: Sequence[str], *, component: str = "", **values: Any) -> list[Item]:
    """Return a unit that an OS package brings, with our drop-in; it is reloaded, never restarted, on a change."""
    directory = f"{UNIT_DIR}/{name}.d"
    path = f"{directory}/50-kubewright.conf"
    file = rendered(path, phase, component=component, unit=name, stamp=STAMP, **values)
    return [Directory(path=directory, phase=phase, component=component), file,
            *_running(name, phase, [path, *inputs], component, "reload")]


def _running(
        name: str, phase: PhaseName, inputs: list[str], component: str, on_change: str, down_with: str = "",
) -> list[Item]:
    listing = "".join(f"{path}\n" for path in inputs)
    return [
        File(path=f"{INPUTS_DIR}/{name}", phase=phase, component=component, content=listing),
        Unit(path=name, phase=phase, component=component, inputs=tuple(inputs), on_change=on_change,
             down_with=down_with),
    ]
