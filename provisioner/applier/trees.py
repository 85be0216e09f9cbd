"""Whole directories: moved or removed by one rename in their file system, so a kill leaves all of one or none.

A tree is known by its inode, which a rename keeps: what stands under the same name but was made since the plan is not
touched, and a step that is run again sees that it has moved already. The way back of a move is the opposite move.
"""

from __future__ import annotations

import os
from typing import Any, Container, Mapping

from . import files, states
from .host import Fault, Host
from .mounts import mounts

Change = Mapping[str, Any]
ACTIONS = ("move", "remove")


def check(host: Host, change: Change) -> None:
    """Refuse a tree that nobody has looked at, and a move to no plain path or to one inside itself."""
    if not str(change.get("expect")).startswith("tree "):
        raise Fault(f"tree {change['path']}: which one is not said: {change.get('expect')!r}")
    if change["action"] == "move":
        to = str(change.get("to"))
        host.at(to)
        if f"{to}/".startswith(f"{change['path']}/"):
            raise Fault(f"tree {change['path']}: cannot move to {to}, inside itself")


def verdict(host: Host, change: Change, state: str, free: Container[str] = ()) -> str:
    """Say `skipped` (it was moved, or is gone), `go` or `stale`; `free` are places that this bundle frees before."""
    if change["action"] == "remove":
        return {states.ABSENT: "skipped", change["expect"]: "go"}.get(state, "stale")
    there = _state(host, change["to"])
    if there == change["expect"]:
        return "skipped"
    return "go" if state == change["expect"] and (there == states.ABSENT or change["to"] in free) else "stale"


def found(host: Host, change: Change, state: str) -> str:
    """Say what made a change stale: the tree itself, or what stands where it was to go."""
    if change["action"] == "remove" or state != change["expect"]:
        return state
    return f"{_state(host, change['to'])} at {change['to']}"


def _state(host: Host, path: str) -> str:
    return states.Look(host).see({"kind": "tree", "path": path})[0]


def possible(host: Host, change: Change) -> None:
    """Raise a Fault where a rename cannot do it, or where it would take along what is mounted there."""
    path = change["path"]
    inside = [place for place in mounts(host) if f"{place}/".startswith(f"{path}/")]
    if inside:
        raise Fault(f"{inside[0]} is mounted; a tree that is moved or removed holds no other file system")
    if change["action"] == "remove" or not os.path.isdir(host.at(path)):
        return
    parent = os.path.dirname(change["to"])
    try:
        into = os.stat(host.at(parent)).st_dev
    except FileNotFoundError:
        raise Fault(f"{parent} does not exist; a tree moves into a directory that is there") from None
    if into != os.stat(host.at(path)).st_dev:
        raise Fault(f"{path} and {parent} are on two file systems; a rename cannot move it there")


def make(host: Host, change: Change) -> str:
    """Move or remove the tree; what is left of a removal that is killed has a hidden name, and is swept."""
    place = host.at(change["path"])
    if change["action"] == "remove":
        temp = files.temp_of(place)
        os.rename(place, temp)
        files.sync_directory(os.path.dirname(place))
        files.remove_all(temp)
        return "removed"
    to = host.at(change["to"])
    os.rename(place, to)
    files.sync_directory(os.path.dirname(to))
    files.sync_directory(os.path.dirname(place))
    return f"moved to {change['to']}"
