"""The bytes a path had before we changed it: two kept, so that going back needs no network and no plan."""

from __future__ import annotations

import hashlib
import os
import stat
import time
from typing import Any, Mapping

from . import files
from .host import Host

KEEP = 2


def save(host: Host, step: str, spec: Mapping[str, Any], state: str) -> None:
    """Keep what is at the path now; the JSON document comes last, so a generation without one does not count.

    A step that was killed after saving and runs again saves nothing twice.
    """
    record = _record(host, spec, state)
    if record is None:
        return
    blobs = record.pop("blobs")
    base = files.private_directory(host.own("generations/" + hashlib.sha256(spec["path"].encode()).hexdigest()))
    numbers = _complete(base)
    newest = files.read_json(f"{base}/{numbers[-1]}.json") if numbers else None
    if isinstance(newest, dict) and newest.get("state") == state:
        return
    number = numbers[-1] + 1 if numbers else 1
    for suffix, data in blobs.items():
        files.write(f"{base}/{number}{suffix}", data)
    files.write_json(f"{base}/{number}.json", {**record, "step": step, "saved": int(time.time())})
    for old in numbers[:-(KEEP - 1)]:
        for suffix in (".json", "", ".key"):
            files.remove(f"{base}/{old}{suffix}")


def _record(host: Host, spec: Mapping[str, Any], state: str) -> dict[str, Any] | None:
    place = host.at(spec["path"])
    try:
        status = os.lstat(place)
    except (FileNotFoundError, NotADirectoryError):
        return None
    record: dict[str, Any] = {"kind": spec["kind"], "path": spec["path"], "state": state, "blobs": {}}
    if stat.S_ISLNK(status.st_mode):
        return {**record, "target": os.readlink(place)}
    if not stat.S_ISREG(status.st_mode) or spec["kind"] == "artifact":
        return None  # directories have no bytes; an artifact's come from the store again
    record["mode"], record["owner"] = stat.S_IMODE(status.st_mode), files.owner_of(status)
    record["blobs"][""] = files.read(place)[0]
    if spec["kind"] == "certificate":
        record["key_path"] = spec["key_path"]
        try:
            data, key = files.read(host.at(spec["key_path"]))
        except OSError:
            return record
        record["blobs"][".key"] = data
        record["key_mode"], record["key_owner"] = stat.S_IMODE(key.st_mode), files.owner_of(key)
    return record


def _complete(base: str) -> list[int]:
    """Return the numbers of whole generations, and remove what a killed step left of one that is not."""
    names = os.listdir(base)
    whole = {name[:-5] for name in names if name.endswith(".json") and name[:-5].isdigit()}
    for name in names:
        if name.partition(".")[0] not in whole:
            files.remove(f"{base}/{name}")
    return sorted(int(number) for number in whole)
