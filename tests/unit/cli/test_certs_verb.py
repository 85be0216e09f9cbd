"""`certs check` on hosts in memory: what is listed, what it is called, and the exit code."""

from __future__ import annotations

import base64
import datetime as dt
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from provisioner.cli import main as command
from provisioner.compile import pki as table
from provisioner.model.desired import Certificate
from provisioner.operate import pki
from provisioner.orchestrate.plan.survey import survey
from tests.fakes.session import FakeAccess, World, instant

SCHEDULER = table.SCHEDULER.path
LIFE = dt.timedelta(days=365)
Check = Callable[..., tuple[int, str]]


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    made = World.make(tmp_path, monkeypatch)
    instant(monkeypatch)
    return made


@pytest.fixture
def built(world: World, monkeypatch: pytest.MonkeyPatch) -> World:
    return world.build(monkeypatch)


@pytest.fixture
def check(world: World, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Check:
    def no_api(self: FakeAccess) -> None:
        raise AssertionError("certs check asked the API")

    def call(*words: str) -> tuple[int, str]:
        with monkeypatch.context() as patch:
            patch.setattr("sys.argv", ["kubewright"])
            patch.setattr(FakeAccess, "kube", no_api)
            code = command.main(["-i", str(world.inventory.path), "certs", "check", *words])
        return code, capsys.readouterr().out

    return call


def issue(world: World, left: dt.timedelta, ca: pki.KeyPair | None = None) -> bytes:
    """Return a kubernetes-admin certificate of a year with so much of it left; negative for an expired one."""
    item = Certificate(path="x", key_path="y", phase="pki", ca="cluster", common_name="kubernetes-admin", client=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pki, "BACKDATE", LIFE - left)
        return pki.issue(item, ca or world.secrets().ca("cluster"), left).certificate


def age(world: World, host: str, path: str, left: dt.timedelta) -> None:
    """Put a certificate with the same names but so much of its year left in a certificate's place."""
    with world.session() as opened:
        item = survey(opened).desired.hosts[host].find("certificate", path)
    assert isinstance(item, Certificate)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pki, "BACKDATE", LIFE - left)
        pair = pki.issue(item, world.secrets().ca(item.ca), left)
    world.hosts.hosts[host].extras["certificate", path] = {"pem": pair.certificate.decode()}


def rows(text: str, path: str) -> list[list[str]]:
    return [line.split() for line in text.splitlines() if path in line.split()]


def test_a_young_cluster_is_one_line_a_certificate_and_exits_0(built: World, check: Check) -> None:
    code, text = check()
    assert code == 0
    head, *lines = text.splitlines()
    assert head.startswith("Cluster lab   ") and " 5 hosts and here " in head and "bad" not in head
    assert len(lines) < 40, "not a line for each host"
    (apiserver,) = rows(text, table.APISERVER.path)
    assert apiserver[1:3] == ["3", "hosts"] and apiserver[4:] == ["364d", "100", "%", "cluster"]
    (admin,) = rows(text, "/etc/kubernetes/admin.conf")
    assert admin[4] == "364d", "a kubeconfig has the dates of its certificate"
    assert len(rows(text, table.ETCD_CA)) == 1 and rows(text, table.ETCD_CA)[0][4] == "3649d"
    assert "Attention" not in text and "Next" not in text


def test_verbose_lists_each_one_on_each_host_with_subject_and_names(built: World, check: Check) -> None:
    text = check("-v")[1]
    (row,) = [r for r in rows(text, table.KUBELET_SERVING.path) if r[0] == "w2"]
    assert row[-2:] == ["system:nodes/system:node:w2", "w2,10.77.0.22"]
    assert [r[0] for r in rows(text, SCHEDULER)] == ["cp1", "cp2", "cp3"]


