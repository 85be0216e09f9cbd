"""What was last applied, here and on the hosts, and what the change rules say about asking for something else now."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

from provisioner.compile import rules, taking_back
from provisioner.errors import KubewrightError, RefusedForSafety, UsageFault
from provisioner.files import write_whole
from provisioner.model.applied import (
    HOST_PATH,
    Applied,
    NotApplied,
    from_text,
    logins_from,
    logins_text,
    with_logins,
)
from provisioner.model.cluster import SshOverride
from provisioner.model.desired import File
from provisioner.model.inventory import Inventory
from provisioner.model.observed import ABSENT
from provisioner.model.plan import NEEDS_FLAG, REFUSED, Plan, Verdict
from provisioner.orchestrate.plan import owner
from provisioner.orchestrate.session.session import Session
from provisioner.transport.pool import raise_all

FLAGS = rules.FLAGS | taking_back.FLAGS | {owner.TAKE, owner.NAMESPACE}
NEVER = {rule.code: rule.sentence for rule in rules.TABLE if rule.outcome == REFUSED} | taking_back.NEVER
T = TypeVar("T")
ITEM = File(path=HOST_PATH, phase="verify")


def known_flags(allowed: Collection[str]) -> None:
    """Refuse words after `--allow` that allow nothing: a misspelt one, and what no word of anybody's allows."""
    unknown = sorted(set(allowed) - FLAGS)
    never = [code for code in unknown if code in NEVER]
    if never:
        raise UsageFault(f"--allow {never[0]}: `up` never does that: {NEVER[never[0]]}",
                         details=[f"can be allowed: {' '.join(sorted(FLAGS))}"], hint="kubewright plan")
    if unknown:
        raise UsageFault(f"there is nothing called {', '.join(unknown)} that can be allowed",
                         details=[f"can be allowed: {' '.join(sorted(FLAGS))}"], hint="kubewright up --help")


def here(inventory: Inventory) -> Applied | None:
    """Return what was last applied from this machine, or seen of the hosts by it; None where nothing is known."""
    return _own(inventory.applied_path, from_text)


def _own(file: Path, read: Callable[[str], T]) -> T | None:
    """Return what we wrote into a file of this machine, None where it is not there; another's text is refused."""
    if not file.is_file():
        return None
    try:
        return read(file.read_text(encoding="utf-8"))
    except (NotApplied, UnicodeDecodeError) as fault:
        raise RefusedForSafety(f"{file}: not what we wrote there: {fault}", code="last-applied-unreadable",
                               details=["it is a copy of what the hosts know"], hint=f"rm {file}") from None


def on_hosts(session: Session) -> list[Applied]:
    """Return what the observed hosts say was last applied, the most common first; a file edited by hand says nothing.

    Looks only at hosts that were asked for the file by a survey; text that is too long for that is read on its own.
    """
    texts: Counter[str] = Counter()
    for name, observed in session.observed.items():
        if observed.state(ITEM.kind, HOST_PATH) == ABSENT:
            continue
        text = observed.extra(ITEM.kind, HOST_PATH).get("text")
        texts[str(text) if text is not None else _read(session, name)] += 1
    return [applied for text, _ in texts.most_common() if (applied := _parsed(text))]


def _is_there(session: Session) -> bool:
    """Say whether any observed host has the record, readable or not."""
    return any(observed.state(ITEM.kind, HOST_PATH) != ABSENT for observed in session.observed.values())


def _read(session: Session, host: str) -> str:
    (text,) = session.hosts.on(host).read([HOST_PATH])
    return text.decode(errors="replace")


def _parsed(text: str) -> Applied | None:
    try:
        return from_text(text)
    except NotApplied:
        return None


def ask_hosts(session: Session) -> Applied | None:
    """Ask the control planes and etcd hosts that answer what was last applied; what most of them say is believed.

    Raises their faults where none answers.
    """
    names = dict.fromkeys(h.name for h in (*session.cluster.control_planes, *session.cluster.etcd_hosts))
    outcomes = session.hosts.observe_each({name: (ITEM,) for name in names})
    session.target.observed = {n: o for n, o in outcomes.items() if not isinstance(o, KubewrightError)}
    if not session.observed:
        raise_all(outcomes)
    return next(iter(on_hosts(session)), None)


