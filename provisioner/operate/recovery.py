"""The recovery that a run of this machine began and has not ended: which snapshot it is of, and how far it came.

Once its members are stopped, the survivor tells nobody any more what it has: only this says what a re-run goes on from.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path

from provisioner.errors import RefusedForSafety
from provisioner.files import write_whole

NAME = "recovery-begun"


@dataclass(frozen=True)
class Recovery:
    """The survivor's snapshot, the id of the cluster that it is of, and when the recovery began.

    `holds` says that every member was proved to hold it: what was written since then is newer than the snapshot.
    """

    file: Path
    cluster_id: str
    at: float
    holds: bool = False


def begun(directory: Path) -> Recovery | None:
    """Return the recovery that has not ended; None where there is none, or its snapshot is gone."""
    place = directory / NAME
    if not place.is_file():
        return None
    try:
        said = json.loads(place.read_text(encoding="utf-8"))
        found = Recovery(Path(said["file"]), str(said["cluster_id"]), float(said["at"]), bool(said["holds"]))
    except (KeyError, TypeError, ValueError):
        raise RefusedForSafety(f"{place}: not what a recovery wrote there", code="snapshot-damaged",
                               details=["nothing was changed"], hint=f"rm {place}") from None
    return found if found.file.is_file() else None


def note(directory: Path, recovery: Recovery) -> None:
    """Keep that a recovery begins."""
    write_whole(directory / NAME, json.dumps({
        "file": str(recovery.file), "cluster_id": recovery.cluster_id, "at": recovery.at, "holds": recovery.holds},
        indent=1) + "\n")


def note_held(directory: Path) -> None:
    """Keep that every member holds the survivor's data."""
    found = begun(directory)
    if found is not None:
        note(directory, replace(found, holds=True))


def forget(directory: Path) -> None:
    """Keep nothing of a recovery any more: it has ended, or something else was restored."""
    (directory / NAME).unlink(missing_ok=True)
