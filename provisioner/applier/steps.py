"""A step: the transient unit's own process. It alone writes the result, and the result alone says that it ended."""

from __future__ import annotations

import contextlib
import os
import time
from typing import Any, Mapping

from . import back, fence, files, locks, owned, programs
from . import changes as one
from .apply import Run
from .host import Fault, Host, check_id

KEEP = 200
TOUCHED = "touched.json"    # the paths that a running step writes: where it dies, the next step looks for what it left
ORPHAN_SECONDS = 60  # a request younger than this may be about to be started


def directory(host: Host, step: str) -> str:
    """Return the step's directory."""
    return host.own(f"steps/{check_id(step)}")


def unit_of(step: str) -> str:
    """Return the name of the transient unit that runs the step."""
    return f"kubewright-step-{check_id(step)}.service"


def result_of(host: Host, step: str) -> dict[str, Any] | None:
    """Return the step's result, or None while there is none."""
    result = files.read_json(f"{directory(host, step)}/result.json")
    return result if isinstance(result, dict) else None


def results(host: Host) -> list[dict[str, Any]]:
    """Return every result kept, newest first."""
    found = (files.read_json(f"{place}/result.json") for place in _places(host))
    return [result for result in found if isinstance(result, dict)]


def known(host: Host, request: Mapping[str, Any]) -> dict[str, Any]:
    """Return the results kept and the steps that run now, of all runs or of one (`run`)."""
    prefix = f"{check_id(request['run'])}." if request.get("run") else ""
    unended = []
    with contextlib.suppress(FileNotFoundError), os.scandir(host.own("steps")) as entries:
        unended = [e.name for e in entries if e.name.startswith(prefix) and not os.path.exists(f"{e.path}/result.json")]
    return {"steps": [r for r in results(host) if str(r.get("step", "")).startswith(prefix)],
            "running": [step for step in sorted(unended) if alive(host, step)]}


def run(host: Host, step: str) -> None:
    """Run a step whose request apply left: wait for the lock, make the changes, write the result."""
    request = _take_request(host, step)
    with _lock(host, step, float(request.get("timeout", 600))):
        if result_of(host, step) is not None:
            return
        refused = fence.refusal(host, request)      # the last word: nobody installs an epoch while we hold the lock
        if refused is not None:
            _end(host, step, request, {"step": step, **refused, "changes": [], "seconds": 0.0,
                                       "finished": int(time.time())})
            return
        _drop_orphans(host, step)
        bundle = owned.completed(host, [back.resolved(host, change) for change in request["changes"]])
        for change in bundle:
            one.check(host, change)
        files.write_json(f"{directory(host, step)}/{TOUCHED}", one.paths(bundle))
        owned.note(host, step, bundle)
        work = Run(host, step, bundle)
        work.perform()
        owned.drop(host, bundle, work.results)
        _end(host, step, request, work.document())
        _prune(host)


def _end(host: Host, step: str, request: Mapping[str, Any], document: Mapping[str, Any]) -> None:
    files.write_json(f"{directory(host, step)}/result.json", {**document, "origin": request.get("origin") or {}})
    with contextlib.suppress(OSError):
        files.remove(f"{directory(host, step)}/request.json")
        files.remove(f"{directory(host, step)}/{TOUCHED}")
        files.remove(f"{directory(host, step)}/{programs.KEPT}")


def _take_request(host: Host, step: str) -> dict[str, Any]:
    """Read the request and remove it at once: from here on its secrets are in memory only.

    A step that dies after this is started again by `apply`, which sends the request anew.
    """
    path = f"{directory(host, step)}/request.json"
    request = files.read_json(path)
    files.remove(path)
    if not isinstance(request, dict):
        raise Fault(f"step {step}: no request")
    return request


@contextlib.contextmanager
def _lock(host: Host, step: str, wait: float) -> Any:
    try:
        with locks.exclusive(host, step, wait):
            yield
    except locks.Busy as busy:
        raise Fault(f"step {step}: step {busy} kept the host's lock for {wait:g} s") from None


def _places(host: Host) -> list[str]:
    """Return the directories of steps with a result, newest first."""
    dated = []
    with contextlib.suppress(FileNotFoundError), os.scandir(host.own("steps")) as entries:
        for entry in entries:
            with contextlib.suppress(FileNotFoundError):
                dated.append((os.stat(f"{entry.path}/result.json").st_mtime_ns, entry.path))
    return [path for _, path in sorted(dated, reverse=True)]


def _prune(host: Host) -> None:
    for place in _places(host)[KEEP:]:
        with contextlib.suppress(OSError):
            for name in os.listdir(place):
                files.remove(f"{place}/{name}")
            files.remove(place)


def _drop_orphans(host: Host, step: str) -> None:
    """Remove what died steps left: requests, which hold secrets, temporary files, directories without a result.

    We hold the lock, so nobody writes where a dead step did.
    """
    with os.scandir(host.own("steps")) as entries:
        for entry in entries:
            with contextlib.suppress(FileNotFoundError):  # a step that waits for our lock takes its request meanwhile
                if entry.name != step:
                    _drop_orphan(host, entry.name, entry.path)


def _drop_orphan(host: Host, step: str, place: str) -> None:
    names = os.listdir(place)
    left = [name for name in names if name != "result.json"]
    ended = len(left) < len(names)
    if (ended and not left) or not _old(place, left) or alive(host, step):
        return
    for path in files.read_json(f"{place}/{TOUCHED}") or ():
        with contextlib.suppress(OSError):
            one.sweep_path(host, path)
    for name in left:
        files.remove(f"{place}/{name}")
    if not ended:
        files.remove(place)


def _old(place: str, names: list[str]) -> bool:
    """Say whether nothing in a step's directory is so young that an apply may be about to start it."""
    youngest = max(os.lstat(path).st_mtime for path in (place, *(f"{place}/{name}" for name in names)))
    return youngest < time.time() - ORPHAN_SECONDS


def alive(host: Host, step: str) -> bool:
    """Say whether the step's unit runs, or is about to."""
    text = host.run(["systemctl", "show", "--property=ActiveState,Job", "--", unit_of(step)])
    seen = dict(line.partition("=")[::2] for line in text.splitlines())
    return seen.get("ActiveState") not in ("inactive", "failed") or seen.get("Job", "0") not in ("", "0")
