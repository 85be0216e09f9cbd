"""The program that looks after a node's rules and routes, run as it is rendered, with the kernel played by files."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from provisioner.compile import networks, upkeep
from provisioner.model import families
from provisioner.model.desired import File
from tests.unit.compile.compile_fixture import compiled, facts_of, inventory

PROXY = {"nat-prerouting": "jump services", "nat-output": "jump services", "nat-postrouting": "jump masquerading",
         "services": "ip daddr . meta l4proto . th dport vmap @service-ips"}
FLANNEL = {"postrtg": "ip saddr 10.244.0.0/16 masquerade", "forward": "ip saddr 10.244.0.0/16 accept"}
FDB = "aa:bb:cc:dd:ee:02 dst 10.77.0.12 self permanent\n"
NEIGHBOURS = "10.244.2.0 lladdr aa:bb:cc:dd:ee:02 PERMANENT \n"
ROUTES = "10.244.2.0/24 via 10.244.2.0 onlink \n"

PROGRAMS = {
    "nft": '''f="$KERNEL/nft/$5"
[ -e "$KERNEL/nft-fails" ] && { echo "Error: netlink: Operation not permitted" >&2; exit 1; }
[ -e "$f" ] || { echo "Error: No such file or directory" >&2; exit 1; }
printf 'table %s %s {\\n\\tchain %s {\\n\\t\\t%s\\n\\t}\\n}\\n' "$3" "$4" "$5" "$(cat "$f")"''',
    "bridge": 'cat "$KERNEL/fdb" 2>/dev/null || { echo "Cannot find device \\"$5\\"" >&2; exit 1; }',
    "ip": 'cat "$KERNEL/$2" 2>/dev/null || { echo "Cannot find device \\"$5\\"" >&2; exit 1; }',
    "systemctl": '''case $1 in
is-active) [ ! -e "$KERNEL/inactive" ] ;;
show) cat "$KERNEL/run" ;;
try-restart) echo "$3" >>"$KERNEL/restarted" ;;
esac''',
    # A look a second of a test: the pause between two looks is where a test's next act comes in.
    "sleep": '''[ "$1" = 2 ] && exit 0
n=$(ls "$KERNEL" | grep -c '^look\\.'); : >"$KERNEL/look.$n"
[ -e "$KERNEL/act.$n" ] && sh "$KERNEL/act.$n"
[ -e "$KERNEL/act.$((n + 1))" ] || [ "$n" -lt "$LOOKS" ] || kill -TERM 0''',
}


class Kernel:
    """What the program sees, in files; `acts` are done after its first look, its second and so on."""

    def __init__(self, place: Path) -> None:
        self.place = place
        (place / "nft").mkdir(parents=True)
        for chain, rule in {**PROXY, **FLANNEL}.items():
            (place / "nft" / chain).write_text(f"{rule}\n")
        for name, text in (("fdb", FDB), ("neigh", NEIGHBOURS), ("route", ROUTES), ("run", "a\n")):
            (place / name).write_text(text)
        self.bin = place.parent / "bin"
        self.bin.mkdir()
        for name, text in PROGRAMS.items():
            (self.bin / name).write_text(f"#!/bin/sh\n{text}\n")
            (self.bin / name).chmod(0o755)

    def watch(self, unit: str, *acts: str, looks: int = 0) -> list[str]:
        """Run the program on one unit through these acts, and return what it restarted."""
        for number, act in enumerate(acts):
            (self.place / f"act.{number}").write_text(f"cd {self.place}; {act}\n")
        item = compiled().hosts["w1"].find("file", upkeep.PROGRAM)
        assert isinstance(item, File)
        lines = [line for line in item.content.splitlines() if not line.startswith("watch ") or unit in line]
        seen = self.place.parent / "seen"
        seen.mkdir(exist_ok=True)
        subprocess.run(["sh", "-c", "\n".join(lines)], timeout=60, check=False, start_new_session=True, env={
            "PATH": f"{self.bin}:/usr/bin:/bin", "KERNEL": str(self.place), "RUNTIME_DIRECTORY": str(seen),
            "LOOKS": str(max(looks, len(acts)))}, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        told = self.place / "restarted"
        return told.read_text().split() if told.exists() else []


@pytest.fixture
def kernel(tmp_path: Path) -> Kernel:
    return Kernel(tmp_path / "kernel")


@pytest.mark.parametrize("loss", [
    "rm nft/*",                                     # nft flush ruleset, systemctl restart nftables
    "for f in nft/*; do : >$f; done",               # nft flush table: the chains stay, empty
    "rm nft/services",
])
def test_rules_that_others_took_away_restart_kube_proxy_once(kernel: Kernel, loss: str) -> None:
    assert kernel.watch("kube-proxy.service", ":", f"{loss}", "echo b >run", ":") == ["kube-proxy.service"]


@pytest.mark.parametrize("loss", [
    ": >route",                                     # ip route flush dev flannel.1
    ": >route; : >neigh",                           # ip link set flannel.1 down and up
    ": >fdb",                                       # bridge fdb flush dev flannel.1
    ": >neigh",
    "rm fdb neigh route",                           # ip link del flannel.1
    ": >fdb; : >neigh; : >route",                   # flannel made the device anew, and told it nothing
    "rm nft/postrtg",
])
def test_lost_ways_to_other_nodes_restart_flannel_once(kernel: Kernel, loss: str) -> None:
    assert kernel.watch("flanneld.service", ":", f"{loss}", "echo b >run", ":") == ["flanneld.service"]


def test_what_is_there_is_left_alone(kernel: Kernel) -> None:
    assert kernel.watch("flanneld.service", looks=20) == []


def test_a_device_that_is_lost_before_the_new_start_was_looked_at_is_seen_all_the_same(kernel: Kernel) -> None:
    lost = ["flanneld.service"] * 2
    assert kernel.watch("flanneld.service", ":", ": >route", "echo b >run; : >fdb; : >neigh", looks=6) == lost


def test_a_cluster_that_shrank_to_one_node_costs_one_restart(kernel: Kernel) -> None:
    assert kernel.watch("flanneld.service", ":", ": >fdb; : >neigh; : >route", "echo b >run", looks=40) == [
        "flanneld.service"]


def test_the_address_that_a_node_had_before_its_boot_is_no_loss(kernel: Kernel) -> None:
    stale = "echo '10.244.3.0 lladdr aa:bb:cc:dd:ee:03 PERMANENT' >>neigh;" \
            "echo '10.244.3.0/24 via 10.244.3.0 onlink' >>route;" \
            "printf '%s dst 10.77.0.13 self permanent\\n' aa:bb:cc:dd:ee:03 aa:bb:cc:dd:ee:99 >>fdb"
    assert kernel.watch("flanneld.service", ":", stale, ":", ":") == []


def test_a_service_that_is_merely_starting_is_left_alone(kernel: Kernel) -> None:
    for chain in PROXY:
        (kernel.place / "nft" / chain).unlink()
    assert kernel.watch("kube-proxy.service", looks=5) == []


def test_rules_that_never_come_are_asked_for_ever_more_rarely(kernel: Kernel) -> None:
    for chain in PROXY:
        (kernel.place / "nft" / chain).unlink()
    assert kernel.watch("kube-proxy.service", looks=40) == ["kube-proxy.service"] * 2     # after 6 looks, then 12


def test_a_unit_that_does_not_run_is_not_started(kernel: Kernel) -> None:
    assert kernel.watch("kube-proxy.service", ":", ": >inactive; rm nft/*", ":") == []


def test_rules_that_cannot_be_asked_for_are_no_loss(kernel: Kernel) -> None:
    assert kernel.watch("kube-proxy.service", ":", ": >nft-fails", ":", ":") == []


def test_what_was_seen_is_kept_over_a_restart_of_the_program(kernel: Kernel) -> None:
    assert kernel.watch("kube-proxy.service", ":") == []
    for chain in PROXY:
        (kernel.place / "nft" / chain).unlink()
    assert kernel.watch("kube-proxy.service", looks=4) == ["kube-proxy.service"]


@pytest.mark.parametrize(("config", "units", "device"), [
    ({}, {"kube-proxy.service", "flanneld.service"}, "flannel.1"),
    ({"flannel": {"Backend": {"Type": "host-gw"}}}, {"kube-proxy.service", "flanneld.service"}, ""),
    ({"flannel": {"Backend": {"DirectRouting": True}}}, {"kube-proxy.service", "flanneld.service"}, ""),
    ({"flannel": {"Backend": {"VNI": 7}}}, {"kube-proxy.service", "flanneld.service"}, "flannel.7"),
])
def test_only_what_the_inventory_lets_be_written_is_looked_for(config: dict, units: set[str], device: str) -> None:
    cluster = inventory(config=config)
    host = cluster.machine("w1")
    assert {rule.unit for rule in upkeep.rules(cluster, host, families.DEFAULT)} == units
    assert networks.of(cluster).device(cluster, host) == device


def test_where_services_look_after_their_own_rules_only_ways_are_looked_after() -> None:
    cluster = inventory()
    assert upkeep.rules(cluster, cluster.machine("w1"), families.BY_KEY["debian-11"]) == ()
    program = compiled(cluster, facts_of(cluster, os_version="11")).hosts["w1"].find("file", upkeep.PROGRAM)
    assert isinstance(program, File) and "flannel.1" in program.content and "lost_of_kube_proxy" not in program.content


def test_without_flannel_only_services_are_looked_after_and_without_either_nothing() -> None:
    own = {"network": {"hosts": ["10.77.0.0/24"], "plugin": "none"}}
    cluster = inventory(**own)  # type: ignore[arg-type]
    rules = upkeep.rules(cluster, cluster.machine("w1"), families.DEFAULT)
    assert {rule.unit for rule in rules} == {"kube-proxy.service"}
    bare = compiled(cluster, facts_of(cluster, os_version="11"))
    assert bare.hosts["w1"].find("unit", upkeep.UNIT) is None
