"""All hosts that were ever the cluster's: those of the inventory, and those that left it since it was last applied."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from contextlib import suppress
from dataclasses import replace

from provisioner.errors import KubewrightError, RefusedForSafety
from provisioner.model.cluster import Cluster, HostSpec
from provisioner.model.events import Emit
from provisioner.model.inventory import Inventory
from provisioner.orchestrate.plan import applied
from provisioner.orchestrate.session import session as sessions


def with_those_that_left(inventory: Inventory, emit: Emit) -> Inventory:
    """Return the inventory with the hosts that left it, reached as they were; asks the hosts where nothing is known.

    A host has the roles too that were taken from it since: what runs there is judged by what was applied. Raises
    RefusedForSafety where a name now leads to a machine that had another one: it would be mistaken for that.
    """
    base = applied.here(inventory)
    if base is None:
        with suppress(KubewrightError), sessions.open_session(inventory, emit, run=False) as session:
            base = applied.ask_hosts(session)
    if base is None:
        return inventory
    then = applied.inventory_of(inventory, base).cluster.hosts
    _refuse_mistaken(inventory, then)
    hosts = {**{name: spec for name, spec in then.items() if name not in inventory.cluster.hosts},
             **{name: _with_roles_of(spec, then.get(name)) for name, spec in inventory.cluster.hosts.items()}}
    return replace(inventory, cluster=inventory.cluster.model_copy(update={"hosts": hosts}))


def _refuse_mistaken(inventory: Inventory, then: Mapping[str, HostSpec]) -> None:
    had = {address: name for name, spec in then.items() for address in spec.addresses}
    found = [f"{name}: {address} was {had[address]}'s when this was last applied"
             for name, spec in inventory.cluster.hosts.items() for address in spec.addresses
             if had.get(address, name) != name]
    if found:
        raise RefusedForSafety(found[0], details=[*found[1:], "nothing was changed"], code="another-host",
                               hint="kubewright plan    # when each host has its own address and name in cluster.yaml")


def _with_roles_of(spec: HostSpec, then: HostSpec | None) -> HostSpec:
    more = tuple(role for role in then.roles if role not in spec.roles) if then else ()
    return spec.model_copy(update={"roles": (*spec.roles, *more)}) if more else spec


def without(inventory: Inventory, hosts: Collection[str]) -> Inventory:
    """Return the inventory of the hosts that stay."""
    stay = {name: spec for name, spec in inventory.cluster.hosts.items() if name not in hosts}
    return replace(inventory, cluster=inventory.cluster.model_copy(update={"hosts": stay}))


def chosen(cluster: Cluster, only: Collection[str]) -> tuple[str, ...]:
    """Return the hosts named, else all."""
    return tuple(name for name in cluster.hosts if not only or name in only)


def is_whole(cluster: Cluster, only: Collection[str]) -> bool:
    """Say whether these are all of the cluster."""
    return len(chosen(cluster, only)) == len(cluster.hosts)
