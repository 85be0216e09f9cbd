"""(desired, observed) -> changes: the only diff there is; plan, drift, `up` and the applier's input come from it."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import NamedTuple

from provisioner.compile import fields
from provisioner.compile.networks import ANNOUNCERS
from provisioner.model.certificate import CertificateSeen
from provisioner.model.desired import Certificate, Desired, File, HostDesired, Item, Symlink, Unit
from provisioner.model.observed import ABSENT, BUT, HostObserved, PairState, UnitState
from provisioner.model.plan import Change

RENEW_BELOW = 0.30  # of its life: a year's certificate is renewed in its last 110 days, whenever `up` runs

Certificates = Mapping[tuple[str, str], CertificateSeen]
"""(host, path of the certificate) -> what it says."""


def compare(
    desired: Desired, observed: Mapping[str, HostObserved], certificates: Certificates, now: float
) -> tuple[Change, ...]:
    """Return every change that makes the observed hosts the desired ones, in the order of their items.

    Pure: `now` (seconds since 1970) is the only clock. A host that was not observed contributes nothing.
    """
    changes: list[Change] = []
    for host in desired.hosts.values():
        if host.name in observed:
            changes.extend(_compare_host(host, observed[host.name], certificates, now))
    return tuple(changes)


def of_lost_nodes(
    desired: Desired, observed: Mapping[str, HostObserved], planned: Iterable[Change], registered: Collection[str],
    connected: Collection[str],
) -> tuple[Change, ...]:
    """Return the restarts that bring Nodes back: of hosts that the API does not have (`registered`), or cannot reach.

    What is `planned` to start or restart tells the API anyway.
    """
    return again(desired, observed, planned, lambda host, unit: _why_again(host, unit, registered, connected))


def again(
    desired: Desired, observed: Mapping[str, HostObserved], planned: Iterable[Change],
    why: Callable[[str, Unit], str],
) -> tuple[Change, ...]:
    """Return the restarts of units that run and are to run on as they are, where `why` (host, unit) gives a reason.

    Each is for the very process that was observed: one that was started since has no need of it.
    """
    busy = {(c.host, c.path) for c in planned if c.kind == Unit.kind}
    changes = []
    for host, item in ((h, i) for h in desired.hosts.values() for i in h.items if isinstance(i, Unit)):
        reason = why(host.name, item)
        seen = observed.get(host.name)
        if reason and seen and (host.name, item.path) not in busy:
            state, extra = seen.state(item.kind, item.path), seen.extra(item.kind, item.path)
            if UnitState.of(state).runs:
                changes.append(Change(
                    host=host.name, phase=item.phase, kind=item.kind, path=item.path, action="restart", reason=reason,
                    expect=state, want=item.want(), item=item, causes=(reason,),
                    invocation=str(extra.get("invocation_id", ""))))
    return tuple(changes)


def _why_again(host: str, unit: Unit, registered: Collection[str], connected: Collection[str]) -> str:
    """Say why a unit that tells the API of its host at its start, and never again, has to start anew."""
    announces = unit.path in ANNOUNCERS
    if unit.path != "kubelet.service" and not announces:
        return ""
    if host not in registered:
        return "its Node is gone"
    if announces and host not in connected:
        return "its Node does not say how its Pods are reached"
    return ""


def _compare_host(
    host: HostDesired, observed: HostObserved, certificates: Certificates, now: float
) -> Iterable[Change]:
    rewritten: dict[str, _Rewrite] = {}     # what happens to a path, for the causes of restarts
    for item in host.items:
        if isinstance(item, Unit):
            change = _compare_unit(host.name, item, observed, rewritten)
        elif isinstance(item, Certificate):
            change = _compare_certificate(host.name, item, observed, certificates.get((host.name, item.path)), now)
        else:
            change = _compare_state(host.name, item, observed)
        if change is None:
            continue
        if isinstance(item, Unit) and change.action != "restart":
            yield change
            continue
        rewritten[change.path] = _Rewrite(_what(change, observed), stamp_line(change.expect), stamp_line(change.want),
                                          _stamp(change))
        if isinstance(item, Certificate):
            rewritten[item.key_path] = _Rewrite(rewritten[change.path].words)
        yield change


class _Rewrite(NamedTuple):
    """What a plan does to a path: in words, its content before and after, and how a unit's stamp tells that of after.

    Contents are lines as in a stamp (docs/reference/applier-protocol.md); they differ from `stamp` for secrets alone.
    What is empty is not known.
    """

    words: str
    before: str = ""
    after: str = ""
    stamp: str = ""


def _stamp(change: Change) -> str:
    """Return how the stamp of a unit that starts with what the change makes is told."""
    if isinstance(change.item, File) and change.item.secret is not None:
        return f"file hmac:{change.item.secret.stamp}" if change.item.secret.stamp else ""
    return stamp_line(change.want)


def stamp_line(state: str) -> str:
    """Return the stamp's line (docs/reference/applier-protocol.md) of a state; nothing where it cannot be known."""
    kind, _, rest = state.partition(" ")
    digest = rest.partition(" ")[0]
    if kind == "file" and digest.startswith("hmac:"):
        return f"file {digest}"
    if kind in ("file", "certificate") and digest.startswith("sha256:"):
        return f"file {digest.removeprefix('sha256:')}"
    if kind == "link":
        return state.partition(BUT)[0]
    return "none -" if state == ABSENT else ""


