"""How full disks were at earlier looks: kept here, beside the inventory, since a look writes nothing on any host."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from provisioner.files import write_whole
from provisioner.model.examination import Examination
from provisioner.model.inventory import Inventory
from provisioner.operate.doctor.machines import LEAST, WEEK
from provisioner.operate.doctor.picture import Samples

FILE = "disks.json"


def load(inventory: Inventory) -> Samples:
    """Return what is kept; nothing where nothing is, or where it cannot be read: it is only worth a forecast."""
    try:
        kept = json.loads(_file(inventory).read_text(encoding="utf-8"))
        return {str(host): {str(path): [(float(at), int(used)) for at, used in looks] for path, looks in of.items()}
                for host, of in kept["hosts"].items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {}


def keep(inventory: Inventory, samples: Samples, seen: Mapping[str, Examination], now: float) -> None:
    """Keep what was seen now beside the earlier looks; where it cannot be written, the next look knows less."""
    hosts = {host: dict(of) for host, of in samples.items() if host in inventory.cluster.hosts}
    for host, one in seen.items():
        hosts[host] = {room.paths[0]: thinned(samples.get(host, {}).get(room.paths[0], ()), now, room.used)
                       for room in one.disks}
    try:
        inventory.state_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_whole(_file(inventory), json.dumps({"schema_version": 1, "hosts": hosts}) + "\n")
    except OSError:
        return


def thinned(looks: Any, now: float, used: int) -> list[tuple[float, int]]:
    """Return the looks of the last week, at most one an hour, with that of now where the last is an hour old."""
    kept = [(at, size) for at, size in looks if 0 <= now - at <= WEEK]
    return kept if kept and now - kept[-1][0] < LEAST else [*kept, (now, used)]


def _file(inventory: Inventory) -> Path:
    return inventory.state_dir / FILE