def test_below_30_percent_is_due_with_its_host_and_still_exits_0(built: World, check: Check) -> None:
    age(built, "cp2", SCHEDULER, dt.timedelta(days=20, hours=1))
    code, text = check()
    assert code == 0
    assert rows(text, SCHEDULER)[0][4:] == ["20d", "5", "%", "cluster", "due"]
    assert f"  cp2: {SCHEDULER}: expires in 20 days: below 30 % of its life" in text
    assert "1 due" in text.splitlines()[0]
    assert text.splitlines()[-1].endswith(" up issues anew what is due or bad on the hosts")


@pytest.mark.parametrize(("left", "note"), [(dt.timedelta(days=-3, hours=-1), "expired 3 days ago"),
                                            (LIFE + dt.timedelta(days=2, hours=1), "not valid yet: begins in 2 days")])
def test_outside_of_its_life_is_bad_and_exits_13(
        built: World, check: Check, monkeypatch: pytest.MonkeyPatch, left: dt.timedelta, note: str) -> None:
    age(built, "cp3", SCHEDULER, left)
    code, text = check()
    assert code == 13
    assert f"  cp3: {SCHEDULER}: {note}" in text
    assert "/etc/kubernetes/scheduler.conf: " + note in text, "and so is the kubeconfig that names it"


def test_what_is_missing_or_has_another_key_is_bad(built: World, check: Check) -> None:
    del built.hosts.hosts["w1"].states["certificate", table.KUBE_PROXY.path]
    del built.hosts.hosts["w2"].states["file", "/etc/kubernetes/kubelet.conf"]
    state = built.hosts.hosts["cp1"].states["certificate", SCHEDULER]
    built.hosts.hosts["cp1"].states["certificate", SCHEDULER] = state.replace("key-ok", "key-mismatch")
    code, text = check()
    assert code == 13
    for line in (f"w1: {table.KUBE_PROXY.path}: missing", "w2: /etc/kubernetes/kubelet.conf: missing",
                 f"cp1: {SCHEDULER}: its key is missing or another one"):
        assert f"  {line}\n" in text


def test_another_ca_on_a_host_is_bad_and_nothing_is_refused(built: World, check: Check) -> None:
    other = pki.new_ca("another").certificate.decode()
    built.hosts.hosts["cp1"].extras["file", table.ETCD_CA] = {"text": other}
    code, text = check()
    assert (code, f"  cp1: {table.ETCD_CA}: not this inventory's CA\n" in text) == (13, True)


