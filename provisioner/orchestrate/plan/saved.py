"""Plans that were saved: written whole and private, read with every fault named, and held against what is there now."""

from __future__ import annotations

import json
import os
import re
import shlex
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

from provisioner.artifacts.lockfile import load_lock
from provisioner.errors import PlanStale, UsageFault
from provisioner.model.applied import digest
from provisioner.model.inventory import Inventory
from provisioner.model.plan import Plan
from provisioner.model.plan_document import SCHEMA_VERSION, ChangeDocument, ObjectDocument, PlanDocument, read_plan
from provisioner.orchestrate.session import private

# The time that a certificate has left goes on while a plan waits; what is decided by it does not.
_TIME_LEFT = re.compile(r"\b\d+ (days|hours|minutes|seconds)\b")


def write(file: Path, document: Mapping[str, Any]) -> None:
    """Write the plan that `document` is; 0600 from its first moment, whole or not at all."""
    text = json.dumps({"schema_version": SCHEMA_VERSION, **document}, indent=1, ensure_ascii=False)
    private.write(file, f"{text}\n", "the plan")


def shows(verb: str) -> str:
    """Return the command that makes such a plan anew, for a hint."""
    return f"kubewright {verb} --plan" if verb.startswith("upgrade") else "kubewright plan"


def read(file: Path, inventory: Inventory, again: str = "kubewright plan") -> PlanDocument:
    """Return the saved plan of this inventory; contacts no host. `again` is the command that makes one anew.

    Raises UsageFault where the file is no plan or another cluster's, PlanStale where cluster.yaml or artifacts.lock has
    changed since.
    """
    saved = look_at(file, inventory, again)
    changed = changed_since(saved, inventory)
    if changed:
        raise _stale(file, changed, again)
    return saved


def look_at(file: Path, inventory: Inventory, again: str = "kubewright plan") -> PlanDocument:
    """Return the saved plan of this cluster, however old; UsageFault where the file is none."""
    try:
        saved = read_plan(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as fault:
        raise UsageFault(f"{file}: reading the plan: {getattr(fault, 'strerror', None) or fault}",
                         hint=f"{again} --out {shlex.quote(str(file))}") from None
    except ValueError as fault:
        raise UsageFault(f"{file}: not a plan of ours: {fault}", hint=f"{again} --out FILE") from None
    if saved.cluster != inventory.cluster.cluster:
        raise UsageFault(f"{file}: a plan for the cluster {saved.cluster}, not for {inventory.cluster.cluster}")
    return saved


def changed_since(saved: PlanDocument, inventory: Inventory) -> list[str]:
    """Return which of the files that a plan was made from have another meaning now, a sentence each."""
    made_from = ((inventory.file, saved.inventory_digest, digest(inventory.cluster)),
                 (inventory.artifacts_lock_path, saved.lock_digest, digest(load_lock(inventory.artifacts_lock_path))))
    return [f"{os.path.relpath(path)}: changed since the plan was made" for path, then, now in made_from if then != now]


def refuse_moved(
    file: Path, saved: PlanDocument, plan: Plan, again: str = "kubewright plan", *, generated: bool = False,
) -> None:
    """Raise PlanStale naming every change that came, went, or differs from the saved plan in what it saw or wants.

    `generated` holds only path, kind and reason against each other: the first CAs have just been made, and what is
    derived from them could not be known when the plan was.
    """
    found = list(moved(saved, plan, generated=generated))
    if found:
        raise _stale(file, found, again)


def moved(saved: PlanDocument, plan: Plan, *, generated: bool = False) -> Iterator[str]:
    """Yield a line for each difference between the saved plan and the plan made now."""
    then = {(c.host, c.kind, c.path): c for c in saved.changes}
    now = {(c.host, c.kind, c.path): ChangeDocument(**{**c.to_json(), "causes": c.causes}) for c in plan.changes}
    for key in [*then, *(k for k in now if k not in then)]:
        host, kind, path = key
        why = _difference(then.get(key), now.get(key), generated)
        if why:
            yield f"{host}: {kind} {path}: {why}"
    before = {o.identity: o for o in saved.objects}
    after = {o.identity: ObjectDocument(**o.to_json()) for o in plan.objects}
    for identity in [*before, *(i for i in after if i not in before)]:
        why = _object_difference(before.get(identity), after.get(identity), generated)
        if why:
            yield f"{identity}: {why}"
    for node in sorted(set(saved.cordoned) ^ set(plan.cordoned)):
        yield f"{node}: {'drained by a run' if node in plan.cordoned else 'takes Pods again'} since the plan was made"
    for server in sorted(saved.left_out.keys() ^ plan.drained_servers.keys()):
        where = "out of service" if server in plan.drained_servers else "back in service"
        yield f"{server}: {where} since the plan was made"


def _difference(then: ChangeDocument | None, now: ChangeDocument | None, generated: bool) -> str:
    if then is None or now is None:
        return f"not in the plan: {now.action}, {now.reason}" if now else "in the plan, and no longer to be done"
    if (then.action, _lasting(then.reason)) != (now.action, _lasting(now.reason)) and not generated:
        return f"the plan says {then.action}, {then.reason}; now it is {now.action}, {now.reason}"
    if then.action != now.action:
        return f"the plan says {then.action}; now it is {now.action}"
    if then.expect != now.expect:
        return f"the plan saw {then.expect!r}, found {now.expect!r}"
    if then.want != now.want and not generated:
        return f"the plan makes it {then.want!r}, now it would become {now.want!r}"
    return ""


def _object_difference(then: ObjectDocument | None, now: ObjectDocument | None, generated: bool) -> str:
    if then is None or now is None:
        return f"not in the plan: {now.action}, {now.reason}" if now else "in the plan, and no longer to be done"
    other = (then.action, _lasting(then.reason)) != (now.action, _lasting(now.reason))
    if other or (then.diff != now.diff and not generated):
        return f"the plan says {then.action}, {then.reason}; now it is {now.action}, {now.reason}"
    return ""


def _lasting(reason: str) -> str:
    return _TIME_LEFT.sub("", reason)


def _stale(file: Path, found: Collection[str], again: str) -> PlanStale:
    count = "1 thing has" if len(found) == 1 else f"{len(found)} things have"
    return PlanStale(f"{file}: {count} moved since this plan was made; nothing was changed", details=list(found),
                     hint=f"{again} --out {shlex.quote(str(file))}")
