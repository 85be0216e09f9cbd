"""All changes of a bundle: checked together before the first is made, and each again at its turn."""

from __future__ import annotations

import contextlib
import time
from typing import Any, Sequence

from . import changes as one
from . import needs, programs, states, trees, units
from .changes import Change
from .host import Fault, Host

UNIT_FILES = ("/etc/systemd/", "/run/systemd/", "/usr/lib/systemd/", "/lib/systemd/")


class Run:
    """The changes of one step with what became of each; a change that was not reached stays `untouched`."""

    def __init__(self, host: Host, step: str, changes: Sequence[Change]) -> None:
        self.host = host
        self.step = step
        self.changes = changes
        self.status = "done"
        self.results: list[dict[str, Any]] = [
            {"kind": c["kind"], "path": c["path"], "result": "untouched", "detail": ""} for c in changes]
        self._began = time.monotonic()
        self._unit_files_written = False
        self._reloaded = False
        self._enabled = False               # a unit, which systemd has not been told of yet
        self._enabled_first: list[str] | None = None    # units, before any was started
        self._stopped: set[str] = set()     # units that this step has stopped and not started yet

    def document(self) -> dict[str, Any]:
        """Return the answer, which is also the step's result on disk."""
        return {"step": self.step, "status": self.status, "changes": self.results,
                "seconds": round(time.monotonic() - self._began, 3), "finished": int(time.time())}

    def _tell(self, index: int, result: str, detail: str = "") -> None:
        self.results[index].update(result=result, detail=detail)
        if result in ("stale", "failed"):
            self.status = result

    def agree(self) -> list[str]:
        """Compare every change with the host as it is; one that is stale makes the whole bundle so."""
        look = states.Look(self.host)
        verdicts: list[str] = []
        free: set[str] = set()      # places that trees leave before the changes behind them
        for index, change in enumerate(self.changes):
            if change["kind"] == "unit":
                verdicts.append("go")
                continue
            state = look.see(change)[0]
            verdicts.append(one.verdict(self.host, change, state, free))
            if verdicts[-1] == "stale":
                self._tell(index, "stale", self._stale(change, state))
            if change["kind"] == "tree":
                free.add(change["path"])
        return verdicts

    def preview(self) -> None:
        """Tell what would be done, changing nothing: decided as `perform` decides it."""
        verdicts = self.agree()
        written = [c["path"] for c, v in zip(self.changes, verdicts) if v == "go" and c["kind"] != "unit"]
        for index, (change, said) in enumerate(zip(self.changes, verdicts)):
            if change["kind"] == "unit":
                stopped = {"ActiveState": "inactive", "Job": "0"} if change["path"] in self._stopped else {}
                words = self._need(change, {**self._seen(change), **stopped}, written).words()
                self._tell(index, "would" if words else "skipped", words)
            elif said == "go":
                self._tell(index, "would", one.diff(self.host, change))
            elif said == "skipped":
                self._tell(index, "skipped")

    def _seen(self, change: Change) -> units.Properties:
        return units.show(self.host, [change["path"]])[change["path"]]

    def _need(self, change: Change, seen: units.Properties, written: Sequence[str] = ()) -> needs.Need:
        """Decide what a unit needs at its turn, and keep in mind which ones the step leaves stopped."""
        need = needs.of_unit(self.host, change, seen, written)
        if "stop" in need.acts:
            self._stopped.add(change["path"])
        elif change["action"] != "stop":
            self._stopped.discard(change["path"])
        return need

    def perform(self) -> None:
        """Make the changes in their order; the first that is stale or fails ends the step, what was made stays.

        A unit that the step stopped and was to start later runs again all the same: it did so before. No temporary file
        is left, neither of this step nor of an earlier attempt of it that was killed.
        """
        for change in self.changes:
            self._sweep(change)
        if "stale" in self.agree():
            return
        for index, change in enumerate(self.changes):
            try:
                one.possible(self.host, change)
            except Fault as fault:
                self._tell(index, "failed", str(fault))
        if self.status != "done":
            return
        for index, change in enumerate(self.changes):
            try:
                self._turn(index, change)
            except (Fault, OSError) as fault:
                self._tell(index, "failed", str(fault))
                self._sweep(change)
            if self.status != "done":
                self._start_again(index)
                break
        self._leave()

    def _sweep(self, change: Change) -> None:
        with contextlib.suppress(OSError):
            one.sweep(self.host, change)

    def _start_again(self, index: int) -> None:
        for name in sorted(self._stopped):
            try:
                self._reload()
                units.act(self.host, name, "start", {})
                self.results[index]["detail"] += f"; {name} was started again"
            except Fault as fault:
                self.results[index]["detail"] += f"; {fault}"

    def _turn(self, index: int, change: Change) -> None:
        if change["kind"] == "unit":
            done = self._unit(change)
            self._tell(index, "done" if done else "skipped", done)
            return
        state = states.Look(self.host).see(change)[0]
        said = one.verdict(self.host, change, state)
        if said == "go":
            if change["path"].startswith(UNIT_FILES):
                self._unit_files_written, self._reloaded = True, False
            self._tell(index, "done", self._make(index, change, state))
        elif said == "skipped":
            one.label(self.host, change)
            self._tell(index, said)
        else:
            self._tell(index, said, self._stale(change, state))

    def _make(self, index: int, change: Change, state: str) -> str:
        if change["kind"] != "program":
            return one.make(self.host, self.step, change, state)
        result = programs.run(self.host, self.step, index, change)
        self.results[index].update(result)
        fault = programs.fault(change, result)
        if fault:
            raise Fault(fault)
        return f"exit 0 in {result['seconds']:g} s"

    def _stale(self, change: Change, state: str) -> str:
        found = trees.found(self.host, change, state) if change["kind"] == "tree" else state
        return f"found {found!r}, the plan saw {change.get('expect')!r}"

    def _unit(self, change: Change) -> str:
        """Bring a unit to run with its inputs as they are now, and return what that took ("" if nothing)."""
        if self._enabled_first is None and change["action"] == "start":
            self._enabled_first = self._enable_first()
        if self._unit_files_written:
            self._reload()
        seen = self._seen(change)
        need = self._need(change, seen)
        if change["action"] not in ("stop", "remove"):
            units.forget_exits(self.host, change["path"], change["action"], seen)
        done = ["enabled"] if change["path"] in (self._enabled_first or ()) else []
        return ", ".join([*done, *(self._act(change, act, seen) for act in need.acts)])

    def _enable_first(self) -> list[str]:
        """Enable all that the step starts and that is there by now, so that systemd need not read its files twice."""
        starts = [c["path"] for c in self.changes if c["kind"] == "unit" and c["action"] == "start"]
        seen = units.show(self.host, starts)
        found = [name for name in seen if seen[name].get("UnitFileState") == "disabled"]
        if found:
            units.enable(self.host, *found)
            self._unit_files_written, self._reloaded = True, False
        return found

    def _act(self, change: Change, act: str, seen: units.Properties) -> str:
        name = change["path"]
        if act == "stop":
            return units.stop(self.host, name, bool(change.get("at_once")))
        if act == "remove":
            return units.retire(self.host, name)
        self._reload()
        if act == "enable":
            self._enabled = True
            return units.enable(self.host, name)
        return units.act(self.host, name, act, seen)

    def _reload(self) -> None:
        if not self._reloaded:
            units.daemon_reload(self.host)
            self._reloaded = True

    def _leave(self) -> None:
        """Let systemd know the unit files we wrote, also where no unit was acted on, and once what we enabled."""
        if not self._enabled and (self._reloaded or not self._unit_files_written):
            return
        try:
            units.daemon_reload(self.host)
        except Fault as fault:
            self.status = "failed"
            self.results[-1]["detail"] = str(fault)
