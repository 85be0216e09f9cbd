"""What runs leave on a host about themselves: began, ended, and what they did that is no step of one host."""

from __future__ import annotations

import contextlib
import os
from typing import Any, Mapping

from . import files
from .host import Fault, Host, check_id

KEEP = 100


def note(host: Host, request: Mapping[str, Any]) -> dict[str, Any]:
    """Append acts to a run's notes, whole or not at all; only the run itself writes them, so there is no race."""
    run, acts = check_id(request.get("run")), request.get("acts")
    if not isinstance(acts, list) or not all(isinstance(act, dict) for act in acts):
        raise Fault("acts: not a list of objects")
    place = files.private_directory(host.own("runs"))
    path = f"{place}/{run}.json"
    known = _read(path)
    files.write_json(path, known + [act for act in acts if act not in known])    # asked twice, it stands once
    if not known:
        _prune(place)
    return {"noted": len(acts)}


def notes(host: Host) -> dict[str, Any]:
    """Return every run's notes by its id."""
    found = {}
    with contextlib.suppress(FileNotFoundError):
        for name in sorted(os.listdir(host.own("runs"))):
            if name.endswith(".json"):
                found[name[:-len(".json")]] = _read(f"{host.own('runs')}/{name}")
    return {"runs": found}


def _read(path: str) -> list[dict[str, Any]]:
    found = files.read_json(path)
    return found if isinstance(found, list) else []


def _prune(place: str) -> None:
    """Keep the newest; a run's id begins with its date, so names are in the order of time."""
    for name in sorted(n for n in os.listdir(place) if n.endswith(".json"))[:-KEEP]:
        files.remove(f"{place}/{name}")
