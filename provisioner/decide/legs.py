"""What of an upgrade's way one pass over the phases makes, and where a run stops by itself.

The way (decide/upgrade.py) is made of hops. Hops in whose stages nothing moves twice and nothing goes back to an
earlier stage are one leg: they are made in one pass, to what the last of them has. A leg that puts a minor on trial is
one by itself, and the last of its run.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from provisioner.decide import upgrade as way
from provisioner.decide.skew import ETCD, SERVER, Fault, State, of
from provisioner.decide.upgrade import STAGES, Hop, Versions
from provisioner.model.legs import LegShown
from provisioner.model.releases import MINORS, Minor

# Seconds of a turn with its proof, as benchmarks/results/full.json has them ("upgrade of a minor with etcd and
# containerd", a lab of 3 + 2 hosts under load): a stage's seconds by its hosts. What Pods of one's own take to leave a
# node is not in it. Nobody measured a change of add-ons.
TURN_SECONDS: Mapping[str, float] = {"etcd": 24.6, "control-plane": 20.4, "controllers": 3.2, "node": 13.1}


@dataclass(frozen=True)
class Leg:
    """Hops that are made in one pass."""

    hops: tuple[Hop, ...]

    @property
    def goal(self) -> Hop:
        """Return the hop that says what is so after it."""
        return self.hops[-1]

    @property
    def soaks(self) -> bool:
        return self.goal.soaks

    def shown(self, until: str) -> LegShown:
        """Return it as a plan shows it; a trial that it begins is to be decided on by `until`."""
        drained = tuple(host for hop in self.hops for host in hop.drains)
        return LegShown(
            "; ".join(map(str, self.hops)), tuple(stage.name for hop in self.hops for stage in hop.stages), drained,
            next((hop.final for hop in self.hops if hop.final), ""), self.goal.emulates, until if self.soaks else "",
            sum(TURN_SECONDS.get(stage.name, 0.0) * len(stage.steps) for hop in self.hops for stage in hop.stages))


@dataclass(frozen=True)
class Ahead:
    """The legs to the target, in order. `stands` is the minor on trial that a run leaves as it is; then it makes none.

    `refused` says by which rules there is no way.
    """

    legs: tuple[Leg, ...] = ()
    stands: str = ""
    refused: tuple[Fault, ...] = ()

    @property
    def of_run(self) -> tuple[Leg, ...]:
        """Return the legs that one run makes: to the end, or to the first trial."""
        ends = next((n for n, leg in enumerate(self.legs, 1) if leg.soaks), len(self.legs))
        return () if self.stands else self.legs[:ends]


def ahead(
    state: State, target: Versions, *, soak: bool, finish: bool = False, minors: Mapping[str, Minor] = MINORS,
) -> Ahead:
    """Return the legs from what runs to `target`; with `soak` each minor is tried, and its trial ended by `finish`.

    A trial whose end has begun goes on to it: an API server that behaves as the new minor does not go back.
    """
    found = way.plan(state, target, soak=soak, minors=minors)
    if found.refused:
        return Ahead(refused=found.refused)
    made = legs(found.hops)
    tried = on_trial(state)
    stays = bool(tried) and soak and not finish and bool(made) and not made[0].soaks
    return Ahead(made, tried if stays else "")


def legs(hops: Iterable[Hop]) -> tuple[Leg, ...]:
    """Return hops as the passes in which they are made."""
    made: list[Leg] = []
    for hop in hops:
        longer = Leg((*made[-1].hops, hop)) if made else Leg((hop,))
        if made and not hop.soaks and not made[-1].soaks and _is_one_pass(longer):
            made[-1] = longer
        else:
            made.append(Leg((hop,)))
    return tuple(made)


def _is_one_pass(leg: Leg) -> bool:
    order = [list(STAGES).index(stage.name) for hop in leg.hops for stage in hop.stages]
    places = [move.place for move in way.moves_of(leg.hops)]
    return order == sorted(set(order)) and len(places) == len(set(places))


def on_trial(state: State) -> str:
    """Return the minor that API servers are told to behave as; "" where none is, or one behaves as the newest already.
    """
    servers = list(of(state, SERVER))
    newest = max((runs.version.minor for runs in servers), default=0)
    if any(runs.acts_as.minor == newest for runs in servers):
        return ""
    return next((runs.emulates for runs in servers if runs.emulates), "")


def standing(state: State, emulates: str) -> Hop:
    """Return the hop that leaves a trial as it is: nothing moves."""
    return Hop(way.newest_of(state), (), emulates)


def before(state: State, versions: Versions) -> Versions:
    """Return what a way back leads to: `versions`, but for etcd where no member is of that minor any more.

    Then it stays, and all else goes back beside it.
    """
    members = [runs.version for runs in of(state, ETCD)]
    if members and ETCD in versions and all(version[:2] > versions[ETCD][:2] for version in members):
        return {**versions, ETCD: max(members)}
    return versions
