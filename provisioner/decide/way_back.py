"""What going back means for a host: decided from what it kept, never while acting.

An etcd goes back to an earlier minor only while another member runs that: until the last has changed, the cluster is of
the lowest minor among its members, and writes nothing that this one could not read (so say etcd's guides of upgrades).
Data, and the marks that say whether there is a cluster at all, never go back.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from provisioner.compile.control_plane import EMULATION
from provisioner.compile.diff import stamp_line
from provisioner.compile.etcd import BOOTSTRAP_ENV, BOOTSTRAPPED
from provisioner.compile.parts import INPUTS_DIR, UNIT_DIR
from provisioner.compile.pki import APISERVER_UNIT
from provisioner.compile.versions import Version
from provisioner.model.applied import HOST_PATH
from provisioner.model.artifact import Stored
from provisioner.model.desired import HostDesired, Unit
from provisioner.model.generations import Kept
from provisioner.model.observed import ABSENT, HostObserved
from provisioner.model.phases import PHASES, PhaseName, is_phase
from provisioner.model.plan import Change

RESTORE = "restore"
BACK = ".back"      # how the ids of steps end that go back
_STAY = frozenset({HOST_PATH, BOOTSTRAPPED, BOOTSTRAP_ENV})
_RAN = ("active ", "reloading ")


@dataclass(frozen=True)
class Back:
    """What takes one host back; without `changes` nothing does, and `why_not` says why. `stay` are paths left alone."""

    changes: tuple[Change, ...] = ()
    why_not: str = ""
    stay: tuple[str, ...] = ()

    @property
    def paths(self) -> tuple[str, ...]:
        return tuple(c.path for c in self.changes if c.kind != "unit")

    @property
    def units(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(c.path for c in self.changes if c.kind == "unit"))


def of_batch(
    run: str, batch: Sequence[Change], kept: Iterable[Kept], desired: HostDesired, observed: HostObserved | None,
    others: Collection[str] = (),
) -> Back:
    """Return what takes a host back from a batch: what this run changed of it and of all that its units read.

    `others` are the versions that the other etcd members run.

    What a killed run changed before counts as well, where the unit had not read it yet when this run began: then what
    is kept is what the unit ran with.
    """
    acts = [c for c in batch if c.kind == "unit"]
    if acts and not any(c.expect.startswith(_RAN) for c in acts):
        return Back(why_not=f"{', '.join(dict.fromkeys(c.path for c in acts))} did not run before either")
    reads = {path: c.path for c in acts for path in _reads(desired.find("unit", c.path))}
    own = {c.path for c in batch if c.kind != "unit"} | set(reads)

    def belongs(row: Kept) -> bool:
        if row.step.startswith(f"{run}."):
            return row.path in own
        unit = reads.get(row.path)
        started = observed.extra("unit", unit).get("started", {}) if observed and unit else {}
        return row.path in started and started[row.path] == stamp_line(row.was)

    return _back(desired, [row for row in kept if belongs(row)], acts, others)


def of_rows(kept: Sequence[Kept], desired: HostDesired, observed: HostObserved) -> Back:
    """Return what takes a host back in these paths, with every unit that reads one of them; none of them may be new.

    Nor is an API server told again to behave as the minor before: no host alone goes back to a trial that has ended.
    """
    paths = {row.path for row in kept if row.was != row.now}
    units = [i for i in desired.items if isinstance(i, Unit) and paths & set(_reads(i))]
    acts = [_act(desired, unit, unit.on_change, observed.state(unit.kind, unit.path)) for unit in units]
    new = [unit.path for unit in units if _is_new(unit.path, kept)]
    why_not = _were_not(new) if new else _is_tried_again(kept)
    return Back(why_not=why_not) if why_not else _back(desired, kept, acts)


def of_component(component: str, kept: Iterable[Kept], desired: HostDesired) -> list[Kept]:
    """Return the rows of a component: its own items, and all that its units read."""
    unit = ("unit", f"{component}.service")
    items = [i for i in desired.items if i.component == component or (i.kind, i.path) == unit]
    paths = {i.path for i in items} | {path for i in items if isinstance(i, Unit) for path in _reads(i)}
    return [row for row in kept if row.path in paths]


def components(desired: HostDesired) -> list[str]:
    """Return the components that run on a host."""
    return list(dict.fromkeys(i.component for i in desired.items if isinstance(i, Unit)))


def _back(
    desired: HostDesired, kept: Sequence[Kept], acts: Sequence[Change], others: Collection[str] = (),
) -> Back:
    """Return what puts these rows back and lets the units of `acts` read them, or why it may not be.

    What must not run meanwhile goes first, then the files in the order in which they were made, then what reads
    them. `others` are the versions of etcd that other members run.
    """
    rows = [row for row in kept if row.was != row.now and row.path not in _STAY]
    phases = {row: phase for row in rows if (phase := _phase_of(row, desired))}
    going = [row for row in rows if row.can_go_back and row in phases]
    stay = tuple(row.path for row in rows if row not in going)
    runs = [c for c in acts if c.action != "stop"]                  # once all is back
    new = [c.path for c in runs if _is_new(c.path, going)]          # these were not there, so they cannot run then
    why_not = _refusal(desired, going, acts, new, others)
    if why_not:
        return Back(why_not=why_not, stay=stay)
    first = [c for c in acts if c.action == "stop"]
    first += [replace(c, action="remove", want=ABSENT) for c in runs if c.path in new]
    order = {(item.kind, item.path): number for number, item in enumerate(desired.items)}
    files = [Change(host=desired.name, phase=phases[row], kind=row.kind, path=row.path, action=RESTORE,
                    reason=row.reason, expect=row.now, want=row.was, diff=row.diff)
             for row in sorted(going, key=lambda row: order.get((row.kind, row.path), len(order)))]
    units = {item.path: item for item in desired.items if isinstance(item, Unit)}
    last = [_again(desired, c, units) for c in runs if c.path not in new]
    return Back((*first, *files, *last), stay=stay)


def _phase_of(row: Kept, desired: HostDesired) -> PhaseName | None:
    """Return the phase that a row goes back in: its item's; what is no longer desired by the step that changed it.

    A step made by hand names none: such a row stays.
    """
    item = next((i for i in desired.items if (i.kind, i.path) == (row.kind, row.path)), None)
    return item.phase if item else row.phase if is_phase(row.phase) else None


def _refusal(
    desired: HostDesired, going: Sequence[Kept], acts: Sequence[Change], new: Sequence[str], others: Collection[str],
) -> str:
    """Say why going back would lead to nothing that ever ran, or nothing."""
    if not going:
        return "nothing that it reads was changed, or nothing of it is kept"
    # Where there were units to act on and all of them are new, there is nothing to go back to.
    if acts and not any(c.action != "stop" and c.path not in new for c in acts):
        return _were_not(new)
    return _older_minor(going, others) or _still_read(going, desired, new)


def in_phases(back: Back) -> tuple[Change, ...]:
    """Return the changes in the order of their phases, as a plan has them; a phase's units stay behind its files."""
    return tuple(sorted(back.changes, key=lambda c: (PHASES.index(c.phase), c.kind == "unit" and c.action != "remove")))


