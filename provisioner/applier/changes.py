"""One change: the state it will make, whether it may be made, and how it is made."""

from __future__ import annotations

import base64
import hashlib
import os
from typing import Any, Container, Mapping, Sequence

from . import artifacts, files, generations, leavings, programs, selinux, states, trees
from .host import Fault, Host, check_unit

Change = Mapping[str, Any]
# What else is in the applier's language is changed by Ansible (prepare.yml), or streamed (store).
WRITES = ("file", "directory", "symlink", "certificate")
REMOVES = (*WRITES, "artifact", "package", *leavings.REMOVE)
ACTS = {"tree": trees.ACTIONS, "program": programs.ACTIONS}
UNIT_ACTIONS = ("start", "restart", "reload", "stop", "enable", "remove")


def check(host: Host, change: Change) -> None:
    """Refuse a change that we could not make, or whose bytes are not those the plan showed, before any is made."""
    kind, action, path = change.get("kind"), change.get("action"), change.get("path")
    name = f"{kind} {path}"
    if kind == "unit":
        check_unit(path)
        if action not in UNIT_ACTIONS:
            raise Fault(f"{name}: a unit cannot {action!r}")
        return
    writes = kind in (REMOVES if action == "remove" else WRITES) and action in ("add", "change", "remove")
    if not writes and action not in ACTS.get(str(kind), ()):
        raise Fault(f"{name}: cannot {action!r} it here")
    if kind in (*WRITES, "artifact", "data", "tree", "program"):
        host.at(str(path))
    if kind == "tree":
        trees.check(host, change)
    if kind == "program":
        programs.check(change)
    want = target(change)
    if change.get("want") and change["want"] != want:
        raise Fault(f"{name}: the bytes sent make it {want!r}, the plan showed {change['want']!r}")


def target(change: Change) -> str:
    """Return the state that the change makes, from what was sent with it."""
    kind = change["kind"]
    if change["action"] == "remove":
        return str(change.get("want") or states.ABSENT)
    if kind == "tree":
        return states.ABSENT
    if kind == "program":
        return "exit 0"
    if kind == "symlink":
        return f"link {change['target']}"
    owner = f"{change.get('owner', 'root')}:{change.get('group', 'root')}"
    if kind == "directory":
        return f"dir {_mode(change):04o} {owner}"
    if kind == "certificate":
        digest = hashlib.sha256(_bytes(change, "certificate")).hexdigest()
        return f"certificate sha256:{digest} key-ok {_mode(change):04o} {owner}"
    return states.words(states.digest_of(_bytes(change, "content"), change.get("hmac_key")), _mode(change), owner)


def verdict(host: Host, change: Change, state: str, free: Container[str] = ()) -> str:
    """Say `skipped` (it is there), `go` (it is what the plan was made from) or `stale` (it is neither).

    `free` are places that trees of the same bundle leave before this one's turn.
    """
    if change["kind"] == "tree":
        return trees.verdict(host, change, state, free)
    if change["kind"] == "program":
        return programs.verdict(change, state)
    if state == target(change):
        return "skipped"
    if state == change.get("expect") or _half_made(host, change, state):
        return "go"
    return "stale"


def _half_made(host: Host, change: Change, state: str) -> bool:
    """Recognise what this very change leaves when it is killed in the middle, where one rename cannot do it all."""
    if change["kind"] == "directory":
        triples = list(zip(state.split(), str(change.get("expect")).split(), target(change).split()))
        return len(triples) == 3 and all(now in (old, new) for now, old, new in triples)
    if change["kind"] != "certificate":
        return False
    if change["action"] == "remove":
        return state.endswith(" key-missing")
    try:
        return files.read(host.at(change["key_path"]))[0] == _bytes(change, "key")
    except OSError:
        return False


def possible(host: Host, change: Change) -> None:
    """Raise a Fault that says what the host lacks for a change, before any is made."""
    if change["kind"] == "tree":
        trees.possible(host, change)
    elif change["kind"] != "unit":
        owners(change)


def owners(change: Change) -> tuple[int, int]:
    """Return uid and gid that the change needs, or a Fault that names what the host lacks."""
    if change["kind"] == "symlink" or change["action"] == "remove":
        return -1, -1
    try:
        return files.ids(change.get("owner", "root"), change.get("group", "root"))
    except KeyError as missing:
        raise Fault(f"{change['path']}: {missing.args[0]}") from None