def test_a_ca_in_its_last_year_is_due(built: World, check: Check, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("provisioner.orchestrate.look.certificates.CA_WARNING", 4000 * 86400.0)
    code, text = check()
    assert code == 0
    words = "expires in 3649 days: no certificate that it signs lives longer"
    assert f"  cp1, cp2, cp3, w1, w2: {table.CA}: {words}" in text
    assert "  here: " in text


def test_a_host_that_does_not_answer_is_named_and_the_others_are_told(built: World, check: Check) -> None:
    built.hosts.hosts["cp1"].down = True
    code, text = check()
    assert code == 0
    assert "  cp1: connecting: no route" in text
    assert rows(text, table.APISERVER.path)[0][1:3] == ["2", "hosts"]


def test_no_host_at_all_exits_12(built: World, check: Check) -> None:
    for host in built.hosts.hosts.values():
        host.down = True
    assert check()[0] == 12


def test_what_a_former_role_left_is_told_as_unused(built: World, check: Check) -> None:
    pem = issue(built, dt.timedelta(days=-9)).decode()
    w1 = built.hosts.hosts["w1"]
    w1.states["certificate", table.ADMIN.path] = "certificate sha256:aa key-ok 0600 root:root"
    w1.extras["certificate", table.ADMIN.path] = {"pem": pem}
    code, text = check()
    assert code == 0, "nobody uses it"
    assert f"  w1: {table.ADMIN.path}: left from a role that the host no longer has" in text


def test_before_the_first_up_there_is_nothing_to_tell(world: World, check: Check) -> None:
    assert check() == (0, "No certificates yet: the first `kubewright up` makes them.\n")


def kubeconfig(path: Path, certificate: bytes) -> None:
    path.write_text(yaml.safe_dump({"users": [
        {"name": "x", "user": {"client-certificate-data": base64.b64encode(certificate).decode()}}]}))


@pytest.fixture
def written(built: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Path:
    target = tmp_path / "admin.conf"
    assert command.main(["-i", str(built.inventory.path), "kubeconfig", "--output", str(target)]) == 0
    assert command.main(["-i", str(built.inventory.path), "kubeconfig", "--output", str(target)]) == 0
    capsys.readouterr()
    return target


def test_a_kubeconfig_written_here_is_listed_while_it_is_there(check: Check, written: Path) -> None:
    code, text = check("-v")
    (row,) = rows(text, str(written))
    assert code == 0 and row[0] == "here" and row[3] == "89d"
    written.unlink()
    assert rows(check("-v")[1], str(written)) == []


@pytest.mark.parametrize(("left", "code", "note"), [
    (dt.timedelta(days=30, hours=1), 0, "expires in 30 days: kubewright kubeconfig --output "),
    (dt.timedelta(days=-30, hours=-1), 13, "expired 30 days ago: kubewright kubeconfig --output ")])
def test_a_kubeconfig_here_near_or_behind_its_end_says_how_to_fetch_it_anew(
        built: World, check: Check, written: Path, left: dt.timedelta, code: int, note: str) -> None:
    kubeconfig(written, issue(built, left))
    found, text = check()
    assert (found, f": {note}{written}" in text) == (code, True)


def test_a_kubeconfig_here_of_a_cluster_thrown_away_is_bad(built: World, check: Check, written: Path) -> None:
    kubeconfig(written, issue(built, LIFE, pki.new_ca("of a former lab")))
    assert "not issued by this inventory's cluster CA" in check()[1]
    written.write_text("users: []\n")
    code, text = check()
    assert (code, "no certificate in it" in text) == (13, True)


def test_as_json_each_has_all_its_fields_and_the_document_its_version(built: World, check: Check) -> None:
    built.hosts.hosts["cp1"].down = True
    document: dict[str, Any] = json.loads(check("-o", "json")[1])
    assert (document["schema_version"], document["valid"]) == (1, True)
    assert list(document["unreachable"]) == ["cp1"]
    (one,) = [c for c in document["certificates"] if (c["host"], c["path"]) == ("w1", table.KUBELET_SERVING.path)]
    assert one | {"not_before": "", "not_after": "", "life_left": 1.0} == {
        "host": "w1", "path": table.KUBELET_SERVING.path, "kind": "certificate", "state": "ok", "note": "", "cure": "",
        "subject": "system:nodes/system:node:w1", "names": ["w1", "10.77.0.21"], "issuer": "cluster",
        "not_before": "", "not_after": "", "days_left": 364, "life_left": 1.0}
    assert dt.datetime.fromisoformat(one["not_after"]) > dt.datetime.now(dt.UTC) + dt.timedelta(days=364)
    assert {c["kind"] for c in document["certificates"]} == {"ca", "certificate", "kubeconfig"}


def test_what_is_wrong_is_told_as_findings_too(built: World, check: Check) -> None:
    age(built, "cp2", SCHEDULER, dt.timedelta(days=20, hours=1))
    del built.hosts.hosts["w1"].states["certificate", table.KUBE_PROXY.path]
    built.hosts.hosts["w2"].down = True
    found = {(f["host"], f["code"]): f for f in json.loads(check("-o", "json")[1])["findings"]}
    due, missing = found["cp2", "certificate-due"], found["w1", "certificate-bad"]
    assert (due["severity"], due["check"], due["cure"]) == ("warning", "certificates", "kubewright up")
    assert due["saw"] == f"{SCHEDULER}: expires in 20 days: below 30 % of its life"
    assert (missing["severity"], missing["saw"]) == ("error", f"{table.KUBE_PROXY.path}: missing")
    assert found["w2", "unreachable"]["severity"] == "unseen" and all(f["expected"] for f in found.values())
