"""Whatever compile sets on a command line or in a file either belongs to others too, and is refused, or is free."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from provisioner.model.cluster import Cluster
from provisioner.model.components import COMPONENTS, Component, types_of
from provisioner.model.desired import File
from provisioner.model.owned import owned
from provisioner.model.releases import RELEASES, takes
from provisioner.model.validate import validate
from provisioner.orchestrate.plan.owner import MEMBER
from tests.unit.compile.compile_fixture import compiled, inventory

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAiUKfncuWSokX3LVyysFBQf4zzgKKxGumVZPqiKkGca"
# Nobody but the program itself reads these: an inventory may set them to what the program takes.
FREE = {
    "etcd": {"tls-min-version", "heartbeat-interval", "election-timeout", "quota-backend-bytes",
             "watch-progress-notify-interval", "feature-gates"},
    "kube-apiserver": {
        "allow-privileged", "admission-control-config-file", "audit-policy-file", "audit-log-maxage",
        "audit-log-maxbackup", "audit-log-maxsize", "enable-aggregator-routing", "kubelet-preferred-address-types",
        "service-account-issuer", "service-account-extend-token-expiration", "tls-min-version", "tls-cipher-suites",
        "profiling", "shutdown-send-retry-after", "shutdown-watch-termination-grace-period", "goaway-chance"},
    "kube-controller-manager": {"profiling", "tls-min-version", "tls-cipher-suites", "node-cidr-mask-size",
                                "use-service-account-credentials", "terminated-pod-gc-threshold", "kube-api-burst"},
    "kube-scheduler": {"profiling", "tls-min-version", "tls-cipher-suites"},
    "kubelet": {
        "readOnlyPort", "authentication", "tlsMinVersion", "tlsCipherSuites", "protectKernelDefaults",
        "seccompDefault", "podPidsLimit", "makeIPTablesUtilChains", "enableProfilingHandler",
        "enableDebugFlagsHandler", "streamingConnectionIdleTimeout", "eventRecordQPS", "nodeLeaseDurationSeconds",
        "nodeStatusUpdateFrequency", "nodeStatusReportFrequency",
        "failCgroupV1", "authorization",
        "resolvConf"},
    "kube-proxy": {"clientConnection", "conntrack"},
    "flannel": set(),
}
UNITS = {"flannel": "flanneld"}


def flags_of(component: str, release: str = "1.36.3") -> Iterator[str]:
    for host in compiled(inventory(kubernetes=release)).hosts.values():
        item = host.find("file", f"/etc/systemd/system/{UNITS.get(component, component)}.service")
        if isinstance(item, File) and item.content:
            command = item.content.partition("ExecStart=")[2].replace("\\\n", " ").partition("\n")[0]
            yield from re.findall(r"[ \"]--([a-z-]+)=", command)


@pytest.mark.parametrize("component", FREE)
def test_every_flag_that_we_set_is_ours_or_said_to_be_free(component: str) -> None:
    names = set(flags_of(component))
    assert names, component
    taken = {name for name in names if owned(component, f"flags.{name}", "odd", inventory())}
    assert names - taken - FREE[component] == set()
    assert taken & FREE[component] == set()


@pytest.mark.parametrize(("component", "path"), [
    ("kubelet", "/var/lib/kubelet/config.yaml"), ("kube-proxy", "/etc/kubernetes/kube-proxy.yaml")])
def test_every_field_that_we_set_is_ours_or_said_to_be_free(component: str, path: str) -> None:
    item = compiled().hosts["w1"].find("file", path)
    assert isinstance(item, File)
    names = set(yaml.safe_load(item.content or ""))
    taken = {name for name in names if owned(component, name, "odd", inventory())}
    assert names - taken - FREE[component] == set()


@pytest.mark.parametrize("release", RELEASES)
@pytest.mark.parametrize("component", [c for c in FREE if c != "flannel"])
def test_no_flag_reaches_a_version_that_does_not_take_it(component: str, release: str) -> None:
    known = takes(COMPONENTS[component].source, release)["flags"][component]
    given = set(flags_of(component, release))
    assert given
    assert given <= known.keys()
    assert not {name for name in given if known[name].endswith(" file")}


@pytest.mark.parametrize("release", RELEASES)
@pytest.mark.parametrize(("component", "path"), [
    ("kubelet", "/var/lib/kubelet/config.yaml"), ("kube-proxy", "/etc/kubernetes/kube-proxy.yaml")])
def test_no_field_reaches_a_version_that_does_not_take_it(component: str, path: str, release: str) -> None:
    item = compiled(inventory(kubernetes=release)).hosts["w1"].find("file", path)
    assert isinstance(item, File)
    types = types_of(COMPONENTS[component], release)
    assert list(unknown_fields(yaml.safe_load(item.content or ""), types, COMPONENTS[component].type)) == []


def unknown_fields(values: Any, types: Any, type_: str) -> Iterator[str]:
    for name, value in values.items():
        kind = types[type_].get(name)
        if kind is None:
            yield f"{type_}.{name}"
        elif kind.startswith("@"):
            yield from unknown_fields(value, types, kind[1:])


def test_a_field_that_no_version_takes_would_be_found() -> None:
    types = types_of(COMPONENTS["kubelet"], "1.36.3")
    odd = {"maxPods": 1, "nope": 1, "authentication": {"x509": {"nope": ""}}}
    assert list(unknown_fields(odd, types, "KubeletConfiguration")) == [
        "KubeletConfiguration.nope", "KubeletX509Authentication.nope"]


def test_a_member_without_data_is_known_by_the_directory_that_etcd_is_given() -> None:
    item = compiled().hosts["cp1"].find("file", "/etc/systemd/system/etcd.service")
    assert isinstance(item, File)
    given = re.findall(r"--data-dir=(\S+)", item.content or "")
    assert [f"{directory}/member" for directory in given] == [MEMBER.path]
    assert owned("etcd", "flags.data-dir", given[0], inventory())


ODD: tuple[Any, ...] = (
    None, True, False, 0, 1, -1, 1.5, 10**30, "", "x", "1", "true", "30s", "A=true", "a=b,c", "10.0.0.1", "1-2", [],
    ["a"], [None], [{}], [[1]], {}, {"a": 1}, {"a": {"b": []}}, "a\nb", float("inf"))


EVERYTHING = {"address": "10.77.0.11", "roles": ["etcd", "control-plane", "load-balancer", "worker"]}


def written(cluster: Cluster) -> str:
    return "".join(item.content or "" for item in compiled(cluster).hosts["cp1"].items if isinstance(item, File))


def one_of_each_kind(component: Component) -> Iterator[str]:
    """Yield a field and a flag (`flags.NAME`) of each kind, and every one of which others follow the value."""
    types = types_of(component, "1.36.3")
    fields = dict(reversed(types.get(component.type, {}).items()))  # type: ignore[call-overload]
    flags = takes(component.source, "1.36.3")["flags"][component.name] if component.has_flags else {}
    yield from {kind: name for name, kind in fields.items() if "@" not in kind and ":" not in kind}.values()
    yield from {kind: f"flags.{name}" for name, kind in flags.items() if " " not in kind and ":" not in kind}.values()
    yield from (f"flags.{name}" for name in ("node-cidr-mask-size", "service-node-port-range") if name in flags)
    followed = ("maxPods", "featureGates", "upstreams", "systemReserved", "evictionSoft")
    yield from (name for name in followed if name in fields)
    yield from ("flags", "nothing of the kind")


@pytest.mark.parametrize("component", COMPONENTS.values(), ids=lambda row: row.name)
def test_any_value_in_any_place_is_refused_or_can_be_compiled(component: Component) -> None:
    compiled_ones, usual = 0, written(inventory(config={}, hosts={"cp1": EVERYTHING})).count("None")
    for name in one_of_each_kind(component):
        for value in ODD:
            first, _, flag = name.partition(".")
            config = {component.name: {first: {flag: value} if flag else value}}
            cluster = inventory(config=config, operators=[KEY], hosts={"cp1": EVERYTHING})
            if not list(validate(cluster)):
                assert written(cluster).count("None") == usual
                compiled_ones += 1
    assert compiled_ones > 0 or component.fields == {}
