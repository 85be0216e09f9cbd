"""One host in memory: what it is, by the applier's own states, and what a change makes of it.

Strict as the applier is: a change is made only where the host still is what it expects. A unit is due as soon as
one of its inputs is no longer what it started with.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from provisioner.compile.parts import INPUTS_DIR, UNIT_DIR
from provisioner.model.desired import Item, Unit
from provisioner.model.facts import Facts
from provisioner.model.observed import ABSENT, ObservedItem, OwnedItem, Owner
from tests.fakes import trees

PATHS = ("key", *({one.kind for one in Item.__subclasses__()} - {"unit", "package"}))     # what lies at a path


def stamp_line(state: str) -> str:
    """Return what a unit's stamp says of a path in this state: bytes and targets count, modes do not."""
    kind, _, rest = state.partition(" ")
    content = f"file {rest.split()[0].rpartition(':')[2] if rest else ''}"
    return {"file": content, "certificate": content, "link": state, ABSENT: "none -"}.get(kind, state)


@dataclass(repr=False)      # a failed test would print all of it
class FakeHost:
    """One host: states and texts by (kind, path), and what each unit started with."""

    name: str
    facts: Facts
    states: dict[tuple[str, str], str] = field(default_factory=dict)
    extras: dict[tuple[str, str], dict[str, Any]] = field(default_factory=dict)
    started: dict[str, dict[str, str]] = field(default_factory=dict)
    stamps: dict[str, str] = field(default_factory=dict)    # a secret's line in a stamp -> how it is told
    down: bool = False
    record: dict[str, Any] = field(default_factory=dict)    # the lock's
    epoch: int = 0
    owner: Owner | None = None
    kept: dict[tuple[str, str], dict[str, Any]] = field(default_factory=dict)   # what was there before the last change
    steps: list[dict[str, Any]] = field(default_factory=list)       # results, newest first
    running: list[str] = field(default_factory=list)
    registers: bool = False         # its kubelet has started since the API was last asked
    starts: dict[str, int] = field(default_factory=dict)            # how often each unit was started
    notes: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    owned: dict[tuple[str, str], OwnedItem] = field(default_factory=dict)

    def edit(self, path: str, state: str, text: str | None = None, *, unit: str = "") -> None:
        """Let a file be edited by hand, and `unit` be started anew, so that it has read what was written."""
        self.states["file", path] = state
        if text is not None:
            self.extras["file", path] = {"text": text}
        if unit:
            self.started[unit][path] = state

    def file(self, path: str) -> str:
        """Return what is at a path, of whatever kind, as one word for comparing."""
        kinds = [kind for kind in PATHS if (kind, path) in self.states]
        if len(kinds) > 1:      # the first that came
            kinds = [kind for kind, where in self.states if where == path and kind in kinds]
        return self.states[kinds[0], path] if kinds else ABSENT

    def inputs(self, spec: Mapping[str, Any]) -> list[str]:
        """Return what a unit reads: as the caller says, or with `listed` as the list on the host says."""
        if spec.get("listed"):
            listing = self.extras.get(("file", f"{INPUTS_DIR}/{spec.get('unit', spec.get('path'))}"), {})
            return str(listing.get("text", "")).splitlines()
        return list(spec["inputs"])

    def observe(self, item: Item) -> ObservedItem:
        key = (item.kind, item.path)
        if isinstance(item, Unit):
            return self._unit(item)
        state = self._of_program(item.path) if item.kind == "program" else self.states.get(key, ABSENT)
        return ObservedItem(item.kind, item.path, state, self.extras.get(key, {}))

    def _of_program(self, path: str) -> str:
        """Return the state of a program: that of the file in the store that it is."""
        return self.states.get(("artifact", path), ABSENT)

    def _unit(self, unit: Unit) -> ObservedItem:
        state = self.states.get(("unit", unit.path), ABSENT)
        then = self.started.get(unit.path, {})
        was = {p: stamp_line(then.get(p, ABSENT)) for p in unit.inputs}
        causes = [p for p in unit.inputs if was[p] != stamp_line(self.file(p))] if unit.path in self.started else []
        if state != ABSENT:
            active, enabled, current = state.split()
            never = unit.path not in self.started and current == "due"
            state = f"{active} {enabled} {'due' if causes or never else 'current'}"
        started = {p: self.stamps.get(was[p], was[p]) for p in causes}
        return ObservedItem("unit", unit.path, state, {"causes": causes, "started": started, "restarts": 0,
                             "invocation_id": self._invocation(unit.path)}
                            | self.extras.get(("unit", unit.path), {}))

    def own(self, key: tuple[str, str], wrote: str, was: str = ABSENT) -> None:
        """Remember what was made here, as the applier does."""
        known = self.owned.get(key)
        self.owned[key] = OwnedItem(*key, state="", was=known.was if known else was, wrote=wrote,
                                    seq=known.seq if known else len(self.owned) + 1, asked=key[0] == "package")

    def owned_beside(self, asked: Sequence[Item], beside: Sequence[str]) -> tuple[OwnedItem, ...]:
        """Return what is ours here, and there, and not asked for as desired."""
        others = self.owned.keys() - {(i.kind, i.path) for i in asked if f"{i.kind} {i.path}" not in beside}
        rows = [replace(row, state=self.states.get(key, ABSENT)) for key, row in self.owned.items() if key in others]
        return tuple(row for row in rows if row.state not in (ABSENT, row.was))

    def _invocation(self, unit: str) -> str:
        return f"{unit} {self.starts.get(unit, 0)}"

    def _settled(self, change: Mapping[str, Any]) -> bool:
        """Say whether a unit runs with its inputs, and is not the very start that is wanted anew."""
        unit = Unit(path=change["path"], phase="prepare", inputs=tuple(self.inputs(change)))
        active, _, current = (self.observe(unit).state + "  ").split(" ")[:3]
        return (active, current) == ("active", "current") and change.get("invocation") != self._invocation(unit.path)

    def _act(self, change: Mapping[str, Any]) -> str:
        """Do what is asked of a unit, where it is not so already."""
        key, action, path = ("unit", change["path"]), change["action"], change["path"]
        state = self.states.get(key, ABSENT)
        active, enabled, current = ("inactive", "disabled", "due") if state == ABSENT else state.split()
        if action in ("stop", "remove") and active == "inactive" and (action == "stop" or enabled != "enabled"):
            return "skipped"
        if action == "stop":
            self.states[key] = f"inactive {enabled} {current}"
            return "done"
        if action == "remove":
            self.states[key] = "inactive disabled due"
            self.started.pop(path, None)
            return "done"
        settled = action == "enable" or self._settled(change)
        if settled:
            self.states[key] = f"{active} enabled {current}"
            return "skipped" if enabled == "enabled" else "done"
        self.states[key] = "active enabled current"
        self.started[path] = {p: self.file(p) for p in self.inputs(change)}
        self.registers |= path == "kubelet.service"
        self.starts[path] = self.starts.get(path, 0) + 1
        return "done"

    def is_stale(self, change: Mapping[str, Any]) -> bool:
        """Say whether a change finds neither what the plan saw nor what it makes; a unit's is decided at its turn."""
        key = (change["kind"], change["path"])
        state = self._of_program(key[1]) if key[0] == "program" else self.states.get(key, ABSENT)
        return change["kind"] not in ("unit", "tree") and state not in (change["want"], change["expect"])

    def change(self, change: Mapping[str, Any], step: str = "") -> str:
        """Make one change as the applier would, what was there kept, and return its result."""
        key, kind = (change["kind"], change["path"]), change["kind"]
        if kind == "unit" and change["action"] not in ("stop", "remove"):
            self.own(key, "", self.states.get(key, ABSENT))
        if kind == "unit":
            done = self._act(change)
            if change["action"] == "remove":
                self.owned.pop(key, None)
            return done
        if kind == "program" and self.is_stale(change):
            return "stale"              # an earlier one of the step has replaced it
        if kind == "program" and key[1].endswith("/systemd-run"):
            if change["argv"][-1].startswith("systemd="):
                self.states["artifact", key[1]] = f"sha256:of-{change['argv'][-1]} 0755 root:root"
            return "done"               # what it runs is of the host as a whole: FakeHosts
        if kind in ("tree", "program"):
            return trees.change(self.states, change)
        state = self.states.get(key, ABSENT)
        if state == change["want"]:
            return "skipped"
        self.own(key, change["want"], state)
        if change["action"] == "remove" or change.get("undo"):
            del self.owned[key]
        before = self.kept.get(key, {})
        if kind not in ("directory", "artifact"):
            self.kept[key] = {"kind": kind, "path": key[1], "step": step, "saved": len(self.kept), "was": state,
                              "extra": self.extras.get(key, {})}
        self.states[key] = change["want"]
        self.extras.pop(key, None)
        if change["action"] == "restore":
            assert before["was"] == change["want"], "it is not kept"
            self.extras[key] = before["extra"]
        if ABSENT in (change["want"], change["action"].replace("remove", ABSENT)):
            del self.states[key]
            gone = f"{key[1]}.service" if kind == "package" else key[1].removeprefix(f"{UNIT_DIR}/")
            self.states.pop(("unit", gone), None)       # systemd knows it no more
        elif change["action"] == "restore":
            pass
        elif kind == "certificate":
            self.extras[key] = {"pem": base64.b64decode(change["certificate"]).decode()}
            digest = hashlib.sha256(base64.b64decode(change["key"])).hexdigest()
            self.states["key", change["key_path"]] = f"file sha256:{digest} 0600 root:root"
        elif kind == "file" and change.get("hmac_key"):
            digest = hashlib.sha256(base64.b64decode(change["content"])).hexdigest()
            stamp = hmac.new(bytes.fromhex(change["hmac_key"]), digest.encode(), "sha256").hexdigest()
            self.stamps[stamp_line(change["want"])] = f"file hmac:{stamp}"
        elif kind == "file":
            self.extras[key] = {"text": base64.b64decode(change["content"]).decode()}
        return "done"
