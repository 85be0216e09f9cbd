"""A network in memory: every host reaches every other, unless a test says otherwise."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from provisioner.transport.hosts import Take

GOOD_DISK = {"samples": 5000, "p50": 0.2, "p99": 1.5, "worst": 4.0}
GOOD_DNS: dict[str, Any] = {"servers": [], "behind": []}
Way = tuple[str, str, int]
"""Address of who is to be reached, protocol, port."""


@dataclass
class FakeNetwork:
    """`asked` is what each host was asked, `went` what each tried; the rest says what does not go well."""

    asked: dict[str, Mapping[str, Any]] = field(default_factory=dict)
    went: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    lost: dict[tuple[str, Way], str] = field(default_factory=dict)         # (source, way) -> why
    theirs: set[tuple[str, str, int]] = field(default_factory=set)         # (host, protocol, port): somebody listens
    deaf: dict[tuple[str, str, int], str] = field(default_factory=dict)    # where nobody can listen -> why
    said: dict[tuple[str, str], dict[str, Any]] = field(default_factory=dict)      # (host, part) -> its answer
    mute: set[str] = field(default_factory=set)                            # hosts that end without a word
    slow: dict[tuple[str, Way], list[float]] = field(default_factory=dict)
    small: dict[tuple[str, Way], int] = field(default_factory=dict)        # what passes, where not all does
    adverts: dict[str, list[list[Any]]] = field(default_factory=dict)      # what a host heard of VRRP from others
    _heard: dict[str, list[list[Any]]] = field(default_factory=dict)

    def reach(self, host: str, request: Mapping[str, Any], says: Iterable[bytes], take: Take) -> None:
        """Do what the applier's `reach` does."""
        self.asked[host] = request
        if host in self.mute:
            return
        take({"listening": [[one["protocol"], one["port"], self._word(host, one)] for one in request["listen"]]})
        for part, good in (("fsync", GOOD_DISK), ("dns", GOOD_DNS), ("arp", {"also": []})):
            if part in request:
                take({part: self.said.get((host, part), good)})
        for line in says:
            if line.strip():
                self._go(host, json.loads(line)["reach"], take)
        take({"end": "asked", "vrrp": [*self._heard.get(request["address"], ()), *self.adverts.get(host, ())]})

    def _word(self, host: str, one: Mapping[str, Any]) -> str:
        key = host, one["protocol"], one["port"]
        return self.deaf.get(key) or ("theirs" if key in self.theirs else "ours")

    def _go(self, host: str, probes: list[dict[str, Any]], take: Take) -> None:
        self.went[host] = probes
        for one in probes:
            way = one["address"], one["protocol"], one["port"]
            why = self.lost.get((host, way))
            said: dict[str, Any] = {"id": one["id"], "ok": True} if not why else {
                "id": one["id"], "ok": False, "why": why}
            if one["protocol"] == "tcp" and not why:
                said |= {"ms": self.slow.get((host, way), [0.2]), "lost": 0, "of": one["times"]}
            if one["protocol"] == "vrrp" and why:
                said = {"id": one["id"], "ok": True}        # who sends knows nothing
            elif one["protocol"] == "vrrp":
                self._heard.setdefault(one["address"], []).append([one["from"], one["router"], True, 3])
            if one.get("size") and one["protocol"] in ("udp", "icmp") and not why:
                said["passes"] = self.small.get((host, way), one["size"])
            take({"tried": said})
        take({"all": True})
