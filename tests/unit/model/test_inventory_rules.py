"""Rules that the gallery of bad inventories does not show: their edges, and what they let pass."""

import pytest

from provisioner.model.advice import advice
from provisioner.model.cluster import Cluster
from provisioner.model.releases import RELEASES
from provisioner.model.syntax import label_fault, operator_fault, san_fault
from provisioner.model.validate import validate


def cluster(control_planes: int = 1, workers: int = 0, **sections: object) -> Cluster:
    hosts = {f"cp{n}": {"address": f"10.20.1.{n}", "roles": ["control-plane"]} for n in range(1, control_planes + 1)}
    hosts |= {f"w{n}": {"address": f"10.20.2.{n}", "roles": ["worker"]} for n in range(1, workers + 1)}
    data = {"version": 1, "cluster": "shop", "kubernetes": "1.36.3", "network": {"hosts": ["10.20.0.0/16"]},
            "api": {"vip": "10.20.0.10"}, "operators": [KEY], "hosts": hosts}
    return Cluster.model_validate({**data, **sections})


KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAiUKfncuWSokX3LVyysFBQf4zzgKKxGumVZPqiKkGca"


def messages(value: Cluster) -> list[str]:
    return [message for _, message in validate(value)]


@pytest.mark.parametrize("count", [1, 3, 5, 7])
def test_an_odd_number_of_etcd_members_passes(count: int) -> None:
    assert messages(cluster(count)) == []


@pytest.mark.parametrize("count", [2, 4, 6])
def test_an_even_number_of_etcd_members_is_refused_with_the_next_odd_ones(count: int) -> None:
    (message,) = messages(cluster(count))
    assert message.endswith(f"use {count - 1} or {count + 1}")


def test_more_than_seven_etcd_members_are_refused() -> None:
    assert "at most 7" in messages(cluster(9))[0]


@pytest.mark.parametrize("version", RELEASES)
def test_supported_kubernetes_releases_pass(version: str) -> None:
    assert messages(cluster(kubernetes=version)) == []


@pytest.mark.parametrize("version", ["1.33.9", "1.38.0", "1.3.4", "1.35.0", "1.36.99", "1.37.0", "1.36.03"])
def test_other_kubernetes_releases_are_refused(version: str) -> None:
    assert "is not supported" in messages(cluster(kubernetes=version))[0]


def test_the_pod_range_must_hold_a_24_for_every_node_and_may_be_full() -> None:
    exactly = {"hosts": ["10.20.0.0/16"], "pods": ["10.30.0.0/22"]}
    assert messages(cluster(1, 3, network=exactly)) == []
    assert "room for 4 nodes" in messages(cluster(1, 4, network=exactly))[0]


def test_hosts_that_are_only_prepared_need_no_pod_range() -> None:
    spare = {"x": {"address": "10.20.3.1", "roles": []}, "cp": {"address": "10.20.3.2", "roles": ["control-plane"]}}
    assert messages(cluster(hosts=spare, network={"hosts": ["10.20.0.0/16"], "pods": ["10.30.0.0/24"]})) == []


def test_one_control_plane_needs_no_vip_but_three_do() -> None:
    assert messages(cluster(1, api={})) == []
    assert "set api.vip, or api.external" in messages(cluster(3, api={}))[0]


def test_load_balancers_may_stand_beside_the_control_planes() -> None:
    hosts = {"cp": {"address": "10.20.3.2", "roles": ["control-plane"]},
             "lb": {"address": "10.20.3.3", "roles": ["load-balancer"]}}
    assert messages(cluster(hosts=hosts)) == []


def test_the_api_may_not_take_the_port_of_sshd() -> None:
    assert "port of sshd" in messages(cluster(api={"vip": "10.20.0.10", "port": 2222}, ssh={"port": 2222}))[0]


def test_any_port_is_fine_where_the_load_balancer_is_not_ours() -> None:
    assert messages(cluster(3, api={"external": "lb.example.org:443", "port": 6443})) == []


def test_a_lab_needs_no_operators_as_it_makes_its_own_key() -> None:
    assert messages(cluster(lab=True, operators=[])) == []


def test_with_parts_left_out_nothing_is_counted() -> None:
    assert list(validate(cluster(2, api={}, operators=[]), partial=True)) == []


