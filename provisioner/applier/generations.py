"""What a path was before we changed it: two kept, so that going back needs no network and no plan.

A path that was not there has a generation too, which says `absent`: so the newest one alone tells which step changed
the path last, and what going back from that step makes of it.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import stat
import time
from typing import Any, Iterator, Mapping, Optional

from . import files
from .host import Host

KEEP = 2


def save(host: Host, step: str, spec: Mapping[str, Any], state: str) -> None:
    """Keep what is at the path now; the JSON document comes last, so a generation without one does not count.

    A step that was killed after saving and runs again saves nothing twice; where the newest generation is what is
    there now, its bytes are kept already, and it only gets the name of the step that replaces them.
    """
    record = _record(host, spec, state)
    if record is None:
        return
    blobs = record.pop("blobs")
    base = files.private_directory(_base(host, spec["path"]))
    numbers = _complete(base)
    newest = files.read_json(f"{base}/{numbers[-1]}.json") if numbers else None
    if isinstance(newest, dict) and newest.get("state") == state:
        if newest.get("step") != step:
            files.write_json(f"{base}/{numbers[-1]}.json", {**newest, "step": step, "saved": int(time.time())})
        return
    number = numbers[-1] + 1 if numbers else 1
    for suffix, data in blobs.items():
        files.write(f"{base}/{number}{suffix}", data)
    files.write_json(f"{base}/{number}.json", {**record, "step": step, "saved": int(time.time())})
    for old in [n for n in numbers if n][:-(KEEP - 1)]:      # the original stays
        for suffix in (".json", "", ".key"):
            files.remove(f"{base}/{old}{suffix}")


def keep_original(host: Host, spec: Mapping[str, Any], state: str) -> None:
    """Keep what somebody else had at a path that becomes ours; it is never dropped for a newer generation."""
    record = _record(host, spec, state)
    if record is None or next(_records(_base(host, spec["path"])), None) is not None:
        return
    base = files.private_directory(_base(host, spec["path"]))
    for suffix, data in record.pop("blobs").items():
        files.write(f"{base}/0{suffix}", data)
    files.write_json(f"{base}/0.json", {**record, "step": "", "saved": int(time.time())})


def ends(host: Host) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    """Yield the oldest and the newest generation of every path that has one."""
    with contextlib.suppress(FileNotFoundError):
        for name in sorted(os.listdir(host.own("generations"))):
            records = list(_records(host.own(f"generations/{name}")))
            if records:
                yield records[-1], records[0]


def newest(host: Host) -> Iterator[dict[str, Any]]:
    """Yield the newest generation of every path that has one: what it was before the step that changed it last."""
    try:
        names = sorted(os.listdir(host.own("generations")))
    except FileNotFoundError:
        return
    for name in names:
        record = next(_records(host.own(f"generations/{name}")), None)
        if record is not None:
            yield record


def has(host: Host, path: str) -> bool:
    """Say whether we ever changed a path here."""
    return next(_records(_base(host, path)), None) is not None


def find(host: Host, path: str, state: str) -> Optional[dict[str, Any]]:
    """Return the newest generation of a path that is in this state, with its bytes in `blobs`, or None."""
    base = _base(host, path)
    for record in _records(base):
        if record.get("state") == state:
            number = record["number"]
            blobs = {suffix: f"{base}/{number}{suffix}" for suffix in ("", ".key")}
            return {**record, "blobs": {s: files.read(p)[0] for s, p in blobs.items() if os.path.exists(p)}}
    return None


def _base(host: Host, path: str) -> str:
    return host.own("generations/" + hashlib.sha256(path.encode()).hexdigest())


def _records(base: str) -> Iterator[dict[str, Any]]:
    """Yield the whole generations of one path, newest first; a reader removes nothing."""
    try:
        names = os.listdir(base)
    except FileNotFoundError:
        return
    for number in sorted((int(n[:-5]) for n in names if n.endswith(".json") and n[:-5].isdigit()), reverse=True):
        record = files.read_json(f"{base}/{number}.json")
        if isinstance(record, dict):
            yield {**record, "number": number}


def _record(host: Host, spec: Mapping[str, Any], state: str) -> dict[str, Any] | None:
    if spec["kind"] in ("directory", "artifact"):
        return None  # directories have no bytes; an artifact's come from the store again
    place = host.at(spec["path"])
    record: dict[str, Any] = {"kind": spec["kind"], "path": spec["path"], "state": state, "blobs": {}}
    record.update({name: spec[name] for name in ("hmac_key", "key_path") if spec.get(name)})
    try:
        status = os.lstat(place)
    except (FileNotFoundError, NotADirectoryError):
        return record
    if stat.S_ISLNK(status.st_mode):
        return {**record, "target": os.readlink(place)}
    if not stat.S_ISREG(status.st_mode):
        return None
    record["mode"], record["owner"] = stat.S_IMODE(status.st_mode), files.owner_of(status)
    record["blobs"][""] = files.read(place)[0]
    if spec["kind"] == "certificate":
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
