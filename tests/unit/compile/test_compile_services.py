"""What each service of the cluster is told, and what happens to an inventory that cannot be made."""

from __future__ import annotations

import base64
import dataclasses
import re
import socket
import subprocess
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import yaml

from provisioner.compile.cluster import compile_cluster
from provisioner.compile.context import COMPONENT_FIELDS
from provisioner.compile.etcd import cluster_token
from provisioner.compile.load_balancer import priority
from provisioner.compile.objects import is_record
from provisioner.compile.pki import TABLE
from provisioner.compile.render import command_line, systemd_word
from provisioner.errors import InventoryRefused, PreflightRefused
from provisioner.model.artifact import ArtifactLock
from provisioner.model.cluster import Cluster
from provisioner.model.components import COMPONENTS as COMPONENTS_OF_THE_MODEL
from provisioner.model.desired import Certificate, File, HostDesired
from provisioner.model.paths import data_dir
from tests.unit.compile.compile_fixture import COMPONENTS, PUBLIC, SECRETS, compiled, facts_of, inventory, lock, pem

DEDICATED_ETCD = inventory(hosts={
    "cp1": {"address": "10.77.0.11", "roles": ["control-plane"]},
    "e1": {"address": "10.77.0.31", "roles": ["etcd"]},
    "e2": {"address": "10.77.0.32", "roles": ["etcd"]},
})


def text(host: HostDesired, path: str) -> str:
    item = host.find("file", path)
    assert isinstance(item, File)
    return item.content


def flag(host: HostDesired, unit: str, name: str) -> str | None:
    found = re.search(rf"--{name}=(\S+)", text(host, f"/etc/systemd/system/{unit}.service"))
    return found[1] if found else None


def certificate(host: HostDesired, path: str) -> Certificate:
    item = host.find("certificate", path)
    assert isinstance(item, Certificate)
    return item


def test_an_api_server_talks_to_its_own_host_s_member_only() -> None:
    for name in ("cp1", "cp2", "cp3"):
        assert flag(compiled().hosts[name], "kube-apiserver", "etcd-servers") == "https://127.0.0.1:2379"


def test_an_api_server_without_a_member_of_its_own_talks_to_all() -> None:
    servers = flag(compiled(DEDICATED_ETCD).hosts["cp1"], "kube-apiserver", "etcd-servers")
    assert servers == "https://10.77.0.31:2379,https://10.77.0.32:2379"


def test_a_single_api_server_sends_nobody_away() -> None:
    assert flag(compiled(DEDICATED_ETCD).hosts["cp1"], "kube-apiserver", "goaway-chance") is None
    assert flag(compiled().hosts["cp1"], "kube-apiserver", "goaway-chance") == "0.001"


def test_only_health_may_be_asked_without_a_name() -> None:
    body = yaml.safe_load(text(compiled().hosts["cp1"], "/etc/kubernetes/authentication-config.yaml"))
    assert body["anonymous"] == {
        "enabled": True, "conditions": [{"path": "/livez"}, {"path": "/readyz"}, {"path": "/healthz"}]}
    # The API server refuses to start with both.
    assert flag(compiled().hosts["cp1"], "kube-apiserver", "anonymous-auth") is None


def test_no_rule_of_the_audit_policy_can_write_down_a_secret() -> None:
    policy = text(compiled().hosts["cp1"], "/etc/kubernetes/audit-policy.yaml")
    first, *_, last = rules = yaml.safe_load(policy)["rules"]
    assert first["level"] == "Metadata" and not {"users", "userGroups", "verbs", "namespaces"} & set(first)
    covered = {f"{r['group']}/{name}" for r in first["resources"] for name in r["resources"]}
    assert covered == {"/secrets", "/configmaps", "/serviceaccounts/token", "authentication.k8s.io/tokenreviews"}
    bodies = {r["group"] or name for rule in rules if rule["level"].startswith("Request")
              for r in rule["resources"] for name in r.get("resources", ["*"])}
    assert bodies == {"rbac.authorization.k8s.io", "nodes"}
    assert last == {"level": "Metadata"}