@pytest.mark.parametrize("jump", ["bastion", "admin@bastion", "admin@10.0.0.1:2222", "b.example.org:22"])
def test_jump_hosts_pass(jump: str) -> None:
    assert messages(cluster(ssh={"jump": jump})) == []


@pytest.mark.parametrize(
    "jump", ["", "-J x", "a b", "a@b:0", "a@b:99999", "a@b,c@d", "a@@b", "a@b:22\n", "a@-b", "$(x)"])
def test_what_is_no_jump_host_is_refused(jump: str) -> None:
    assert "is not USER@HOST[:PORT]" in messages(cluster(ssh={"jump": jump}))[0]


@pytest.mark.parametrize("key", ["zone", "example.org/zone", "topology.kubernetes.io/zone", "node.kubernetes.io/pool",
                                 "kubelet.kubernetes.io/x", "mykubernetes.io/x"])
def test_labels_that_a_kubelet_may_set_pass(key: str) -> None:
    assert label_fault(key, "a") == ""


@pytest.mark.parametrize("key", ["kubernetes.io/hostname", "node-role.kubernetes.io/worker", "k8s.io/x",
                                 "node-restriction.kubernetes.io/x", "/x", "x/", "a/b/c", "", "x" * 64])
def test_labels_that_would_be_refused_later_are_refused_now(key: str) -> None:
    assert label_fault(key, "") != ""


@pytest.mark.parametrize("name", ["api.example.org", "*.example.org", "API.example.org", "10.0.0.1", "fd00::1", "a"])
def test_certificate_names_pass(name: str) -> None:
    assert san_fault(name) == ""


@pytest.mark.parametrize("name", ["", "a b", "-a", "a..b", "*", "a.*.b", "1.2.3.4.5", "a" * 64, "https://a"])
def test_what_no_certificate_can_carry_is_refused(name: str) -> None:
    assert san_fault(name) != ""


@pytest.mark.parametrize(
    "key", ["", "ssh-ed25519", KEY[:-1], KEY[:-4], KEY.replace("ed25519 ", "rsa "), KEY + "\nssh-rsa A", "ssh-dss AAAA",
            "# comment here"])
def test_operator_keys_that_could_not_decrypt_are_refused(key: str) -> None:
    assert operator_fault(key) != ""


@pytest.mark.parametrize("comment", ["", " alice", " alice at home"])
def test_an_operator_key_may_carry_any_comment(comment: str) -> None:
    assert operator_fault(KEY + comment) == ""


def test_balancers_of_their_own_may_take_the_port_of_the_api_servers() -> None:
    hosts = {"cp": {"address": "10.20.3.2", "roles": ["control-plane"]},
             "lb": {"address": "10.20.3.3", "roles": ["load-balancer"]},
             "lb2": {"address": "10.20.3.4", "roles": ["load-balancer"]}}
    assert messages(cluster(hosts=hosts, api={"vip": "10.20.0.10", "port": 6443})) == []
    taken = messages(cluster(hosts=hosts, api={"vip": "10.20.0.10", "port": 7443}))
    assert "taken on these hosts (local api)" in taken[0]


def test_a_port_that_a_node_has_is_taken_where_a_balancer_is_a_node_too() -> None:
    hosts = {"cp": {"address": "10.20.3.2", "roles": ["control-plane"]},
             "lb": {"address": "10.20.3.3", "roles": ["load-balancer", "worker"]}}
    assert "(kubelet)" in messages(cluster(hosts=hosts, api={"vip": "10.20.0.10", "port": 10250}))[0]
    assert messages(cluster(hosts=hosts, api={"vip": "10.20.0.10", "port": 6443})) == []


@pytest.mark.parametrize("external", [
    "127.0.0.1:6443", "0.0.0.0:6443", "localhost:6443", "a.localhost:1", "224.0.0.1:1", "169.254.1.1:6443",
    "10.20.0.300:6443", "lb..example.org:6443"])
def test_an_external_address_that_reaches_nobody_is_refused(external: str) -> None:
    assert len(messages(cluster(3, api={"external": external}))) == 1


def test_one_control_plane_may_be_reached_at_its_own_address_and_several_not_at_one_of_theirs() -> None:
    own = str(cluster(1).machines[0].address)
    assert messages(cluster(1, api={"external": f"{own}:6443"})) == []
    assert "one of 3 control planes" in messages(cluster(3, api={"external": f"{own}:6443"}))[0]


