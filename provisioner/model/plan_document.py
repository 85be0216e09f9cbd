"""The plan as a document: what `plan -o json` and `drift -o json` print, and `plan --out` keeps."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import zip_longest
from typing import Any, Literal

from pydantic import Field, ValidationError

from provisioner.model.desired import Desired, HostDesired
from provisioner.model.draining import Drain, Hold, PodFate
from provisioner.model.guards import WORDS
from provisioner.model.legs import LegShown
from provisioner.model.phases import PhaseName
from provisioner.model.plan import Act, Change, MemberChange, ObjectChange, Plan, Stage, Turn, Verdict
from provisioner.model.printed_document import DocumentPart, published

SCHEMA_VERSION = 1


class ChangeDocument(DocumentPart):
    """One change on one host."""

    host: str = Field(description="Name of the host")
    phase: PhaseName = Field(description="Phase of `up` that makes the change")
    kind: str = Field(description="directory, file, symlink, artifact, certificate, package, user, sysctl, module, "
                                  "swap or unit; of removals also data, processes, netdev, nft or netns")
    path: str = Field(description="Identity within its kind: a path, or a name")
    action: str = Field(description="add, change, remove; for units start, restart, reload, enable")
    reason: str = Field(description="Why, in words; of a restart the file and the fields that cause it")
    expect: str = Field(description="State that was seen; the host writes only while it still is so")
    want: str = Field(description="State that it will have; empty where bytes are generated (certificates, keys)")
    about: str = Field(default="", description="Of a binary or image: name, version and source")
    diff: str = Field(default="", description="Unified diff of a text; a secret's is `(secret, changed)`")
    causes: tuple[str, ...] = Field(default=(), description="Of a restart: each input that causes it")


class ObjectDocument(DocumentPart):
    """One Kubernetes object."""

    phase: PhaseName = Field(description="Phase of `up` that makes the change")
    identity: str = Field(description="`Kind namespace/name`, or `Kind name`")
    action: str = Field(description="add, change or remove")
    reason: str = Field(description="Why, in words: the fields that differ")
    diff: str = Field(default="", description="A line a field; values of Secrets are masked")


class UnitDocument(DocumentPart):
    """What happens to one unit."""

    action: str = Field(description="start, restart or reload")
    unit: str = Field(description="Name of the systemd unit")
    hosts: tuple[str, ...] = Field(description="Hosts on which it happens")


class StageDocument(DocumentPart):
    """One phase that has work."""

    phase: PhaseName = Field(description="Name of the phase")
    turns: tuple[tuple[str, ...], ...] = Field(description="Hosts that go together; each turn waits for the one before")
    together: tuple[tuple[PhaseName, ...], ...] = Field(
        default=(), description="For each turn the phases whose changes are made in it")
    guards: tuple[tuple[str, ...], ...] = Field(
        default=(), description=f"For each turn what is held meanwhile: {', '.join(WORDS)}")
    changes: int = Field(description="Changes on hosts")
    objects: int = Field(description="Kubernetes objects")
    units: tuple[UnitDocument, ...] = Field(description="What is started, restarted or reloaded")


class VerdictDocument(DocumentPart):
    """What a change rule says about a changed path of the inventory."""

    path: str = Field(description="Path in cluster.yaml")
    code: str = Field(description="Name of the rule")
    outcome: str = Field(description="noted, or needs a flag: then `up` wants `--allow CODE`")
    sentence: str = Field(description="Why")
    before: str = Field(description="Value that was last applied")
    after: str = Field(description="Value in the inventory")


class LostMemberDocument(DocumentPart):
    """An etcd member that is not started as it is."""

    host: str = Field(description="Name of its host")
    saw: str = Field(description="What was seen")
    cure: tuple[str, ...] = Field(description="Commands, one after the other, that give its host its place again")


class MemberChangeDocument(DocumentPart):
    """One act on who is a member of etcd."""

    action: str = Field(description="add, start, promote or remove; forget ends the record of such acts")
    host: str = Field(description="Whose member it is; its peer address where nobody knows its name")


class PodDocument(DocumentPart):
    """What becomes of one Pod of a Node that is drained."""

    namespace: str = Field(description="Its namespace")
    name: str = Field(description="Its name")
    uid: str = Field(description="Its uid: one that is made anew has another")
    fate: str = Field(description="moves, waits (no other node could run the next), ends (nobody makes another), stays")
    why: str = Field(description="What becomes of it, in words")
    owner: str = Field(default="", description="Who makes another")
    loses: tuple[str, ...] = Field(default=(), description="What is on this node alone")
    held: tuple[str, ...] = Field(default=(), description="Budgets that forbid its going now")
    forced: bool = Field(default=False, description="It is deleted where a budget forbids its going, as --force says")


class HoldDocument(DocumentPart):
    """A PodDisruptionBudget that lets none of its Pods go now."""

    budget: str = Field(description="Its namespace and name")
    pods: tuple[str, ...] = Field(description="Its Pods on the node")
    why: str = Field(description="What it counts")
    since: str = Field(default="", description="Since when, as the cluster noted")
    never: bool = Field(default=False, description="It would let none go with all Pods healthy")


class DrainDocument(DocumentPart):
    """A Node that is emptied."""

    host: str = Field(description="Name of the host")
    cordon: str = Field(description="Whose cordon it has already: ours, theirs, or none")
    ready: bool = Field(description="Its kubelet answers")
    pods: tuple[PodDocument, ...] = Field(description="Its Pods")
    holds: tuple[HoldDocument, ...] = Field(description="Budgets that let none go now")

    @property
    def drain(self) -> Drain:
        """Return it as the value that was written."""
        return Drain(self.host, tuple(PodFate(**pod.model_dump()) for pod in self.pods),
                     tuple(Hold(**hold.model_dump()) for hold in self.holds), self.cordon, self.ready)


class LegDocument(DocumentPart):
    """One pass over the phases on the way of an upgrade."""

    says: str = Field(description="What moves")
    stages: tuple[str, ...] = Field(description="Phases in which it moves, in their order")
    drains: tuple[str, ...] = Field(default=(), description="Nodes that are emptied, in their order")
    final: str = Field(default="", description="What cannot go back after it, and why; empty where all can")
    emulates: str = Field(default="", description="It puts a minor on trial: control planes behave as this one")
    until: str = Field(default="", description="When the trial is to be decided on, in UTC")
    seconds: float = Field(default=0.0, description="How long its turns take, as they were measured in a lab, one host "
                                                    "after the other; what Pods take to leave comes on top")


class PlanDocument(DocumentPart):
    """A whole plan."""

    schema_version: Literal[1] = Field(description="Version of this document's form")
    cluster: str = Field(description="Name of the cluster")
    inventory_digest: str = Field(description="Digest of what cluster.yaml means; comments do not count")
    lock_digest: str = Field(description="Digest of what artifacts.lock means")
    bootstrap: bool = Field(description="No etcd cluster exists yet")
    checked: int = Field(description="Items compared")
    hosts: tuple[str, ...] = Field(description="Hosts that were looked at")
    changes: tuple[ChangeDocument, ...] = Field(description="Changes on hosts, in the order of their phases")
    objects: tuple[ObjectDocument, ...] = Field(description="Kubernetes objects")
    unlisted: tuple[str, ...] = Field(description="Nodes that the inventory does not name; left alone")
    left_out: dict[str, tuple[str, ...]] = Field(
        default={}, description="API servers that a killed run left out of service -> hosts that send them nobody")
    cordoned: tuple[str, ...] = Field(
        default=(), description="Nodes that a killed run drained, and that take no Pods since: it is undone")
    lost: tuple[LostMemberDocument, ...] = Field(
        default=(), description="etcd members that have lost their data: `up` does nothing until they are mended")
    drains: tuple[DrainDocument, ...] = Field(default=(), description="Nodes that are emptied, in their order")
    members: tuple[MemberChangeDocument, ...] = Field(
        default=(), description="Acts on who is a member of etcd, in their order")
    voters: int = Field(default=0, description="How many members voted before the first of them; 0 where there is none")
    stages: tuple[StageDocument, ...] = Field(description="Phases that have work, in their order")
    impact: tuple[str, ...] = Field(description="What it means for whoever uses the cluster, a sentence each")
    verdicts: tuple[VerdictDocument, ...] = Field(default=(), description="What the change rules say")
    allowed: tuple[str, ...] = Field(default=(), description="Rules that `--allow` was given for")
    legs: tuple[LegDocument, ...] = Field(
        default=(), description="The way of an upgrade in its parts; the changes are those of the first")


def as_plan(document: PlanDocument) -> Plan:
    """Return the document as a plan that can be shown; it has no bytes and cannot be carried out."""
    return Plan(
        cluster=document.cluster, desired=Desired({host: HostDesired(host, ()) for host in document.hosts}, ()),
        changes=tuple(Change(c.host, c.phase, c.kind, c.path, c.action, ": ".join(filter(None, (c.reason, c.about))),
                             c.expect, c.want, diff=c.diff, causes=c.causes) for c in document.changes),
        objects=tuple(ObjectChange(o.phase, o.identity, o.action, o.reason, diff=o.diff) for o in document.objects),
        bootstrap=document.bootstrap, checked=document.checked, strangers=document.unlisted,
        members=tuple(MemberChange(m.action, m.host) for m in document.members), voters=document.voters,
        drained_servers=document.left_out, cordoned=document.cordoned,
        inventory_digest=document.inventory_digest, lock_digest=document.lock_digest,
        stages=tuple(Stage(s.phase, _turns(s), s.changes, s.objects, tuple(Act(*u) for u in _units(s)))
                    for s in document.stages),
        verdicts=tuple(Verdict(**v.model_dump()) for v in document.verdicts),
        drains=tuple(d.drain for d in document.drains),
        legs=tuple(LegShown(**leg.model_dump()) for leg in document.legs))


def _turns(stage: StageDocument) -> tuple[Turn, ...]:
    """Return the turns of a stage; a document of before says of them only which hosts go together."""
    return tuple(Turn(hosts, phases or (stage.phase,), guards or ())
                 for hosts, phases, guards in zip_longest(stage.turns, stage.together, stage.guards))


def _units(stage: StageDocument) -> Iterable[tuple[str, str, tuple[str, ...]]]:
    return ((u.action, u.unit, u.hosts) for u in stage.units)


def plan_schema() -> dict[str, Any]:
    """Return the JSON schema of the document."""
    return published(PlanDocument, "kubewright plan")


def read_plan(text: str) -> PlanDocument:
    """Return a saved plan; ValueError says in a line why the text is none."""
    try:
        return PlanDocument.model_validate_json(text)
    except ValidationError as fault:
        first = fault.errors()[0]
        raise ValueError(f"{'.'.join(map(str, first['loc'])) or 'document'}: {first['msg']}") from None
