"""A host gets newer packages, or another boot: acts of the host itself that outlive us, and the wait for its return.

Whether it was rebooted is told by the kernel's boot id alone, which no clock and no lost connection can fake.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import NamedTuple

from provisioner.compile.load_balancer import KEEPALIVED
from provisioner.errors import GateFailed, KubewrightError
from provisioner.model.desired import Unit
from provisioner.model.observed import ABSENT
from provisioner.model.os_state import Newer, OsState
from provisioner.model.phases import PhaseName
from provisioner.model.plan import Change
from provisioner.orchestrate.gates import api_servers, etcd_members, proofs
from provisioner.orchestrate.session import runs, telling
from provisioner.orchestrate.session.session import Session
from provisioner.orchestrate.turn import handover
from provisioner.orchestrate.turn.apply import apply_batch, over_connections, program
from provisioner.transport.hosts import OneHost

BOOT_ID = "/proc/sys/kernel/random/boot_id"
SYSTEMD_RUN = "/usr/bin/systemd-run"
SYSTEMD = "systemd"     # the package that it is of
PACKAGES = 1800         # seconds for all of a host's packages
LOOK = 1.0              # seconds between two looks for a host that reboots
# In a unit of its own: it outlives the step, and has the environment and the umask of a service.
_UNIT = ("--wait", "--pipe", "--quiet", "--collect", "--setenv=DEBIAN_FRONTEND=noninteractive",
        "--setenv=LC_ALL=C.UTF-8", "--setenv=NEEDRESTART_MODE=l", "--setenv=NEEDRESTART_SUSPEND=1",
        "--unit=kubewright-os-packages", "--")
# Behind the answer of the step, which is on disk by then: asked once more, it is not done once more.
_REBOOT = ("--quiet", "--collect", "--on-active=2", "--timer-property=AccuracySec=100ms", "systemctl", "reboot")


class _Call(NamedTuple):
    """What the package manager is asked for, and why."""

    why: str
    argv: tuple[str, ...]


def look(session: Session, hosts: Sequence[str], *, refresh: bool = False) -> dict[str, OsState]:
    """Return what these hosts wait for; one error holds every host that does not answer."""
    return session.hosts.each(lambda one: one.os_state(refresh=refresh), hosts)


def bring_packages(session: Session, step: str, phase: PhaseName, newer: Mapping[str, Sequence[Newer]]) -> None:
    """Let hosts install exactly these versions, once whoever holds the package lock is done; what came by itself before
    still goes with what needs it.

    All of it is one step, which outlives us; but a step runs only the program that was seen before it, so what comes
    behind another systemd is a step of its own.
    """
    states = look(session, list(newer)) if newer else {}
    calls, behind = dict[str, list[_Call]](), dict[str, list[_Call]]()
    for host, of_host in newer.items():
        manager = session.manager_of(host)
        own = [one.name for one in of_host if one.name in states[host].automatic] if manager.automatic else []
        marks = [_Call("they go with what needs them, as before", (*manager.automatic, *own))] if own else []
        calls[host] = [_Call("finish what was cut short", manager.finish)] if states[host].half else []
        calls[host] += [_Call(f"{len(of_host)} packages", (*manager.upgrade, *manager.versions(of_host)))]
        (behind if any(one.name == SYSTEMD for one in of_host) else calls).setdefault(host, []).extend(marks)
    for name, of_step in ((step, calls), (f"{step}-marks", behind)):
        batch = {host: [program(session, host, phase, one.why, (*_UNIT, *one.argv), PACKAGES, SYSTEMD_RUN)
                        for one in of_host]
                 for host, of_host in of_step.items() if of_host}
        if batch:
            apply_batch(session, name, batch, over_connections, seconds=PACKAGES)


def reboot(session: Session, step: str, phase: PhaseName, boots: Mapping[str, str], seconds: float) -> dict[str, str]:
    """Reboot hosts that are in these boots, and return in which each is then; GateFailed for one that does not answer.

    The VIP leaves a host before, when what came to it has been answered (`_without_vip`).
    """
    runs.note(session, "reboot", boots=dict(boots))
    batch = {host: [*_without_vip(session, host, phase),
                    program(session, host, phase, f"another boot than {boot}", _REBOOT, 60, SYSTEMD_RUN)]
             for host, boot in boots.items()}
    apply_batch(session, step, batch, over_connections)
    there = _wait(session, phase, boots, seconds)
    runs.note(session, "back", hosts=list(boots))
    return there


@contextmanager
def resting(session: Session, hosts: Sequence[str]) -> Iterator[None]:
    """Let nothing count during the block that these hosts measure: what they cannot do then is no fault of others."""
    with session.run.lock:
        session.run.resting |= set(hosts)
    try:
        yield
    finally:
        with session.run.lock:
            session.run.resting -= set(hosts)


def wait_for(session: Session, boots: Mapping[str, str], seconds: float) -> None:
    """Wait for hosts that a run told to reboot and that ended before they were back."""
    if boots:
        session.tell("waiting", message=f"{', '.join(boots)}: told to reboot by a run that ended before: waited for")
        _wait(session, "prepare", boots, seconds, any_boot=True)


def _boot(one: OneHost) -> str:
    return one.read([BOOT_ID])[0].decode().strip()


def _wait(session: Session, phase: PhaseName, boots: Mapping[str, str], seconds: float, *, any_boot: bool = False,
          ) -> dict[str, str]:
    """Poll until every host says that it is in another boot than it was, `any_boot` until it answers at all."""
    began = told = time.monotonic()
    there: dict[str, str] = {}
    while True:
        missing = [host for host in boots if host not in there]
        answers = session.hosts.map(_boot, missing, patient=False)
        for host, boot in answers.items():
            if isinstance(boot, str) and (any_boot or boot != boots[host]):
                there[host] = boot
                telling.of_gate(session, phase, "after", host=host, proved=[f"rebooted: boot {boot}"],
                                seconds=time.monotonic() - began)
        late = [host for host in missing if host not in there]
        if not late:
            return there
        if time.monotonic() - began > seconds:
            raise _not_back(session, phase, late, answers, seconds)
        session.run.stay()
        if time.monotonic() - told > proofs.TELL:
            told = time.monotonic()
            session.tell("waiting", phase=phase, message=f"{', '.join(late)} to come back from the reboot")
        time.sleep(LOOK)


def _not_back(session: Session, phase: PhaseName, late: Sequence[str], answers: Mapping[str, str | KubewrightError],
              seconds: float) -> GateFailed:
    said = [answer.message if isinstance(answer := answers[host], KubewrightError)
            else f"{host}: answers, and is still in the boot that it was in" for host in late]
    fault = GateFailed(f"{', '.join(late)}: rebooting: not back after {seconds:.0f} s", code="not-back",
                       details=[*said, *_what_serves(session, late), "no other host was touched after that"],
                       hint=f"look at the console of {late[0]}; when it answers: {session.run.go_on}")
    telling.of_gate(session, phase, "after", host=late[0], proved=["rebooted"], seconds=seconds, fault=fault)
    return fault


def _what_serves(session: Session, without: Sequence[str]) -> list[str]:
    """Say what goes on without these hosts, as far as it can be asked."""
    if session.plan is None:
        return []
    servers, members = [], dict[str, object]()
    with suppress(KubewrightError):
        servers = api_servers.api_servers_that_serve(session, [h for h in session.api_servers if h not in without])
        members = dict(etcd_members.answering(session, [h for h in session.members if h not in without]))
    return [f"still serve: API servers {', '.join(servers) or 'none'}; etcd members {', '.join(members) or 'none'}"]


def _without_vip(session: Session, host: str, phase: PhaseName) -> list[Change]:
    """Return what lets the VIP leave a host: nobody new is taken for a moment, then keepalived ends."""
    unit = session.the_plan.desired.hosts[host].find("unit", KEEPALIVED)
    if session.cluster.api.vip is None or unit is None or session.state_of(host, KEEPALIVED) == ABSENT:
        return []
    return [*handover.no_new_connections(session, host, phase),
            Change(host, phase, Unit.kind, KEEPALIVED, "stop", "the host is rebooted", "", "",
                   Unit(path=KEEPALIVED, phase=unit.phase, listed=True))]
