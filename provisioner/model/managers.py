"""The package managers: one row each, with what is told to them from here and what a person is told to type.

What a host itself asks of its own is in provisioner/applier/managers.py; how packages come there first, in
playbooks/tasks, one file each.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from provisioner.model import families
from provisioner.model.facts import Facts
from provisioner.model.os_state import Newer

LOCKED = 300            # seconds that a package manager waits for another that holds its lock
_AGAIN = 3              # seconds between two asks of dnf, which says by exit code 200 that another is at work


@dataclass(frozen=True)
class Manager:
    """One row.

    For people: `fresh`, `install` and `purge` stand before names, `owner` before a path, `mend` is a line of its own;
    `kernel` is the package of the kernel for an architecture, `source` what makes the system's own sources known.
    `mended`: `up` does that itself. For `upgrade --os`: `finish` ends what was cut short, `upgrade` stands before
    packages with their exact versions, as `exact` writes them, and `automatic` before those that are to go with what
    needs them, empty where they stay so by themselves.
    """

    name: str
    fresh: str
    install: str
    purge: str
    owner: str
    mend: str
    mended: bool
    kernel: str
    source: str
    finish: tuple[str, ...]
    upgrade: tuple[str, ...]
    exact: str
    automatic: tuple[str, ...]

    def versions(self, newer: Sequence[Newer]) -> tuple[str, ...]:
        """Return what is asked for: exactly the versions of the plan; what comes anew comes as they need it."""
        return tuple(self.exact.format(name=one.name, version=one.will) for one in newer if one.was)


APT = Manager(
    "apt", "apt-get update && ", "apt-get install -y", "apt-get purge", "dpkg -S",
    "dpkg --configure -a && apt-get -f install -y", True, "linux-image-{arch}",
    "echo 'deb http://deb.debian.org/debian bookworm main' >> /etc/apt/sources.list && apt-get update",
    finish=("dpkg", "--configure", "-a"),
    upgrade=("apt-get", "-q", "-y", "-o", f"DPkg::Lock::Timeout={LOCKED}", "-o", "Dpkg::Options::=--force-confdef",
             "-o", "Dpkg::Options::=--force-confold", "--no-install-recommends", "--no-remove", "install"),
    exact="{name}={version}", automatic=("apt-mark", "auto"))
# dnf itself would wait for who holds its lock as long as the step has time. In sh, since nothing of dnf's has an end.
_WAITS = (f'tries={LOCKED // _AGAIN}; while "$@"; code=$?; [ $code = 200 ] && [ $tries -gt 0 ]; '
          f'do tries=$((tries - 1)); sleep {_AGAIN}; done; exit $code')
# `remove --duplicates` is all that dnf offers for an upgrade that was cut: it ends what is there twice, and calls it a
# fault where somebody else did that meanwhile.
_ENDS = ('said=$("$@" 2>&1); code=$?; case $said in *"No duplicated packages"*) exit 0 ;; esac; '
         'echo "$said" >&2; exit $code')
_DNF = ("dnf", "-q", "-y", "--setopt=exit_on_lock=True", "--setopt=*.skip_if_unavailable=True")
DNF = Manager(
    "dnf", "", "dnf install -y", "dnf remove", "rpm -qf", "dnf remove --duplicates", False, "kernel",
    "dnf repolist --all    # and dnf config-manager --set-enabled NAME; on RHEL itself: subscription-manager register",
    finish=("sh", "-c", _WAITS, "sh", "sh", "-c", _ENDS, "sh", *_DNF, "remove", "--duplicates"),
    upgrade=("sh", "-c", _WAITS, "sh", *_DNF, "--setopt=install_weak_deps=False", "install"),
    exact="{name}-{version}", automatic=())
BY_NAME: Mapping[str, Manager] = {row.name: row for row in (APT, DNF)}


def install(facts: Facts, *names: str, fresh: bool = False) -> str:
    """Return the line that a person types on a host to have packages of Debian's names; `fresh`: of lists read anew.
    """
    row, manager = families.of_facts(facts), of_facts(facts)
    return f"{manager.fresh if fresh else ''}{manager.install} {' '.join(map(row.package, names))}"


def of_facts(facts: Facts) -> Manager:
    """Return the package manager of a host: the one that it asks itself, also where there is no row of its system."""
    return BY_NAME[facts.manager or families.of_facts(facts).manager]
