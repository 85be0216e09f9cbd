"""Drains as people read them before anything is done: what becomes of each Pod, and which budget lets none go."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from provisioner.model.draining import ENDS, MOVES, OURS, STAYS, THEIRS, WAITS, Drain, Hold, PodFate
from provisioner.report.columns import in_line
from provisioner.report.impact import count

_NAMED = 5      # Pods that stay named in a row before the rest is counted
_ORDER = (ENDS, WAITS, MOVES, STAYS)


def drains_text(cluster: str, drains: Sequence[Drain]) -> str:
    """Return what it means to drain these Nodes: the worst first, each Pod that leaves by name."""
    lines = [f"Cluster  {cluster}    drain {', '.join(drain.host for drain in drains)}"]
    for drain in drains:
        lines += drain_lines(drain)
    return "\n".join(lines)


def drain_lines(drain: Drain) -> Iterator[str]:
    """Yield a Node's part of a plan."""
    yield f"  {drain.host}  {_head(drain)}"
    going = sorted(drain.leaving, key=lambda pod: _ORDER.index(pod.fate))
    rows = [(pod.fate, pod.full_name, _became(pod)) for pod in going] + list(_staying(drain))
    yield from (f"    {line}" for line in (in_line(rows) if rows else ()))
    for hold in drain.holds:
        yield f"    budget {hold_text(hold)}"


def _head(drain: Drain) -> str:
    cordon = {"": "takes no new Pods from now on", OURS: "is cordoned by us already",
              THEIRS: "is cordoned by somebody else, who may uncordon it: that is left alone"}[drain.cordon]
    ill = "" if drain.ready else "; it is not Ready: its kubelet may not end its Pods"
    stay = len(drain.pods) - len(drain.leaving)
    return f"{cordon}{ill}; {count(len(drain.leaving), 'Pod')} {'leaves' if len(drain.leaving) == 1 else 'leave'}, " \
           f"{stay} {'stays' if stay == 1 else 'stay'}"


def _became(pod: PodFate) -> str:
    """Say what becomes of a Pod, what it loses, and what it waits for or goes against."""
    parts = [pod.why, *pod.loses]
    if pod.forced and pod.held:
        parts.append(f"deleted against {', '.join(pod.held)}, as --force {pod.namespace} says")
    elif pod.held:
        parts.append(f"waits for {', '.join(pod.held)}")
    return "; ".join(parts)


def _staying(drain: Drain) -> Iterator[tuple[str, str, str]]:
    alike: dict[str, list[str]] = {}
    for pod in drain.pods:
        if not pod.leaves:
            alike.setdefault(pod.why, []).append(pod.full_name)
    for why, names in alike.items():
        more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
        yield STAYS, ", ".join(names[:_NAMED]) + more, why


def hold_text(hold: Hold) -> str:
    """Return a budget that lets none go: its sum, since when, whom it holds, and whether waiting helps."""
    since = f", since {hold.since}" if hold.since else ""
    never = "; waiting alone does not help: it would let none go with all Pods healthy" if hold.never else ""
    return f"{hold.budget}: {hold.why}{since}: holds {', '.join(hold.pods)}{never}"
