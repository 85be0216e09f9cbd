"""What a playbook run means for each host."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from provisioner.errors import GateFailed, KubewrightError, LockHeld, PlanStale, Unreachable
from provisioner.model.events import Event
from provisioner.model.words import table as words

ONE_LINE = 400      # characters of a message in one line; all that was said stands below it
Status = Literal["done", "stale", "failed", "running", "unreachable", "canceled", "fenced"]


@dataclass(frozen=True)
class HostResult:
    """One host's outcome; `changes` are the applier's rows (kind, path, result, detail).

    `message` is one line, `said` holds all that was said where that is more.
    """

    host: str
    status: Status
    changes: tuple[Mapping[str, Any], ...] = ()
    message: str = ""
    said: str = ""

    @property
    def ok(self) -> bool:
        return self.status == "done"

    @property
    def written(self) -> int:
        """Return how many changes were made (not skipped) on the host."""
        return sum(1 for change in self.changes if change.get("result") == "done")

    def event(self, at: float) -> Event:
        """Return what is told of it as it comes."""
        return Event("host-done", at, host=self.host, status="ok" if self.ok else "failed", message=self.message,
                     data={"written": self.written})

    def fault(self) -> KubewrightError | None:
        """Return the error that this outcome is, or None."""
        kinds: dict[str, tuple[type[KubewrightError], str]] = {
            "stale": (PlanStale, "plan-stale"), "unreachable": (Unreachable, "unreachable"),
            "failed": (GateFailed, "step-failed"), "running": (GateFailed, "step-running"),
            "canceled": (GateFailed, "step-canceled"), "fenced": (LockHeld, "lock-lost")}
        if self.ok:
            return None
        kind, code = kinds[self.status]
        bad = self._bad()
        means = words.meaning("\n".join([*bad, self.said or self.message]), host=self.host)
        if means is None or self.status not in ("failed", "unreachable"):
            return kind(f"{self.host}: applying: {self.message or self.status}", code=code,
                        details=[*bad, *self.said.splitlines()])
        told = [means.likely, *bad, *(self.said or self.message).splitlines()]
        return kind(f"{self.host}: applying: {means.says}", details=[line for line in told if line], hint=means.cure,
                    code=code)

    @property
    def failed_units(self) -> list[str]:
        """Return the units that could not be brought where they should be."""
        return [str(c.get("path")) for c in self.changes if c.get("kind") == "unit" and c.get("result") == "failed"]

    def _bad(self) -> list[str]:
        return [f"{c.get('path', '?')}: {c.get('result')}: {c.get('detail', '')}".rstrip(": ")
               for c in self.changes if c.get("result") in ("stale", "failed")]


def of_event(event: Mapping[str, Any]) -> HostResult | None:
    """Return the host's outcome that a runner event tells, or None for events that tell none."""
    data = event.get("event_data") or {}
    host, res = data.get("host"), data.get("res") or {}
    kind = event.get("event")
    if not host:
        return None
    if kind == "runner_on_unreachable":
        return HostResult(host, "unreachable", message=_one_line(res.get("msg", "")), said=_whole(res.get("msg", "")))
    if kind == "runner_on_failed" and not data.get("ignore_errors"):
        return _answered(host, res) or HostResult(
            host, "failed", message=_why(data, res), said=_whole(res.get("stderr") or res.get("msg") or ""))
    if kind == "runner_on_ok":
        return _answered(host, res)
    return None


def begins(event: Mapping[str, Any]) -> str:
    """Return the name of the task that begins now on the first of the hosts, or nothing."""
    if event.get("event") != "playbook_on_task_start":
        return ""
    return str((event.get("event_data") or {}).get("task") or "")


def finished(event: Mapping[str, Any]) -> set[str]:
    """Return the hosts that came through the whole playbook, from its closing statistics."""
    if event.get("event") != "playbook_on_stats":
        return set()
    data = event.get("event_data") or {}
    return set(data.get("processed") or ()) - set(data.get("failures") or ()) - set(data.get("dark") or ())


def _answered(host: str, res: Mapping[str, Any]) -> HostResult | None:
    answer = res.get("kubewright")
    return of_answer(host, answer, _one_line(res.get("msg", ""))) if isinstance(answer, Mapping) else None


def of_answer(host: str, answer: Mapping[str, Any], message: str = "") -> HostResult:
    """Return the host's outcome that the applier's own answer tells, whoever carried the bundle."""
    status = answer.get("status")
    known: Status = status if status in ("done", "stale", "running", "fenced") else "failed"
    return HostResult(host, known, tuple(answer.get("changes") or ()), message or _one_line(answer.get("message", "")))


def _why(data: Mapping[str, Any], res: Mapping[str, Any]) -> str:
    words = _one_line(res.get("stderr") or res.get("msg") or "no words")
    return f"{data.get('task', 'task')}: {words}"


def _one_line(text: object) -> str:
    return " ".join(line.strip() for line in str(text).splitlines() if line.strip())[:ONE_LINE]


def _whole(text: object) -> str:
    """Return the words as they are where one line does not show them all; nothing where it does."""
    lines = [line.rstrip() for line in str(text).splitlines() if line.strip()]
    return "\n".join(lines) if len(lines) > 1 or len(str(text)) > ONE_LINE else ""
