"""A plan as people read it, whole texts compared with tests/golden/report.

`UPDATE_GOLDEN=1 pytest tests/unit/report/test_plan_text.py` writes them anew; the diff is then what to review.
"""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path

import pytest

from provisioner.compile.cluster import compile_cluster
from provisioner.compile.diff import compare
from provisioner.decide.schedule import stages
from provisioner.model.artifact import ArtifactLock
from provisioner.model.certificate import CertificateSeen
from provisioner.model.desired import Certificate
from provisioner.model.observed import HostObserved, ObservedItem
from provisioner.model.plan import Change, ObjectChange, Plan
from provisioner.report.plan_text import SYMBOLS, plan_json, plan_text
from tests.unit.compile.compile_fixture import PUBLIC, SECRETS, facts_of, inventory, lock

GOLDEN = Path(__file__).resolve().parents[2] / "golden" / "report"
CLUSTER = inventory()
FACTS = facts_of(CLUSTER)
BIG = ArtifactLock(tuple(replace(a, size=a.size * 30_000) for a in lock().artifacts))
DESIRED = compile_cluster(CLUSTER, FACTS, BIG, SECRETS, PUBLIC)
NOW = 1_800_000_000.0
KUBELET = "/var/lib/kubelet/config.yaml"
EMPTY = Plan("lab", DESIRED, checked=690)


def planned(observed: dict[str, HostObserved], **fields: object) -> Plan:
    certificates = {(h.name, i.path): CertificateSeen(
        i.common_name, i.organization, i.dns_names, i.ip_addresses, i.server, i.client, NOW - 1, NOW + 31e6, i.ca)
        for h in DESIRED.hosts.values() for i in h.items if isinstance(i, Certificate)}
    plan = replace(EMPTY, changes=compare(DESIRED, observed, certificates, NOW), **fields)  # type: ignore[arg-type]
    return replace(plan, stages=stages(plan))


def first_build() -> Plan:
    """Return the plan for five empty machines."""
    objects = tuple(ObjectChange(o.phase, o.identity, "add", "no API yet", o) for o in DESIRED.objects)
    return planned({n: HostObserved(n, f, {}) for n, f in FACTS.items()}, bootstrap=True, objects=objects)


def as_desired() -> dict[str, HostObserved]:
    def state(item: object) -> str:
        if isinstance(item, Certificate):
            return f"certificate sha256:aa key-ok {item.key_mode:04o} {item.owner}:{item.group}"
        return str(item.want())         # type: ignore[attr-defined]

    return {h.name: HostObserved(h.name, FACTS[h.name], {
        (i.kind, i.path): ObservedItem(i.kind, i.path, state(i)) for i in h.items}) for h in DESIRED.hosts.values()}


def one_file(*hosts: str) -> Plan:
    """Return the plan after someone edited the kubelet's configuration on `hosts`."""
    observed = as_desired()
    for host in hosts:
        item = DESIRED.hosts[host].find("file", KUBELET)
        by_hand = item.content.replace("podPidsLimit: 4096", "podPidsLimit: 5")     # type: ignore[union-attr]
        mode = item.mode                                                 # type: ignore[union-attr]
        seen = ObservedItem("file", KUBELET, f"file sha256:00 {mode:04o} root:root", {"text": by_hand})
        observed[host] = replace(observed[host], items={**observed[host].items, ("file", KUBELET): seen})
    return planned(observed)


def upgrade() -> Plan:
    """Return a plan of many changes on a live cluster, restarts among them."""
    observed = {n: replace(o, items={k: replace(v, state="inactive enabled due" if k[1] == "flanneld.service"
                                                else v.state if k[0] in ("unit", "package") else "other special")
                                     for k, v in o.items.items()}) for n, o in as_desired().items()}
    return planned(observed, strangers=("old1",))


TEXTS = {
    "empty": plan_text(replace(EMPTY, strangers=("old1", "old2")), CLUSTER, seconds=3.12),
    "bootstrap": plan_text(first_build(), CLUSTER, seconds=3.1),
    "one-file": plan_text(one_file("w1"), CLUSTER, seconds=3.1),
    "one-file-diff": plan_text(one_file("w1"), CLUSTER, seconds=3.1, diff=True),
    "upgrade": plan_text(upgrade(), CLUSTER, seconds=3.1),
}


@pytest.mark.skipif(not os.environ.get("UPDATE_GOLDEN"), reason="only writes, and only when asked to")
def test_golden_texts_are_written_anew_when_asked() -> None:
    for name, text in TEXTS.items():
        (GOLDEN / f"{name}.txt").write_text(text + "\n")


@pytest.mark.parametrize("name", TEXTS)
def test_a_plan_reads_as_its_golden_copy(name: str) -> None:
    assert TEXTS[name] + "\n" == (GOLDEN / f"{name}.txt").read_text()


def test_every_golden_text_is_of_a_plan_that_is_tested() -> None:
    assert {p.stem for p in GOLDEN.glob("*.txt")} == set(TEXTS)


def test_a_host_with_more_than_forty_changes_is_counted_by_phase_unless_the_diff_is_asked_for() -> None:
    item = DESIRED.hosts["w1"].find("file", KUBELET)
    many = tuple(Change("w1", "pki", "file", f"/etc/{n}", "add", "missing", "absent", "x", item) for n in range(41))
    assert "    + pki            41 files\n" in plan_text(replace(EMPTY, changes=many), CLUSTER, seconds=1)
    assert "/etc/40" in plan_text(replace(EMPTY, changes=many), CLUSTER, seconds=1, diff=True)
    fewer = plan_text(replace(EMPTY, changes=many[:40]), CLUSTER, seconds=1)
    assert "/etc/10" in fewer and "and 29 more of kind file" in fewer


def test_counting_never_hides_a_restart_and_its_cause() -> None:
    plan = upgrade()
    restarts = [c for c in plan.changes if c.action in ("restart", "reload")]
    assert restarts
    for change in restarts:
        assert f"! unit {change.path}" in TEXTS["upgrade"]


def test_hosts_that_differ_in_the_same_way_are_told_once() -> None:
    text = plan_text(one_file("w1", "w2"), CLUSTER, seconds=1)
    assert text.count(f"~ {KUBELET} ") == 1
    assert "\n  w1, w2\n" in text


def test_hosts_whose_texts_differ_are_told_apart_where_the_texts_are_shown() -> None:
    plan = one_file("w1", "w2")
    other = tuple(replace(c, diff=c.diff.replace("podPidsLimit: 5", "podPidsLimit: 6")) if c.host == "w2" else c
                  for c in plan.changes)
    text = plan_text(replace(plan, changes=other), CLUSTER, seconds=1, diff=True)
    assert "podPidsLimit: 5" in text and "podPidsLimit: 6" in text


def test_there_is_a_symbol_for_every_action_that_the_diff_can_give() -> None:
    actions = {c.action for p in (first_build(), one_file("w1"), upgrade()) for c in p.changes}
    assert actions | {"remove", "enable"} <= SYMBOLS.keys()


def test_the_plan_as_values_holds_every_change_and_no_bytes_of_a_secret() -> None:
    document = json.loads(json.dumps(plan_json(first_build(), CLUSTER)))
    assert len(document["changes"]) == len(first_build().changes)
    assert len(document["objects"]) == len(DESIRED.objects)
    assert " ".join(document["changes"][0]) == (
        "host phase kind path action reason expect want about diff causes")
    secrets = [c for c in document["changes"] if c["path"].endswith("ca.key")]
    assert secrets and all(c["diff"] == "(secret, changed)" for c in secrets)