def _what(change: Change, observed: HostObserved) -> str:
    """Say what about an input changes, for the unit that restarts for it; nothing where its path says it all."""
    match change.item:
        case _ if change.action == "add":
            return "new"
        case Unit():
            return "restarts"
        case Certificate():
            return change.reason
        case Symlink() if change.expect.startswith("link "):
            return " → ".join(_version(link.removeprefix("link ")) for link in (change.expect, change.want))
        case _:
            return _fields(change.item, observed)


def _version(target: str) -> str:
    """Return `1.36.3-3ddd1800` of a link into our store: versions say more there than paths."""
    return target.split("/")[-2] if target.startswith("/opt/kubewright/") else target


def _compare_state(host: str, item: Item, observed: HostObserved) -> Change | None:
    state, want = observed.state(item.kind, item.path), item.want()
    if want is None or state == want:
        return None
    return Change(
        host=host, phase=item.phase, kind=item.kind, path=item.path,
        action="add" if state == ABSENT else "change",
        reason="missing" if state == ABSENT else _difference(state, want, _fields(item, observed)),
        expect=state, want=want, item=item, diff=_text_diff(item, observed),
    )


def _difference(state: str, want: str, inside: str = "") -> str:
    """Say in words which parts of two state strings differ, and for a text which fields `inside` it."""
    if state.startswith(want + BUT):
        return "is " + state.removeprefix(want + BUT)
    seen, wished = state.split(), want.split()
    if len(seen) != len(wished) or seen[0] != wished[0]:
        return f"is {state}, should be {want}"
    names = {"file": ("", "content", "mode", "owner"), "dir": ("", "mode", "owner"),
             "artifact": ("", "", "mode", "owner")}.get(seen[0], ())
    parts = []
    for index, (was, is_) in enumerate(zip(seen, wished, strict=True)):
        if was != is_:
            name = names[index] if index < len(names) else ""
            parts.append(inside or "content differs" if name == "content" else f"{name} {was} → {is_}".strip())
    return ", ".join(parts)


def _fields(item: Item | None, observed: HostObserved) -> str:
    """Name the fields of a text that differ; nothing where the text was not seen or must not be shown."""
    if not isinstance(item, File) or item.secret is not None:
        return ""
    before = observed.extra(item.kind, item.path).get("text")
    if before is None:
        return ""
    return fields.said(fields.of_text(item.path, str(before), item.content))


def _text_diff(item: Item, observed: HostObserved) -> str:
    if not isinstance(item, File):
        return ""
    if item.secret is not None:
        return "(secret, changed)"
    before = str(observed.extra(item.kind, item.path).get("text", ""))
    lines = difflib.unified_diff(
        before.splitlines(), item.content.splitlines(), f"a{item.path}", f"b{item.path}", lineterm="", n=2)
    return "\n".join(lines)


