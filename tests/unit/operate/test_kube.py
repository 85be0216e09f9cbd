"""The Kubernetes API over real TLS against an API in memory: requests, faults, and what counts as a difference."""

from __future__ import annotations

import http.server
import json
import ssl
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import yaml

from provisioner.compile.objects import record
from provisioner.errors import KubewrightError
from provisioner.model.desired import Certificate, KubeObject
from provisioner.model.draining import is_ready
from provisioner.model.plan import ObjectChange
from provisioner.operate import pki
from provisioner.operate.access import Access
from provisioner.operate.kube import (
    KINDS,
    ApiFault,
    Kube,
    compare_objects,
    make_changes,
    object_path,
    why_not_ready,
)
from tests.fakes.api import MemoryApi, MemoryKube, node
from tests.fakes.sshd import free_port

GOLDEN = Path(__file__).resolve().parents[2] / "golden" / "lab" / "objects.yaml"
OURS = {"app.kubernetes.io/managed-by": "kubewright"}


def manifest(kind: str = "ConfigMap", name: str = "a", *, namespace: str = "kube-system", version: str = "v1",
             **fields: Any) -> dict[str, Any]:
    metadata = {"name": name, "labels": OURS} | ({"namespace": namespace} if namespace else {})
    return {"apiVersion": version, "kind": kind, "metadata": metadata, **fields}


def desired(*bodies: dict[str, Any]) -> list[KubeObject]:
    return [KubeObject("addons", body) for body in bodies]


class Handler(http.server.BaseHTTPRequestHandler):
    """Answers from the MemoryApi; writes down who asked and how."""

    protocol_version = "HTTP/1.1"

    def handle_any(self) -> None:
        api: MemoryApi = self.server.api                # type: ignore[attr-defined]
        length = int(self.headers.get("Content-Length") or 0)
        data = self.rfile.read(length)
        if "slow" in self.path:
            self.server.over.wait(20)       # type: ignore[attr-defined]
            return
        peer = dict(pair[0] for pair in self.connection.getpeercert()["subject"])
        self.server.seen.append((self.command, self.path, self.headers["Content-Type"], peer["commonName"]))  # type: ignore[attr-defined]
        status, document = api.answer(self.command, self.path, json.loads(data) if data else None)
        body = b"<html>no JSON</html>" if "html" in self.path else json.dumps(document).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_GET = do_PATCH = do_DELETE = do_POST = handle_any

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


