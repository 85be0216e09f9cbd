"""One point of the walk: make a change, kill `up` there, look at what lies on the host, and run `up` again."""

from __future__ import annotations

import json
import time
from functools import partial
from typing import Any

from tests.lab.conftest import NODES, Lab
from tests.lab.hostside import at_once
from tests.lab.walk import disk
from tests.lab.walk.disk import Disk
from tests.lab.walk.killing import Up, strike
from tests.lab.walk.table import Leg

Row = dict[str, Any]


def kill(lab: Lab, leg: Leg, moment: str, *, alone: bool = False) -> Disk:
    """Run `up`, kill it at this moment of the leg's phase, and return what then lies on the host's disk.

    Inside, the process on the host dies first and `up` right after it, so that nobody tries the step again.
    """
    up = Up(lab)
    try:
        up.wait_for("phase-done" if moment == "after" else "phase-start", leg.step or leg.phase)
        if moment == "inside":
            assert leg.blow is not None
            strike(lab, leg.host, leg.blow, up)
    finally:
        up.kill(alone=alone)
    return disk.look(lab, leg.host, artifacts=leg.phase == "stage")


def again(lab: Lab) -> Row:
    """Run `up` again and return what a reader wants to know: its exit, and whether anything is left to be done."""
    began = time.monotonic()
    done = lab.run("up", "--yes", check=False)
    row: Row = {"exit": done.returncode, "seconds": round(time.monotonic() - began, 1)}
    if done.returncode:
        return row | {"said": done.stderr[-2000:]}
    found = at_once({verb: partial(lab.run, "-o", "json", verb, check=False) for verb in ("plan", "status")})
    plan, status = (json.loads(found[verb].stdout) for verb in ("plan", "status"))
    return row | {"changes_left": len(plan["changes"]) + len(plan["objects"]), "healthy": status["healthy"]}


def converged(row: Row) -> bool:
    return row["exit"] == 0 and row["changes_left"] == 0 and bool(row["healthy"])


def left(lab: Lab) -> list[str]:
    """Return the temporary files that lie anywhere after all."""
    return [f"{host}: {path}" for host in NODES for path in disk.look(lab, host).temporary]


def told(leg: Leg, moment: str, struck: Disk) -> Row:
    """Return what the point was, for its row."""
    return {"phase": leg.phase, "moment": moment, "host": leg.host,
            "killed": f"{f'{leg.blow}; ' if moment == 'inside' else ''}"
                      f"{'the process alone' if leg.is_alone(moment) else 'its process group'}",
            "temporary_at_the_kill": struck.temporary}
