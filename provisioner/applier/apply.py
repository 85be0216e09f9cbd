"""All changes of a bundle: checked together before the first is made, and each again at its turn."""

from __future__ import annotations

import contextlib
import time
from typing import Any, Sequence

from . import changes as one
from . import stamps, states, units
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
        self.results = [{"kind": c["kind"], "path": c["path"], "result": "untouched", "detail": ""} for c in changes]
        self._began = time.monotonic()
        self._unit_files_written = False
        self._reloaded = False
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
        verdicts = []
        for index, change in enumerate(self.changes):
            if change["kind"] == "unit":
                verdicts.append("go")
                continue
            state = look.see(change)[0]
            verdicts.append(one.verdict(self.host, change, state))
            if verdicts[-1] == "stale":
                self._tell(index, "stale", _stale(change, state))
        return verdicts

    def preview(self) -> None:
        """Tell what would be done, changing nothing."""
        verdicts = self.agree()
        written = [c["path"] for c, v in zip(self.changes, verdicts) if v == "go" and c["kind"] != "unit"]
        for index, (change, said) in enumerate(zip(self.changes, verdicts)):
            if change["kind"] == "unit":
                said = self._unit_preview(change, written)
                self._tell(index, "would" if said else "skipped", said)
            elif said == "go":
                self._tell(index, "would", one.diff(self.host, change))
            elif said == "skipped":
                self._tell(index, "skipped")

    def _unit_preview(self, change: Change, written: Sequence[str]) -> str:
        seen = units.show(self.host, [change["path"]])[change["path"]]
        if change["action"] == "remove":
            return "" if _retired(seen) else "stop and disable"
        inputs = stamps.inputs_of(self.host, change["path"], change)
        current, causes = stamps.compare(self.host, change["path"], inputs, stamps.Sums(self.host))
        causes = causes + [path for path in inputs if path in written and path not in causes]
        if change["action"] == "stop":
            return "stop" if units.runs(seen) else ""
        if change["action"] == "enable":
            return "enable" if units.wants_enable(seen) else ""
        if (units.settled(seen, current) and not causes and not units.wants_enable(seen)
                and not units.is_of(seen, change)):
            return ""
        return f"{change['action']}{': ' if causes else ''}{', '.join(causes)}"

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
                one.owners(change) if change["kind"] != "unit" else None
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
            self._tell(index, "done", one.make(self.host, self.step, change, state))
        else:
            self._tell(index, said, _stale(change, state) if said == "stale" else "")

    def _unit(self, change: Change) -> str:
        """Bring a unit to run with its inputs as they are now, and return what that took ("" if nothing)."""
        name = change["path"]
        if self._unit_files_written:
            self._reload()
        seen = units.show(self.host, [name])[name]
        if change["action"] == "remove":
            if _retired(seen):
                return ""
            units.retire(self.host, name)
            return "stopped and disabled"
        if change["action"] == "stop":
            self._stopped |= {name} if units.runs(seen) else set()
            return units.stop(self.host, name) if units.runs(seen) else ""
        self._stopped.discard(name)
        inputs = stamps.inputs_of(self.host, name, change)
        current, _ = stamps.compare(self.host, name, inputs, stamps.Sums(self.host))
        enable = units.wants_enable(seen)
        units.forget_exits(self.host, name, change["action"], seen)
        settled = change["action"] == "enable" or (units.settled(seen, current) and not units.is_of(seen, change))
        if settled and not enable:
            return ""
        self._reload()
        done = []
        if enable:
            units.enable(self.host, name)
            done.append("enabled")
        if not settled:
            done.append(units.act(self.host, name, change["action"], seen))
        return ", ".join(done)

    def _reload(self) -> None:
        if not self._reloaded:
            units.daemon_reload(self.host)
            self._reloaded = True

    def _leave(self) -> None:
        """Let systemd know the unit files we wrote, also where no unit was acted on."""
        if not self._unit_files_written or self._reloaded:
            return
        try:
            self._reload()
        except Fault as fault:
            self.status = "failed"
            self.results[-1]["detail"] = str(fault)


def _retired(seen: units.Properties) -> bool:
    return not units.exists(seen) or (seen.get("ActiveState") == "inactive" and seen.get("UnitFileState") != "enabled")


def _stale(change: Change, state: str) -> str:
    return f"found {state!r}, the plan saw {change.get('expect')!r}"
