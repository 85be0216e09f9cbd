"""What we put on this host: noted before it is made, so that a kill leaves nothing which nobody owns.

A record says what was there before us (`was`), what we made of it last (`wrote`) and before that (`earlier`: a kill may
leave it so); it is dropped when what it is about was taken away again. A host that an earlier version set up has none:
what that wrote is told by its generations.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
from typing import Any, Iterator, Mapping, Sequence

from . import adopt, changes, files, leavings, packages, states
from .host import STATE_DIR, Host

FILE = "owned.json"
Record = dict[str, Any]
Book = dict[str, Any]


def load(host: Host) -> Book:
    """Return the records by `kind path`, with what was begun and not settled yet; changes nothing."""
    path = host.own(FILE)
    return files.known(path) if os.path.lexists(path) else {"items": adopt.items(host)}


@contextlib.contextmanager
def changed(host: Host) -> Iterator[Book]:
    """Give the records to be changed, and put them in place, whole or not at all, where they were.

    Artifacts are streamed while steps run, so each holds a lock of this file's own for its few small writes.
    """
    place = files.private_directory(host.at(STATE_DIR))
    guard = os.open(f"{place}/{FILE}.lock", os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    with os.fdopen(guard, "wb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        files.remove(files.temp_of(host.own(FILE)))     # of a process that was killed while it wrote
        book = load(host)
        before = json.dumps(book)
        yield book
        if json.dumps(book) != before:
            files.write_json(host.own(FILE), book)


def key(spec: Mapping[str, Any]) -> str:
    """Return the name of a record."""
    return f"{spec['kind']} {spec['path']}"


def add(book: Book, spec: Mapping[str, Any], was: str, wrote: str, step: str) -> None:
    """Add a record, or say of one that is there what is made of it now."""
    items = book["items"]
    record = items.get(key(spec)) or {"kind": spec["kind"], "path": spec["path"], "was": was, "step": step,
                                      "seq": max((r["seq"] for r in items.values()), default=0) + 1}
    earlier = {"earlier": record["wrote"]} if record.get("wrote", wrote) != wrote else {}
    items[key(spec)] = {**record, **earlier, "wrote": wrote,
                        **{name: spec[name] for name in ("key_path", "hmac_key", "asked", "of") if spec.get(name)}}


def note(host: Host, step: str, bundle: Sequence[Mapping[str, Any]]) -> None:
    """Note what a step is about to make; a bundle with a change that is stale will make nothing."""
    with changed(host) as book:
        packages.settle(host, book, wait=True)
        whole = json.loads(json.dumps(book))
        if not _note(host, step, bundle, book):
            book.clear()
            book.update(whole)


def _note(host: Host, step: str, bundle: Sequence[Mapping[str, Any]], book: Book) -> bool:
    """Note each change; False where one is stale, for then none is made."""
    before = set(book["items"])
    look = states.Look(host, [c for c in bundle if c["kind"] in ("unit", "package")])
    for change in bundle:
        state = look.see(change)[0]
        known = key(change) in before
        if change["action"] == "remove":
            if not known:       # it is known by another's record (a unit's leavings): now it has its own
                add(book, change, change.get("want") or states.ABSENT, "", step)
            _note_leavings(book, change, step)
        elif change["kind"] == "unit":
            _note_unit(host, book, change, state, step, look)
        elif change["kind"] in changes.WRITES and adopt.is_noted(change["path"]):
            said = changes.verdict(host, change, state)
            if said == "stale":
                return False
            if known or said == "go":
                for path in (change["path"], change.get("key_path") or change["path"]):
                    _note_parents(host, book, path, step)
                if not known and state != states.ABSENT:
                    changes.keep_original(host, change, state)
                add(book, change, state, changes.target(change), step)
    return True


def _note_unit(host: Host, book: Book, change: Mapping[str, Any], state: str, step: str, look: states.Look) -> None:
    if change["action"] == "stop" or key(change) in book["items"]:
        return
    add(book, change, state, "", step)
    for leaving in change.get("leaves", ()):
        if key(leaving) not in book["items"]:
            add(book, {**leaving, "of": change["path"]}, look.see(leaving)[0], "", step)


def _note_leavings(book: Book, change: Mapping[str, Any], step: str) -> None:
    """Note what a unit that goes leaves behind, where an earlier version started it: nothing else tells that then."""
    for leaving in change.get("leaves", ()):
        if key(leaving) not in book["items"]:
            add(book, {**leaving, "of": change["path"]}, states.ABSENT, "", step)


def _note_parents(host: Host, book: Book, path: str, step: str) -> None:
    """Note the directories that are made on the way to a path: they go when nothing is left in them."""
    parent = os.path.dirname(path)
    if parent != "/" and not os.path.isdir(host.at(parent)):
        _note_parents(host, book, parent, step)
        if f"directory {parent}" not in book["items"]:
            add(book, {"kind": "directory", "path": parent}, states.ABSENT, "", step)


def note_stored(host: Host, paths: Sequence[str], step: str) -> None:
    """Note artifacts that are about to be streamed."""
    with changed(host) as book:
        for path in paths:
            if f"artifact {path}" not in book["items"]:
                _note_parents(host, book, path, step)
                add(book, {"kind": "artifact", "path": path}, states.ABSENT, "", step)


def drop(host: Host, bundle: Sequence[Mapping[str, Any]], results: Sequence[Mapping[str, Any]]) -> None:
    """Forget what a step has taken away, or put back as it was before us, and what is not there any more."""
    with changed(host) as book:
        for change, result in zip(bundle, results):
            if result["result"] in ("done", "skipped") and (change["action"] == "remove" or change.get("undo")):
                book["items"].pop(key(change), None)
                if change["kind"] == "package":
                    _forget_what_came_with_others(book["items"])
        _forget_gone(host, book["items"])


def _forget_what_came_with_others(items: dict[str, Record]) -> None:
    """Forget packages that nobody asked for: they went in the same call, or stay since something else needs them."""
    for name in [name for name, r in items.items() if r["kind"] == "package" and not r.get("asked")]:
        del items[name]


def _forget_gone(host: Host, items: dict[str, Record]) -> None:
    """Forget what went before its step could say so, or was never there: under the same name it may come again as
    somebody else's. That is units and packages, and with a unit what it would have left behind.
    """
    named = [r for r in items.values() if r["kind"] in ("unit", "package")]
    look = states.Look(host, named)
    gone = [r for r in named if look.see(r)[0] == states.ABSENT]
    of = {r["path"] for r in items.values() if r["kind"] == "unit" and r not in gone}
    left = [r for r in items.values() if r.get("of") and r["of"] not in of]
    gone += [r for r in left if look.see(r)[0] in (states.ABSENT, _was(host, r))]
    for record in gone:
        items.pop(key(record), None)


def completed(host: Host, bundle: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Return changes, those that take something away with what only this host knows.

    That is a secret's key and a pair's other half; what in a tree is a file that has a record, and so is removed as one
    or not at all; and the packages that go in one call.
    """
    items = load(host)["items"]
    files_ = [r["path"] for r in items.values() if r["kind"] in changes.WRITES and r["kind"] != "directory"]
    going = [c["path"] for c in bundle if (c["kind"], c["action"]) == ("package", "remove")]
    more: dict[str, dict[str, Any]] = {"data": {"spare": files_}, "package": {"going": going}}

    def whole(change: Mapping[str, Any]) -> Mapping[str, Any]:
        if change["action"] != "remove":
            return change
        record = items.get(key(change), {})
        known = {name: record[name] for name in ("key_path", "hmac_key", "of") if name in record}
        return {**known, **more.get(change["kind"], {}), **change}

    return [whole(change) for change in bundle]


