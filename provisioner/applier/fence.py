"""The fence: the epoch below which this host takes no orders any more, so that no old run writes beside a new one."""

from __future__ import annotations

from typing import Any, Mapping, Optional

from . import files, locks
from .host import Host

FILE = "epoch.json"
OWNER = "cluster.json"
FENCED, FOREIGN = "fenced", "foreign"


def installed(host: Host) -> int:
    """Return the epoch that was installed last, 0 where none ever was."""
    return int(files.known(host.own(FILE)).get("epoch", 0))


def refusal(host: Host, request: Mapping[str, Any]) -> Optional[dict[str, Any]]:
    """Return the answer to a request of an older epoch, None where it may go on.

    A request without an epoch is made by hand; what it expects to find is compared as always.
    """
    epoch = request.get("epoch")
    there = installed(host) if epoch is not None else 0
    if epoch is None or epoch >= there:
        return None
    return {"status": FENCED, "epoch": there,
            "message": f"epoch {epoch} is over: a newer run (epoch {there}) owns this host"}


def owner(host: Host) -> dict[str, Any]:
    """Return the cluster that this host belongs to as its runs recorded it, empty where none ever did."""
    return files.known(host.own(OWNER))


def _another(host: Host, request: Mapping[str, Any]) -> Optional[dict[str, Any]]:
    """Return the answer to a run of a cluster that this host does not belong to, None where it does or to none yet.

    `instead_of` is what that run saw here and takes over from: with anything else here another was quicker.
    """
    there, asked = owner(host), request.get("owner")
    if asked is None or there in ({}, asked, request.get("instead_of")):
        return None
    return {"status": FOREIGN, "owner": there, "message": f"this host belongs to cluster {there.get('cluster')}"}


def fence(host: Host, request: Mapping[str, Any]) -> dict[str, Any]:
    """Install an epoch, only upward, when no step runs: whatever an older run began has ended when this answers.

    With `owner`, the host is recorded as that cluster's too, or the request is refused where it is another's.
    """
    epoch = int(request["epoch"])
    try:
        with locks.exclusive(host, f"fence-{epoch}", float(request.get("wait", 120))):
            refused = refusal(host, request) or _another(host, request)
            if refused is None and request.get("owner") not in (None, owner(host)):
                files.write_json(host.own(OWNER), request["owner"])
            if refused is None and epoch > installed(host):
                files.write_json(host.own(FILE), {"epoch": epoch})
    except locks.Busy as busy:
        return {"busy": str(busy)}
    return refused or {"status": "done", "epoch": epoch}
