"""`kubewright artifacts`: what there is, build it, check what is there."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from provisioner.cli import complete
from provisioner.cli.bundle import bundle
from provisioner.cli.group import Group

if TYPE_CHECKING:
    from provisioner.artifacts.catalogue import Catalogue
    from provisioner.model.artifact import ArtifactLock
    from provisioner.model.events import Event
    from provisioner.model.inventory import Inventory

_HOST_ARCH = "amd64"
_SOURCES = click.Choice(["release", "go"])
_SOURCE_HELP = ("release: what upstream publishes, downloaded; go: built here. Default: what the lock there has, else "
                "go for a lab and release elsewhere.")


@click.group("artifacts", cls=Group)
def artifacts() -> None:
    """The bytes that hosts run: list them, download or build them, check them, pack them."""


artifacts.add_command(bundle)


@artifacts.command("list")
@click.pass_obj
def list_(obj: Any) -> None:
    """Show every file that artifacts.lock pins, and whether the cache holds it."""
    from provisioner.artifacts.lockfile import load_lock
    from provisioner.artifacts.supply import held

    lock = load_lock(_inventory(obj).artifacts_lock_path)
    here = held(lock)
    if obj.wants_json:
        obj.print_json({"artifacts": [{**_plain(a), "cached": a.sha256 in here} for a in lock.artifacts]})
        return
    for a in lock.artifacts:
        state = "cached" if a.sha256 in here else "absent"
        click.echo(f"{a.component:<13} {a.version:<9} {a.name:<24} {a.arch}  {a.source:<6} {a.size / 1e6:7.1f} MB  "
                   f"{a.sha256[:12]}  {state}")


@artifacts.command("lock")
@click.option("--arch", "arches", multiple=True, default=(_HOST_ARCH,), show_default=True,
              type=click.Choice(["amd64", "arm64"]), help="Architecture of the hosts; repeatable.")
@click.option("--source", type=_SOURCES, default=None, help=_SOURCE_HELP)
@click.pass_obj
def lock_(obj: Any, arches: tuple[str, ...], source: str | None) -> None:
    """Write the first artifacts.lock; one that is there stays.

    Of what upstream publishes every file is downloaded and checked against its published digest. What is built here
    is pinned by digests that are known already, in a moment: `artifacts build` makes the files afterwards.
    """
    from provisioner.artifacts import lockfile
    from provisioner.artifacts.supply import default_versions, known_lock
    from provisioner.errors import UsageFault

    inventory = _inventory(obj)
    path = inventory.artifacts_lock_path
    if path.exists():
        raise UsageFault(f"{path}: is there already", code="lock-is-there",
                         hint="kubewright artifacts build --write-lock")
    if _source(inventory, source) == "release":
        _write_lock(inventory, (), arches, "release")
        return
    lock = known_lock(default_versions(inventory.cluster.kubernetes, lab=inventory.cluster.lab), arches)
    lockfile.write_lock(path, lock)
    click.echo(f"{path}: {len(lock.artifacts)} files pinned. They are made by: {obj.command('artifacts build')}")


@artifacts.command("build")
@click.option("--component", "components", multiple=True, metavar="NAME", shell_complete=complete.components,
              help="Only this component; repeatable.")
@click.option("--arch", "arches", multiple=True, default=(_HOST_ARCH,), show_default=True,
              type=click.Choice(["amd64", "arm64"]), help="Architecture of a new lock; repeatable.")
@click.option("--write-lock", is_flag=True, help="Take the catalogue's versions and write artifacts.lock anew.")
@click.option("--source", type=_SOURCES, default=None, help=f"Of a new lock. {_SOURCE_HELP}")
@click.pass_obj
def build(obj: Any, components: tuple[str, ...], arches: tuple[str, ...], write_lock: bool, source: str | None) -> None:
    """Download or build what artifacts.lock pins and the cache lacks; other bytes than the pinned ones are refused."""
    from provisioner.artifacts.lockfile import load_lock
    from provisioner.artifacts.supply import fetch

    inventory = _inventory(obj)
    if write_lock:
        _write_lock(inventory, components, arches, _source(inventory, source))
        return
    lock = _only(load_lock(inventory.artifacts_lock_path), components)
    files = fetch(lock, emit=_show)
    click.echo(f"{len(files)} files are in the cache and are what artifacts.lock pins.")


@artifacts.command("verify")
@click.pass_obj
def verify(obj: Any) -> None:
    """Hash every cached file that artifacts.lock pins; nothing is built."""
    from provisioner.artifacts.lockfile import load_lock
    from provisioner.artifacts.supply import held
    from provisioner.errors import PreflightRefused

    lock = load_lock(_inventory(obj).artifacts_lock_path)
    here = held(lock)
    absent = [f"{a.name} {a.version} {a.arch}: sha256 {a.sha256} is not in the cache"
              for a in lock.artifacts if a.sha256 not in here]
    if absent:
        raise PreflightRefused(f"this machine: verify artifacts: {len(absent)} of {len(lock.artifacts)} are absent",
                               code="artifact-absent", details=absent, hint="kubewright artifacts build")
    if obj.wants_json:
        obj.print_json({"verified": len(lock.artifacts)})
    else:
        click.echo(f"{len(lock.artifacts)} files are what artifacts.lock pins.")


def _source(inventory: Inventory, chosen: str | None) -> str:
    """Return where the files of a new lock come from: as was said, else as the lock that is there, else by default."""
    from provisioner.artifacts.lockfile import load_lock

    if chosen:
        return chosen
    if inventory.artifacts_lock_path.exists():
        sources = {a.source for a in load_lock(inventory.artifacts_lock_path).artifacts}
        return "release" if "release" in sources else "go"
    return "go" if inventory.cluster.lab else "release"


def _write_lock(inventory: Inventory, components: tuple[str, ...], arches: tuple[str, ...], source: str) -> None:
    from provisioner.artifacts import lockfile
    from provisioner.artifacts.catalogue import load_catalogue
    from provisioner.artifacts.supply import build_lock, default_versions, merged, release_versions

    catalogue, kubernetes = load_catalogue(), inventory.cluster.kubernetes
    versions = release_versions(kubernetes, arches) if source == "release" else default_versions(
        kubernetes, lab=inventory.cluster.lab)
    if components:
        versions = {name: versions.get(name) or _default(catalogue, name) for name in components}
    path = inventory.artifacts_lock_path
    lock = build_lock(versions, arches, emit=_show, source=source)
    if components and path.exists():
        lock = merged(lockfile.load_lock(path), lock)
    lockfile.write_lock(path, lock)
    click.echo(f"{path}: {len(lock.artifacts)} files pinned.")


def _default(catalogue: Catalogue, name: str) -> str:
    found = catalogue.components.get(name)
    return found.default if found else catalogue.find(name, "").default


def _only(lock: ArtifactLock, components: tuple[str, ...]) -> ArtifactLock:
    from provisioner.errors import UsageFault
    from provisioner.model.artifact import ArtifactLock

    unknown = sorted(set(components) - {a.component for a in lock.artifacts})
    if unknown:
        raise UsageFault(f"artifacts.lock has no component {', '.join(unknown)}", code="artifact-unknown",
                         hint="kubewright artifacts list")
    return ArtifactLock(tuple(a for a in lock.artifacts if not components or a.component in components))


def _show(event: Event) -> None:
    """Tell progress on stderr, one line an event."""
    if event.type == "waiting":
        click.echo(f"  {event.message}", err=True)
    else:
        click.echo(f"✓ {event.host:<13} {event.message}  {event.seconds or 0:.1f} s", err=True)


def _plain(artifact: Any) -> dict[str, Any]:
    from dataclasses import asdict

    return asdict(artifact)


def _inventory(obj: Any) -> Inventory:
    inventory: Inventory = obj.inventory
    return inventory
