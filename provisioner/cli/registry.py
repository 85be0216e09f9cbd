"""`registry`: keep the logins of registries, encrypted to the operators like every other secret."""

from __future__ import annotations

import click

from provisioner.cli.context import Context
from provisioner.cli.group import Group
from provisioner.cli.password import typed
from provisioner.errors import UsageFault


@click.group("registry", cls=Group)
def registry() -> None:
    """Keep the logins of registries that images are pulled from."""


@registry.command("login")
@click.argument("name", metavar="REGISTRY")
@click.option("--username", required=True, metavar="NAME", help="Whom the registry knows.")
@click.pass_obj
def login(context: Context, name: str, username: str) -> None:
    """Keep the login of a registry that has `login: true` in cluster.yaml.

    The password is asked for, or read from stdin. It rests in the inventory's secrets, encrypted to the operators, and
    the next `up` brings it to the nodes. Another login of the same registry takes its place. Nobody is asked whether
    the registry takes it; no host is contacted.
    """
    inventory = context.inventory
    known = inventory.cluster.registries
    if name not in known or not known[name].login:
        having = [one for one, said in known.items() if said.login]
        raise UsageFault(f"cluster.yaml has no registry {name} with `login: true`; nothing was kept",
                         details=[f"with a login: {', '.join(having)}"] if having else [],
                         hint=f"write `registries: {{{name}: {{login: true}}}}` and run this again")
    from provisioner.orchestrate.session.session import open_store

    open_store(inventory).keep_login(name, username, _password(name))
    click.echo(f"Kept the login of {name} in {inventory.secrets_dir}, encrypted to the operators.", err=True)
    click.echo(f"Next: {context.command('up')}", err=True)


def _password(name: str) -> str:
    said = typed(f"Password for {name}")
    if not said:
        raise UsageFault("no password: stdin has none; nothing was kept",
                         hint=f"kubewright registry login {name} --username NAME < FILE")
    return said
