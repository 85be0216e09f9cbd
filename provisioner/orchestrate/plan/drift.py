"""Look at a cluster as it was last applied: the inventory and lock of then, reached with the logins of now."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from provisioner.errors import UsageFault
from provisioner.model.events import Emit
from provisioner.model.inventory import Inventory
from provisioner.orchestrate.plan import applied
from provisioner.orchestrate.session import session as sessions
from provisioner.orchestrate.session.session import Session
from provisioner.transport.pool import raise_all


@contextmanager
def open_applied(inventory: Inventory, emit: Emit) -> Iterator[Session]:
    """Open a reading session on what was last applied; the hosts know it best, this machine's copy stands in for them.

    It is a second target of the run that asks them: hosts that have left the inventory are reached as well.

    Raises UsageFault where nobody knows of anything that was applied.
    """
    with sessions.open_session(inventory, emit, run=False) as session:
        base = applied.ask_hosts(session) or applied.here(inventory)
        if base is None:
            raise UsageFault(
                "nothing was applied yet that could have drifted: no control plane that answers has a record of it, "
                "and this machine has none", code="never-applied", hint="kubewright plan")
        yield session.as_applied(applied.inventory_of(inventory, base), base)


def refuse_unreachable(session: Session, inventory: Inventory) -> None:
    """Raise the faults of hosts that did not answer, but of those that have left the inventory meanwhile."""
    faults = {host: fault for host, fault in session.unreachable.items() if host in inventory.cluster.hosts}
    if faults:
        raise_all({**faults, **dict.fromkeys(session.observed)})
