"""A run that is killed at a moment that it tells of, and what tells such a moment."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

from tests.lab.machines import Lab, until

Told = Callable[[Mapping[str, Any]], bool]


def killed(lab: Lab, what: str, told: Told, *verb: str, seconds: float = 300) -> None:
    """Start a verb and kill it as soon as it tells such an event."""
    began = time.time()
    killed_when(lab, what, lambda: any(told(event) for event in lab.events(began)), *verb, seconds=seconds)


def killed_when(lab: Lab, what: str, comes: Callable[[], bool], *verb: str, seconds: float = 300,
                interval: float = 0.05) -> None:
    """Start a verb and kill its whole process group as soon as something is so; it must still run then."""
    process = lab.start(*verb)
    try:
        until(lambda: process.poll() is not None or comes(), seconds, what, interval=interval)
        assert process.poll() is None, f"ended before {what}: {process.communicate()[0]}"
    finally:
        with suppress(ProcessLookupError):      # it has ended before
            os.killpg(process.pid, signal.SIGKILL)
        process.wait(30)


def begins(phase: str) -> Told:
    """Return what tells the event with which a phase begins."""
    return lambda event: event["type"] == "phase-start" and event["phase"] == phase


def step(name: str) -> Told:
    """Return what tells the event with which hosts are handed a step."""
    return lambda event: event["type"] == "host-start" and (event.get("data") or {}).get("step") == name


def proved(proof: str) -> Told:
    """Return what tells an event that proves this."""
    return lambda event: event["type"] == "gate" and any(proof in said for said in event["data"].get("proved", ()))


def changed(identity: str, reason: str) -> Told:
    """Return what tells an event of a Kubernetes object that was changed for this reason."""
    return lambda event: any(o["identity"] == identity and reason in o["reason"]
                             for o in (event.get("data") or {}).get("objects", ()))


def moment(named: str) -> Told:
    """Return what tells a moment by its name: `phase NAME` has begun, or hosts were handed `step NAME`."""
    kind, _, name = named.partition(" ")
    return {"phase": begins, "step": step}[kind](name)
