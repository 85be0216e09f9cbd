"""Gates of one's own that are Jobs: made anew each time, told the hosts, judged by how they end, removed afterwards."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from provisioner.errors import GateFailed, UsageFault
from provisioner.model.cluster import Gate
from provisioner.orchestrate.gates import own, own_jobs
from provisioner.orchestrate.session.session import Session
from tests.fakes.session import World

MANIFEST = """\
apiVersion: batch/v1
kind: Job
metadata: {name: shop-works, namespace: shop}
spec:
  template:
    spec:
      containers: [{name: ask, image: busybox, command: [wget, -q, "http://shop/health"], env: [{name: A, value: b}]}]
"""
GATE = Gate(name="shop", job="gate.yaml", timeout=30)


class Jobs:
    """What becomes of Jobs in memory: they end as `ends` says, as soon as they are made."""

    def __init__(self, world: World, ends: str, monkeypatch: pytest.MonkeyPatch) -> None:
        self.made: list[dict[str, Any]] = []
        self._create, self._ends, self._api = world.api._create, ends, world.api
        monkeypatch.setattr(world.api, "_create", self.create)

    def create(self, path: str, body: Mapping[str, Any]) -> tuple[int, dict[str, Any]]:
        status, made = self._create(path, body)
        if path.endswith("/jobs"):
            made["status"] = {"conditions": [{"type": self._ends, "status": "True"}]} if self._ends else {}
            self.made.append(made)
            name = f"{made['metadata']['name']}-x1"
            self._api.put(f"/api/v1/namespaces/shop/pods/{name}", {"metadata": {
                "name": name, "namespace": "shop", "labels": {"job-name": made["metadata"]["name"]}}})
        return status, made


@pytest.fixture
def session(built: World) -> Session:
    (built.inventory.path / "gate.yaml").write_text(MANIFEST, encoding="utf-8")
    return built.session()


def test_a_job_that_completes_lets_the_run_go_on_and_is_gone(
        built: World, session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    jobs = Jobs(built, "Complete", monkeypatch)
    own_jobs.hold(session, GATE, ("w1", "w2"), "node")
    own_jobs.hold(session, GATE, ("cp1",), "node")
    names = [job["metadata"]["name"] for job in jobs.made]
    assert len(set(names)) == 2 and all(name.startswith("shop-works-") for name in names)
    spec = jobs.made[0]["spec"]
    assert spec["template"]["spec"]["containers"][0]["env"] == [
        {"name": "A", "value": "b"}, {"name": "KUBEWRIGHT_HOSTS", "value": "w1,w2"}]
    assert (spec["activeDeadlineSeconds"], spec["ttlSecondsAfterFinished"], spec["backoffLimit"]) == (30, 600, 0)
    assert not [path for path in built.api.objects if "/jobs/" in path], "removed"


@pytest.mark.parametrize(("ends", "words"), [("Failed", "failed"), ("", "not so after 30 s: shop: the Job")])
def test_one_that_fails_or_does_not_end_stops_it_with_its_last_words_and_is_gone(
        built: World, session: Session, monkeypatch: pytest.MonkeyPatch, ends: str, words: str) -> None:
    Jobs(built, ends, monkeypatch)
    built.api.metrics = "asking\nHTTP 500\n"
    with pytest.raises(GateFailed, match=words) as failed:
        own_jobs.hold(session, GATE, ("w1",), "node")
    assert failed.value.details[-2:] == ("asking", "HTTP 500")
    assert not [path for path in built.api.objects if "/jobs/" in path]


@pytest.mark.parametrize(("text", "words"), [
    (None, "No such file"), ("a: [", "is no YAML"), (MANIFEST + "---\n" + MANIFEST, "is not one Job"),
    (MANIFEST.replace("kind: Job", "kind: Pod"), "is not one Job"),
    (MANIFEST.replace("containers", "boxes"), "no containers"), (MANIFEST.replace("name: shop-works, ", ""), "no name"),
    ("kind: Job\nmetadata: {name: a}\nspec: {template: }\n", "no containers"),
    ("kind: Job\nmetadata: {name: a}\nspec: {template: {spec: text}}\n", "no containers"),
    ("kind: Job\nmetadata: {name: a}\nspec: {template: {spec: {containers: [busybox]}}}\n", "no containers"),
])
def test_a_file_that_is_no_job_is_refused_before_anything_is_done(
        tmp_path: Path, text: str | None, words: str) -> None:
    if text is not None:
        (tmp_path / "gate.yaml").write_text(text, encoding="utf-8")
    assert words in own_jobs.fault_of(tmp_path, GATE)


def test_the_refusal_names_the_gate(built: World) -> None:
    cluster = built.inventory.cluster.model_copy(update={"gates": (GATE,)})
    inventory = type(built.inventory)(built.inventory.path, cluster, built.inventory.file)
    with pytest.raises(UsageFault, match=r"gates: shop: gate\.yaml: No such file"):
        own.refuse_unknown(inventory)