def test_the_controllers_kubeconfigs_name_the_copies_that_their_own_users_can_read() -> None:
    host = compiled().hosts["cp1"]
    for name in ("controller-manager", "scheduler"):
        body = yaml.safe_load(text(host, f"/etc/kubernetes/{name}.conf"))
        copies = f"/run/credentials/kube-{name}.service"
        assert body["users"][0]["user"] == {
            "client-certificate": f"{copies}/{name}.crt", "client-key": f"{copies}/{name}.key"}
        assert flag(host, f"kube-{name}", "kubeconfig") == f"{copies}/{name}.conf"
        # Not before the unit that makes the copies: an older unit could not start again with this one.
        config = host.find("file", f"/etc/kubernetes/{name}.conf")
        assert config is not None and config.phase == "controllers"
    admin = yaml.safe_load(text(host, "/etc/kubernetes/admin.conf"))
    assert admin["users"][0]["user"]["client-key"] == "/etc/kubernetes/pki/admin.key"


def test_a_member_that_lost_its_data_cannot_found_a_second_cluster() -> None:
    host = compiled().hosts["cp1"]
    env = text(host, "/etc/kubewright/etcd/initial.env")
    assert "\nETCD_INITIAL_CLUSTER_STATE=existing\n" in env
    assert "\nETCD_INITIAL_CLUSTER=cp1=https://10.77.0.11:2380,cp2=https://10.77.0.12:2380," in env
    unit = host.find("unit", "etcd.service")
    assert unit is not None and "/etc/kubewright/etcd/initial.env" not in unit.spec()["inputs"]
    # etcd refuses a setting that comes both as a flag and as a variable.
    assert "--initial-" not in text(host, "/etc/systemd/system/etcd.service")


def test_two_clusters_never_share_an_etcd_token() -> None:
    tokens = {cluster_token(name, pem(ca)) for name in ("a", "b") for ca in ("x", "y")}
    assert len(tokens) == 4


def test_keepalived_s_peers_stand_one_a_line_and_it_is_not_its_own() -> None:
    body = text(compiled().hosts["cp2"], "/etc/keepalived/keepalived.conf")
    peers = re.search(r"unicast_peer \{\n(.*?)\n    \}", body, re.S)
    assert peers and [line.strip() for line in peers[1].splitlines()] == ["10.77.0.11", "10.77.0.13"]
    assert "unicast_src_ip 10.77.0.12\n" in body


def test_keepalived_s_priorities_all_differ() -> None:
    hosts = compiled().hosts
    texts = [text(hosts[name], "/etc/keepalived/keepalived.conf") for name in ("cp1", "cp2", "cp3")]
    assert [re.findall(r"priority (\d+)", body) for body in texts] == [["254"], ["246"], ["238"]]


@pytest.mark.parametrize("balancers", [1, 2, 31, 32, 33, 127, 254])
def test_however_many_load_balancers_there_are_their_priorities_differ_and_vrrp_takes_them(balancers: int) -> None:
    found = [priority(number, balancers) for number in range(balancers)]
    assert len(set(found)) == balancers and set(found) <= set(range(1, 255))


@pytest.mark.parametrize(("own", "peer", "may"), [
    ("200 OK", "nothing", True),                           # this host reaches an API server: nobody else is asked
    ("503 Service Unavailable", "10.77.0.13", False),      # only another load balancer does
    ("503 Service Unavailable", "nothing", True),          # nobody does: one holder is better than none
    ("", "10.77.0.13", False),                             # our own hangs up
    ("silent", "10.77.0.13", False),                       # or says nothing at all
    ("gone", "nothing", True), ("gone", "10.77.0.13", False)])
def test_the_vip_stays_on_a_host_unless_another_one_does_better(tmp_path: Path, own: str, peer: str, may: bool) -> None:
    curl, asked = tmp_path / "curl", tmp_path / "asked"
    curl.write_text(f'#!/bin/sh\necho "$*" >> {asked}\ncase "$*" in *::{peer}:8443*) exit 0;; esac\nexit 7\n')
    curl.chmod(0o755)
    asked.touch()
    check, said = tmp_path / "check", []
    body = text(compiled().hosts["cp2"], "/opt/kubewright/bin/may-hold-vip")
    with socket.create_server(("127.0.0.1", 0)) as haproxy:
        check.write_text(body.replace("/usr/bin/curl", str(curl)).replace(
            "127.0.0.1/7444", f"127.0.0.1/{haproxy.getsockname()[1]}"))
        check.chmod(0o755)
        if own == "gone":
            haproxy.close()
        with subprocess.Popen([check], stderr=subprocess.PIPE, text=True) as running:
            if own != "gone":
                caller, _ = haproxy.accept()
                with caller, caller.makefile("rb") as lines_of_it:
                    if own:
                        said += [next(lines_of_it), next(lines_of_it)]
                        caller.sendall(f"HTTP/1.0 {own}\r\n\r\n".encode() if own != "silent" else b"")
                    if own == "silent":
                        running.wait(20)
            _, words = running.communicate(timeout=20)
    assert (running.returncode == 0) is may and not words
    assert said == ([] if own in ("", "gone") else [b"GET /reached HTTP/1.0\r\n", b"\r\n"])
    lines = asked.read_text().splitlines()
    assert all("--disable --noproxy * " in line for line in lines) and len(lines) == (0 if own == "200 OK" else 2)


