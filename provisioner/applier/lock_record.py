"""The lock's record on this host: who owns the cluster, changed only from the version that was read."""

from __future__ import annotations

import fcntl
import time
from typing import Any, Mapping, Optional

from . import fence, files, locks
from .host import Fault, Host

PLACE = "owner"
# What the one who takes the lock says of itself; the rest of a record is this host's.
SAID = ("epoch", "run", "owner", "machine", "process", "since")
OPERATIONS = ("read", "take", "renew", "release")
Record = Mapping[str, Any]


def lock(host: Host, request: Mapping[str, Any]) -> dict[str, Any]:
    """Read the record, or change it under a flock of its own; a running step does not delay this."""
    do = request.get("do")
    if do not in OPERATIONS:
        raise Fault(f"lock: cannot {do!r}")
    boot, now = boot_clock(host)
    if do == "read":
        record = _load(host)
        return _answer(host, record, True, boot, now)
    place = files.private_directory(host.own(PLACE))
    with open(f"{place}/guard", "wb") as guard:
        fcntl.flock(guard, fcntl.LOCK_EX)       # held for one small write
        record = _load(host)
        boot, now = boot_clock(host)
        made = after(record, request, boot, now)
        if made is not None:
            files.write_json(_path(host), made)
    return _answer(host, record if made is None else made, made is not None, boot, now)


def after(record: Record, request: Mapping[str, Any], boot: str, now: float) -> Optional[dict[str, Any]]:
    """Return the record that the request makes of this one, or None where it is not what the request says.

    `take` names the version that was read and a higher epoch, `renew` and `release` the run and epoch that hold it.
    Every change makes the version one higher, and the epoch stays when the lock is released.
    """
    version = int(record.get("version", 0))
    if request["do"] == "take":
        if request["seen"] != version or request["epoch"] <= record.get("epoch", 0):
            return None
        return {**{name: request[name] for name in SAID}, "version": version + 1, "held": True, "boot": boot,
                "renewed": now}
    if not record.get("held") or any(request[name] != record.get(name) for name in ("run", "epoch")):
        return None
    changed = {"renewed": now, "boot": boot} if request["do"] == "renew" else {"held": False}
    return {**record, **changed, "version": version + 1}


def age(record: Record, boot: str, now: float) -> float:
    """Return the seconds since the record was last renewed; of one from another boot, those since this boot."""
    return max(0.0, now - record["renewed"]) if record.get("boot") == boot else now


def boot_clock(host: Host) -> tuple[str, float]:
    """Return this boot's id and the seconds since it: a clock that nobody sets, and that counts while asleep."""
    boot = (host.text("/proc/sys/kernel/random/boot_id") or "").strip()
    return boot, time.clock_gettime(time.CLOCK_BOOTTIME)


def _answer(host: Host, record: Record, done: bool, boot: str, now: float) -> dict[str, Any]:
    """Tell whether it was done, the record as it now is with its age, and what a successor has to know."""
    told = {**record, "age": round(age(record, boot, now), 3)} if record else {}
    return {"done": done, "record": told, "busy": locks.running(host), "epoch": fence.installed(host)}


def _path(host: Host) -> str:
    return host.own(f"{PLACE}/record.json")


def _load(host: Host) -> Record:
    return files.known(_path(host))
