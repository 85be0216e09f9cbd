"""`apply`: start a step that outlives us, or attach to it, and bring home its result."""

from __future__ import annotations

import sys
import time
from typing import Any, Mapping

from . import back, fence, files, locks, ourselves, steps
from . import changes as one
from .apply import Run
from .host import Fault, Host, caller_gone, check_id

STARTS = 3


def apply(host: Host, request: Mapping[str, Any]) -> dict[str, Any]:
    """Answer what the changes did, or would do, or that they are still being made when the time is over."""
    step = check_id(request.get("step"))
    for change in request["changes"]:
        one.check(host, back.resolved(host, change))
    timeout = float(request.get("timeout", 600))
    if request.get("check"):
        return _preview(host, step, request, timeout)
    refused = fence.refusal(host, request)
    if refused is not None:
        return {"step": step, **refused, "changes": []}
    deadline = time.monotonic() + timeout
    for _ in range(STARTS):
        result = steps.result_of(host, step)
        if result is None and not steps.alive(host, step):
            _start_once(host, step, request, timeout)
        result = result or _await(host, step, deadline)
        if result is not None:
            return result
    raise Fault(f"step {step} ended {STARTS} times without a result: {_journal(host, step)}")


def _preview(host: Host, step: str, request: Mapping[str, Any], wait: float) -> dict[str, Any]:
    work = Run(host, step, [back.resolved(host, change) for change in request["changes"]])
    try:
        with locks.shared(host, wait):
            work.preview()
    except locks.Busy as busy:
        raise Fault(f"step {busy} is still running after {wait:g} s") from None
    return work.document()


def _await(host: Host, step: str, deadline: float) -> dict[str, Any] | None:
    """Poll for the result; None when the unit is gone without one. The file is cheap to look at, the unit is not."""
    pause, look_at_unit = 0.01, time.monotonic() + 1
    while True:
        result = steps.result_of(host, step)
        if result is not None:
            return result
        now = time.monotonic()
        if now >= look_at_unit:
            if not steps.alive(host, step):
                return steps.result_of(host, step)
            look_at_unit = now + 1
        if now >= deadline:
            return {"step": step, "status": "running", "changes": []}
        if caller_gone():
            raise Fault(f"the caller went away; step {step} goes on without us")
        time.sleep(pause)
        pause = min(pause * 1.3, 0.1)


def _start_once(host: Host, step: str, request: Mapping[str, Any], timeout: float) -> None:
    """Start the step, unless somebody has just done so.

    The same order may come twice at once: Ansible's ssh asks again where its connection broke.
    """
    with ourselves.alone(host):
        if steps.result_of(host, step) is None and not steps.alive(host, step):
            _start(host, step, request, timeout)


def _start(host: Host, step: str, request: Mapping[str, Any], timeout: float) -> None:
    """Leave program and request on the host and start the transient unit."""
    program = ourselves.keep(host)
    files.private_directory(host.own("steps"))
    place = files.private_directory(steps.directory(host, step))
    files.write_json(f"{place}/request.json", dict(request))
    # Outside our session's scope, so that the end of the SSH connection does not end it. The time limit is the last
    # resort against a step that hangs and would keep the lock for ever: killing it is safe at any instant.
    argv = ["systemd-run", "--quiet", "--collect", "--unit=" + steps.unit_of(step),
            "--description=Kubewright step " + step, "--service-type=exec",
            "--property=KillMode=control-group", f"--property=RuntimeMaxSec={int(2 * timeout) + 60}", "--",
            sys.executable or "python3", "-I", "-S", program, "--root", host.root or "/", "step", step]
    try:
        host.run(argv)
    except Fault:
        if steps.alive(host, step):
            return  # somebody started the same step at the same moment: attach to that one
        files.remove(f"{place}/request.json")
        raise


def _journal(host: Host, step: str) -> str:
    try:
        text = host.run(["journalctl", "--no-pager", "--output=cat", "--lines=20", "--unit=" + steps.unit_of(step)],
                        check=False)
    except Fault:
        return "its journal cannot be read"
    return text.strip()[-1500:] or "its journal is empty"
