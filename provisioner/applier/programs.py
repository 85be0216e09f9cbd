"""A program out of the store, run as a user within a step; what it said is kept before anything else is done.

It runs once a step: a step that was killed after it ended does not run it again. One that was killed while it ran does,
so it must bear being begun twice (write into a directory of its own that is removed first, say).
"""

from __future__ import annotations

import os
import selectors
import signal
import subprocess
import time
from typing import Any, Mapping

from . import files
from .host import Fault, Host

Change = Mapping[str, Any]
ACTIONS = ("run",)
KEPT = "programs.json"          # in the step's directory, until its result is there
LIMIT = 64 * 1024               # bytes kept of each stream, its last ones
ENVIRONMENT = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LANG": "C.UTF-8"}


def check(change: Change) -> None:
    """Refuse arguments that are no list of texts, and a program without a time limit."""
    argv, seconds = change.get("argv"), change.get("timeout")
    name = f"program {change['path']}"
    if not isinstance(argv, list) or not all(isinstance(word, str) and "\0" not in word for word in argv):
        raise Fault(f"{name}: its arguments are no list of texts")
    if isinstance(seconds, bool) or not isinstance(seconds, (int, float)) or not seconds > 0:
        raise Fault(f"{name}: needs a timeout in seconds")


def verdict(change: Change, state: str) -> str:
    """Say `go` where the program is the artifact that the plan saw, else `stale`."""
    return "go" if state == change.get("expect") else "stale"


def kept(host: Host, step: str) -> dict[str, Any]:
    """Return what the programs of a step said before it was killed, by their place in the bundle."""
    known = files.read_json(_memory(host, step))
    return known if isinstance(known, dict) else {}


def run(host: Host, step: str, index: int, change: Change) -> dict[str, Any]:
    """Run the program, or read what it said in an earlier attempt of this step: `exit`, `stdout`, `stderr`, `seconds`.

    `exit` is None where it did not end in time and was killed, and negative where a signal ended it.
    """
    before = kept(host, step)
    if str(index) in before:
        known: dict[str, Any] = before[str(index)]
        return known
    uid, gid = files.ids(change.get("owner", "root"), change.get("group", "root"))
    other: dict[str, Any] = {} if uid == os.geteuid() else {"user": uid, "group": gid, "extra_groups": [gid]}
    began = time.monotonic()
    with subprocess.Popen([host.at(change["path"]), *change["argv"]], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, cwd="/", env=ENVIRONMENT, umask=0o077, start_new_session=True,
                          **other) as child:
        said, in_time = _listen(child, began + change["timeout"])
    result = {"exit": child.returncode if in_time else None, "seconds": round(time.monotonic() - began, 3),
              **{name: bytes(said[name]).decode(errors="replace") for name in said}}
    files.write_json(_memory(host, step), {**before, str(index): result})
    return result


def _memory(host: Host, step: str) -> str:
    return host.own(f"steps/{step}/{KEPT}")


def _listen(child: subprocess.Popen[bytes], deadline: float) -> tuple[dict[str, bytearray], bool]:
    """Read both streams until the program has ended; past the deadline it and all it started are killed."""
    said = {"stdout": bytearray(), "stderr": bytearray()}
    with selectors.DefaultSelector() as waiting:
        for name in said:
            waiting.register(getattr(child, name), selectors.EVENT_READ, said[name])
        while waiting.get_map() and time.monotonic() < deadline:
            for key, _ in waiting.select(max(0.0, deadline - time.monotonic())):
                data = os.read(key.fd, LIMIT)
                key.data.extend(data)
                del key.data[:-LIMIT]
                if not data:
                    waiting.unregister(key.fileobj)
    in_time = _ended(child, deadline)
    if not in_time:
        os.killpg(child.pid, signal.SIGKILL)
        child.wait()
    return said, in_time


def _ended(child: subprocess.Popen[bytes], deadline: float) -> bool:
    try:
        child.wait(max(0.0, deadline - time.monotonic()))
    except subprocess.TimeoutExpired:
        return False
    return True


def fault(change: Change, result: Mapping[str, Any]) -> str:
    """Say why a result is a failure; "" where it is none."""
    name = os.path.basename(change["path"])
    if result["exit"] is None:
        return f"{name}: had not ended after {change['timeout']:g} s and was killed"
    if result["exit"]:
        said = " ".join(str(result["stderr"] or result["stdout"]).split())[-400:]
        return f"{name}: exit {result['exit']}: {said or 'it said nothing'}"
    return ""