def _reads(item: object) -> tuple[str, ...]:
    """Return what a unit starts with, and the list that says so."""
    return (*item.inputs, f"{INPUTS_DIR}/{item.path}") if isinstance(item, Unit) else ()


def _were_not(units: Iterable[str]) -> str:
    return f"there was no {', '.join(dict.fromkeys(units))} before"


def _still_read(rows: Sequence[Kept], desired: HostDesired, new: Sequence[str]) -> str:
    """Say which unit would read a file that was not there before, by the list that it will have then; or nothing."""
    chosen = {row.path: row for row in rows}
    gone = [row.path for row in rows if row.was == ABSENT]
    for unit in (i for i in desired.items if isinstance(i, Unit) and i.path not in new):
        listing = chosen.get(f"{INPUTS_DIR}/{unit.path}")
        reads = unit.inputs if listing is None or listing.was_text is None else listing.was_text.splitlines()
        for path in gone:
            if path in reads:
                return f"{unit.path} reads {path}, which was not there before"
    return ""


def _is_new(unit: str, rows: Sequence[Kept]) -> bool:
    return any(row.was == ABSENT and row.path in (f"{UNIT_DIR}/{unit}", f"{UNIT_DIR}/{unit}.d/50-kubewright.conf")
               for row in rows)


def _act(desired: HostDesired, unit: Unit, action: str, expect: str) -> Change:
    """Return the act that lets a unit read what was put back; by the list on the host, which went back as well."""
    return Change(host=desired.name, phase=unit.phase, kind=unit.kind, path=unit.path, action=action,
                  reason="what it reads was put back", expect=expect, want=unit.want(), item=replace(unit, listed=True))


def _again(desired: HostDesired, act: Change, units: Mapping[str, Unit]) -> Change:
    """Return the act that lets a unit run as it did; one that was taken away is desired no more, and starts again."""
    unit = units.get(act.path, Unit(path=act.path, phase="remove"))
    return _act(desired, unit, "start" if act.action in ("start", "remove") else unit.on_change, act.expect)


def _older_minor(rows: Iterable[Kept], others: Collection[str]) -> str:
    """Say why etcd's binary may not go back, or nothing."""
    for row in rows:
        now, was = Stored.of_link(row.now), Stored.of_link(row.was)
        if now and was and now.name == "etcd" and _minor(was.version) < _minor(now.version) and not any(
                _minor(other) == _minor(was.version) for other in others):
            return (f"etcd {now.version} does not go back to {was.version}: an earlier minor cannot read a later one's "
                    "data")
    return ""


def _minor(version: str) -> tuple[int, ...]:
    return Version.parse(version)[:2]


def _is_tried_again(rows: Iterable[Kept]) -> str:
    """Say why the API server's unit may not go back: it would put a minor on trial that has been finished; or nothing.

    What API servers have written since may be what only their own minor reads.
    """
    unit, told = f"{UNIT_DIR}/{APISERVER_UNIT}", f"--{EMULATION[0]}="
    if any(row.path == unit and told in (row.was_text or "") and told not in (row.now_text or "") for row in rows):
        return f"{APISERVER_UNIT} behaves as its own minor since the trial has ended, and does not return to that"
    return ""


def of_run(row: Kept, run: str) -> bool:
    """Say whether a row is of what a run changed, and not of what went back in it."""
    return row.run == run and not row.step.endswith(BACK)


def newest_run(kept: Iterable[Kept]) -> str:
    """Return the run that changed something last, and did not go back; nothing where there is none."""
    rows = [row for row in kept if not row.step.endswith(BACK) and row.path not in _STAY]
    return max(rows, key=lambda row: row.saved).run if rows else ""