def test_the_vip_lies_in_any_of_the_hosts_networks_for_only_the_hosts_know_their_other_interfaces() -> None:
    networks = {"hosts": ["10.20.0.0/16", "192.168.7.0/24"]}
    assert messages(cluster(3, network=networks)) == []
    assert messages(cluster(3, network=networks, api={"vip": "192.168.7.10"})) == []
    assert "outside network.hosts" in messages(cluster(3, network=networks, api={"vip": "192.168.8.10"}))[0]


def test_an_external_address_within_the_clusters_own_ranges_is_refused() -> None:
    assert "exists within the cluster only" in messages(cluster(3, api={"external": "10.96.0.1:443"}))[0]


@pytest.mark.parametrize(("port", "refused"), [(22, False), (2222, False), (10250, True), (7443, True), (2379, True)])
def test_sshd_has_a_port_of_its_own(port: int, refused: bool) -> None:
    assert bool(messages(cluster(ssh={"port": port}, api={}))) is refused


def test_the_taint_of_control_planes_is_theirs_already() -> None:
    own = {"key": "node-role.kubernetes.io/control-plane", "effect": "NoSchedule"}
    for roles, count in ((["control-plane"], 1), (["control-plane", "worker"], 0)):
        hosts = {"cp": {"address": "10.20.1.1", "roles": roles, "taints": [own]}}
        assert len(messages(cluster(hosts=hosts, api={}))) == count


def test_labels_of_a_host_that_is_no_node_are_warned_of() -> None:
    hosts = {"cp": {"address": "10.20.1.1", "roles": ["control-plane", "worker"]},
             "lb": {"address": "10.20.1.2", "roles": ["load-balancer"], "labels": {"a": "b"}},
             "lb2": {"address": "10.20.1.3", "roles": ["load-balancer"]}}
    (_, message), = advice(cluster(hosts=hosts))
    assert message.startswith("lb is no Node")


def test_a_name_of_any_shape_that_a_node_may_have_passes_and_others_are_refused() -> None:
    def named(name: str) -> list[str]:
        return messages(cluster(hosts={name: {"address": "10.20.1.1", "roles": ["control-plane"]}}, api={}))

    for name in ("ip-10-1-1-1.eu-west-3.compute.internal", "a" * 52, "101", "on", "w1.example.org", "a.b.c"):
        assert named(name) == [], name
    for name in ("a" * 53, "1.2.3.4", "web.1"):
        assert len(named(name)) == 1, name
    for name in ("a..b", ".a", "a.", "A.b", "a_b", "-a.b", "a.-b", ("a" * 64) + ".b"):
        with pytest.raises(ValueError, match="pattern"):
            named(name)


@pytest.mark.parametrize(("name", "says"), [
    ("cluster.local", ""), ("k8s", ""), ("shop.example.org", ""), ("a" * 60 + "." + "b" * 60, ""),
    ("a" * 60 + "." + "b" * 61, "has 122 characters"), ("10.0.0.1", "ends in a number"),
    ("example.1", "ends in a number"),
    ("localhost", "below localhost"), ("x.localhost", "below localhost"), ("in-addr.arpa", "below arpa"),
])
def test_services_have_names_below_one_that_dns_and_resolvers_take(name: str, says: str) -> None:
    faults = list(validate(cluster(network={"hosts": ["10.20.0.0/16"], "domain": name})))
    assert [path for path, _ in faults] == ([("network", "domain")] if says else [])
    assert all(says in message for _, message in faults)


def test_a_name_that_no_pod_could_find_any_more_is_a_warning() -> None:
    hosts = {"cp1.example.org": {"address": "10.20.0.11", "roles": ["control-plane", "worker"]},
             "w1.example.com": {"address": "10.20.0.21", "roles": ["worker"]}}
    api = {"external": "lb.example.org:6443", "extra_sans": ["10.20.0.9", "badexample.org", "Example.org"]}
    network = {"hosts": ["10.20.0.0/24"], "domain": "example.org"}
    said = dict(advice(cluster(hosts=hosts, api=api, network=network)))
    assert set(said) == {("api", "external"), ("api", "extra_sans", 2), ("hosts", "cp1.example.org")}
    assert "no Pod will find lb.example.org" in said["api", "external"]
