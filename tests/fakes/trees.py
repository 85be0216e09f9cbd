"""Whole directories and programs on hosts in memory: what is moved takes along all that is in it."""

from __future__ import annotations

from collections.abc import Mapping, MutableMapping
from itertools import count
from typing import Any

_INODES = count(1000)


def change(states: MutableMapping[tuple[str, str], str], change: Mapping[str, Any]) -> str:
    """Move or remove a tree, or run a program, of which etcdutl makes one, as the applier would."""
    if change["kind"] == "program" and not change["path"].endswith("/etcdutl"):
        return "done"
    if change["kind"] == "program":
        made = next(word.partition("=")[2] for word in change["argv"] if word.startswith("--data-dir="))
        assert ("tree", made) not in states, "etcdutl refuses a directory that is there"
        states.update({("tree", path): f"tree {next(_INODES)} 0700 etcd:etcd" for path in (made, f"{made}/member")})
        return "done"
    path, to = str(change["path"]), str(change.get("to", ""))
    inside = {key: state for key, state in states.items() if key[0] == "tree" and f"{key[1]}/".startswith(f"{path}/")}
    assert inside[("tree", path)] == change["expect"], "another directory stands there"
    for key, state in inside.items():
        del states[key]
        if to:
            assert ("tree", to) not in states, "a directory stands where it was to go"
            states["tree", to + key[1].removeprefix(path)] = state
    return "done"
