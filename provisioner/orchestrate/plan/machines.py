"""Which machine a host's Node was made by: another one at its address takes its place only when that is asked for.

The kubelet tells /etc/machine-id in its Node, so the cluster itself remembers; `reset` and `node remove` delete the
Node, and whoever comes then is nobody's successor.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from provisioner.errors import RefusedForSafety
from provisioner.model.plan import NOTED, Verdict
from provisioner.orchestrate.session.session import Session

OTHER = "other-machine"
_KUBELET = "kubelet.service"


def known(nodes: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """Return the machine-id that each Node tells, of those that tell one."""
    ids = {str(node["metadata"]["name"]): str(node.get("status", {}).get("nodeInfo", {}).get("machineID") or "")
           for node in nodes}
    return {name: machine for name, machine in ids.items() if machine}


def others(session: Session) -> dict[str, tuple[str, str]]:
    """Return the hosts whose machine is not the one of their Node: the Node's machine-id, and its own.

    Where the kubelet runs it is the Node's own, whatever was done to /etc/machine-id since it started; and hosts that
    are replaced are asked for.
    """
    found = {}
    for host, before in session.target.machine_ids.items():
        seen = session.observed.get(host)
        if (seen is not None and seen.facts.machine_id not in ("", before) and not seen.runs(_KUBELET)
                and host not in session.target.replacing):
            found[host] = before, seen.facts.machine_id
    return found


def verdicts(session: Session) -> tuple[Verdict, ...]:
    """Return what a plan says of them, which shows what would be done there all the same."""
    return tuple(Verdict(f"hosts.{host}", OTHER, NOTED, f"another machine; `up` refuses it, `node replace {host}` "
                         "gives it the place", before, now) for host, (before, now) in others(session).items())


def refuse(session: Session) -> None:
    """Raise RefusedForSafety where another machine has a host's address."""
    found = others(session)
    if not found:
        return
    raise RefusedForSafety(
        f"{', '.join(found)}: another machine than the one that made its Node; was its address given away?",
        details=[*(f"{host}: machine-id {now}, was {before}" for host, (before, now) in found.items()),
                 "nothing was changed"],
        code=OTHER, hint=f"kubewright node replace {next(iter(found))}    # if it is to take that host's place")