def unset(body: str) -> set[str]:
    """Return the variables that a unit does not hand to its program."""
    return {name for line in re.findall(r"^UnsetEnvironment=(.*)$", body, re.M) for name in line.split()}


def units_of(host: HostDesired) -> dict[str, str]:
    return {item.path: item.content for item in host.items
            if isinstance(item, File) and item.path.startswith("/etc/systemd/system/")}


def test_no_unit_or_drop_in_hands_on_what_the_host_says_to_all_its_services() -> None:
    proxies = {f"{which}_proxy" for which in ("http", "https", "no", "all")}
    strangers = proxies | {name.upper() for name in proxies} | {
        "GODEBUG", "SSL_CERT_FILE", "SSL_CERT_DIR", "LD_PRELOAD", "LD_LIBRARY_PATH", "KUBECONFIG"}
    asked = inventory(config={"etcd": {"snapshotEvery": "6h"}}, time={"servers": ["192.0.2.1"]},
                      trust=["a certificate"], firewall="ours")
    everything = [*compiled(asked).hosts.values(),
                  *compiled(asked, facts_of(asked, os_id="rhel", os_version="9.4")).hosts.values()]
    found = {path: unset(body) for host in everything for path, body in units_of(host).items()}
    templates = data_dir("templates") / "etc" / "systemd" / "system"
    assert set(found) == {f"/etc/systemd/system/{path.relative_to(templates).with_suffix('')}"
                          for path in templates.rglob("*.j2")}
    started = {path: names for path, names in found.items() if not path.endswith(".timer")}     # which runs nothing
    assert {path: strangers - names for path, names in started.items() if not strangers <= names} == {}


def test_what_a_unit_sets_itself_it_does_not_take_away_again() -> None:
    """UnsetEnvironment= comes last in systemd: it would win over the unit's own lines and files."""
    host = compiled().hosts["cp1"]
    for path, body in units_of(host).items():
        own = {word.split("=")[0] for line in re.findall(r"^Environment=(.*)$", body, re.M) for word in line.split()}
        assert not own & unset(body), path
    own = set(re.findall(r"^(ETCD_\w+)=", text(host, "/etc/kubewright/etcd/initial.env"), re.M))
    assert own and not own & unset(text(host, "/etc/systemd/system/etcd.service"))


def test_no_variable_of_the_host_repeats_or_adds_a_flag_of_etcd_s_or_flannel_s() -> None:
    """etcd does not start where a variable repeats a flag, and takes one that it was not given."""
    cluster = inventory(config={"etcd": {"flags": {"snapshot-count": 9000}}, "kubelet": {"failCgroupV1": False}})
    host = compiled(cluster).hosts["cp1"]
    assert {"ETCD_NAME", "ETCD_DATA_DIR", "ETCD_SNAPSHOT_COUNT", "ETCD_CONFIG_FILE", "ETCD_FORCE_NEW_CLUSTER"} <= unset(
        text(host, "/etc/systemd/system/etcd.service"))
    assert {"FLANNELD_IFACE", "FLANNELD_KUBECONFIG_FILE"} <= unset(text(host, "/etc/systemd/system/flanneld.service"))


def test_a_server_s_line_itself_says_when_silence_ends_a_connection() -> None:
    """HAProxy 2.6 accepts tcp-ut in default-server and ignores it."""
    body = text(compiled().hosts["w1"], "/etc/haproxy/haproxy.cfg")
    servers = [line for line in body.splitlines() if line.startswith("    server ")]
    assert len(servers) == 3 and all(" tcp-ut 4s " in line for line in servers)


@pytest.mark.parametrize("maxconn", [4096, 100, 3])
def test_each_of_haproxy_s_frontends_has_a_share_that_leaves_the_others_theirs(maxconn: int) -> None:
    cluster = inventory(config={"haproxy": {"maxconn": maxconn}})
    body = text(compiled(cluster).hosts["cp1"], "/etc/haproxy/haproxy.cfg")
    found = [int(n) for n in re.findall(r"maxconn (\d+)", body)]
    assert found[0] == maxconn and len(found) == 4 and sum(found[1:]) <= maxconn and min(found) >= 1


