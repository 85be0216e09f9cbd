"""Every defect that a lab node can be given, and those that it cannot."""

from __future__ import annotations

from collections.abc import Iterable

from provisioner.errors import UsageFault
from provisioner.lab.defects.access import ACCESS
from provisioner.lab.defects.defect import Defect
from provisioner.lab.defects.network import NETWORK
from provisioner.lab.defects.past import PAST
from provisioner.lab.defects.system import SYSTEM

DEFECTS: tuple[Defect, ...] = (*ACCESS, *NETWORK, *SYSTEM, *PAST)
BY_NAME = {defect.name: defect for defect in DEFECTS}


def named(names: Iterable[str]) -> tuple[Defect, ...]:
    """Return the defects of these names; raises UsageFault for one that there is not."""
    wanted = tuple(names)
    unknown = [name for name in wanted if name not in BY_NAME]
    if unknown:
        raise UsageFault(f"there is no defect {', '.join(unknown)}", hint="kubewright lab fault list")
    return tuple(BY_NAME[name] for name in wanted)
