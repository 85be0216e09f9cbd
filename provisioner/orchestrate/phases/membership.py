"""Bring etcd's members to what the inventory says, one act at a time, each decided from what the members say then.

Nothing of it is remembered here: what a run is about to add is recorded on the hosts before, and a run that goes on
after a kill finds by that and by the members' own list where the last one stopped.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from provisioner.compile.etcd import BOOTSTRAP_ENV, BOOTSTRAPPED, JOINING
from provisioner.decide.membership import Act, Membership, Refused, next_act
from provisioner.errors import GateFailed, KubewrightError, RefusedForSafety
from provisioner.model.cluster import Host
from provisioner.model.desired import EtcdMember, File, Tree, Unit
from provisioner.model.etcd import MemberSeen
from provisioner.model.observed import ABSENT, ObservedItem
from provisioner.model.plan import Change
from provisioner.operate import etcd, etcd_membership
from provisioner.orchestrate.gates import etcd_members, proofs
from provisioner.orchestrate.phases import new_cluster
from provisioner.orchestrate.plan import members, owner
from provisioner.orchestrate.session.phase import counted
from provisioner.orchestrate.session.session import Session
from provisioner.orchestrate.turn.apply import Changes, apply_batch

RECONFIGURED = 60.0     # seconds; etcd refuses a change until all its members were connected for 5
JOINED = 180.0          # seconds for a member to start and to take in all data, beside a cluster that serves
ACTS_A_MEMBER = 4       # removed, added, started, promoted
TOO_EARLY = 5.0         # seconds of a request that waits for the leader


def clear(session: Session) -> None:
    """Take out members of hosts that are lost, and what an earlier run of ours added for a host that has left since."""
    if not session.the_plan.members:
        return
    while True:
        seen = _look(session)
        lost = [m.id for m in seen.listed if m.name in session.target.still_members and m.name in session.unreachable]
        act = next_act(seen, _wanted(session), [*lost, *session.target.replaced.values()])
        if not isinstance(act, Act) or act.kind != "remove":
            return
        _remove(session, act, seen, {})
        session.target.still_members.discard(act.host)


def take_out(session: Session, host: str) -> None:
    """Take a host's member out of etcd while it runs, all others being well; RefusedForSafety where the rest could not
    agree any more."""
    etcd_members.other_members_serve(session, [host])
    seen = _look(session)
    ids = [m.id for m in seen.listed if m.name == host]
    act = next_act(seen, [m for m in _wanted(session) if m.name != host], ids)
    if isinstance(act, Refused):
        raise _refused(act)
    if act is not None and act.kind == "remove":
        _remove(session, act, seen, {})
    session.target.still_members.discard(host)
    etcd_members.etcd_is_one_cluster(session)


def _wanted(session: Session) -> list[EtcdMember]:
    """Return the members that are to be, with those that are alive and leave later in this run."""
    going = {**session.target.leaving, **session.target.former}
    still = [EtcdMember(h, Host(h, going[h]).address) for h in sorted(session.target.still_members)
             if h not in session.unreachable]
    return [*session.the_plan.desired.members, *still]


def _refused(act: Refused) -> RefusedForSafety:
    return RefusedForSafety(f"etcd: {act.why}", code="etcd-quorum", hint="kubewright status",
                            details=[*act.details, "the members are as they were"])


def follow(session: Session, changes: Changes) -> str:
    """Do what is left to do about who is a member, with the `changes` of each host whose member joins.

    Raises RefusedForSafety before an act that the quorum does not bear, GateFailed where a member does not come to
    vote; it is removed again then.
    """
    if not session.the_plan.members:
        return ""
    wanted = _wanted(session)
    done: list[Act] = []
    _record(session, [m for m in wanted if m.name in session.target.joining])
    while True:
        seen = _look(session)
        act = next_act(seen, wanted)
        if isinstance(act, Refused):
            raise _refused(act)
        if act is None:
            break
        if len(done) >= ACTS_A_MEMBER * (len(wanted) + len(seen.listed)):
            raise GateFailed(f"etcd: {act.kind} {act.host}: the members do not come to be the inventory's",
                             hint="kubewright status")
        session.run.safe_point()
        session.run.works_on(f"etcd: {act.kind} {act.host or act.url}")
        _DO[act.kind](session, act, seen, changes)
        done.append(act)
    session.target.joining.clear()
    _forget(session)
    joined = list(dict.fromkeys(a.host for a in done if a.kind == "promote" or (a.kind == "start" and a.host)))
    return f"{counted(len(joined), 'member')} joined: {', '.join(joined)}" if joined else ""


def _look(session: Session) -> Membership:
    """Ask all members, and for their list one that has a majority behind it; GateFailed where none has."""
    hosts = [m.name for m in _wanted(session) if m.name not in session.unreachable]
    heard = etcd_members.answering(session, hosts)
    answering = {a.member_id for a in heard.values() if a.leader_id}
    faults: list[str] = []
    for host, answer in heard.items():
        if not answer.leader_id or answer.learner:      # a learner may not be asked for the list
            continue
        try:
            listed = etcd_membership.listed(session.access.etcd(host))
        except KubewrightError as fault:
            faults.append(f"{host}: {fault.message}")
            continue
        return Membership(listed, answering, members.recorded(session))
    raise GateFailed("etcd: no member has a majority behind it", details=faults, hint="kubewright status")


def _healthy(session: Session, seen: Membership, but: str = "") -> str:
    """Return the host of a voter that answers, and is not the one that it is about."""
    names = {m.name for m in seen.voters if m.id in seen.answering and m.name != but}
    return next(h for h in session.members if h in names)


def _add(session: Session, act: Act, seen: Membership, changes: Changes) -> None:
    """Add a learner; one whose answer was lost is in the list all the same, and is not added twice."""
    host = _healthy(session, seen)

    def look() -> str:
        access = session.access.etcd(host)
        if any(act.url in m.peer_urls for m in etcd_membership.listed(access)):
            return ""
        session.run.still_ours()
        etcd_membership.add_learner(access, act.url, timeout=TOO_EARLY)
        return ""

    proofs.wait_until(session, "etcd", look, RECONFIGURED, when="before", proof=f"{act.host} is a learner")


def _start(session: Session, act: Act, seen: Membership, changes: Changes) -> None:
    """Start a member with the list as it is now; the list of the inventory may name others that are none yet."""
    named = [f"{m.name or act.host}={url}" for m in seen.listed for url in m.peer_urls
             if m.name or act.url in m.peer_urls]
    content = f"ETCD_INITIAL_CLUSTER={','.join(named)}\nETCD_INITIAL_CLUSTER_STATE=existing\n"
    own = list(changes.get(act.host, ()))
    if not any(c.path == members.UNIT.path and c.kind == Unit.kind for c in own):
        own.append(_unit(session, act.host, "restart", "it joins"))    # it may have been told another list
    env = new_cluster.written(session, act.host, BOOTSTRAP_ENV, content, "it joins these members")
    apply_batch(session, f"etcd.join-{act.host}", {act.host: (*_old_data(session, act), env, *own)})
    _seen_now(session, act.host, BOOTSTRAP_ENV, content)
    _until_listed(session, act, seen, lambda member: "" if member.name else "it has not started yet")
    if not any(m.id == act.member and m.is_learner for m in seen.listed):
        _votes(session, act)


def _promote(session: Session, act: Act, seen: Membership, changes: Changes) -> None:
    """Let a learner vote as soon as it has all data, and runs: etcd would promote one that has died since.

    A run that was killed before may have left changes of its host, its unit's start among them: they are made first.
    It may have been promoted without our hearing of it: the list says so, and is asked before every attempt.
    """
    host = _healthy(session, seen)
    left = session.changes("etcd").get(act.host, ())
    if left:
        apply_batch(session, f"etcd.learner-{act.host}", {act.host: left})

    def is_voter(member: MemberSeen) -> str:
        if not member.name:
            return "it has not started yet"     # etcd would promote it all the same
        if not member.is_learner:
            return ""
        if not etcd.hears_leader(session.access.etcd(act.host)):
            return "it does not hear the leader"
        session.run.still_ours()
        etcd_membership.promote(session.access.etcd(host), member.id, timeout=TOO_EARLY)
        return "it was promoted, and the members do not say so yet"

    _until_listed(session, act, seen, is_voter)
    _votes(session, act)


def _votes(session: Session, act: Act) -> None:
    """Prove that the member is one of them, from now on as every other."""
    session.target.joining.discard(act.host)
    proofs.phase_holds(session, "etcd", [act.host])
    etcd_members.etcd_is_one_cluster(session)
    etcd_members.member_has_caught_up(session, act.host)


def _until_listed(session: Session, act: Act, seen: Membership, doubt: Callable[[MemberSeen], str]) -> None:
    """Wait until the member is listed without a doubt; a learner that does not come so far is removed again."""
    host = _healthy(session, seen)

    def look() -> str:
        access = session.access.etcd(host)
        member = next((m for m in etcd_membership.listed(access) if m.id == act.member), None)
        return "it is no member any more: somebody removed it" if member is None else doubt(member)

    try:
        proofs.wait_until(session, "etcd", look, JOINED, proof=f"{act.host} {act.kind}ed" if act.kind == "start"
                          else f"{act.host} votes")
    except GateFailed as fault:
        fault.details = (*fault.details, _take_out(session, host, act))
        raise


def _take_out(session: Session, healthy: str, act: Act) -> str:
    """Remove a learner that did not come to vote; return what is so now. It had no vote, so nobody misses it."""
    access = session.access.etcd(healthy)
    try:
        listed = next((m for m in etcd_membership.listed(access) if m.id == act.member), None)
        if listed is None or not listed.is_learner:
            return "the members are as their list says; the next run goes on from there"
        session.run.still_ours()
        etcd_membership.remove(access, act.member, timeout=TOO_EARLY)
    except KubewrightError as fault:
        return f"it is a learner without a vote, and was not removed: {fault.message}; the next run does"
    return "it never had a vote, and was removed again: the other members serve as before"


def _remove(session: Session, act: Act, seen: Membership, changes: Changes) -> None:
    """Take a member out of the list."""
    host = _healthy(session, seen, act.host)

    def look() -> str:
        access = session.access.etcd(host)
        if any(m.id == act.member for m in etcd_membership.listed(access)):
            session.run.still_ours()
            etcd_membership.remove(access, act.member, timeout=TOO_EARLY)
        return ""

    proofs.wait_until(session, "etcd", look, RECONFIGURED, when="before",
                      proof=f"{act.host or act.url} is no member any more")


_DO: Mapping[str, Callable[[Session, Act, Membership, Changes], None]] = {
    "add": _add, "start": _start, "promote": _promote, "remove": _remove}


def _record(session: Session, new: Sequence[EtcdMember]) -> None:
    """Let every etcd host know which members this run is about to add, and those of an earlier one beside them."""
    before = members.recorded(session)
    lines = {**{url: url for url in before}, **{m.peer_url: f"{m.name} {m.peer_url}" for m in new}}
    if not new or set(lines) == before:
        return
    content = "".join(f"{line}\n" for line in sorted(lines.values()))
    changes = {host: (new_cluster.written(session, host, JOINING, content, "what is ours among the members"),)
               for host in _etcd_hosts(session)}
    apply_batch(session, "etcd.joining", changes)
    for host in changes:
        _seen_now(session, host, JOINING, content)


def _forget(session: Session) -> None:
    """Let every etcd host forget what was added, now that all of it votes, and never start as anything but a member."""
    changes: dict[str, Sequence[Change]] = {}
    for host in _etcd_hosts(session):
        gone = [_gone(session, host, path) for path in (JOINING, BOOTSTRAP_ENV)]
        mark = new_cluster.written(session, host, BOOTSTRAPPED, f"{session.cluster.cluster}\n", "the cluster is up")
        changes[host] = [c for c in (*gone, mark) if c.expect != c.want]
    changes = {host: of_host for host, of_host in changes.items() if of_host}
    if changes:
        apply_batch(session, "etcd.joined", changes)
    for host in changes:
        for path in (JOINING, BOOTSTRAP_ENV):
            _seen_now(session, host, path, None)
        _seen_now(session, host, BOOTSTRAPPED, f"{session.cluster.cluster}\n")


def _etcd_hosts(session: Session) -> list[str]:
    return [h.name for h in session.cluster.etcd_hosts if h.name in session.observed and
            h.name not in session.unreachable]


def _gone(session: Session, host: str, path: str) -> Change:
    return Change(host=host, phase="etcd", kind="file", path=path, action="remove", reason="all of them vote",
                  expect=session.observed[host].state("file", path), want=ABSENT)


def _seen_now(session: Session, host: str, path: str, content: str | None) -> None:
    """Note what this run has written to a host, or removed there, as what was seen of it."""
    seen = session.observed[host]
    state = ABSENT if content is None else str(File(path=path, phase="etcd", content=content).want())
    item = ObservedItem("file", path, state, {"text": content or ""})
    session.observed[host] = replace(seen, items={**seen.items, ("file", path): item})


def _old_data(session: Session, act: Act) -> tuple[Change, ...]:
    """Return what takes away the data of a member that is none any more, and would keep the new one from starting."""
    place = Tree(path=owner.MEMBER.path, phase="etcd")
    seen = session.hosts.observe({act.host: (owner.MEMBER, place)})[act.host]   # it may have begun anew since
    own = str(seen.extra(owner.MEMBER.kind, owner.MEMBER.path).get("member", ""))
    if seen.state(owner.MEMBER.kind, owner.MEMBER.path) == ABSENT or own == f"{act.member:x}":
        return ()
    there, stop = seen.state(place.kind, place.path), _unit(session, act.host, "stop", "it joins anew")
    gone = Change(host=act.host, phase="etcd", kind=place.kind, path=place.path, action="remove", item=place,
                  expect=there, reason="of a member that is none any more", want=ABSENT)
    return (stop, gone) if there != ABSENT else (stop,)


def _unit(session: Session, host: str, action: str, reason: str) -> Change:
    """Return what happens to a member's unit; a restart is of the very process that runs now."""
    unit = session.the_plan.desired.hosts[host].find(Unit.kind, members.UNIT.path)
    now = str(session.observed[host].extra(Unit.kind, members.UNIT.path).get("invocation_id", ""))
    return Change(host=host, phase="etcd", kind=Unit.kind, path=members.UNIT.path, action=action, item=unit,
                  reason=reason, expect=session.state_of(host, members.UNIT.path),
                  want=(unit.want() if unit else None) or "", invocation=now if action == "restart" else "")