def test_keepalived_s_check_is_answered_by_haproxy_on_the_vip_s_hosts_alone() -> None:
    hosts = compiled().hosts
    assert "monitor-uri /reached" in text(hosts["cp1"], "/etc/haproxy/haproxy.cfg")
    assert "/reached" not in text(hosts["w1"], "/etc/haproxy/haproxy.cfg")
    assert 'script "/opt/kubewright/bin/may-hold-vip"' in text(hosts["cp1"], "/etc/keepalived/keepalived.conf")
    found = hosts["cp1"].find("file", "/opt/kubewright/bin/may-hold-vip")
    assert isinstance(found, File) and found.mode == 0o755      # keepalived runs it as nobody


def test_the_virtual_router_id_is_the_inventory_s_or_follows_from_the_vip() -> None:
    path = "/etc/keepalived/keepalived.conf"
    chosen = inventory(api={"vip": "10.77.0.10", "virtual_router_id": 77})
    assert "virtual_router_id 10\n" in text(compiled().hosts["cp1"], path)
    assert "virtual_router_id 77\n" in text(compiled(chosen).hosts["cp1"], path)


def test_the_vip_s_port_is_open_only_where_the_vip_may_be() -> None:
    assert "bind 0.0.0.0:8443" in text(compiled().hosts["cp1"], "/etc/haproxy/haproxy.cfg")
    assert ":8443" not in text(compiled().hosts["w1"], "/etc/haproxy/haproxy.cfg")


def test_every_kubeconfig_goes_through_the_host_s_own_haproxy() -> None:
    for host in compiled().hosts.values():
        configs = [i for i in host.items if isinstance(i, File) and "kind: Config\n" in i.content]
        assert configs
        for item in configs:
            body = yaml.safe_load(item.content)
            assert body["clusters"][0]["cluster"]["server"] == "https://127.0.0.1:7443"
            assert item.mode == 0o600


def test_haproxy_finds_the_key_of_its_certificate() -> None:
    found = certificate(compiled().hosts["w1"], "/etc/haproxy/health.crt")
    assert found.key_path == found.path + ".key"
    assert found.organization == ""


def test_the_api_s_certificate_names_every_way_to_it() -> None:
    cluster = inventory(api={"vip": "10.77.0.10", "extra_sans": ["api.example.org", "192.0.2.7"]})
    found = certificate(compiled(cluster).hosts["cp2"], "/etc/kubernetes/pki/apiserver.crt")
    assert set(found.ip_addresses) == {"10.96.0.1", "10.77.0.12", "127.0.0.1", "10.77.0.10", "192.0.2.7"}
    assert {"kubernetes.default.svc.cluster.local", "kubernetes", "localhost", "cp2", "api.example.org"} <= set(
        found.dns_names)
    external = inventory(api={"external": "lb.example.org:6443"})
    names = certificate(compiled(external).hosts["cp1"], "/etc/kubernetes/pki/apiserver.crt").dns_names
    assert "lb.example.org" in names


def test_every_certificate_is_for_a_use_and_no_two_lie_at_one_path() -> None:
    assert all(leaf.server or leaf.client for leaf in TABLE)
    assert all(leaf.sans.__name__ != "_no_sans" for leaf in TABLE if leaf.server)
    assert len({leaf.path for leaf in TABLE}) == len(TABLE)


def test_every_key_belongs_to_root_and_those_of_units_with_users_of_their_own_are_handed_to_them() -> None:
    host = compiled().hosts["cp1"]
    for leaf in TABLE:
        found = certificate(host, leaf.path)
        assert (found.owner, found.group, found.key_mode) == ("root", "root", 0o600)
        if leaf.unit:
            unit = text(host, f"/etc/systemd/system/{leaf.unit}")
            assert "\nUser=root" not in unit and "\nUser=" in unit
            for path in (leaf.path, leaf.key_path):
                assert f"\nLoadCredential={path.rpartition('/')[2]}:{path}\n" in unit
                assert f"={path} " not in unit, f"{leaf.unit} reads a file of root's that it cannot open"


