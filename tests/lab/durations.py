"""How long each lab test took, with what was made ready for it: kept of every run, and bounded in sum."""

from __future__ import annotations

import json
import os
import time
from collections import defaultdict
from pathlib import Path

from tests.lab import figures

# Seconds for all lab tests of ./scripts/test; the rest of its 30 minutes on a warm machine is for everything before.
# On two cores beside other work (load 3 to 8) 82 tests took 964 s, of which one that failed waited for 120; a machine
# that is a quarter slower may have them too.
CEILING = 1200.0
FILE = "lab-durations.json"
_PARTS: defaultdict[str, dict[str, float]] = defaultdict(dict)
_LINES: list[str] = []
LOAD_BEFORE = os.getloadavg()[0]


def note(test: str, part: str, seconds: float) -> None:
    """Keep the seconds of one part (setup, call, teardown) of a test."""
    _PARTS[test][part] = round(seconds, 2)


def exceeds(total: float, *, load: float, processors: int) -> bool:
    """Say whether a run of all tests was too long; on a machine that was busy before, nobody can say."""
    return total > CEILING and load <= processors


def finish(root: Path, *, is_whole: bool) -> bool:
    """Write the durations below .kubewright; return whether they are more than there may be."""
    total = round(sum(sum(parts.values()) for parts in _PARTS.values()), 1)
    if not _PARTS:
        return False
    document = {"commit": figures.commit(root), "date": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
                "nproc": os.cpu_count(), "load_before": round(LOAD_BEFORE, 1), "whole": is_whole, "sum": total,
                "tests": dict(sorted(_PARTS.items(), key=lambda row: -sum(row[1].values())))}
    place = root / ".kubewright"
    place.mkdir(exist_ok=True, mode=0o700)
    (place / FILE).write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    _LINES.append(f"{len(_PARTS)} tests took {total:.0f} s in all: {place / FILE}")
    if is_whole and total > CEILING:
        _LINES.append(f"more than the {CEILING:.0f} s that they may take, load {LOAD_BEFORE:.1f} before")
    return is_whole and exceeds(total, load=LOAD_BEFORE, processors=os.cpu_count() or 1)


def lines() -> list[str]:
    """Return what is to be told of it in the end."""
    return list(_LINES)
