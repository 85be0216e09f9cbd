"""systemd units: one `systemctl show` for all of them, and the acts on one."""

from __future__ import annotations

import time
from typing import Any, Mapping, Sequence

from . import files, stamps
from .host import Fault, Host, check_unit

PROPERTIES = ("Id", "LoadState", "ActiveState", "SubState", "UnitFileState", "NRestarts", "InvocationID", "Job",
              "NeedDaemonReload", "ActiveEnterTimestampMonotonic", "StateChangeTimestampMonotonic",
              "ExecMainStartTimestampMonotonic")
STOP_TIMEOUT = 180  # seconds; above the 120 that the slowest of our units is given to end by itself
Properties = dict[str, str]


def show(host: Host, names: Sequence[str], properties: Sequence[str] = PROPERTIES) -> dict[str, Properties]:
    """Return the properties of many units from one call; systemctl answers in the order of the arguments."""
    if not names:
        return {}
    argv = ["systemctl", "show", "--no-pager", "--property=" + ",".join(properties), "--"]
    text = host.run(argv + [check_unit(name) for name in names])
    blocks = [_parse(block) for block in text.strip("\n").split("\n\n")]
    if len(blocks) != len(names):
        raise Fault(f"systemctl show: {len(blocks)} answers for {len(names)} units")
    return dict(zip(names, blocks))


def _parse(block: str) -> Properties:
    pairs = (line.partition("=") for line in block.splitlines() if "=" in line)
    return {key: value for key, _, value in pairs}


def exists(seen: Properties) -> bool:
    """Say whether systemd knows the unit: it has a file, or still runs without one."""
    return seen.get("LoadState") != "not-found" or seen.get("ActiveState") != "inactive"


def state(seen: Properties, current: bool) -> str:
    """Return the three words: ActiveState, `enabled` or what is-enabled says, `current` or `due`."""
    if not exists(seen):
        return "absent"
    enabled = seen.get("UnitFileState") or ("not-found" if seen.get("LoadState") == "not-found" else "unknown")
    return f"{seen.get('ActiveState', 'unknown')} {enabled} {'current' if current else 'due'}"


def details(seen: Properties, causes: list[str]) -> dict[str, Any]:
    """Return what else a reader wants of a unit: why it is due, and how it lives."""
    return {
        "causes": causes,
        "invocation_id": seen.get("InvocationID", ""),
        "restarts": number(seen, "NRestarts"),
        "sub": seen.get("SubState", ""),
        "since": _since(seen),
        "need_reload": seen.get("NeedDaemonReload") == "yes",
        "job": has_job(seen),
    }


def has_job(seen: Properties) -> bool:
    """Say whether systemd has a job waiting or running for the unit: until it ends, the old process may still run."""
    return seen.get("Job", "0") not in ("", "0")


def number(seen: Properties, name: str) -> int:
    """Return a numeric property, 0 where the unit has none."""
    value = seen.get(name, "")
    return int(value) if value.isdigit() else 0


def age(seen: Properties) -> float:
    """Return for how many seconds the unit's process has run; 0 where it is about to end or to be started again."""
    starts = (seen.get("ActiveState"), seen.get("SubState")) == ("activating", "start")
    if not starts and (seen.get("ActiveState") != "active" or has_job(seen)):
        return 0.0
    began = number(seen, "ExecMainStartTimestampMonotonic")
    return time.monotonic() - began / 1e6 if began else 0.0


def _since(seen: Properties) -> int:
    active = seen.get("ActiveState") == "active"
    moment = number(seen, "ActiveEnterTimestampMonotonic" if active else "StateChangeTimestampMonotonic")
    return int(time.time() - time.monotonic() + moment / 1e6) if moment else 0


def settled(seen: Properties, current: bool) -> bool:
    """Say whether there is nothing to do: it runs with its inputs, or is on its way there.

    A start that was queued by a step which then died shows as activating with a job and the new stamp: acting again
    would restart it twice.
    """
    active = seen.get("ActiveState", "")
    return current and (active in ("active", "reloading") or (active == "activating" and has_job(seen)))


def is_of(seen: Properties, change: Mapping[str, Any]) -> bool:
    """Say whether the unit still is the very process that a change wants started anew, whatever its inputs."""
    return bool(change.get("invocation")) and seen.get("InvocationID") == change["invocation"]


def wants_enable(seen: Properties) -> bool:
    """Say whether the unit would not start at boot; those without an [Install] section cannot be enabled."""
    return seen.get("UnitFileState") not in ("enabled", "static", "generated", "transient", "indirect", "alias")


def act(host: Host, name: str, action: str, seen: Properties) -> str:
    """Queue the start, restart or reload of a unit, and return what was done.

    A unit that already runs with other inputs (the package's own start, say) is restarted where `start` was asked; one
    that does not run is started where `reload` was.
    """
    active = seen.get("ActiveState", "")
    verb = {"start": "restart", "restart": "restart", "reload": "reload-or-restart"}.get(action)
    if verb is None:
        raise Fault(f"{name}: a unit cannot {action!r}")
    host.run(["systemctl", "--no-block", verb, "--", name])
    if active in ("active", "reloading", "deactivating"):
        return "reloaded" if action == "reload" else "restarted"
    return "started"


def forget_exits(host: Host, name: str, action: str, seen: Properties) -> None:
    """Let systemd count a unit's exits from a start or restart of ours on, and let one that failed be started again.

    A restart alone does not reset the counter of a unit that is between two starts of its own (systemd 252), and who
    waits for it to stay up would take the exits that made us restart it for new ones.
    """
    if seen.get("ActiveState") == "failed" or (action in ("start", "restart") and number(seen, "NRestarts")):
        host.run(["systemctl", "reset-failed", "--", name])


def runs(seen: Properties) -> bool:
    """Say whether a stop has anything to end: a process, or a job that would start one."""
    return seen.get("ActiveState", "inactive") not in ("inactive", "failed") or has_job(seen)


def stop(host: Host, name: str, at_once: bool = False) -> str:
    """Stop a unit and wait until it has ended, in its own time or killed `at_once`; it still starts at boot."""
    if at_once:
        host.run(["systemctl", "stop", "--no-block", "--", name])     # first, so that nothing starts it anew
        host.run(["systemctl", "kill", "--signal=KILL", "--", name], check=False)      # it may be gone by now
    host.run(["systemctl", "stop", "--", name], timeout=STOP_TIMEOUT)
    return "stopped"


def enable(host: Host, *names: str) -> str:
    """Make units start at boot; systemd itself knows it once it has read unit files again, which takes it long."""
    host.run(["systemctl", "enable", "--no-reload", "--quiet", "--", *names])
    return "enabled"


def retired(seen: Properties) -> bool:
    """Say whether nothing is left to stop or to disable."""
    return not exists(seen) or (seen.get("ActiveState") == "inactive" and seen.get("UnitFileState") != "enabled")


def retire(host: Host, name: str) -> str:
    """Stop and disable a unit, wait until it has ended, and forget its stamp.

    One that ended with a fault (an API server whose etcd is gone) systemd would go on listing as failed, without file.
    """
    host.run(["systemctl", "disable", "--now", "--quiet", "--", name], timeout=STOP_TIMEOUT)
    host.run(["systemctl", "reset-failed", "--", name], check=False)     # it may be forgotten by now
    files.remove(host.at(f"{stamps.STARTED}/{name}"))
    return "stopped and disabled"


def daemon_reload(host: Host) -> None:
    """Make systemd read unit files again."""
    host.run(["systemctl", "daemon-reload"], timeout=90)