class Server:
    """A running API: its Kube client and what it saw."""

    def __init__(self, directory: Path) -> None:
        self.api = MemoryApi()
        self.directory = directory
        ca = pki.new_ca("kubernetes-ca of test")
        (directory / "ca.crt").write_bytes(ca.certificate)
        self._leaf(ca, "server", dns_names=("localhost",), ip_addresses=("127.0.0.1",), server=True)
        self._leaf(ca, "admin", client=True)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(directory / "server.crt", directory / "server.key")
        context.load_verify_locations(directory / "ca.crt")
        context.verify_mode = ssl.CERT_REQUIRED
        self.http = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.http.daemon_threads = True
        self.http.over = threading.Event()              # type: ignore[attr-defined]
        self.http.socket = context.wrap_socket(self.http.socket, server_side=True)
        self.http.api, self.http.seen = self.api, []    # type: ignore[attr-defined]
        self.seen: list[tuple[str, str, str, str]] = self.http.seen  # type: ignore[attr-defined]

    def _leaf(self, ca: pki.KeyPair, name: str, **fields: Any) -> None:
        pair = pki.issue(Certificate(path="", key_path="", phase="prepare", ca="", common_name=name, **fields), ca)
        (self.directory / f"{name}.crt").write_bytes(pair.certificate)
        (self.directory / f"{name}.key").write_bytes(pair.key)

    def access(self, *, port: int = 0, ca: Path | None = None) -> Access:
        return Access(("127.0.0.1", port or self.http.server_address[1]), ca or self.directory / "ca.crt",
                         self.directory / "admin.crt", self.directory / "admin.key")


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    running = Server(tmp_path)
    thread = threading.Thread(target=running.http.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    yield running
    running.http.over.set()             # type: ignore[attr-defined]
    running.http.shutdown()
    running.http.server_close()


@pytest.fixture
def kube(server: Server) -> Iterator[Kube]:
    with closing(Kube(server.access())) as client:
        yield client


def test_a_proxy_of_the_operator_s_machine_is_not_asked(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    for which in ("http", "https", "all"):
        for name in (f"{which}_proxy", f"{which}_proxy".upper()):
            monkeypatch.setenv(name, f"http://127.0.0.1:{free_port()}")
    with closing(Kube(server.access())) as client:
        assert client.request("GET", "/api/v1/nodes")["items"] == []


@pytest.mark.parametrize(("body", "path"), [
    (manifest(), "/api/v1/namespaces/kube-system/configmaps/a"),
    (manifest("Node", "w1", namespace=""), "/api/v1/nodes/w1"),
    (manifest("Deployment", "coredns", version="apps/v1"), "/apis/apps/v1/namespaces/kube-system/deployments/coredns"),
    (manifest("ClusterRole", "r", namespace="", version="rbac.authorization.k8s.io/v1"),
     "/apis/rbac.authorization.k8s.io/v1/clusterroles/r")])
def test_an_object_s_path_is_the_api_s(body: dict[str, Any], path: str) -> None:
    assert object_path(body) == path
    assert object_path(body, name="") == path.rpartition("/")[0]


def test_every_kind_of_our_manifests_is_in_the_table_and_namespaced_as_it_says() -> None:
    for body in yaml.safe_load_all(GOLDEN.read_text()):
        _, namespaced = KINDS[(body["apiVersion"], body["kind"])]
        assert namespaced == ("namespace" in body["metadata"]), body["metadata"]["name"]


def test_an_unknown_kind_is_our_bug_and_not_a_wrong_url() -> None:
    with pytest.raises(KeyError):
        object_path(manifest("Gizmo"))


def test_a_request_goes_out_as_the_certificate_s_user_and_comes_back_as_a_dict(kube: Kube, server: Server) -> None:
    server.api.put("/api/v1/nodes/w1", node("w1"))
    assert kube.get("/api/v1/nodes/w1")["metadata"]["name"] == "w1"
    assert [n["metadata"]["name"] for n in kube.nodes()] == ["w1"]
    assert {who for _, _, _, who in server.seen} == {"admin"}


def test_apply_is_server_side_under_our_field_manager_and_a_dry_run_writes_nothing(kube: Kube, server: Server) -> None:
    kube.apply(manifest(data={"k": "v"}), dry_run=True)
    assert server.api.objects == {}
    kube.apply(manifest(data={"k": "v"}))
    assert server.api.objects["/api/v1/namespaces/kube-system/configmaps/a"]["data"] == {"k": "v"}
    assert [(m, p.partition("?")[2], c) for m, p, c, _ in server.seen] == [
        ("PATCH", "fieldManager=kubewright&force=true&dryRun=All", "application/apply-patch+yaml"),
        ("PATCH", "fieldManager=kubewright&force=true", "application/apply-patch+yaml")]


def test_a_merge_patch_says_that_it_is_one(kube: Kube, server: Server) -> None:
    server.api.put("/api/v1/nodes/w1", node("w1", labels={"a": "1"}))
    kube.merge_patch("/api/v1/nodes/w1", {"metadata": {"labels": {"b": "2"}}})
    assert server.api.objects["/api/v1/nodes/w1"]["metadata"]["labels"] == {"a": "1", "b": "2"}
    assert server.seen[-1][2] == "application/merge-patch+json"


def test_a_refusal_holds_the_server_s_words_and_its_status(kube: Kube, server: Server) -> None:
    server.api.refuse = 403
    with pytest.raises(ApiFault) as fault:
        kube.get("/api/v1/nodes")
    assert (fault.value.status, fault.value.exit_code) == (403, 13)
    assert fault.value.message == "API: GET /api/v1/nodes: 403 refused with 403"


def test_a_refusal_that_is_no_json_is_told_by_its_beginning(kube: Kube, server: Server) -> None:
    server.api.refuse = 502
    with pytest.raises(ApiFault, match="502 <html>no JSON"):
        kube.get("/html")


def test_what_is_not_there_is_found_as_none_but_other_refusals_are_faults(kube: Kube, server: Server) -> None:
    assert kube.find("/api/v1/nodes/w9") is None
    server.api.refuse = 500
    with pytest.raises(ApiFault):
        kube.find("/api/v1/nodes/w9")


def test_deleting_what_is_gone_is_fine_but_a_refusal_is_not(kube: Kube, server: Server) -> None:
    kube.delete(manifest())
    server.api.refuse = 409
    with pytest.raises(ApiFault, match="409"):
        kube.delete(manifest())


def test_a_server_that_hangs_is_a_fault_at_the_deadline(kube: Kube) -> None:
    with pytest.raises(ApiFault) as fault:
        kube.get("/slow", timeout=0.3)
    assert fault.value.status == 0


def test_a_closed_port_is_a_fault_without_a_status(server: Server) -> None:
    with closing(Kube(server.access(port=free_port()))) as client, pytest.raises(ApiFault) as fault:
        client.get("/api/v1/nodes")
    assert fault.value.status == 0


def test_a_server_of_another_ca_is_not_believed(server: Server, tmp_path: Path) -> None:
    other = tmp_path / "other.crt"
    other.write_bytes(pki.new_ca("kubernetes-ca of test").certificate)
    with closing(Kube(server.access(ca=other))) as client, pytest.raises(ApiFault, match="certificate verify failed"):
        client.get("/api/v1/nodes")
    assert server.seen == []


@pytest.fixture
def api() -> MemoryApi:
    return MemoryApi()


def test_without_an_api_every_object_is_to_add() -> None:
    found = compare_objects(None, desired(manifest(name="a"), manifest(name="b")))
    assert [(c.identity, c.action, c.reason) for c in found] == [
        ("ConfigMap kube-system/a", "add", "no API yet"), ("ConfigMap kube-system/b", "add", "no API yet")]


def test_what_was_applied_does_not_differ_although_the_server_adds_and_counts(api: MemoryApi) -> None:
    kube, objects = MemoryKube(api), desired(manifest("Service", spec={"ports": [{"port": 53}]}), manifest(data={}))
    make_changes(kube, compare_objects(kube, objects))
    assert compare_objects(kube, objects) == ()
    kube.apply(manifest(data={}))           # a write that changes nothing moves resourceVersion all the same
    assert compare_objects(kube, objects) == ()


def test_objects_are_compared_side_by_side(api: MemoryApi) -> None:
    together = threading.Barrier(2, timeout=30)

    class Meeting(MemoryKube):
        def find(self, path: str) -> dict[str, Any] | None:
            together.wait()         # broken, where one is asked for after the other
            return super().find(path)

    assert len(compare_objects(Meeting(api), desired(manifest(name="a"), manifest(name="b")))) == 2


def test_over_one_client_they_are_told_in_their_order_and_a_fault_of_one_ends_it(kube: Kube, server: Server) -> None:
    bodies = [manifest(name=f"n{n:02}", data={"n": str(n)}) for n in range(20)]
    for body in bodies[::2]:
        kube.apply(body)
    found = compare_objects(kube, desired(*bodies))
    assert [c.identity for c in found] == [o.identity for o in desired(*bodies[1::2])]
    server.api.refuse = 403
    with pytest.raises(ApiFault, match="403"):
        compare_objects(kube, desired(*bodies))


def test_a_changed_object_names_the_fields_that_differ_as_deep_as_they_are(api: MemoryApi) -> None:
    kube = MemoryKube(api)
    kube.apply(manifest("Deployment", version="apps/v1", spec={"replicas": 2, "template": {"spec": {"nodeName": "a"}}}))
    wanted = manifest("Deployment", version="apps/v1", spec={"replicas": 3, "template": {"spec": {"nodeName": "b"}}})
    (change,) = compare_objects(kube, desired(wanted))
    assert (change.action, change.reason) == ("change", "spec.replicas 2 → 3, spec.template.spec.nodeName a → b")
    assert change.diff.splitlines() == ["-spec.replicas: 2", "+spec.replicas: 3", "-spec.template.spec.nodeName: a",
                                        "+spec.template.spec.nodeName: b"]


def test_of_a_text_inside_an_object_only_the_lines_that_differ_are_shown(api: MemoryApi) -> None:
    kube = MemoryKube(api)
    kube.apply(manifest(data={"Corefile": "a\nb\nc\n"}))
    (change,) = compare_objects(kube, desired(manifest(data={"Corefile": "a\nB\nc\n"})))
    assert change.diff.splitlines() == [" data.Corefile:", "@@ -1,3 +1,3 @@", " a", "-b", "+B", " c"]


def test_of_a_secret_only_the_names_of_its_fields_are_shown(api: MemoryApi) -> None:
    kube = MemoryKube(api)
    kube.apply(manifest("Secret", data={"key": "T0xE"}))
    wanted = desired(manifest("Secret", data={"key": "TkVX", "more": "TU9SRQ=="}))
    for change in (*compare_objects(kube, wanted), *compare_objects(None, wanted)):
        shown = change.reason + change.diff
        assert "(secret)" in shown and "data.more" in shown
        assert not [v for v in ("T0xE", "TkVX", "TU9SRQ==") if v in shown]


def applied(api: MemoryApi, *bodies: dict[str, Any]) -> list[KubeObject]:
    """Apply manifests with their record, as a run does, and return what was desired."""
    made = desired(*bodies)
    wanted = [*made, record(made)]
    make_changes(MemoryKube(api), compare_objects(MemoryKube(api), wanted))
    return wanted


def test_what_we_applied_and_no_longer_desire_is_removed_before_the_record_forgets_it() -> None:
    api = MemoryApi()
    wanted = applied(api, manifest(name="kept"), manifest(name="stray"), manifest("ClusterRole", "role", namespace="",
                     version="rbac.authorization.k8s.io/v1", rules=[]))
    assert compare_objects(MemoryKube(api), wanted) == ()
    made = desired(manifest(name="kept"))
    changes = compare_objects(MemoryKube(api), [*made, record(made)])
    assert [(c.identity, c.action) for c in changes] == [
        ("ClusterRole role", "remove"), ("ConfigMap kube-system/stray", "remove"),
        ("ConfigMap kube-system/kubewright-objects-addons", "change")]
    api.log.clear()
    make_changes(MemoryKube(api), changes)
    assert [method for method, _ in api.log] == ["DELETE", "DELETE", "PATCH"]
    assert compare_objects(MemoryKube(api), [*made, record(made)]) == ()


def test_what_only_carries_our_label_is_left_alone() -> None:
    api = MemoryApi()
    kube = MemoryKube(api)
    wanted = applied(api, manifest(name="kept"), manifest(name="was-ours"))
    kube.apply(manifest(name="copied"))                                     # a copied manifest
    api.put("/api/v1/namespaces/shop", manifest("Namespace", "shop", namespace=""))
    restored = dict(api.objects["/api/v1/namespaces/kube-system/configmaps/was-ours"])
    restored["metadata"] = {**restored["metadata"], "managedFields": [{"manager": "restorer"}]}
    api.put("/api/v1/namespaces/kube-system/configmaps/was-ours", restored)
    assert compare_objects(kube, wanted) == ()
    made = desired(manifest(name="kept"))
    changes = compare_objects(kube, [*made, record(made)])
    assert [(c.identity, c.action) for c in changes] == [("ConfigMap kube-system/kubewright-objects-addons", "change")]


@pytest.mark.parametrize("line", ["", "v1", "v1 ConfigMap", "v1 ConfigMap a", "v9 Thing a/b", "v1 Namespace a/b",
                                  "x" * 99])
def test_a_line_of_the_record_that_is_none_of_ours_names_nothing(line: str) -> None:
    api = MemoryApi()
    made = desired(manifest(name="kept"))
    wanted = [*made, record(made)]
    applied(api, manifest(name="kept"))
    api.objects[object_path(wanted[1].body)]["data"]["objects"] += f"{line}\n"
    assert [c.action for c in compare_objects(MemoryKube(api), wanted)] == (["change"])


def test_that_very_object_is_deleted_and_not_one_that_took_its_name() -> None:
    api, asked = MemoryApi(), []
    applied(api, manifest(name="kept"), manifest(name="stray"))
    made = desired(manifest(name="kept"))
    kube = MemoryKube(api)
    changes = compare_objects(kube, [*made, record(made)])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(kube, "request", lambda method, path, body=None, **_: asked.append((method, body)) or {})
        make_changes(kube, changes[:1])
    uid = api.objects["/api/v1/namespaces/kube-system/configmaps/stray"]["metadata"]["uid"]
    assert asked == [("DELETE", {"apiVersion": "v1", "kind": "DeleteOptions", "preconditions": {"uid": uid}})]


def test_changes_are_made_in_their_order_and_only_the_listed_ones(api: MemoryApi) -> None:
    kube = MemoryKube(api)
    make_changes(kube, compare_objects(kube, desired(manifest(name="b"), manifest(name="a"))))
    assert [p.rpartition("/")[2] for _, p in api.log] == ["b", "a"]


def test_a_change_without_its_object_is_our_bug() -> None:
    with pytest.raises(KubewrightError, match="no object"):
        make_changes(MemoryKube(MemoryApi()), [ObjectChange("addons", "ConfigMap a", "add", "")])


@pytest.mark.parametrize(("body", "ready", "why"), [
    (node("w1"), True, "cni is not initialized"), (node("w1", ready=False), False, "cni is not initialized"),
    ({"metadata": {"name": "w1"}}, False, "no status yet"),
    ({"status": {"conditions": [{"type": "Ready", "status": "Unknown", "reason": "NodeStatusUnknown"}]}}, False,
     "NodeStatusUnknown"),
    ({"status": {"conditions": [{"type": "MemoryPressure", "status": "True"}]}}, False, "no status yet")])
def test_a_node_is_ready_only_when_its_ready_condition_is_true(body: dict[str, Any], ready: bool, why: str) -> None:
    assert is_ready(body) is ready
    assert why_not_ready(body) == why


def test_what_the_api_says_comes_with_its_meaning_its_causes_and_a_cure() -> None:
    fault = ApiFault("GET /api/v1/nodes", "401 Unauthorized", 401)
    assert fault.message == "API: GET /api/v1/nodes: 401 Unauthorized"
    assert fault.details[0] == "the API does not know who asks"
    assert fault.details[1].startswith("likely: the certificate is of another cluster's CA")
    assert fault.hint.startswith("kubewright kubeconfig")
    assert ApiFault("GET /x", "418 I am a teapot", 418).details == ()