def look(host: Host, asked: Sequence[Mapping[str, Any]], request: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return every record that is not `asked` for as desired, with the state of what it is about.

    `beside` names what is asked for and need not be desired; `leaves` says by unit what its running leaves behind:
    owned as the unit is, whichever version started it.
    """
    book, leaves = load(host), request.get("leaves", {})
    packages.settle(host, book)
    for unit in [r["path"] for r in book["items"].values() if r["kind"] == "unit"]:
        for leaving in leaves.get(unit, ()):
            if key(leaving) not in book["items"]:
                add(book, {**leaving, "of": unit}, states.ABSENT, "", book["items"][f"unit {unit}"]["step"])
    known = {key(spec) for spec in asked} - set(request.get("beside", ()))
    records = [r for name, r in book["items"].items() if name not in known]
    seen = states.Look(host, records)
    return [row for record in sorted(records, key=lambda r: r["seq"]) for row in _row(host, seen, record)]


def _was(host: Host, record: Record) -> str:
    """Return what was there before us, as far as it can be there again."""
    gone = record["kind"] == "data" and record["was"] == states.ABSENT
    return leavings.emptied(host, record["path"]) if gone else str(record["was"])


def _row(host: Host, seen: states.Look, record: Record) -> Iterator[dict[str, Any]]:
    state, was = seen.see(record)[0], _was(host, record)
    if state in (states.ABSENT, was):
        return
    row = {**{name: record[name] for name in ("kind", "path", "wrote", "seq")}, "was": was}
    row["of"] = record.get("of", "")
    if state == record.get("earlier"):
        row["wrote"] = state        # ours as well: a step was killed, or failed, before it came to this one
    if record["kind"] == "artifact":
        row["size"] = os.lstat(host.at(record["path"])).st_size
    if record["kind"] == "package":
        row["asked"] = bool(record.get("asked"))
    yield {**row, "state": state}


def own(host: Host, request: Mapping[str, Any]) -> dict[str, Any]:
    """Note what Ansible's modules are about to bring (`items`), or settle what they brought."""
    from . import fence
    refused = fence.refusal(host, request)
    if refused is not None:
        return refused
    specs, step = request.get("items", ()), str(request.get("step", ""))
    seen = states.Look(host, specs)
    with changed(host) as book:
        if not packages.begin(host, book, [spec["path"] for spec in specs if spec["kind"] == "package"], step):
            packages.settle(host, book, wait=True)
        for spec in specs:
            state = seen.see(spec)[0]
            if spec["kind"] in leavings.OWNED and key(spec) not in book["items"] and state != spec.get("want"):
                add(book, spec, state, str(spec.get("want", "")), step)
        for leaving in request.get("leaves", ()):       # before a package of its own starts the unit
            if key(leaving) not in book["items"]:
                add(book, leaving, seen.see(leaving)[0], "", step)
        return {"status": "done", "owned": len(book["items"])}


def forget(host: Host, request: Mapping[str, Any]) -> dict[str, Any]:
    """Remove our own directories, the records with them, when no step runs: the host is as it was before us."""
    from . import fence, locks
    refused = fence.refusal(host, request)
    if refused is not None:
        return refused
    if os.path.isdir(host.at(STATE_DIR)):
        try:
            with locks.exclusive(host, "forget", float(request.get("wait", 120))):
                leavings.delete(host.at(STATE_DIR), ())
        except locks.Busy as busy:
            return {"busy": str(busy)}
    leavings.delete(host.at(leavings.RUN_DIR), ())
    return {"status": "done"}
