"""A roll of operating systems as people read it: the plan's table, without words about an inventory."""

from __future__ import annotations

from provisioner.model.cluster import Cluster
from provisioner.model.plan import Plan
from provisioner.report.impact import count
from provisioner.report.plan_text import note_lines, plan_text


def roll_text(plan: Plan, cluster: Cluster, *, seconds: float, diff: bool = False) -> str:
    """Return which packages change and who is rebooted, host by host; or that nothing is due."""
    if plan.has_work:
        return plan_text(plan, cluster, seconds=seconds, diff=diff)
    hosts = count(len(plan.desired.hosts), "host")
    return "\n".join([f"Nothing is due: no newer packages and no reboot on {hosts} (looked in {seconds:.1f}s).",
                      *note_lines(plan)])
