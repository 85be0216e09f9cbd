"""`init`: the first cluster.yaml from addresses, checked before it is written; nothing that is there is overwritten."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path
from typing import TYPE_CHECKING, get_args

import click

from provisioner.cli.consent import can_ask
from provisioner.cli.context import Context
from provisioner.errors import PreflightRefused, UsageFault, of_full_disk
from provisioner.model.first_inventory import FORM, Preset

if TYPE_CHECKING:
    from provisioner.model.first_inventory import Draft
    from provisioner.model.imported.values import Imported

_KEYS = ("id_ed25519.pub", "id_rsa.pub")
_NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,44}[a-z0-9])?")


@click.command()
@click.argument("machines", nargs=-1, metavar="[[NAME=][USER@]LOGIN[:PORT][,ADDRESS]]...")
@click.option("--from", "source", default=None, metavar="FILE", type=click.Path(dir_okay=False, path_type=Path),
              help="Take the machines from an inventory of kubespray (hosts.yaml, inventory.ini) or a k0sctl.yaml.")
@click.option("--name", default=None, metavar="NAME",
              help="Name of the cluster. Default: that of its directory, or mine.")
@click.option("--preset", type=click.Choice(get_args(Preset)), default=None,
              help="single: one machine that is all; small: one control plane; ha: three. The other machines are "
                   "workers. Default: ha from three machines on.")
@click.option("--vip", default="", metavar="ADDRESS",
              help="A free address at which the API is found; three control planes need it, or --external.")
@click.option("--external", default="", metavar="HOST:PORT", help="A load balancer of your own instead of --vip.")
@click.option("--network", "networks", multiple=True, metavar="RANGE",
              help="Where the machines' addresses lie; repeatable. Default: the /24 of each.")
@click.option("--user", default="root", metavar="USER", show_default=True, help="Who logs in where no USER@ is said.")
@click.option("--jump", default="", metavar="[USER@]HOST[:PORT]", help="A jump host that leads to all of them.")
@click.option("--operator", "operators", multiple=True, metavar="FILE", type=click.Path(dir_okay=False, path_type=Path),
              help="A public SSH key of somebody who may read the secrets; repeatable. Default: your own.")
@click.option("--kubernetes", default=None, metavar="VERSION",
              help="Default: the newest that upstream's digests are known of.")
@click.option("--trust", "trusts", is_flag=True, help="Then show the machines' SSH keys, and pin them after a yes.")
@click.pass_obj
def init(context: Context, machines: tuple[str, ...], source: Path | None, name: str | None, preset: Preset | None,
         vip: str, external: str, networks: tuple[str, ...], user: str, jump: str, operators: tuple[Path, ...],
         kubernetes: str | None, trusts: bool) -> int:
    """Write a first cluster.yaml for these machines: the first named carry the API, the others the work.

    LOGIN is where one logs in, an address or a name; ADDRESS is the machine's in the cluster, where that is another.
    Without machines it asks, on a terminal. The directory is that of -i, else inventories/NAME. No host is contacted,
    but for their SSH keys where --trust says so.
    """
    from provisioner.model.first_inventory import Draft, login, text_of
    from provisioner.model.load import load_cluster

    if trusts and context.wants_json:
        raise UsageFault("--trust asks a person, -o json is for programs", hint="kubewright init --help")
    taken = _imported(source, machines, preset) if source is not None else None
    called = name or (taken.name if taken is not None and _NAME.fullmatch(taken.name) else "")
    directory = Path(context.directory) if context.directory else Path("inventories") / (called or "mine")
    _refuse_what_is_there(directory)
    named = called or (directory.name if context.directory and _NAME.fullmatch(directory.name) else "mine")
    draft = Draft(named, kubernetes or _newest(), (), _keys(operators), preset, vip, external, user, networks, jump)
    if taken is not None:
        draft = _of(taken, draft)
    else:
        draft = dataclasses.replace(draft, machines=tuple(login(m) for m in machines or _asked_for_machines()))
    draft = _with_vip(context, draft)
    text = text_of(draft)
    load_cluster(text, str(directory / "cluster.yaml"))
    _write(directory, text)
    _tell(context, directory, draft, taken)
    return _trust(context) if trusts else 0


def _imported(file: Path, machines: tuple[str, ...], preset: str | None) -> Imported:
    """Return what another tool's inventory says; k0sctl's is known by its first line, what else is there is Ansible's.
    """
    import yaml

    from provisioner.converge.inventories import listing
    from provisioner.model.imported import k0sctl, kubespray
    from provisioner.model.imported.values import refuse

    if machines or preset:
        raise UsageFault("--from brings the machines and their roles: neither machines nor --preset go with it",
                         hint="kubewright init --help")
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as fault:
        refuse(str(file), str(fault.strerror) if isinstance(fault, OSError) else "is no text")
    try:
        document = yaml.safe_load(text) if "apiVersion" in text else None
    except yaml.YAMLError:
        document = None
    if isinstance(document, dict) and str(document.get("apiVersion", "")).startswith(k0sctl.GROUP):
        return k0sctl.read(str(file), document)
    return kubespray.read(str(file), listing(file))


def _of(taken: Imported, draft: Draft) -> Draft:
    """Return the draft with what was taken over; what was said on the command line stays."""
    outside = draft.vip or draft.external
    return dataclasses.replace(
        draft, machines=taken.machines, vip=draft.vip or ("" if outside else taken.vip),
        external=draft.external or ("" if outside else taken.external), jump=draft.jump or taken.jump,
        pods=taken.pods, services=taken.services)


def _trust(context: Context) -> int:
    """Go on as `trust` does: what it says of keys, questions and refusals holds here too."""
    from provisioner.cli.trust import trust

    context.words = ("-i", str(context.directory), "trust")     # what a hint repeats
    return int(click.get_current_context().invoke(trust, hosts=(), also=None, replace=False, yes=False) or 0)


def _refuse_what_is_there(directory: Path) -> None:
    for file in (directory / "cluster.yaml", directory / "artifacts.lock"):
        if file.exists() or file.is_symlink():
            raise UsageFault(f"{file}: is there already; nothing was written", code="inventory-is-there",
                             hint=f"kubewright -i {directory} validate")


def _asked_for_machines() -> tuple[str, ...]:
    if not can_ask():
        raise UsageFault("no address given, and nobody is there to ask",
                         hint="kubewright init admin@10.0.0.11 admin@10.0.0.12 admin@10.0.0.13 --vip 10.0.0.10")
    click.echo(f"The machines as {FORM}, with blanks between them. The first three carry the API, the "
               "others are workers.", err=True)
    return tuple(str(click.prompt("Machines", err=True)).split())


def _with_vip(context: Context, draft: Draft) -> Draft:
    """Return the draft with an address for the API where there is none and it needs one."""
    if draft.vip or draft.external or draft.control_planes <= 1:
        return draft
    if not can_ask():
        raise UsageFault(f"{draft.control_planes} control planes need an address that moves between them",
                         details=["--vip ADDRESS: a free one in the machines' network, which nobody else uses",
                                  "--external HOST:PORT: a load balancer of your own"],
                         hint=context.again("--vip", "ADDRESS"))
    click.echo("The API is found at an address that moves between the control planes: a free one in their network.",
               err=True)
    return dataclasses.replace(draft, vip=str(click.prompt("Address", err=True)).strip())


def _keys(files: tuple[Path, ...]) -> tuple[str, ...]:
    """Return the operators' public keys: of the files that were named, else our own."""
    there = files or tuple(file for name in _KEYS if (file := Path.home() / ".ssh" / name).is_file())[:1]
    if not there:
        raise UsageFault("no operator: you have no SSH key of your own in ~/.ssh, and none was named",
                         details=["the cluster's secrets rest encrypted to its operators' public keys"],
                         hint="ssh-keygen -t ed25519")
    found = []
    for file in there:
        try:
            found.append(file.expanduser().read_text(encoding="utf-8").strip())
        except (OSError, UnicodeDecodeError) as fault:
            why = fault.strerror if isinstance(fault, OSError) else "is no text"
            raise UsageFault(f"--operator {file}: {why}", hint="ls ~/.ssh/*.pub") from None
        if "PRIVATE KEY" in found[-1]:
            raise UsageFault(f"--operator {file}: that is a private key", hint=f"ls {file}.pub")
    return tuple(found)


