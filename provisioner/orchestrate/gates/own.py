"""Gates of one's own: commands and Jobs of the inventory's `gates:`, asked after each turn of an upgrade.

They are asked before the turn is over, so where one does not hold its hosts go back, as with a gate of ours.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from functools import partial
from pathlib import Path

from provisioner.errors import UsageFault
from provisioner.model.cluster import Gate
from provisioner.model.inventory import Inventory
from provisioner.model.plan import Turn
from provisioner.orchestrate.gates import own_jobs, proofs
from provisioner.orchestrate.session.session import Session

VERBS = ("upgrade", "upgrade --os")


def refuse_unknown(inventory: Inventory) -> None:
    """Raise UsageFault for a gate whose program or Job is not there: it would stop the run behind its first turn."""
    jobs = [f"{gate.name}: {fault}" for gate in inventory.cluster.gates if gate.job
            and (fault := own_jobs.fault_of(inventory.path, gate))]
    if jobs:
        raise UsageFault(f"{inventory.file}: gates: {'; '.join(jobs)}", details=["nothing was changed"],
                         hint=f"kubectl create --dry-run=client -f {inventory.path}/FILE")
    missing = [gate for gate in inventory.cluster.gates
               if gate.command and _program(inventory.path, gate) is None]
    if missing:
        said = "; ".join(f"{gate.name}: {gate.command[0]} is no program here" for gate in missing)
        raise UsageFault(f"{inventory.file}: gates: {said}", details=["nothing was changed"],
                         hint=f"command -v {missing[0].command[0]}")


def _program(directory: Path, gate: Gate) -> str | None:
    name = gate.command[0]
    return shutil.which(directory / name if "/" in name else name)


def hold(session: Session, turn: Turn) -> None:
    """Wait until every gate of the inventory holds; GateFailed has its last words."""
    if session.run.origin.verb not in VERBS:
        return
    for gate in session.cluster.gates:
        if gate.job:
            own_jobs.hold(session, gate, turn.hosts, turn.phases[0])
            continue
        proofs.wait_until(session, turn.phases[0], partial(_why_not, session, gate, turn), gate.timeout,
                          proof=f"{gate.name}, a gate of {session.target.inventory.file.name}")


def _why_not(session: Session, gate: Gate, turn: Turn) -> str:
    """Run the command once, and say why it does not hold; nothing where it ends with 0."""
    try:
        done = subprocess.run(
            gate.command, cwd=session.target.inventory.path, stdin=subprocess.DEVNULL, capture_output=True, text=True,
            errors="replace", timeout=gate.timeout, check=False,
            env={**os.environ, own_jobs.HOSTS: ",".join(turn.hosts)})
    except subprocess.TimeoutExpired:
        return f"{gate.name}: no end after {gate.timeout} s"
    except OSError as fault:
        return f"{gate.name}: {gate.command[0]}: {fault.strerror}"
    if done.returncode == 0:
        return ""
    words = f"{done.stdout}\n{done.stderr}".split("\n")
    last = next((line.strip() for line in reversed(words) if line.strip()), "it said nothing")
    return f"{gate.name}: exit {done.returncode}: {last}"
