"""A roll of operating systems: whose packages change, who is rebooted, in which turns, and what is held meanwhile.

From values alone. A host is of the first of these that it is: a member of etcd alone, a balancer alone, a control
plane, and all others, workers among them. Only workers go several at a time, after the first of them alone.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

from provisioner.model.cluster import Cluster, Host, Role
from provisioner.model.desired import HostDesired
from provisioner.model.guards import DRAINED, LEADS_ELSEWHERE, OTHERS_BALANCE, OUT_OF_SERVICE
from provisioner.model.os_state import HOST, OF_OS, PACKAGE, REBOOT, OsState
from provisioner.model.phases import PhaseName
from provisioner.model.plan import NOTED, Act, Change, Plan, Stage, Turn, Verdict

VERB = "upgrade --os"
ROLLS: tuple[PhaseName, ...] = ("etcd", "load-balancer", "control-plane", "node")
# In the order in which they are entered. Every host has a HAProxy of its own; whose VIP it may be has keepalived.
_HELD = {"kubelet.service": DRAINED, "kube-apiserver.service": OUT_OF_SERVICE, "etcd.service": LEADS_ELSEWHERE,
         "keepalived.service": OTHERS_BALANCE}
Notes = Mapping[str, Sequence[Mapping[str, Any]]]
"""What runs noted on control planes, by their ids."""


def walked(until: str) -> tuple[PhaseName, ...]:
    """Return the phases up to this one, all where it is none of them."""
    return ROLLS[:next((n for n, phase in enumerate(ROLLS, 1) if phase == until), len(ROLLS))]


def phase_of(host: Host) -> PhaseName:
    """Return with whom a host goes."""
    if Role.CONTROL_PLANE in host.roles:
        return "control-plane"
    if Role.ETCD in host.roles:
        return "etcd"
    return "load-balancer" if Role.LOAD_BALANCER in host.roles else "node"


def changes(cluster: Cluster, states: Mapping[str, OsState], *, reboot: bool, before: Mapping[str, str],
            ) -> tuple[Change, ...]:
    """Return what is to be done on these hosts: each package with its versions, and the reboot that is due.

    With `reboot` each host is rebooted once; `before` are the boots in which a roll found its hosts that has not ended
    yet: one that is in another boot since is done.
    """
    return tuple(change for host in cluster.machines if host.name in states
                 for change in _of_host(host, states[host.name], reboot=reboot, before=before.get(host.name, "")))


def _of_host(host: Host, state: OsState, *, reboot: bool, before: str) -> Iterator[Change]:
    for one in state.newer:
        yield Change(host.name, phase_of(host), PACKAGE, one.name, "change" if one.was else "add",
                     f"{one.was} → {one.will}" if one.was else f"{one.will}, which others need", one.was, one.will)
    asked = reboot and before in ("", state.boot)
    if state.required or asked:
        why = f"{', '.join(state.by) or 'the system'} asks for it" if state.required else "asked for with --reboot"
        yield reboot_of(host.name, phase_of(host), why, state.boot)


def reboot_of(host: str, phase: PhaseName, why: str, boot: str) -> Change:
    """Return the reboot of a host that is in this boot now."""
    return Change(host, phase, REBOOT, HOST, "restart", why, boot, "")


def noted(states: Mapping[str, OsState], before: Mapping[str, str], *, reboot: bool) -> tuple[Verdict, ...]:
    """Return what a person is told beside the changes: what is held, not looked at, or done already."""
    found = []
    for host, state in states.items():
        held = ", ".join(state.held)
        found += [(host, f"held, and left as they are: {held}")] if held else []
        found += [(host, f"not looked at: {part}: {why}") for part, why in state.unseen.items()]
        found += [(host, "left half done by an upgrade that was cut short, finished first: " + ", ".join(state.half)),
                  ] if state.half and state.newer else []
        found += [(host, "rebooted already by the roll that goes on here")] if reboot and before.get(
            host, state.boot) != state.boot else []
    return tuple(Verdict(host, "os", NOTED, words) for host, words in found)


def is_roll(plan: Plan) -> bool:
    """Say whether a plan is one of operating systems."""
    return any(c.kind in OF_OS for c in plan.changes)


def stages(plan: Plan, workers: Collection[str], limit: int) -> tuple[Stage, ...]:
    """Return the stages of a roll as they are walked, as far as who leads and who has the VIP is not asked yet."""
    found = []
    for phase in ROLLS:
        of_phase = plan.of(phase)
        rebooted = tuple(h for h, of_host in of_phase.items() if any(c.kind == REBOOT for c in of_host))
        acts = (Act(REBOOT, HOST, rebooted),) if rebooted else ()
        if of_phase:
            found.append(Stage(phase, turns(plan, phase, list(of_phase), workers=workers, limit=limit),
                               sum(len(of_host) for of_host in of_phase.values()), acts=acts))
    return tuple(found)


def turns(plan: Plan, phase: PhaseName, hosts: Sequence[str], *, workers: Collection[str] = (), limit: int = 1,
          last: Collection[str] = ()) -> tuple[Turn, ...]:
    """Return the turns of a phase: one host at a time, `last` those that most depends on; workers in batches behind."""
    alone = sorted((h for h in hosts if h not in workers), key=lambda host: host in last)
    many = [h for h in hosts if h in workers]
    rest = [tuple(many[i:i + limit]) for i in range(1, len(many), limit)]
    batches: list[tuple[str, ...]] = [*((h,) for h in (*alone, *many[:1])), *rest]
    return tuple(Turn(batch, (phase,), _guards([plan.desired.hosts[h] for h in batch])) for batch in batches)


def _guards(hosts: Sequence[HostDesired]) -> tuple[str, ...]:
    return tuple(guard for unit, guard in _HELD.items() if any(h.find("unit", unit) for h in hosts))


def boots_before(notes: Notes, options: Mapping[str, Any]) -> Mapping[str, str]:
    """Return in which boot each host was when the roll began that one with these `options` goes on with; else none.

    That is one that has not ended well, or that was asked for a part of this one (`--only`, `--until`, `--without`):
    the same command anew begins anew. Only the newest counts: what came before it is in what it noted itself.
    """
    acts = _newest(notes)
    asked = next((a.get("options") or {} for a in acts if a["act"] == "begin"), {})
    ended = next((a for a in acts if a["act"] == "end"), None)
    if ended is not None and ended.get("status") == "ok" and not _is_part(asked, options):
        return {}
    return next((dict(a["boots"]) for a in acts if a["act"] == "boots"), {})


def _is_part(asked: Mapping[str, Any], options: Mapping[str, Any]) -> bool:
    """Say whether a roll was asked for less than what is asked for now, and for no host that is not asked for now."""
    then, now = (frozenset(one.get("only", ())) for one in (asked, options))
    narrows = _narrowing(asked)
    return narrows not in (_narrowing({}), _narrowing(options)) and (not now or (bool(then) and then <= now))


def _narrowing(options: Mapping[str, Any]) -> tuple[object, ...]:
    return sorted(options.get("only", ())), options.get("until") or "", sorted(options.get("without", ()))


def rebooting(notes: Notes) -> Mapping[str, str]:
    """Return which hosts the newest roll told to reboot and did not see back, each with the boot that it was in."""
    told: dict[str, str] = {}
    for act in _newest(notes):
        if act["act"] == "reboot":
            told |= dict(act["boots"])
        elif act["act"] == "back":
            told = {host: boot for host, boot in told.items() if host not in act["hosts"]}
    return told


def _newest(notes: Notes) -> Sequence[Mapping[str, Any]]:
    rolls = [run for run, acts in notes.items()
             if any(a["act"] == "begin" and (a.get("origin") or {}).get("verb") == VERB for a in acts)]
    return notes[max(rolls)] if rolls else ()