def judge_here(inventory: Inventory, verb: str, named: Collection[str] = ()) -> tuple[Verdict, ...]:
    """Judge the inventory for `verb`, which was given the hosts `named`, against this machine's copy.

    Refuses what no flag allows; contacts no host.
    """
    applied = here(inventory)
    if applied is None:
        return ()
    verdicts = rules.judge(applied.cluster, inventory.cluster, verb, named)
    refuse(inventory, verdicts, f"compared with {inventory.applied_path}; no host was contacted",
           hint=f"rm {inventory.applied_path}    # if it was changed from elsewhere since: the hosts are asked then")
    return verdicts


def judge_hosts(session: Session, plan: Plan, verb: str, named: Collection[str] = ()) -> Plan:
    """Judge the inventory and the lock for `verb` against what the hosts say; return the plan with all verdicts.

    What they say is kept here as well, so that the next judgement needs none of them; but not where it is news that
    this checkout would take back: it would pass for known the next time.
    """
    said = on_hosts(session) if not plan.bootstrap else []
    seen, asked = here(session.target.inventory), session.target.applied
    verdicts = dict.fromkeys(v for applied in said for v in (
        *rules.judge(applied.cluster, session.cluster, verb, named), *taking_back.judge(seen, applied, asked)))
    if not plan.bootstrap and not said and _is_there(session):
        verdicts[taking_back.UNREADABLE] = None
    refuse(session.target.inventory, tuple(verdicts), f"compared with {HOST_PATH} on the hosts; nothing was changed",
           hint="kubewright drift")
    if len(said) == 1 and not any(verdict.code == taking_back.ELSEWHERE for verdict in verdicts):
        keep(session.target.inventory, said[0])
    return session.go_by(replace(plan, verdicts=(*plan.verdicts, *verdicts)))


def refuse(inventory: Inventory, verdicts: Sequence[Verdict], compared: str, *, hint: str) -> None:
    """Raise RefusedForSafety with every change that no flag allows."""
    refused = [v for v in verdicts if v.outcome == REFUSED]
    _raise(inventory, refused, compared, _by_verb(refused) or hint)


def _by_verb(refused: Sequence[Verdict]) -> str:
    """Return the command that may do all that is refused, "" where there is none."""
    verbs = {rule.code: rule.by for rule in rules.TABLE}
    by = {verbs.get(v.code, "") for v in refused}
    hosts = dict.fromkeys(v.path.split(".")[1] for v in refused if v.path.startswith("hosts."))
    verb = by.pop() if len(by) == 1 else ""
    if verb == "upgrade":
        return "kubewright upgrade --plan    # shows what it would do, and changes nothing"
    return f"kubewright {verb} {' '.join(hosts)}" if verb.startswith("node ") else ""


def need_flags(
    inventory: Inventory, verdicts: Sequence[Verdict], allowed: Collection[str], *, verb: str = "up",
) -> None:
    """Raise RefusedForSafety with every change that a flag would allow and that none of `allowed` does."""
    needed = [v for v in verdicts if v.outcome == NEEDS_FLAG and v.code not in allowed]
    flags = " ".join(f"--allow {code}" for code in dict.fromkeys([*allowed, *(v.code for v in needed)]))
    _raise(inventory, needed, "nothing was changed; each of these needs a word of yours", f"kubewright {verb} {flags}")


def _raise(inventory: Inventory, verdicts: Sequence[Verdict], compared: str, hint: str) -> None:
    if not verdicts:
        return
    name = os.path.relpath(inventory.file)
    if len(verdicts) == 1:
        raise RefusedForSafety(f"{name}: {verdicts[0]}", details=[compared], hint=hint, code=verdicts[0].code)
    raise RefusedForSafety(f"{name}: {len(verdicts)} changes are refused", code="changes-refused", hint=hint,
                           details=[*(f"  {v}" for v in verdicts), compared])


def inventory_of(inventory: Inventory, then: Applied) -> Inventory:
    """Return the inventory of what was applied, reached as ours says now; hosts that left it, as they were before."""
    return replace(inventory, cluster=with_logins(then.cluster, inventory.cluster, _logins(inventory)))


def keep(inventory: Inventory, applied: Applied) -> None:
    """Write this machine's copy, and how its hosts are logged in to, whole or not at all, where it is not there."""
    logins = logins_text(inventory.cluster, applied.cluster, _logins(inventory))
    for file, text in ((inventory.applied_path, applied.to_text()), (inventory.logins_path, logins)):
        if not file.is_file() or file.read_text(encoding="utf-8", errors="replace") != text:
            write_whole(file, text)


def _logins(inventory: Inventory) -> Mapping[str, SshOverride]:
    return _own(inventory.logins_path, logins_from) or {}
