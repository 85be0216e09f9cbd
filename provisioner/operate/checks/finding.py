"""What a check sees, and how it makes findings of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from provisioner.errors import KubewrightError
from provisioner.model.addresses import is_loopback
from provisioner.model.artifact import ArtifactLock
from provisioner.model.cluster import Cluster, Host
from provisioner.model.facts import Facts
from provisioner.model.finding import Finding, Severity
from provisioner.model.inspection import Inspection
from provisioner.model.reach import Alone, Probed

_NOTHING = Inspection()


@dataclass(frozen=True)
class HostSeen:
    """One host that answered; `inspection` is None where nothing is going to be changed.

    `missing_mib` is how much the host still has to get of what artifacts.lock pins, `foreign` which other cluster of
    ours it belongs to, and what to do about it, `refused` what else was tried there and did not go,
    `login` how many seconds Ansible's login took, `alone` what it found out by trying, None where it did not try.
    """

    host: Host
    facts: Facts
    clock_off: float = 0.0
    inspection: Inspection | None = None
    missing_mib: int = 0
    foreign: tuple[str, str] | None = None
    refused: tuple[KubewrightError, ...] = ()
    login: float = 0.0
    alone: Alone | None = None

    @property
    def name(self) -> str:
        return self.host.name

    def has(self, address: str) -> bool:
        """Say whether the host itself is reached at this address, from there."""
        return address in self.facts.addresses or is_loopback(address)

    @property
    def told(self) -> Inspection:
        """Return what the host told beyond its facts: nothing where it was not asked, or could not look."""
        return self.inspection or _NOTHING


@dataclass(frozen=True)
class Seen:
    """Everything the checks decide from; `faults` holds why a host did not answer."""

    cluster: Cluster
    lock: ArtifactLock
    hosts: Mapping[str, HostSeen]
    faults: Mapping[str, KubewrightError] = field(default_factory=dict)
    probed: Probed | None = None        # what came of trying between the hosts; None: nobody tried
    brought: frozenset[str] = frozenset()   # whose packages come in the run's bundle: debian-12-amd64


class Found(NamedTuple):
    """What a check found on a host, and the cure; `retry`: it may pass by itself. The table adds host and name."""

    severity: Severity
    saw: str
    cure: str
    retry: bool = False


@dataclass(frozen=True)
class Check:
    """A named check; `doc` says in a few words what it asks.

    `of` are the parts of an inspection that it judges by: where one of them could not be looked at, the check has not
    passed there, and says so.
    """

    name: str
    doc: str
    run: Callable[[Seen], Iterator[tuple[str, Found]]]
    needed: bool = False             # cannot be skipped: without it the host tells nothing, or no plan can be made
    asked: Callable[[HostSeen], bool] = lambda host: True      # is it answered by what was asked of this host?
    of: tuple[str, ...] = ()

    def findings(self, seen: Seen) -> Iterator[Finding]:
        """Return what this check finds, host by host, then where it could not look."""
        for host, found in self.run(seen):
            yield Finding(self.name, host, found.severity, found.saw, found.cure, expected=self.doc, retry=found.retry)
        for name, there in seen.hosts.items():
            for why in self._unseen(there):
                yield Finding(self.name, name, "unseen", f"not looked at: {why}", "", expected=self.doc)

    def answered(self, host: HostSeen) -> bool:
        """Say whether this host answered what the check judges by."""
        return self.asked(host) and (not self.of or inspected(host)) and not self._unseen(host)

    def _unseen(self, host: HostSeen) -> list[str]:
        missed = host.told.unseen
        return list(dict.fromkeys(missed[part] for part in self.of if part in missed))


def each(ask: Callable[[Seen, HostSeen], Iterator[Found]]) -> Callable[[Seen], Iterator[tuple[str, Found]]]:
    """Make a check of all hosts from a check of one."""

    def run(seen: Seen) -> Iterator[tuple[str, Found]]:
        for name, host in seen.hosts.items():
            for found in ask(seen, host):
                yield name, found

    return run


def inspected(host: HostSeen) -> bool:
    """Say whether the host was asked for more than its facts."""
    return host.inspection is not None
