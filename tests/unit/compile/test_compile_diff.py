"""The one diff: what it finds, how it words it, and that it finds nothing else."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from provisioner.compile.diff import RENEW_BELOW, Certificates, compare
from provisioner.model.certificate import CertificateSeen
from provisioner.model.desired import (
    Artifact,
    Certificate,
    Desired,
    Directory,
    File,
    HostDesired,
    Item,
    KernelModule,
    Package,
    SwapOff,
    Symlink,
    Sysctl,
    Unit,
    User,
)
from provisioner.model.observed import ABSENT, HostObserved, ObservedItem
from provisioner.model.plan import Change
from provisioner.model.secret import SecretRef
from tests.unit.compile.compile_fixture import compiled, facts_of, inventory

CASES = Path(__file__).resolve().parents[2] / "cases"
NOW = 1_800_000_000.0
YEAR = 365 * 86400.0
FACTS = facts_of(inventory())


def cases(name: str) -> list[Any]:
    return [pytest.param(c, id=c.get("name") or f"{c['kind']} {c['state']}")
            for c in yaml.safe_load((CASES / f"{name}.yaml").read_text())]


def changes_of(items: list[Item], states: Mapping[tuple[str, str], str], extras: Mapping[tuple[str, str], Any] = {},
               certificates: Certificates | None = None) -> tuple[Change, ...]:
    """Compare one host, cp1, with these states."""
    seen = {key: ObservedItem(*key, state, extras.get(key, {})) for key, state in states.items()}
    desired = Desired({"cp1": HostDesired("cp1", tuple(items))})
    return compare(desired, {"cp1": HostObserved("cp1", FACTS["cp1"], seen)}, certificates or {}, NOW)


CERTIFICATE = Certificate(
    path="/pki/server.crt", key_path="/pki/server.key", phase="pki", ca="etcd", common_name="cp1",
    organization="members", dns_names=("cp1", "localhost"), ip_addresses=("10.77.0.11",), server=True, client=True,
    owner="etcd", group="etcd")


def seen_as(life: float = 0.9, **changes: Any) -> CertificateSeen:
    values: dict[str, Any] = {
        "common_name": "cp1", "organization": "members", "dns_names": ("cp1", "localhost"),
        "ip_addresses": ("10.77.0.11",), "server": True, "client": True, "not_before": NOW - YEAR * (1 - life),
        "not_after": NOW + YEAR * life, "issued_by": "etcd"}
    return CertificateSeen(**(values | {k: tuple(v) if isinstance(v, list) else v for k, v in changes.items()}))


@pytest.mark.parametrize("case", cases("certificates"))
def test_a_certificate_is_issued_anew_for_exactly_these_reasons(case: dict[str, Any]) -> None:
    seen = None if case.get("seen", {}) is None else seen_as(case.get("life", 0.9), **case.get("seen", {}))
    state = case.get("state", "certificate sha256:aa key-ok 0600 etcd:etcd")
    found = changes_of([CERTIFICATE], {("certificate", CERTIFICATE.path): state}, {},
                       {("cp1", CERTIFICATE.path): seen} if seen else {})
    assert [c.reason for c in found] == ([case["reason"]] if case["reason"] else [])
    for change in found:
        assert change.action == ("add" if state == ABSENT else "change")
        assert (change.expect, change.want) == (state, ""), "the bytes are not known before they are made"


def test_renewal_starts_when_a_year_s_certificate_has_109_days() -> None:
    assert int(RENEW_BELOW * 365) == 109


def test_a_certificate_that_comes_anew_restarts_what_reads_it_or_its_key() -> None:
    units = [Unit(path="a.service", phase="etcd", inputs=(CERTIFICATE.path,)),
             Unit(path="b.service", phase="etcd", inputs=(CERTIFICATE.key_path,)),
             Unit(path="c.service", phase="etcd", inputs=("/etc/other",))]
    states = {("unit", u.path): "active enabled current" for u in units}
    found = changes_of([CERTIFICATE, *units], states)
    assert [(c.path, c.action, c.reason) for c in found] == [
        (CERTIFICATE.path, "add", "missing"), ("a.service", "restart", f"{CERTIFICATE.path} (new)"),
        ("b.service", "restart", f"{CERTIFICATE.key_path} (new)")]


@pytest.mark.parametrize("case", cases("units"))
def test_a_unit_is_acted_on_for_exactly_these_causes(case: dict[str, Any]) -> None:
    files: list[Item] = [File(path=p, phase="node", content="new") for p in ("/etc/a", "/etc/b", "/etc/other")]
    unit = Unit(path="x.service", phase="node", inputs=("/etc/a", "/etc/b"),
                on_change=case.get("on_change", "restart"))
    states = {("file", i.path): "file sha256:old 0644 root:root" if i.path in case.get("rewritten", ())
              else str(i.want()) for i in files}
    states["unit", unit.path] = case["state"]
    wanted = {i.path: f"file {str(i.want()).split()[1].removeprefix('sha256:')}" for i in files}
    started = {path: wanted[path] if was == "WANTED" else was for path, was in case.get("started", {}).items()}
    found = changes_of([*files, unit], states, {
        ("unit", unit.path): {"causes": case.get("causes", []), "started": started}})
    of_unit = [(c.action, c.reason, c.expect) for c in found if c.kind == "unit"]
    assert of_unit == ([(case["action"], case["reason"], case["state"])] if case["action"] else [])


KIN: dict[str, Item] = {i.kind: i for i in (
    File(path="/etc/a", phase="node", content="text\n"), Directory(path="/etc/a", phase="node"),
    Symlink(path="/etc/a", phase="node", target="/new"), Sysctl(path="net.x", phase="prepare", value="1"),
    Package(path="haproxy", phase="prepare"), SwapOff(path="swap", phase="prepare"),
    KernelModule(path="overlay", phase="prepare"), User(path="etcd", phase="prepare"),
    Artifact(path="/opt/x", phase="stage", sha256="beef", size=9, name="x", version="1"))}


@pytest.mark.parametrize("case", cases("differences"))
def test_a_difference_is_worded_by_what_differs(case: dict[str, Any]) -> None:
    item = KIN[case["kind"]]
    want = str(item.want())
    same = want.split()[1] if item.kind == "file" else ""
    state = case["state"].replace("SAME", same)
    (change,) = changes_of([item], {(item.kind, item.path): state})
    assert change.action == case["action"]
    assert change.reason == case["reason"].replace("file WANT", want)
    assert (change.expect, change.want, change.phase) == (state, want, item.phase)


def test_a_text_change_carries_a_unified_diff() -> None:
    (change,) = changes_of([File(path="/etc/a", phase="node", content="one\ntwo\n")],
                           {("file", "/etc/a"): "file sha256:0 0644 root:root"},
                           {("file", "/etc/a"): {"text": "one\nby hand\n"}})
    assert change.diff.splitlines() == ["--- a/etc/a", "+++ b/etc/a", "@@ -1,2 +1,2 @@", " one", "-by hand", "+two"]


def one_restart(item: Item, state: str, **extra: Any) -> Change:
    """Return the restart of a unit that reads this one changed item."""
    unit = Unit(path="x.service", phase="node", inputs=(item.path,))
    states = {(item.kind, item.path): state, ("unit", unit.path): "active enabled current"}
    return next(c for c in changes_of([item, unit], states, {(item.kind, item.path): extra}) if c.kind == "unit")


def test_a_restart_names_the_file_and_the_field_in_it_that_cause_it() -> None:
    path, text = "/etc/systemd/system/kube-apiserver.service", "[Service]\nExecStart=/bin/x \\\n    --event-ttl={}\n"
    item = File(path=path, phase="node", content=text.format("2h"))
    found = one_restart(item, "file sha256:0 0644 root:root", text=text.format("1h"))
    assert found.reason == f"{path} (--event-ttl 1h → 2h)"
    assert found.causes == (found.reason,)


def test_a_mode_that_changes_alone_restarts_nobody() -> None:
    item = File(path="/etc/a", phase="node", content="text\n")
    unit = Unit(path="x.service", phase="node", inputs=("/etc/a",))
    found = changes_of([item, unit], {("file", "/etc/a"): item.want().replace("0644", "0600"),
                                      ("unit", unit.path): "active enabled current"})
    assert [(c.kind, c.reason) for c in found] == [("file", "mode 0600 → 0644")]


def test_a_restart_for_another_binary_names_both_versions() -> None:
    store = "/opt/kubewright/kubernetes"
    item = Symlink(path="/usr/local/bin/kubelet", phase="node", target=f"{store}/1.37.2-cafe/kubelet")
    assert one_restart(item, f"link {store}/1.36.3-beef/kubelet").reason == \
        "/usr/local/bin/kubelet (1.36.3-beef → 1.37.2-cafe)"
    assert one_restart(item, "link /tmp/by-hand").reason.endswith("(/tmp/by-hand → 1.37.2-cafe)")


def test_a_binary_says_where_its_bytes_come_from() -> None:
    (change,) = changes_of([replace(KIN["artifact"], source="go", name="etcd", version="3.6.16")], {})  # type: ignore[call-arg]
    assert change.about == "etcd 3.6.16, built from Go modules"
    assert change.to_json()["about"] == change.about


def test_of_a_secret_neither_the_old_nor_the_new_text_is_ever_shown() -> None:
    item = File(path="/etc/key", phase="pki", mode=0o600, secret=SecretRef("sa.key", "aa", "bb"))
    (change,) = changes_of([item], {("file", "/etc/key"): "file hmac:cc 0600 root:root"},
                           {("file", "/etc/key"): {"text": "THE OLD SECRET"}})
    assert (change.diff, change.reason) == ("(secret, changed)", "content differs")
    assert "OLD SECRET" not in repr(change) + str(change.to_json())


@pytest.mark.parametrize(("state", "unit", "causes", "started", "restarts"), [
    ("file hmac:byhand 0600 root:root", "due", ["/etc/key"], "file hmac:stamp", False),      # never read
    ("file hmac:byhand 0600 root:root", "due", ["/etc/key"], "file hmac:older", True),
    ("file hmac:byhand 0600 root:root", "current", [], "", True),                            # read
    ("file hmac:digest 0644 root:root", "current", [], "", False),                           # only its mode
])
def test_a_secret_restarts_what_has_read_another_one(
        state: str, unit: str, causes: list[str], started: str, restarts: bool) -> None:
    items: list[Item] = [
        File(path="/etc/key", phase="pki", mode=0o600, secret=SecretRef("sa.key", "aa", "digest", "stamp")),
        Unit(path="x.service", phase="pki", inputs=("/etc/key",))]
    found = changes_of(items, {("file", "/etc/key"): state, ("unit", "x.service"): f"active enabled {unit}"},
                       {("unit", "x.service"): {"causes": causes, "started": dict.fromkeys(causes, started)}})
    assert [c.kind for c in found] == ["file", *(["unit"] if restarts else [])]


@pytest.mark.parametrize(("state", "of_member", "found"), [
    ("active enabled current", "active enabled due", ["restart: /etc/a", "restart: etcd.service (restarts)"]),
    ("activating enabled current", "active enabled due", ["restart: /etc/a", "restart: etcd.service (restarts)"]),
    ("inactive enabled current", "active enabled due", ["restart: /etc/a", "start: is inactive"]),
    ("active enabled current", "inactive enabled due", ["start: is inactive"]),     # what is down takes nobody along
    ("active enabled current", "active disabled current", ["enable: is disabled"]),
])
def test_a_unit_that_cannot_serve_without_another_restarts_with_it(
        state: str, of_member: str, found: list[str]) -> None:
    items: list[Item] = [Unit(path="etcd.service", phase="etcd", inputs=("/etc/a",)),
                         Unit(path="server.service", phase="control-plane", down_with="etcd.service")]
    due = {"causes": ["/etc/a"]} if of_member.endswith("due") else {}
    seen = changes_of(items, {("unit", "etcd.service"): of_member, ("unit", "server.service"): state},
                      {("unit", "etcd.service"): due})
    assert [f"{c.action}: {c.reason}" for c in seen] == found


def test_a_host_that_was_not_observed_contributes_nothing() -> None:
    desired = Desired({"cp1": HostDesired("cp1", (KIN["file"],)), "cp2": HostDesired("cp2", (KIN["file"],))})
    found = compare(desired, {"cp2": HostObserved("cp2", FACTS["cp2"], {})}, {}, NOW)
    assert [c.host for c in found] == ["cp2"]


DESIRED = compiled()
EVERY = [(h.name, i) for h in DESIRED.hosts.values() for i in h.items]


def as_desired(drifted: frozenset[int] = frozenset()) -> tuple[dict[str, HostObserved], Certificates]:
    """Return hosts that are what is desired, but for the items with these numbers: those are absent."""
    seen: dict[str, dict[tuple[str, str], ObservedItem]] = {name: {} for name in DESIRED.hosts}
    certificates: dict[tuple[str, str], CertificateSeen] = {}
    for number, (host, item) in enumerate(EVERY):
        state = str(item.want())
        if isinstance(item, Certificate):
            state = f"certificate sha256:aa key-ok {item.key_mode:04o} {item.owner}:{item.group}"
            certificates[host, item.path] = CertificateSeen(
                item.common_name, item.organization, item.dns_names, item.ip_addresses, item.server, item.client,
                NOW - 1, NOW + YEAR, item.ca)
        if number not in drifted:
            seen[host][item.kind, item.path] = ObservedItem(item.kind, item.path, state)
    return {name: HostObserved(name, FACTS[name], items) for name, items in seen.items()}, certificates


def test_what_is_as_desired_gives_no_change_at_all() -> None:
    assert compare(DESIRED, *as_desired(), NOW) == ()


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.frozensets(st.integers(0, len(EVERY) - 1), max_size=12))
def test_any_drift_gives_exactly_its_own_changes_and_the_restarts_it_causes(drifted: frozenset[int]) -> None:
    found = compare(DESIRED, *as_desired(drifted), NOW)
    gone = {(EVERY[n][0], EVERY[n][1].kind, EVERY[n][1].path) for n in drifted}
    touched = {(EVERY[n][0], path) for n in drifted
               for path in (EVERY[n][1].path, getattr(EVERY[n][1], "key_path", ""))}
    caused = {(host, i.kind, i.path) for host, i in EVERY
              if isinstance(i, Unit) and any((host, p) in touched for p in i.inputs)}
    restarted = {(host, path) for host, kind, path in caused - gone}
    caused |= {(host, i.kind, i.path) for host, i in EVERY if isinstance(i, Unit) and (host, i.down_with) in restarted}
    assert {(c.host, c.kind, c.path) for c in found} == gone | caused
    assert len(found) == len({(c.host, c.kind, c.path) for c in found})
    for change in found:
        if (change.host, change.kind, change.path) in gone:
            assert change.action == ("start" if change.kind == "unit" else "add")
        else:
            assert change.action in ("restart", "reload")