def _compare_certificate(
    host: str, item: Certificate, observed: HostObserved, seen: CertificateSeen | None, now: float
) -> Change | None:
    state = observed.state(item.kind, item.path)
    reason = why_issue(item, state, seen, now)
    if not reason:
        return None
    return Change(host=host, phase=item.phase, kind=item.kind, path=item.path,
                  action="add" if state == ABSENT else "change", reason=reason, expect=state, want="", item=item)


def why_issue(item: Certificate, state: str, seen: CertificateSeen | None, now: float) -> str:
    """Return why the certificate must be issued anew, or nothing where it is kept; `state` is the applier's.

    What keeps the certificate from working at all stands before what is only to be renewed.
    """
    if state == ABSENT:
        return "missing"
    if seen is None:
        return "not readable as a certificate"
    pair = PairState.of(state)
    if not pair.works:
        return "its key is missing or another one"
    checks = (
        (seen.issued_by == item.ca, f"not issued by this inventory's {item.ca} CA"),
        (seen.is_valid(now), seen.when(now)),
        (seen.common_name == item.common_name and seen.organization == item.organization,
         f"subject is {seen.organization or '-'}/{seen.common_name}"),
        (set(seen.dns_names) == set(item.dns_names) and set(seen.ip_addresses) == set(item.ip_addresses),
         "names differ: " + _names_difference(item, seen)),
        ((seen.server, seen.client) == (item.server, item.client), "key usage differs"),
        (seen.life_left(now) >= RENEW_BELOW, f"{seen.when(now)}: below {RENEW_BELOW * 100:.0f} % of its life"),
        (not pair.odd, f"its file is {pair.odd}"),
        (pair.owned == f"{item.key_mode:04o} {item.owner}:{item.group}", "mode or owner of its key"),
    )
    return next((text for good, text in checks if not good), "")


def _names_difference(item: Certificate, seen: CertificateSeen) -> str:
    wished, has = {*item.dns_names, *item.ip_addresses}, {*seen.dns_names, *seen.ip_addresses}
    parts = [f"+{n}" for n in sorted(wished - has)] + [f"-{n}" for n in sorted(has - wished)]
    return " ".join(parts)


def _compare_unit(
    host: str, item: Unit, observed: HostObserved, rewritten: Mapping[str, _Rewrite]
) -> Change | None:
    state, extra = observed.state(item.kind, item.path), observed.extra(item.kind, item.path)
    unit = UnitState.of(state)
    differs, started = extra.get("causes", ()), extra.get("started", {})
    candidates = dict.fromkeys([*differs, *(p for p in (*item.inputs, item.down_with) if p in rewritten)])
    paths = [p for p in candidates if not _put_back(rewritten.get(p), started.get(p, ""), differs=p in differs)]
    causes = [f"{p} ({rewritten[p].words})" if p in rewritten and rewritten[p].words else p for p in paths]
    unknown = not unit.is_current and not differs
    if not unit.is_up:
        action, reason, causes = "start", "not there yet" if state == ABSENT else f"is {unit.active}", []
    elif unknown:
        # Every start that our unit or drop-in takes part in is recorded. This one was the OS package's own, say: it
        # has nobody's connections yet, and a reload would leave it without the drop-in's confines.
        action, reason = "restart", ", ".join(causes) or "started before it was ours"
    elif causes:
        action, reason = item.on_change, ", ".join(causes)
    elif not unit.is_enabled:
        action, reason = "enable", f"is {unit.enabled}"
    else:
        return None
    return Change(host=host, phase=item.phase, kind=item.kind, path=item.path, action=action, reason=reason,
                  expect=state, want=item.want(), item=item, causes=tuple(causes))


def _put_back(rewrite: _Rewrite | None, started: str, *, differs: bool) -> bool:
    """Say whether this plan makes an input again what the unit started with: then it needs no restart.

    So it is with a file that was edited by hand and never loaded, and with one of which only the mode changes.
    """
    if rewrite is None:
        return False
    then, now = (started, rewrite.stamp) if differs else (rewrite.before, rewrite.after)
    return then != "" and then == now
