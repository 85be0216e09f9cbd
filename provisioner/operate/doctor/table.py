"""What each finding means for users now, most urgent first: one row for each kind, in the order in which they are told.

A finding's row is that of its code, else of its check; what has none is told as something that keeps the cluster from
being as it should.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from provisioner.model.finding import Finding

Urgency = Literal["now", "at risk", "soon", "tidy"]
NOW: Urgency = "now"            # somebody meets it now
RISK: Urgency = "at risk"       # nobody meets it yet: what would have caught the next failure is gone
SOON: Urgency = "soon"          # it breaks by itself if nobody does anything
TIDY: Urgency = "tidy"          # nothing breaks
URGENCIES: tuple[Urgency, ...] = (NOW, RISK, SOON, TIDY)

UP = "kubewright up"
STATUS = "kubewright status"


@dataclass(frozen=True)
class Row:
    """What a finding means; `cure` is what to type where the finding itself brings nothing, STATUS where neither does.

    `means` may name {host}, and {margin}: how many of etcd's members answer, and how many of these may fail. `cure` may
    name {host}, and for what is of no host {server}, {balancer} and {member}: a control plane, and so on.
    """

    name: str
    urgency: Urgency
    means: str
    cure: str = ""


ROWS: tuple[Row, ...] = (
    Row("built", NOW, "There is no cluster yet.", UP),
    Row("etcd-alarms", NOW, (
        "No change is accepted: nothing can be created, scaled, moved or repaired; what runs goes on.")),
    Row("etcd-majority", NOW, (
        "No change is accepted, and the API answers little or nothing; what runs goes on. Members that "
        "come back bring it back by themselves.")),
    Row("writes", NOW, (
        "No change is accepted: nothing can be created, scaled, moved or repaired; what runs goes on."),
        "kubewright logs {server} kube-apiserver"),
    Row("api", NOW, (
        "kubectl and controllers get no answer: nothing can be changed or repaired; what runs goes on."),
        "kubewright logs {server} kube-apiserver"),
    Row("vip", NOW, (
        "Who reaches the API at its VIP gets no answer, or loses connections as packets go now here, now "
        "there; nodes go through their own HAProxy and are not touched."), "kubewright logs {balancer} keepalived"),
    Row("no-server", NOW, (
        "What runs on {host} does not reach the API: its kubelet hears of no change, and its node is "
        "given up after a while."), "kubewright logs {host} haproxy"),
    Row("haproxy", NOW, (
        "What runs on {host} may not reach the API, and as a load balancer it sends nobody on."),
        "kubewright logs {host} haproxy"),
    Row("expired", NOW, "Who uses it is refused.", UP),
    Row("disk-full", NOW, "What writes there fails: containers, images, logs, and etcd where its data is there."),
    Row("pod-dns", NOW, "Pods on {host} do not find Services and hosts by name; Pods elsewhere do."),
    Row("pod-service", NOW, "Pods on {host} do not reach Services; Pods elsewhere do."),
    Row("services", NOW, "Pods and programs on {host} do not reach Services, or do not find them by name.",
        "kubectl -n kube-system get pods -o wide; kubewright logs {host} kube-proxy"),
    Row("rules", NOW, "Pods on {host} do not reach Services, or those of other nodes.",
        "kubewright logs {host} kubewright-network-watch"),
    Row("probes", NOW, "What does not answer there does not serve: see the reason."),
    Row("nodes", NOW, (
        "Pods on {host} count as lost: after five minutes they are started elsewhere, until then what "
        "only they served is missing."), "kubewright logs {host} kubelet"),
    Row("node-pressure", NOW, "No new Pod is placed on {host}, and some that run there are ended."),
    Row("units", NOW, "What it does there is missing.", UP),
    Row("unit-node", NOW, (
        "On {host} no Pod is started, ended or looked after; those that run go on. After about 40 s the "
        "node counts as lost, and five minutes later its Pods are started elsewhere."), UP),
    Row("unit-network", NOW, "On {host} changes of Services and of other nodes' Pods are not followed any more.", UP),
    Row("restart-loop", NOW, "What it does there comes and goes."),
    Row("unit-failed", NOW, "What it does there is missing."),
    Row("leaders", NOW, (
        "Nothing is scheduled or repaired: new Pods wait, lost ones are not replaced."),
        "kubewright logs {server} kube-scheduler"),
    Row("addons", NOW, (
        "Names (coredns) or figures of load (metrics-server) are missing or have less behind them."),
        "kubectl -n kube-system get pods"),
    Row("pods", NOW, "New Pods do not start there.", "kubewright logs {host} containerd"),
    Row("pod-loop", NOW, "What this Pod does for the cluster comes and goes."),
    Row("pod-not-ready", RISK, "What this Pod does for the cluster has less behind it."),
    Row("cni", NOW, "No Pod starts there before there is a Pod network."),
    Row("member-data", RISK, (
        "A member that lost its data must not found another cluster: it is replaced. {margin}."), "kubewright plan"),
    Row("member-gone", RISK, "{margin}. It is counted until it is replaced or removed.", "kubewright plan"),
    Row("etcd", RISK, "{margin}. Nobody notices as long as a majority answers.", "kubewright logs {host} etcd"),
    Row("etcd-reads", RISK, "Who asks this member may be told what is no longer so.", "kubewright logs {host} etcd"),
    Row("reach", RISK, (
        "Nothing is known of {host}: as far as it is concerned, the cluster may be well or not. If it is "
        "down, what it ran is missing."), "ssh {host}"),
    Row("unit-control", RISK, "{host} no longer takes its part: the other control planes do it.", UP),
    Row("unit-member", RISK, "{margin}. The API server of {host} goes with it.", UP),
    Row("unit-balancer", RISK, "{host} cannot take the VIP, and what runs on it may not reach the API.", UP),
    Row("backend", RISK, "The others serve; each that is lost too brings it nearer to none."),
    Row("in-service", RISK, "The others serve; each that is lost too brings it nearer to none.", UP),
    Row("api-server", RISK, "The other API servers serve; each that is lost too brings the cluster nearer to none.",
        "kubewright logs {host} kube-apiserver"),
    Row("etcd-lag", RISK, "Were another member lost now, writes would wait until this one has been sent all data."),
    Row("snapshot-proof", RISK, (
        "It could not be gone back to; and where it holds other data than its member had, that member's data, or its "
        "disk, is to be looked at.")),
    Row("examined", RISK, "Whether it is well is not known."),
    Row("rights", RISK, "Whether Nodes and Pods are well is not known.", UP),
    Row("etcd-room", SOON, "Beyond it no change is accepted any more."),
    Row("expires", SOON, "Then who uses it is refused. `up` renews what has less than 30 % of its life left.", UP),
    Row("disk-filling", SOON, "Then what writes there fails."),
    Row("disk-tight", SOON, "The kubelet removes images there, and with less than 10 % free ends Pods."),
    Row("clock", SOON, (
        "Certificates and leases are judged by it: from some seconds on hosts no longer believe each "
        "other.")),
    Row("kernel", SOON, "It tends to come again, and to grow."),
    Row("etcd-elections", SOON, (
        "Writes wait for a second or so with each. Most often a disk or the network is slow."),
        "kubewright logs {member} etcd --since 1h"),
    Row("versions", SOON, "Some of what one asks the other may not understand; the next upgrade may be refused."),
    Row("ca-due", SOON, "No certificate that it signs lives longer than it does.", "kubewright certs check"),
    Row("certificates", SOON, "Who uses it is, or soon will be, refused.", UP),
    Row("system-pods", RISK, "What this Pod does for the cluster has less behind it."),
    Row("etcd-spare", TIDY, (
        "Nothing breaks: the space is used again. A defragmentation gives it back, and stops a member for "
        "it."), "docs/how-to/make-room-in-etcd.md"),
    Row("snapshots", TIDY, (
        "Nothing breaks. Were etcd's data lost on most members, all that no snapshot holds would be gone.")),
    Row("drift", TIDY, (
        "What differs works as it is, or shows elsewhere here; the next `up` changes it."), "kubewright drift"),
    Row("restarted", TIDY, "It runs again; what it said tells why it ended."),
    Row("failed", TIDY, "It is none of ours."),
    Row("cordoned", TIDY, "Its Pods go on; new ones go elsewhere."),
    Row("pod-network", TIDY, ""),
    Row("disk", SOON, ""),
    Row("expiry", SOON, ""),
)
BY_NAME: Mapping[str, Row] = {row.name: row for row in ROWS}
_RANK = {row.name: number for number, row in enumerate(ROWS)}
OTHER = Row("other", RISK, "It is not as it should be.")
# By what a unit that does not run takes away: its own rows. Others are `units`.
_OF_UNIT: Mapping[str, str] = {
    "etcd": "unit-member", "kube-apiserver": "unit-control", "kube-controller-manager": "unit-control",
    "kube-scheduler": "unit-control", "kubelet": "unit-node", "containerd": "unit-node", "kube-proxy": "unit-network",
    "flanneld": "unit-network", "keepalived": "unit-balancer", "haproxy": "unit-balancer",
}
# And by what does not answer where its unit runs: by how what was seen begins.
_OF_PROBE: Mapping[str, str] = {
    "API at the VIP": "vip", "API": "api-server", "kube-apiserver through haproxy": "no-server", "etcd": "etcd",
    "cluster DNS": "services", "Service address": "services", "Pod network": "rules", "packet rules": "rules",
    "kubelet": "unit-node", "kube-proxy": "unit-network", "flannel": "unit-network",
}


def row_of(finding: Finding) -> Row:
    """Return what a finding means: by its code, by the unit that does not run, or by its check."""
    for name in (finding.code, _by_words(finding), finding.check):
        if name in BY_NAME:
            return BY_NAME[name]
    return OTHER


def rank(finding: Finding) -> tuple[int, int]:
    """Return where it is told among all: by urgency, then by the table."""
    row = row_of(finding)
    return URGENCIES.index(row.urgency), _RANK.get(row.name, len(ROWS))


def unit_of(finding: Finding) -> str:
    """Return the unit that a finding is about, without its kind; empty where it is about none."""
    first = finding.saw.partition(" ")[0].rstrip(":")
    return first.removesuffix(".service") if first.endswith(".service") else ""


def _by_words(finding: Finding) -> str:
    if finding.check == "units":
        return _OF_UNIT.get(unit_of(finding), "")
    if finding.check != "probes":
        return ""
    if unit_of(finding):            # it runs, with inputs that are no longer those on disk
        return "drift"
    return next((row for words, row in _OF_PROBE.items() if finding.saw.startswith(words)), "")
