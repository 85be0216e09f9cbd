"""What an earlier version put on a host that has no records of it: told by the generations of every path it wrote."""

from __future__ import annotations

import os
import re
from typing import Any

from . import artifacts, generations, states
from .host import STATE_DIR, Host
from .leavings import RUN_DIR

_UNIT = re.compile(r"/etc/systemd/system/([^/]+\.service)(?:\.d/50-kubewright\.conf)?")
# Directories that only this product makes; of others nobody knows any more whether they were there before.
OURS = ("/etc/kubewright", "/etc/kubernetes", "/etc/kube-flannel", "/etc/containerd", "/opt/kubewright",
        "/var/lib/kubelet")


def is_noted(path: str) -> bool:
    """Say whether a path has a record: the applier's own directories have none, and go last of all."""
    return not f"{path}/".startswith((f"{STATE_DIR}/", f"{RUN_DIR}/"))


def items(host: Host) -> dict[str, dict[str, Any]]:
    """Return records of what is there of all that was ever written; empty on a host that never was ours."""
    found: dict[str, dict[str, Any]] = {}
    look = states.Look(host)

    def add(kind: str, path: str, was: str = states.ABSENT, wrote: str = "", step: str = "", **more: Any) -> None:
        found.setdefault(f"{kind} {path}", {"kind": kind, "path": path, "was": was, "wrote": wrote, "step": step,
                                            "seq": len(found) + 1, **more})

    for oldest, newest in sorted(generations.ends(host), key=lambda pair: float(pair[0].get("saved", 0))):
        more = {name: newest[name] for name in ("key_path", "hmac_key") if newest.get(name)}
        state = look.see(newest)[0]
        if state == states.ABSENT or not is_noted(newest["path"]):
            continue
        for parent in _parents(newest["path"]):
            add("directory", parent, step=newest["step"])
        was = oldest["state"] if oldest["number"] <= 1 else states.ABSENT
        add(newest["kind"], newest["path"], was, state, newest["step"], **more)
        unit = _UNIT.fullmatch(newest["path"])
        if unit:
            add("unit", unit[1], step=newest["step"])
    if found:
        for path in _stored(host):
            add("artifact", path)
    return found


def _parents(path: str) -> list[str]:
    """Return the directories above a path that are ours, the outermost first."""
    parent = os.path.dirname(path)
    ours = parent in OURS or parent.startswith(tuple(f"{place}/" for place in OURS))
    return [*_parents(parent), parent] if ours else []


def _stored(host: Host) -> list[str]:
    """Return the files of our store: component/version/file, as `host_path` of artifacts.lock has them."""
    root = host.at(artifacts.STORE)
    found = []
    for place, _, names in os.walk(root):
        inside = place[len(root):].strip("/")
        if inside.count("/") == 1 and not inside.startswith(("bin/", "images/", "cni/")):
            found += [f"{artifacts.STORE}/{inside}/{name}" for name in names if not name.startswith(".")]
    return sorted(found)
