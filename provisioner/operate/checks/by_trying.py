"""The checks that hosts have to try something for: of new hosts, and of all where that is asked for."""

from __future__ import annotations

from provisioner.operate.checks import pairs, tried_alone
from provisioner.operate.checks.finding import Check, each

TRIED: tuple[Check, ...] = (
    Check("reach", "hosts reach what they need of each other", pairs.reach, asked=pairs.probed),
    Check("majority", "a majority of etcd's members see each other", pairs.majority, asked=pairs.probed),
    Check("latency", "packets between hosts are quick, and none is lost", pairs.latency, asked=pairs.probed),
    Check("mtu", "packets as large as the Pod network's pass whole", pairs.mtu, asked=pairs.sized),
    Check("vrrp", "nobody else speaks VRRP with our router id", pairs.vrrp, asked=pairs.hears),
    Check("twin", "no other machine has the host's address", each(tried_alone.twin), asked=tried_alone.on_segment),
    Check("dns", "its DNS servers answer, and make nothing up", each(tried_alone.dns), asked=tried_alone.resolved),
    Check("fsync", "etcd's disk is quick", each(tried_alone.disk), asked=tried_alone.synced),
)
NAMES = frozenset(check.name for check in TRIED)
