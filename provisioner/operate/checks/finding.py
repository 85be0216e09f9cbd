"""What a check sees, and how it makes findings of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

from provisioner.errors import KubewrightError
from provisioner.model.artifact import ArtifactLock
from provisioner.model.cluster import Cluster, Host
from provisioner.model.facts import Facts
from provisioner.model.finding import Finding, Severity
from provisioner.model.inspection import Inspection


@dataclass(frozen=True)
class HostSeen:
    """One host that answered; `inspection` is None where nothing is going to be changed.

    `missing_mib` is how much the host still has to get of what artifacts.lock pins, `foreign` which other cluster of
    ours it belongs to, and what to do about it, `refused` what else was tried there and did not go,
    `login` how many seconds Ansible's login took.
    """

    host: Host
    facts: Facts
    clock_off: float = 0.0
    inspection: Inspection | None = None
    missing_mib: int = 0
    foreign: tuple[str, str] | None = None
    refused: tuple[KubewrightError, ...] = ()
    login: float = 0.0

    @property
    def name(self) -> str:
        return self.host.name


@dataclass(frozen=True)
class Seen:
    """Everything the checks decide from; `faults` holds why a host did not answer."""

    cluster: Cluster
    lock: ArtifactLock
    hosts: Mapping[str, HostSeen]
    faults: Mapping[str, KubewrightError] = field(default_factory=dict)


Found = tuple[Severity, str, str]
"""Severity, what was seen, and the cure; the host and the check's name are added by the table."""


@dataclass(frozen=True)
class Check:
    """A named check; `doc` says in a few words what it asks."""

    name: str
    doc: str
    run: Callable[[Seen], Iterator[tuple[str, Found]]]
    needed: bool = False             # cannot be skipped: without it the host tells nothing, or no plan can be made
    asked: Callable[[HostSeen], bool] = lambda host: True      # is it answered by what was asked of this host?

    def findings(self, seen: Seen) -> Iterator[Finding]:
        """Return what this check finds, host by host."""
        for host, (severity, saw, cure) in self.run(seen):
            yield Finding(self.name, host, severity, saw, cure, expected=self.doc)


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
