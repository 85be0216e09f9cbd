"""`observe`: what the host is, read while no step runs; creates nothing and changes nothing."""

from __future__ import annotations

from typing import Any, Mapping

from . import facts, fence, locks, states
from .host import Fault, Host


def observe(host: Host, request: Mapping[str, Any]) -> dict[str, Any]:
    """Answer the state of every item asked for, with the facts when asked, or which step keeps the host busy."""
    specs = request.get("items", [])
    for spec in specs:
        if spec.get("kind") not in states.KINDS:
            raise Fault(f"unknown kind: {spec.get('kind')!r}")
    try:
        with locks.shared(host, float(request.get("wait", 120))):
            look = states.Look(host, specs)
            answer: dict[str, Any] = {"items": [_item(look, spec) for spec in specs]}
            if "owned" in request:
                from . import owned  # 2 ms that a look at a few items does not pay
                answer["owned"] = owned.look(host, specs, request["owned"])
    except locks.Busy as busy:
        return {"busy": str(busy)}
    if request.get("facts"):
        answer["facts"] = facts.gather(host)
        answer["epoch"] = fence.installed(host)
        answer["owner"] = fence.owner(host)
    return answer


def _item(look: states.Look, spec: Mapping[str, Any]) -> dict[str, Any]:
    state, extra = look.see(spec)
    return {"kind": spec["kind"], "path": spec["path"], "state": state, "extra": extra}