def _newest() -> str:
    """Return the newest Kubernetes of ours that anybody can download, else the newest that can be built."""
    from provisioner.artifacts.published import load_publications
    from provisioner.model.releases import RELEASES, numbers

    published = set(load_publications().versions("kubernetes", "amd64"))
    return max([r for r in RELEASES if r in published] or RELEASES, key=numbers)


def _write(directory: Path, text: str) -> None:
    """Write what editors and git read beside the inventory, and last itself, whole: killed, it is run again.

    A file that appeared meanwhile is not overwritten.
    """
    import json

    from provisioner.files import whole, write_whole
    from provisioner.model.schema import cluster_schema

    state, ignored = directory / ".kubewright", directory / ".gitignore"
    try:
        directory.mkdir(parents=True, exist_ok=True)
        state.mkdir(mode=0o700, exist_ok=True)
        write_whole(state / "cluster.schema.json", json.dumps(cluster_schema(), indent=2) + "\n", 0o644)
        if not ignored.exists():
            write_whole(ignored, ".kubewright/\n", 0o644)
        with whole(directory / "cluster.yaml", 0o644, new=True) as file:
            file.write(text.encode())
    except OSError as fault:
        place = fault.filename2 or fault.filename or directory
        raise of_full_disk(fault, PreflightRefused) or UsageFault(
            f"{place}: writing the inventory: {fault.strerror}", code="inventory-is-there",
            hint=f"ls -la {directory}") from None


def _tell(context: Context, directory: Path, draft: Draft, taken: Imported | None) -> None:
    from provisioner.report.columns import in_line

    rows = [(name, str(machine.address), ", ".join(roles)) for name, (machine, roles) in draft.hosts.items()]
    context.directory = str(directory)
    verbs = ("validate", "artifacts lock", "trust", "check", "plan", "up")
    if context.wants_json:
        context.print_json({"file": str(directory / "cluster.yaml"), "next": [context.command(v) for v in verbs],
                            "from": taken.tool if taken else None, "left_out": taken.left_out if taken else (),
                            "hosts": [{"host": h, "address": a, "roles": r.split(", ")} for h, a, r in rows]})
        return
    click.echo(f"{directory / 'cluster.yaml'}: cluster {draft.name}, Kubernetes {draft.kubernetes}")
    for line in in_line(rows):
        click.echo(f"  {line}")
    if taken is not None:
        click.echo(f"Taken from an inventory of {taken.tool}; a cluster that runs there is not taken over: "
                   "`check` names what is left of one.")
        for line in (f"Left out: {what}" for what in taken.left_out):
            click.echo(line)
    click.echo("Next, each after the one before:")
    for verb in verbs:
        click.echo(f"  {context.command(verb)}")
