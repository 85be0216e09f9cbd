"""What the prober saw, in words: one line when all was well, a line more for each series that was not."""

from __future__ import annotations

from provisioner.model.availability import Availability, SeriesResult
from provisioner.report.columns import in_line


def headline(seen: Availability) -> str:
    """Return the result in one line; what was not seen is said, never counted as good or bad."""
    words = [f"{seen.failures} of {seen.attempts} attempts failed", f"longest gap {seen.gap_ms} ms",
             f"{'unknown' if seen.lost is None else seen.lost} of {seen.writes} acknowledged writes lost",
             f"{seen.cuts} requests cut"]
    if seen.leader_changes is not None:
        words.append(f"{seen.leader_changes} leader changes")
    if seen.not_seen_seconds:
        words.append(f"not seen for {seen.not_seen_seconds:g} s")
    return ", ".join(words)


def details(seen: Availability) -> list[str]:
    """Return a line for each series with failures or cuts, worst first, then one for each host that was not seen."""
    bad = sorted((s for s in seen.series if s.failures or s.cuts), key=lambda s: -s.failures)
    hidden = [f"{host}: not seen for {seconds:.1f} s" + (f": {seen.faults[host]}" if host in seen.faults else "")
              for host, seconds in seen.not_seen.items() if seconds >= 0.05]
    return [_series(one) for one in bad] + hidden


def _series(one: SeriesResult) -> str:
    reasons = ", ".join(f"{why} ({count})" for why, count in one.reasons.items())
    cuts = f", {one.cuts} cut" if one.cuts else ""
    return (f"{one.series} from {one.host}: {one.failures} of {one.attempts} failed{cuts}, longest gap {one.gap_ms} ms"
            + (f": {reasons}" if reasons else ""))


def table(seen: Availability) -> list[str]:
    """Return every series as a row of a table."""
    rows = [("SERIES", "FROM", "ATTEMPTS", "FAILED", "GAP", "SLOWEST")]
    rows += [(s.series, s.host, str(s.attempts), str(s.failures), f"{s.gap_ms} ms", f"{s.slowest_ms} ms")
             for s in seen.series]
    return list(in_line(rows))
