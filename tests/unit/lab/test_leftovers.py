"""What a killed lab left is found from listings alone."""

from __future__ import annotations

from provisioner.lab import leftovers
from provisioner.lab.instance import Instance
from provisioner.lab.leftovers import Leftover, Seen
from provisioner.lab.processes import ProcessRecord

LAB = Instance("lab")
ROOT = "/var/lib/kubewright-lab/lab/nodes"
RECORD = ProcessRecord(pid=100, started="5000", boot="this-boot")


def find(seen: Seen) -> tuple[Leftover, ...]:
    return leftovers.find(LAB, seen, spare="_repository")


def kinds(seen: Seen) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for item in find(seen):
        found.setdefault(item.node, []).append(item.kind)
    return found


def seen(**changes: object) -> Seen:
    values: dict[str, object] = {
        "boot": "this-boot", "records": {"cp1": RECORD}, "started": {100: "5000"}, "mounts": (f"{ROOT}/cp1/root",),
        "members": {"cp1": frozenset({100, 101})}, "links": {"vb-lab.cp1": ()}}
    return Seen(**(values | changes))  # type: ignore[arg-type]


def test_a_living_node_has_no_leftovers() -> None:
    assert find(seen()) == ()


def test_everything_of_a_killed_node_is_found() -> None:
    assert kinds(seen(started={100: None})) == {"cp1": ["mount", "cgroup", "process", "process", "link", "record"]}


def test_a_recycled_pid_does_not_keep_a_dead_node_alive() -> None:
    assert leftovers.alive(seen(started={100: "9999"})) == frozenset()


def test_a_record_of_an_earlier_boot_does_not_keep_a_dead_node_alive() -> None:
    assert leftovers.alive(seen(boot="next-boot")) == frozenset()


def test_a_node_without_a_record_but_with_processes_is_cleaned() -> None:
    found = kinds(seen(records={"cp1": None}))
    assert found == {"cp1": ["mount", "cgroup", "process", "process", "link"]}


def test_a_cgroup_without_a_directory_is_cleaned() -> None:
    found = find(seen(records={}, mounts=(), links={}, members={"w9": frozenset()}))
    assert found == (Leftover("w9", "cgroup", "w9"),)


def test_the_repository_server_is_not_taken_for_a_node() -> None:
    assert find(seen(members={"cp1": frozenset({100}), "_repository": frozenset({7})})) == ()


def test_only_the_dead_node_of_two_is_cleaned() -> None:
    two = seen(records={"cp1": RECORD, "cp10": ProcessRecord(200, "6000", "this-boot")},
               started={100: "5000", 200: None}, mounts=(f"{ROOT}/cp1/root", f"{ROOT}/cp10/root"))
    assert {(f.node, f.what) for f in find(two) if f.kind == "mount"} == {("cp10", f"{ROOT}/cp10/root")}


def test_a_link_with_a_long_name_is_found_by_its_alias() -> None:
    links = {"vb-long-na8xQ2": ("vb-a-long-lab.control-plane-1",), "lab0": ()}
    assert leftovers.link_of("a-long-lab.control-plane-1", links) == "vb-long-na8xQ2"
    assert leftovers.link_of("a-long-lab.control-plane-2", links) is None


def test_the_description_counts_by_kind() -> None:
    found = find(seen(started={100: None}))
    assert leftovers.describe(found) == "2 processes, 1 mount, 1 cgroup, 1 link"
