"""`artifacts bundle`: everything that an inventory needs in one signed file, for machines that reach nothing."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from provisioner.cli.group import Group

if TYPE_CHECKING:
    from provisioner.artifacts.bundle import Manifest, Packages
    from provisioner.artifacts.cache import Cache
    from provisioner.model.artifact import ArtifactLock
    from provisioner.model.cluster import Cluster


@click.group("bundle", cls=Group, invoke_without_command=True)
@click.option("--out", type=click.Path(path_type=Path), metavar="FILE",
              help="Where it is written: a tar where the name ends in .tar, else a directory.")
@click.option("--since", type=click.Path(path_type=Path), metavar="BUNDLE",
              help="Leave out what this earlier bundle has: whoever takes the new one has taken that one.")
@click.option("--without-packages", is_flag=True, help="Leave the OS packages to the hosts' own sources.")
@click.option("--source-list", "sources", multiple=True, metavar="LINE",
              help="Where the OS packages are, as a line of a sources.list; repeatable. Default: this machine's.")
@click.pass_context
def bundle(ctx: click.Context, out: Path | None, since: Path | None, without_packages: bool,
           sources: tuple[str, ...]) -> None:
    """Write all that artifacts.lock pins, and the OS packages with what they depend on, signed by an operator.

    What the cache lacks is downloaded or built first. `up --bundle FILE` installs from it.
    """
    from provisioner.errors import UsageFault

    if ctx.invoked_subcommand is not None:
        return
    if out is None:
        raise UsageFault("where to? --out is missing", hint="kubewright artifacts bundle --out bundle.tar")
    if out.exists() or not out.absolute().parent.is_dir():
        there = "is there already" if out.exists() else "there is no such directory"
        raise UsageFault(f"{out}: {there}", code="bundle-is-there", hint=f"ls -l {out if out.exists() else out.parent}")
    _write(ctx.obj, out.absolute(), since, None if without_packages else sources)


@bundle.command("verify")
@click.argument("file", type=click.Path(path_type=Path))
@click.pass_obj
def verify(obj: Any, file: Path) -> None:
    """Check a bundle's signature and every byte of it, and say what this inventory needs and it lacks."""
    from provisioner.artifacts.supply import opened_bundle

    found = opened_bundle(file, obj.inventory)
    if obj.wants_json:
        obj.print_json({"verified": len(found.manifest.here), "elsewhere": len(found.manifest.elsewhere)})
        return
    packages = sum(len(p.versions) for p in found.manifest.packages)
    click.echo(f"{file}: {len(found.manifest.here)} files are what was signed; nothing is missing for "
               f"{obj.inventory.cluster.cluster}. OS packages in it: {packages or 'none'}.")


def _write(obj: Any, out: Path, since: Path | None, sources: tuple[str, ...] | None) -> None:
    from provisioner.artifacts import bundle as bundles
    from provisioner.artifacts.cache import Cache
    from provisioner.artifacts.lockfile import load_lock
    from provisioner.artifacts.supply import fetch
    from provisioner.cli.artifacts import _show

    inventory, cache = obj.inventory, Cache()
    lock = load_lock(inventory.artifacts_lock_path)
    before = bundles.read(since, inventory.operators).manifest if since else None
    files = fetch(lock, emit=_show)
    packages = [] if sources is None else [_packages(obj, arch, cache, sources)
                                           for arch in sorted({a.arch for a in lock.artifacts})]
    manifest = _manifest(lock, packages, before)
    files |= {p.sha256: cache.path(p.sha256) for p in packages}
    bundles.write(out, manifest, files, inventory.identity_files, inventory.operators)
    size = sum(f.size for f in manifest.here.values())
    left = f", {len(manifest.elsewhere)} more are in {since}" if since else ""
    click.echo(f"{out}: {len(manifest.here)} files, {size / 1e6:.0f} MB, signed{left}.")
    if packages:
        _tell_who_gets_none(obj.inventory.cluster)
    click.echo(f"Next, where the hosts are reached: {obj.command(f'artifacts bundle verify {out}')}, then "
               f"{obj.command(f'up --bundle {out}')}")


def _tell_who_gets_none(cluster: Cluster) -> None:
    """Name the hosts whose system the inventory says, and for which no packages come along."""
    from provisioner.artifacts.supply import SYSTEM
    from provisioner.model.families import BY_KEY

    for host in cluster.machines:
        row = BY_KEY.get(host.spec.system or "")
        if row is not None and row.key != SYSTEM:
            click.echo(f"{host.name} has {row.name}: it gets no OS packages from here, {row.manager} takes them from "
                       "its own sources.")


def _manifest(lock: ArtifactLock, packages: list[Packages], before: Manifest | None) -> Manifest:
    from provisioner.artifacts.bundle import Held, Manifest

    held = {a.sha256: Held(name=f"{a.name}-{a.version}-{a.arch}", sha256=a.sha256, size=a.size)
            for a in lock.artifacts}
    digests = {*held, *(p.sha256 for p in packages)}
    return Manifest(artifacts=tuple(held.values()), packages=tuple(packages),
                    elsewhere=tuple(sorted(digests & before.files.keys())) if before else ())


def _packages(obj: Any, arch: str, cache: Cache, sources: tuple[str, ...]) -> Packages:
    """Fetch the packages for one architecture into the cache and return what the manifest says of them."""
    import tempfile

    from provisioner.artifacts import debs
    from provisioner.artifacts.bundle import Packages
    from provisioner.artifacts.supply import SYSTEM, packages_asked

    asked = packages_asked(obj.inventory.cluster)
    with tempfile.TemporaryDirectory(prefix="kubewright-packages-") as scratch:
        name = f"packages-{SYSTEM}-{arch}.tar"
        fetched = debs.fetch(asked, SYSTEM, arch, Path(scratch) / name, sources,
                             lambda text: click.echo(f"  {text}", err=True))
        stored = cache.put(fetched.archive, lambda copy: None)
    return Packages(name=name, sha256=stored.sha256, size=stored.size, system=f"{SYSTEM}-{arch}", asked=asked,
                    versions=fetched.versions)