def test_a_host_s_config_lies_on_top_of_the_cluster_s() -> None:
    hosts = inventory().model_dump(mode="json")["hosts"]
    hosts["w1"]["config"] = {"kubelet": {"maxPods": 50, "flags": {"v": 4}}}
    cluster = inventory(hosts=hosts, config={"kubelet": {"maxPods": 200, "podPidsLimit": None, "flags": {"v": 2}}})
    desired = compiled(cluster)
    one, two = (yaml.safe_load(text(desired.hosts[n], "/var/lib/kubelet/config.yaml")) for n in ("w1", "w2"))
    assert (one["maxPods"], two["maxPods"]) == (50, 200)
    assert "podPidsLimit" not in one and "flags" not in one
    assert (flag(desired.hosts["w1"], "kubelet", "v"), flag(desired.hosts["w2"], "kubelet", "v")) == ("4", "2")


def test_a_flag_of_the_inventory_replaces_ours_and_null_takes_it_away() -> None:
    cluster = inventory(config={"kube-apiserver": {"flags": {"profiling": True, "goaway-chance": None}}})
    host = compiled(cluster).hosts["cp1"]
    assert flag(host, "kube-apiserver", "profiling") == "true"
    assert flag(host, "kube-apiserver", "goaway-chance") is None


@pytest.mark.parametrize(("value", "word"), [
    ("plain", "--f=plain"),
    ("a b", '"--f=a b"'),
    ("100%", '"--f=100%%"'),
    ("$HOME", '"--f=$$HOME"'),
    ('say "x"', '"--f=say \\"x\\""'),
    ("a;b", '"--f=a;b"'),
    ("back\\slash", '"--f=back\\\\slash"'),
    ("two\nlines", '"--f=two\\x0alines"'),
    ("end\rExecStartPre=/x", '"--f=end\\x0dExecStartPre=/x"'),
])
def test_systemd_reads_a_flag_as_it_was_written(value: str, word: str) -> None:
    assert systemd_word(f"--f={value}") == word
    assert command_line("/bin/x", {"f": value}) == f"/bin/x \\\n    {word}"


def compile_with(cluster: Cluster | None = None, **changes: Any) -> None:
    cluster = cluster or inventory()
    values: dict[str, Any] = {"facts": facts_of(cluster), "lock": lock(), "secrets": SECRETS, "public": PUBLIC}
    compile_cluster(cluster, **(values | changes))


def test_every_component_that_an_inventory_may_name_says_what_it_takes() -> None:
    assert set(COMPONENT_FIELDS) == set(COMPONENTS_OF_THE_MODEL)


def test_all_fields_that_no_component_takes_are_told_at_once() -> None:
    hosts = inventory().model_dump(mode="json")["hosts"]
    hosts["w1"]["config"] = {"containerd": {"root": "/data"}}
    cluster = inventory(hosts=hosts, config={"coredns": {"replica": 3}, "etcd": {"name": "x"}, "kubelet": {"any": 1}})
    with pytest.raises(InventoryRefused) as refused:
        compile_with(cluster)
    assert [fault.partition(":")[0] for fault in refused.value.details] == [
        "config.coredns.replica", "config.etcd.name", "hosts.w1.config.containerd.root"]


def test_a_lock_of_other_versions_is_refused() -> None:
    with pytest.raises(InventoryRefused) as refused:
        compile_with(lock=lock(kubernetes="1.36.2", etcd="3.6.13"))
    assert any("kubelet is 1.36.2, the inventory says 1.36.3" in d for d in refused.value.details)
    assert any("etcd 3.6.13 is older than 3.6.14" in d for d in refused.value.details)
    assert refused.value.hint == "kubewright artifacts build --write-lock"


@pytest.mark.parametrize("name", sorted(
    {name for _, names in COMPONENTS.values() for name in names} - {"bridge", "busybox.tar"}))
def test_an_artifact_that_the_lock_lacks_is_named(name: str) -> None:
    rest = ArtifactLock(tuple(a for a in lock().artifacts if a.name != name))
    with pytest.raises(InventoryRefused, match=re.escape(name)):
        compile_with(lock=rest)


def test_an_address_that_no_interface_carries_is_refused() -> None:
    facts = facts_of(inventory())
    facts["w2"] = dataclasses.replace(facts["w2"], interfaces=())
    with pytest.raises(PreflightRefused) as refused:
        compile_with(facts=facts)
    assert refused.value.details == ("w2: no interface carries 10.77.0.22",)


def test_every_object_is_ours_by_its_label_and_has_a_phase() -> None:
    for each in compiled().objects:
        assert each.body["metadata"]["labels"]["app.kubernetes.io/managed-by"] == "kubewright"
        assert each.phase in ("access", "addons")


