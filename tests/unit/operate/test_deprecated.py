"""Which old APIs are in use, by the API server's own count, and which of them a release lacks."""

from __future__ import annotations

from typing import Any

from provisioner.operate.deprecated import Requested, gone_in, parse, stored
from tests.fakes.api import MemoryApi, MemoryKube

LINE = ('apiserver_requested_deprecated_apis{{group="{}",removed_release="{}",resource="{}",subresource="{}",'
        'version="{}"}} {}')
METRICS = "\n".join([
    "# HELP apiserver_requested_deprecated_apis [STABLE] Gauge of deprecated APIs that have been requested",
    "# TYPE apiserver_requested_deprecated_apis gauge",
    LINE.format("", "", "endpoints", "", "v1", 1),
    LINE.format("a.k8s.io", "1.37", "as", "status", "v1beta1", 1),
    LINE.format("b.k8s.io", "1.38", "bs", "", "v1beta1", 1),
    LINE.format("c.k8s.io", "1.37", "cs", "", "v1beta1", 0),
    'apiserver_request_total{code="200"} 12', ""])


def test_what_was_asked_for_is_read_and_what_was_not_is_left_out() -> None:
    assert list(parse(METRICS)) == [
        Requested("v1", "endpoints", None), Requested("a.k8s.io/v1beta1", "as/status", (1, 37)),
        Requested("b.k8s.io/v1beta1", "bs", (1, 38))]


def test_a_release_lacks_what_went_with_it_or_before_it() -> None:
    used = [*parse(METRICS), *parse(METRICS)]
    assert [str(one) for one in gone_in(used, "1.37.2")] == ["as/status of a.k8s.io/v1beta1"]
    assert len(gone_in(used, "1.38.0")) == 2 and gone_in(used, "1.36.9") == ()


def managed(name: str, api: str, by: str, namespace: str = "shop") -> dict[str, Any]:
    return {"metadata": {"name": name, "namespace": namespace,
                         "managedFields": [{"manager": by, "apiVersion": api}]}}


def test_objects_that_are_written_in_it_are_named_with_who_does_and_others_are_not() -> None:
    api, one = MemoryApi(), Requested("policy/v1beta1", "poddisruptionbudgets/status", (1, 37))
    path = "/apis/policy/v1beta1/poddisruptionbudgets"
    api.objects |= {f"{path}/a": managed("a", "policy/v1beta1", "helm"),
                    f"{path}/b": managed("b", "policy/v1", "kubectl")}
    assert stored(MemoryKube(api), one) == "written in it: shop/a by helm"
    api.objects |= {f"{path}/c{n}": managed(f"c{n}", "policy/v1beta1", "helm") for n in range(12)}
    assert stored(MemoryKube(api), one).endswith("and 3 more")
    api.objects.clear()
    assert stored(MemoryKube(api), one) == "no object that is there was written in it"
    api.refuse = 503
    assert "was not looked at" in stored(MemoryKube(api), one)
