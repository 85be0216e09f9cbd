"""Loading: what is read, what is refused, and how fast."""


import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from provisioner.errors import InventoryRefused
from provisioner.model.cluster import Cluster, Role
from provisioner.model.load import FaultyInventory, load_cluster
from tests.fakes import example

SMALL = """\
version: 1
cluster: shop
lab: true
kubernetes: "1.36.3"
network: {hosts: [10.20.0.0/24]}
hosts:
  cp1: {address: 10.20.0.11, roles: [control-plane, worker]}
"""


def faults_of(text: str) -> tuple[str, ...]:
    with pytest.raises(InventoryRefused) as refused:
        load_cluster(text, "cluster.yaml")
    return refused.value.details


def large(count: int) -> str:
    head = SMALL.replace("lab: true\n", f"operators: [ssh-ed25519 {KEY}]\n")
    head = head.replace("hosts: [10.20.0.0/24", "pods: [10.128.0.0/10], hosts: [10.20.0.0/16")
    rows = [f"  w{n}: {{address: 10.20.{1 + n // 250}.{1 + n % 250}, roles: [worker], labels: {{rack: r{n}}}}}\n"
            for n in range(count)]
    return head + "".join(rows)


KEY = "AAAAC3NzaC1lZDI1NTE5AAAAIAiUKfncuWSokX3LVyysFBQf4zzgKKxGumVZPqiKkGca"


def test_the_smallest_inventory_needs_only_one_host() -> None:
    cluster = load_cluster(SMALL, "cluster.yaml")
    assert [host.name for host in cluster.control_planes] == ["cp1"]
    assert str(cluster.api_endpoint) == "10.20.0.11:6443"
    assert cluster.dns_ip == "10.96.0.10"


def test_hosts_keep_the_order_of_the_file() -> None:
    text = SMALL + "  b: {address: 10.20.0.13, roles: []}\n  a: {address: 10.20.0.12, roles: []}\n"
    assert [host.name for host in load_cluster(text, "cluster.yaml").machines] == ["cp1", "b", "a"]


def test_what_a_host_says_of_ssh_wins_over_the_cluster() -> None:
    text = SMALL.replace("hosts:\n", "ssh: {user: admin, port: 2022}\nhosts:\n")
    cluster = load_cluster(text.replace("worker]}", "worker], ssh: {port: 22}}"), "cluster.yaml")
    assert (cluster.ssh_of("cp1").user, cluster.ssh_of("cp1").port) == ("admin", 22)


def test_roles_default_to_the_control_planes() -> None:
    cluster = load_cluster(SMALL, "cluster.yaml")
    assert [h.name for h in cluster.etcd_hosts] == [h.name for h in cluster.load_balancers] == ["cp1"]
    assert cluster.with_role(Role.ETCD) == ()


def test_five_hundred_hosts_load() -> None:
    assert len(load_cluster(large(499), "cluster.yaml").hosts) == 500


def test_faults_of_five_hundred_hosts_are_all_told() -> None:
    assert len(faults_of(large(499).replace("roles: [worker]", "role: [worker]"))) == 2 * 499


def test_a_faulty_inventory_keeps_its_faults_as_values() -> None:
    with pytest.raises(FaultyInventory) as refused:
        load_cluster(SMALL.replace("shop", "Shop"), "cluster.yaml")
    (fault,) = refused.value.faults
    assert (fault.mark.line, fault.mark.column, fault.path) == (2, 10, ("cluster",))


def test_the_file_is_named_as_it_was_given() -> None:
    with pytest.raises(InventoryRefused) as refused:
        load_cluster("", "inventories/shop/cluster.yaml")
    assert refused.value.message.startswith("inventories/shop/cluster.yaml: ")
    assert refused.value.details[0].startswith("inventories/shop/cluster.yaml:1:1: ")


def test_a_fault_between_fields_is_not_invented_for_a_section_that_cannot_be_read() -> None:
    text = SMALL.replace("network:", "api: {vip: 10.99.0.1, prt: 1}\nnetwork:")
    assert [line.split(": ")[1] for line in faults_of(text)] == ["api.prt"]


def test_two_documents_in_one_file_are_refused() -> None:
    assert "single document" in faults_of(SMALL + "---\n" + SMALL)[0]


def test_control_characters_are_refused_with_their_place() -> None:
    assert faults_of("version: 1\ncluster: a\x07b\n")[0].startswith("cluster.yaml:2:11: not YAML: ")


def test_a_tag_never_makes_an_object() -> None:
    assert "the tag" in faults_of(SMALL.replace("shop", "!!python/object/apply:os.system [true]"))[0]


def test_deep_nesting_is_refused_instead_of_exhausting_the_stack() -> None:
    deep = "[" * 300 + "]" * 300
    assert "levels deep" in " ".join(faults_of(SMALL + f"config: {{kubelet: {{a: {deep}}}}}\n"))


def test_an_alias_bomb_is_refused_before_it_is_expanded() -> None:
    bomb = "a0: &a0 [x, x]\n" + "".join(f"a{n + 1}: &a{n + 1} [*a{n}, *a{n}]\n" for n in range(20))
    assert "anchors and aliases" in faults_of(bomb)[0]


def test_an_ampersand_in_a_comment_is_no_anchor() -> None:
    assert isinstance(load_cluster("# a & b * c\n" + SMALL, "cluster.yaml"), Cluster)


@settings(max_examples=50, deadline=None)
@given(st.text(max_size=200))
def test_no_text_at_all_makes_the_loader_fail_otherwise_than_by_refusing(text: str) -> None:
    with pytest.raises(InventoryRefused):
        load_cluster(text, "cluster.yaml")


@settings(deadline=None)
@given(st.integers(0, 2000), st.sampled_from(list(":-[]{}#\"'&*!|>\n\t 0aé,?%@")))
def test_one_wrong_character_is_read_or_refused_never_more(place: int, character: str) -> None:
    text = example.text()
    start = text.index("version:") + place
    try:
        load_cluster(text[:start] + character + text[start + 1:], "cluster.yaml")
    except InventoryRefused as err:
        assert err.details