def test_objects_are_named_once() -> None:
    names = [each.identity for each in compiled().objects]
    assert len(names) == len(set(names))


def test_cluster_dns_has_its_address_and_forwards_only_where_told() -> None:
    def body(cluster: Cluster, kind: str) -> Any:
        return next(o.body for o in compiled(cluster).objects
                    if o.body["kind"] == kind and o.phase == "addons" and not is_record(o))

    usual = inventory(config={})
    assert body(usual, "Service")["spec"]["clusterIP"] == "10.96.0.10"
    assert "forward . /etc/resolv.conf {" in body(usual, "ConfigMap")["data"]["Corefile"]
    assert "forward" not in body(inventory(), "ConfigMap")["data"]["Corefile"]
    container = body(usual, "Deployment")["spec"]["template"]["spec"]["containers"][0]
    assert container["image"] == "kubewright.local/coredns:1.15.0"


def test_metrics_server_is_believed_by_our_ca_alone_and_believes_kubelets_by_it_alone() -> None:
    ours = {o.body["kind"]: o for o in compiled().objects if "metrics" in o.body["metadata"]["name"]}
    service, api = ours["Service"].body["metadata"], ours["APIService"].body["spec"]
    assert base64.b64decode(api["caBundle"]).decode() == pem("ca.crt")
    assert "insecureSkipTLSVerify" not in api
    leaf = ours["Secret"].certificate
    assert leaf is not None
    assert leaf.ca == "cluster"
    assert f"{service['name']}.{service['namespace']}.svc" in leaf.dns_names
    args = ours["Deployment"].body["spec"]["template"]["spec"]["containers"][0]["args"]
    assert "--kubelet-certificate-authority=/var/run/secrets/kubernetes.io/serviceaccount/ca.crt" in args
    assert not [a for a in args if "insecure" in a]


def test_every_pod_of_ours_is_unprivileged_spread_and_survives_a_drain() -> None:
    bodies = [o.body for o in compiled().objects]
    kept = {b["metadata"]["name"] for b in bodies if b["kind"] == "PodDisruptionBudget"}
    deployments = [b for b in bodies if b["kind"] == "Deployment"]
    assert {b["metadata"]["name"] for b in deployments} == kept == {"coredns", "metrics-server"}
    for body in deployments:
        pod = body["spec"]["template"]["spec"]
        assert (pod["securityContext"]["runAsNonRoot"], pod["securityContext"]["seccompProfile"]["type"]) == (
            True, "RuntimeDefault")
        assert pod["topologySpreadConstraints"][0]["whenUnsatisfiable"] == "DoNotSchedule"
        for container in pod["containers"]:
            assert container["securityContext"] == {"allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True,
                                                    "capabilities": {"drop": ["ALL"]}}


def test_a_lock_without_an_image_says_how_to_pin_it() -> None:
    short = ArtifactLock(tuple(a for a in lock().artifacts if a.component != "metrics-server"))
    cluster = inventory()
    with pytest.raises(InventoryRefused, match="0 references for metrics-server") as fault:
        compile_cluster(cluster, facts_of(cluster), short, SECRETS, PUBLIC)
    assert fault.value.hint == "kubewright artifacts build --component metrics-server --write-lock"


def test_the_corefile_has_one_option_a_line() -> None:
    objects = compiled().objects
    corefile = next(o.body for o in objects if o.identity == "ConfigMap kube-system/coredns")["data"]["Corefile"]
    assert not re.search(r"\{[ \t]*\S", corefile)


def test_the_cluster_s_domain_is_true_everywhere() -> None:
    other, ours = "shop.example", "cluster.local"
    before, after = compiled(), compiled(inventory(network={"hosts": ["10.77.0.0/24"], "domain": other}))
    assert ours not in repr(after).replace(f"{ours}/", "")        # but for the names of images, kubewright.local/...
    places: Counter[str] = Counter()
    for name, host in before.hosts.items():
        for old, new in zip(host.items, after.hosts[name].items, strict=True):
            if old != new:
                assert repr(new).replace(other, ours) == repr(old)
                places[old.path] += 1
    assert places == {
        "/etc/kubernetes/pki/apiserver.crt": 3, "/etc/systemd/system/kube-apiserver.service": 3,
        "/var/lib/kubelet/config.yaml": 5, "/etc/kubewright/cluster.yaml": 3}
    changed = {new.identity for old, new in zip(before.objects, after.objects, strict=True) if old != new}
    assert changed == {"ConfigMap kube-system/coredns", "Secret kube-system/metrics-server-tls"}