def make(host: Host, step: str, change: Change, state: str) -> str:
    """Make the change, the previous bytes kept, and return what was done."""
    if change["kind"] == "tree":
        return trees.make(host, change)
    if change["kind"] in leavings.REMOVE:
        return leavings.remove(host, change)
    if change["kind"] == "package":
        from . import packages  # only where some go
        return packages.purge(host, change.get("going", [change["path"]]))
    place = host.at(change["path"])
    if state == change.get("expect"):   # else this very change was killed half way: what was before it is kept already
        generations.save(host, step, change, state)
    if change["action"] == "remove":
        if change["kind"] == "certificate":
            files.remove(host.at(change["key_path"]))
        return _remove(host, change)
    uid, gid = owners(change)
    if change["kind"] == "symlink":
        files.symlink(place, change["target"])
    elif change["kind"] == "directory":
        files.directory(place, _mode(change), uid, gid)
    elif change["kind"] == "file":
        files.write(place, _bytes(change, "content"), _mode(change), uid, gid)
    else:
        _certificate(host, change, uid, gid)
    label(host, change)
    return "written"


def label(host: Host, change: Change) -> None:
    """Give what a change has written its label: also what is there already, of a step that was killed before it did."""
    if change["kind"] in WRITES and change["action"] != "remove":
        selinux.label(host, [change[key] for key in ("path", "key_path") if key in change])


def _remove(host: Host, change: Change) -> str:
    """Remove one path, or give a directory back the mode that it had; one that others have put something in stays."""
    place = host.at(change["path"])
    if change["kind"] == "directory":
        if change.get("want", states.ABSENT) != states.ABSENT:
            mode, _, owner = change["want"].removeprefix("dir ").partition(" ")
            user, _, group = owner.partition(":")
            files.directory(place, int(mode, 8), *files.ids(user, group))
            return "as it was"
        artifacts.sweep_all(place)
        inside = os.listdir(place)
        if inside:
            return f"kept: in it is {inside[0]}" + (f" and {len(inside) - 1} more" if len(inside) > 1 else "")
    files.remove(place)
    if change["kind"] == "artifact":
        artifacts.remove_empty_above(host, change["path"])
    return "removed"


def keep_original(host: Host, change: Change, state: str) -> None:
    """Keep what somebody else had at a path before it becomes ours."""
    generations.keep_original(host, change, state)


def _certificate(host: Host, change: Change, uid: int, gid: int) -> None:
    """Have both files complete before either gets its name; a kill between the renames shows as key-mismatch."""
    certificate, key = host.at(change["path"]), host.at(change["key_path"])
    new_key = files.prepare(key, _bytes(change, "key"), _mode(change), uid, gid)
    new_certificate = files.prepare(certificate, _bytes(change, "certificate"), states.PUBLIC, uid, gid)
    files.finish(new_key, key)
    files.finish(new_certificate, certificate)


def paths(changes: Sequence[Change]) -> list[str]:
    """Return the paths beside which changes write."""
    lie = (*WRITES, "artifact", "tree")
    return [path for c in changes if c["kind"] in lie for path in (c["path"], c.get("key_path")) if path]


def sweep(host: Host, change: Change) -> None:
    """Remove the temporary files that a killed step left beside the change's paths."""
    for path in paths([change]):
        sweep_path(host, path)


def sweep_path(host: Host, path: str) -> None:
    """Remove the temporary file beside a path, or what is left of a tree that was being removed."""
    files.remove_all(files.temp_of(host.at(path)))


def diff(host: Host, change: Change) -> str:
    """Return a unified diff of text; of secrets only that they change; of acts what they would do."""
    if change["kind"] == "program":
        return f"run as {change.get('owner', 'root')}: {' '.join((change['path'], *change['argv']))}"
    if change["kind"] == "tree":
        return f"move to {change['to']}" if change["action"] == "move" else "remove"
    if change["kind"] == "certificate" or change.get("hmac_key"):
        return "(secret, changed)"
    if change["kind"] != "file":
        return f"-{change.get('expect')}\n+{target(change)}\n"
    old = states.Look(host).see(change)[1].get("text", "")
    try:
        new = "" if change["action"] == "remove" else _bytes(change, "content").decode()
    except UnicodeDecodeError:
        return "(not text, changed)"
    import difflib  # 5 ms that only check mode pays
    lines = difflib.unified_diff(old.splitlines(True), new.splitlines(True), change["path"], change["path"])
    return "".join(line if line.endswith("\n") else line + "\n\\ No newline at end of file\n" for line in lines)


def _mode(change: Change) -> int:
    mode = change["mode"]
    return int(mode, 8) if isinstance(mode, str) else int(mode)


def _bytes(change: Change, name: str) -> bytes:
    return base64.b64decode(change[name], validate=True)
