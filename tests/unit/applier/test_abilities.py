"""What `inspect` asks of the system as a whole: readers of recorded answers, and all of it on this machine."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
from pathlib import Path

import pytest

from provisioner.applier import abilities, admission, apt, inspect, kernel, network, others, places, surroundings
from provisioner.applier.host import Fault, Host, NoProgram
from provisioner.transport.answers import inspection_of
from tests.unit.applier.support import FakeHost

RELEASE = os.uname().release


@pytest.fixture
def bare(box: FakeHost, monkeypatch: pytest.MonkeyPatch) -> FakeHost:
    """Return a host whose kernel says nothing of itself."""
    monkeypatch.setattr(kernel, "EVIDENCE", {})
    return box


def test_this_machine_answers_all_of_it() -> None:
    request = {"system": True, "features": ["overlay"], "devices": ["/dev/null"], "units": ["ssh.service"],
               "directories": ["/tmp"], "mounted": ["/var/lib/kubelet"], "cni": ["/nonexistent"]}
    answer = inspection_of(inspect.inspect(Host(), request))
    # A machine without systemd, sshd or dpkg cannot be asked about them, and says so.
    assert set(answer.unseen) <= {"units", "sshd", "dpkg", "chains"}
    assert (answer.python_lacks, answer.devices_lost) == ((), ())
    assert answer.disks[0].paths == ("/tmp",)
    assert "lo" in answer.netdevs
    assert {"cpu", "memory"} <= set(answer.controllers)


def test_features_are_loaded_built_in_or_can_be_loaded(bare: FakeHost) -> None:
    bare.put("/proc/filesystems", "nodev\tproc\nnodev\toverlay\n")
    bare.put(f"/lib/modules/{RELEASE}/modules.builtin", "kernel/net/netfilter/nf_tables.ko\n")
    bare.put(f"/lib/modules/{RELEASE}/modules.dep", "kernel/net/vxlan.ko.xz: kernel/net/ipv4/udp_tunnel.ko.xz\n")
    told = abilities.kernel_of(bare.host, ["overlay", "nf_tables", "vxlan", "udp_tunnel", "ip_vs"])
    assert told == {"release": RELEASE, "missing": ["udp_tunnel", "ip_vs"], "other_trees": []}


def test_a_kernel_whose_modules_were_taken_away_by_an_upgrade(bare: FakeHost) -> None:
    bare.path("/lib/modules/6.1.0-28-amd64").mkdir(parents=True)
    told = abilities.kernel_of(bare.host, ["vxlan"])
    assert (told["missing"], told["other_trees"]) == (["vxlan"], ["6.1.0-28-amd64"])


def test_a_container_that_sees_nothing_of_its_kernel_does_not_guess(bare: FakeHost) -> None:
    bare.put("/run/systemd/container", "lxc\n")
    with pytest.raises(Fault, match="neither the kernel's modules nor its configuration"):
        abilities.kernel_of(bare.host, ["vxlan"])
    bare.put(f"/boot/config-{RELEASE}", "\nCONFIG_VXLAN=m\n")
    assert abilities.kernel_of(bare.host, ["vxlan"])["missing"] == ["vxlan"]


@pytest.mark.parametrize(("bounding", "lost"), [
    ("000001ffffffffff", []),
    ("000001fffcffffff", []),               # a node of the lab: without CAP_SYS_RESOURCE and CAP_SYS_TIME
    ("00000000a80425fb", ["CAP_NET_ADMIN", "CAP_SYS_PTRACE", "CAP_SYS_ADMIN"])])     # Docker's default
def test_capabilities_are_those_that_processes_could_have(box: FakeHost, bounding: str, lost: list[str]) -> None:
    box.put("/proc/self/status", f"Name:\tpython3\nCapEff:\t0\nCapBnd:\t{bounding}\n")
    assert abilities.capabilities_lost(box.host) == lost


def test_controllers_of_both_versions(box: FakeHost) -> None:
    with pytest.raises(Fault):
        abilities.controllers(box.host)
    box.put("/proc/cgroups", "#subsys_name\thierarchy\tnum_cgroups\tenabled\ncpu\t1\t15\t1\nmemory\t0\t790\t0\n")
    assert abilities.controllers(box.host) == ["cpu"]
    box.put("/sys/fs/cgroup/cgroup.controllers", "cpuset cpu io memory pids\n")
    assert "memory" in abilities.controllers(box.host)


def test_selinux_and_apparmor_by_the_kernels_own_word(box: FakeHost) -> None:
    assert abilities.confinement(box.host) == {"selinux": "", "lacks": "", "apparmor": ""}
    box.put("/sys/fs/selinux/enforce", "1")
    box.put("/sys/module/apparmor/parameters/enabled", "Y\n")
    assert abilities.confinement(box.host) == {
        "selinux": "enforcing", "lacks": "semodule restorecon", "apparmor": "no parser"}
    box.put("/sbin/apparmor_parser", "")
    box.put("/sys/fs/selinux/enforce", "0")
    box.put("/usr/sbin/restorecon", "")
    assert abilities.confinement(box.host) == {
        "selinux": "permissive", "lacks": "semodule", "apparmor": "on"}


def test_a_module_that_python_has_not_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(abilities, "PYTHON", ("json", "no_such_module", "json.no_such", "no_such.below"))
    assert abilities.python_lacks() == ["no_such_module", "json.no_such", "no_such.below"]


def test_systemd_tells_masked_units_and_who_keeps_the_clock(box: FakeHost, monkeypatch: pytest.MonkeyPatch) -> None:
    names = [*(f"{name}.service" for name in abilities.KEEPERS), *abilities.AGENTS, "etcd.service", "kubelet.service"]
    states = {"chrony.service": ("loaded", "active"), "kubelet.service": ("masked", "inactive")}

    def run(argv: list[str]) -> str:
        if argv[1] == "--version":
            return "systemd 252 (252.39-1~deb12u2)\n+PAM +AUDIT\n"
        assert argv[argv.index("--") + 1:] == names
        blocks = (states.get(name, ("not-found", "inactive")) for name in names)
        return "\n\n".join(f"LoadState={load}\nActiveState={active}" for load, active in blocks) + "\n"

    monkeypatch.setattr(box.host, "run", run)
    monkeypatch.setattr(abilities, "synchronized", lambda: True)
    assert abilities.units(box.host, ["etcd.service", "kubelet.service"]) == {
        "masked": ["kubelet.service"], "keepers": ["chrony.service"], "agents": [], "systemd": 252,
        "synchronized": True}
    assert abilities.systemd_version("busybox init") == 0


def test_places_count_for_their_nearest_parent_and_once_a_file_system(box: FakeHost) -> None:
    box.path("/var/log").mkdir(parents=True)
    told = places.look(box.host, ["/var/log", "/var/lib/etcd"])
    assert [one["paths"] for one in told] == [["/var/log", "/var/lib/etcd"]]
    assert told[0]["size"] >= told[0]["free"] > 0


def test_what_is_mounted_below_counts_and_what_is_mounted_there_does_not(box: FakeHost) -> None:
    lines = ["/", "/var/lib/kubelet", "/var/lib/kubelet/pods/1/vol\\0401", "/var/lib/kubelet-old/x"]
    box.put("/proc/self/mountinfo", "".join(f"1 2 0:1 / {place} rw - ext4 /dev/x rw\n" for place in lines))
    assert places.mounted_below(box.host, ["/var/lib/kubelet"]) == ["/var/lib/kubelet/pods/1/vol 1"]


def test_the_hosts_file_without_comments(box: FakeHost) -> None:
    assert surroundings.hosts_file(box.host) == []
    box.put("/etc/hosts", "127.0.0.1 localhost\n# 1.2.3.4 x\n10.77.0.11\tcp1 cp1.example.org # old\n\nlonely\n")
    assert surroundings.hosts_file(box.host) == [
        ["127.0.0.1", ["localhost"]], ["10.77.0.11", ["cp1", "cp1.example.org"]]]


def test_the_resolver_that_pods_get(box: FakeHost) -> None:
    box.put("/etc/resolv.conf", "nameserver 127.0.0.53\nsearch stub\n")
    box.put("/run/systemd/resolve/resolv.conf", "nameserver 192.0.2.1\ndomain old\nsearch a.example b.example\n")
    assert surroundings.resolv(box.host) == {"servers": ["192.0.2.1"], "search": ["a.example", "b.example"]}


def test_proxies_and_locales_of_logins_and_of_services(box: FakeHost) -> None:
    box.put("/etc/environment", "# http_proxy=no\nexport http_proxy=\"http://p:3128\"\nPATH=/bin\n"
                                "no_proxy=localhost,10.0.0.0/8\n")
    box.put("/etc/default/locale", "LANG=de_DE.UTF-8\n")
    box.put("/etc/systemd/system.conf", "[Manager]\n#DefaultEnvironment=x=y\n")
    box.put("/etc/systemd/system.conf.d/p.conf",
            "[Manager]\nDefaultEnvironment=\"HTTPS_PROXY=http://p:3128\" no_proxy=localhost\n")
    assert surroundings.environment(box.host) == [
        ["/etc/environment", "http_proxy", "http://p:3128"], ["/etc/environment", "no_proxy", "localhost,10.0.0.0/8"],
        ["/etc/default/locale", "LANG", "de_DE.UTF-8"],
        ["/etc/systemd/system.conf.d/p.conf", "HTTPS_PROXY", "http://p:3128"],
        ["/etc/systemd/system.conf.d/p.conf", "no_proxy", "localhost"]]


def test_a_locale_that_is_there_and_one_that_is_not(box: FakeHost) -> None:
    assert surroundings.locale_refused(box.host) == ""
    box.put("/etc/default/locale", "LANG=C.UTF-8\n")
    assert surroundings.locale_refused(box.host) == ""
    box.put("/etc/environment", "LC_ALL=xx_YY.UTF-8\n")
    assert surroundings.locale_refused(box.host) == "xx_YY.UTF-8"


@pytest.mark.parametrize(("reserved", "told"), [
    ("\n", []), ("10250,30000-30010\n", [[10250, 10250], [30000, 30010]])])
def test_the_range_of_outgoing_ports_and_what_is_kept_out(box: FakeHost, reserved: str, told: list[list[int]]) -> None:
    box.put("/proc/sys/net/ipv4/ip_local_port_range", "32768\t60999\n")
    box.put("/proc/sys/net/ipv4/ip_local_reserved_ports", reserved)
    assert surroundings.local_ports(box.host) == {"low": 32768, "high": 60999, "reserved": told}


def test_what_brings_swap_back(box: FakeHost) -> None:
    box.put("/etc/fstab", "# /dev/sda9 none swap sw 0 0\n/dev/sda1 / ext4 rw 0 1\n/dev/sda2 none swap sw 0 0\n"
                          "/dev/sda3 none swap noauto 0 0\n")
    box.put("/etc/systemd/system/dev-sdb1.swap", "[Swap]\nWhat=/dev/sdb1\n")
    box.path("/etc/systemd/system/dev-sdc1.swap").symlink_to("/dev/null")       # masked
    box.put("/etc/default/zramswap", "ALGO=lz4\n")
    assert surroundings.swap_by(box.host) == ["/etc/fstab:3", "dev-sdb1.swap", "/etc/default/zramswap"]


def test_host_keys_are_compared_by_the_key_and_not_by_its_comment(box: FakeHost) -> None:
    assert surroundings.host_key(box.host) == ""
    box.put("/etc/ssh/ssh_host_ed25519_key.pub", "ssh-ed25519 AAAAC3Nz root@image\n")
    one = surroundings.host_key(box.host)
    box.put("/etc/ssh/ssh_host_ed25519_key.pub", "ssh-ed25519 AAAAC3Nz root@other\n")
    assert surroundings.host_key(box.host) == one != ""


def test_network_devices_are_those_of_our_own_namespace(box: FakeHost) -> None:
    box.put("/proc/net/dev", "Inter-|   Receive\n face |bytes\n    lo: 1 2\nflannel.1: 0 0\n")
    assert surroundings.netdevs(box.host) == ["lo", "flannel.1"]


def test_files_that_we_put_into_a_directory_are_not_others(box: FakeHost) -> None:
    box.put("/etc/cni/net.d/10-calico.conflist", "{}")
    assert others.files_in(box.host, ["/etc/cni/net.d", "/etc/none"]) == ["/etc/cni/net.d/10-calico.conflist"]


HOLD = """
import fcntl, sys
with open(sys.argv[1], "r+b") as stream:
    fcntl.lockf(stream, fcntl.LOCK_EX)
    print("held", flush=True)
    input()
"""


def test_who_holds_a_lock_of_the_package_manager_is_found_without_taking_it(box: FakeHost) -> None:
    lock = box.put("/var/lib/dpkg/lock-frontend", "")
    assert admission.dpkg(box.host) == {"held": None, "half": []}
    with subprocess.Popen([sys.executable, "-c", HOLD, str(lock)], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                          text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        box.put(f"/proc/{holder.pid}/comm", "apt-get\n")
        assert admission.dpkg(box.host)["held"] == ["/var/lib/dpkg/lock-frontend", holder.pid, "apt-get"]
        holder.communicate("\n", timeout=20)
    with lock.open("r+b") as stream:
        fcntl.lockf(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)          # nothing of ours is left on it


def test_packages_that_an_ended_run_left_half_done() -> None:
    text = ("Package: a\nStatus: install ok installed\n\nPackage: b\nStatus: install ok half-configured\n\n"
            "Package: c\nStatus: deinstall ok config-files\n\nPackage: d\nStatus: install reinstreq unpacked\n")
    assert apt.half_done(text) == ["b", "d"]


def test_sshds_limits_are_as_it_reads_them_itself(box: FakeHost, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(Fault, match="no sshd"):
        admission.sshd_limits(box.host)
    box.put("/usr/sbin/sshd", "")
    monkeypatch.setattr(box.host, "run", lambda argv: "port 22\nmaxsessions 10\nmaxstartups 10:30:100\n")
    assert admission.sshd_limits(box.host) == {"maxsessions": "10", "maxstartups": "10:30:100"}


def test_routes_of_both_families(box: FakeHost, monkeypatch: pytest.MonkeyPatch) -> None:
    told = {"-4": '[{"dst":"default","gateway":"10.77.0.1","dev":"host0"},{"dst":"10.77.0.0/24","dev":"host0"}]',
            "-6": '[{"dst":"fe80::/64","dev":"host0"},{"type":"blackhole","dst":"10::/64"}]'}
    monkeypatch.setattr(box.host, "run", lambda argv: told[argv[2]])
    assert admission.routes(box.host) == [
        ["default", "host0"], ["10.77.0.0/24", "host0"], ["fe80::/64", "host0"], ["10::/64", ""]]


def test_nothing_is_written_by_asking_all_of_it(box: FakeHost) -> None:
    box.put("/etc/hosts", "127.0.0.1 localhost\n")
    before = sorted((str(p), p.lstat().st_mtime_ns) for p in Path(box.root).rglob("*"))
    box.call("inspect", {"system": True, "features": ["overlay"], "directories": ["/var/log"],
                         "mounted": ["/var/lib/kubelet"]})
    assert sorted((str(p), p.lstat().st_mtime_ns) for p in Path(box.root).rglob("*")) == before


def answers(box: FakeHost, monkeypatch: pytest.MonkeyPatch, told: dict[str, str]) -> None:
    """Let commands answer as given; others are not there."""
    def run(argv: list[str], **_: object) -> str:
        if argv[0] not in told:
            raise NoProgram(f"{argv[0]}: not found on this host")
        if told[argv[0]].startswith("exit"):
            raise Fault(told[argv[0]])
        return told[argv[0]]

    monkeypatch.setattr(box.host, "run", run)


def test_chains_are_all_that_nft_or_iptables_lists(box: FakeHost, monkeypatch: pytest.MonkeyPatch) -> None:
    nft = ('{"nftables": [{"metainfo": {}}, {"chain": {"family": "ip", "table": "filter", "name": "cali-FORWARD"}},'
           ' {"chain": {"family": "ip", "table": "filter", "name": "FORWARD", "hook": "forward"}}]}')
    answers(box, monkeypatch, {"nft": nft})
    assert network.chains(box.host) == ["ip filter cali-FORWARD", "ip filter FORWARD"]
    answers(box, monkeypatch, {
        "iptables-save": "# by iptables\n*nat\n:PREROUTING ACCEPT [0:0]\n:CILIUM_POST_nat - [0:0]\n",
        "ip6tables-save": "*filter\n:cali-FORWARD - [0:0]\n"})
    assert network.chains(box.host) == ["ip nat PREROUTING", "ip nat CILIUM_POST_nat", "ip6 filter cali-FORWARD"]
    answers(box, monkeypatch, {})
    assert network.chains(box.host) == []


@pytest.mark.parametrize("told", [
    {"nft": "exit 1: Operation not permitted"}, {"iptables-save": "exit 4: not permitted"},
    {"nft": "exit 127: libnftables.so.1 was not found, its use is not permitted"}])
def test_chains_that_cannot_be_listed_are_not_none(
        box: FakeHost, monkeypatch: pytest.MonkeyPatch, told: dict[str, str]) -> None:
    answers(box, monkeypatch, told)
    with pytest.raises(Fault, match="not permitted"):
        network.chains(box.host)


@pytest.mark.parametrize(("state", "told"), [(0, True), (4, True), (5, False), (-1, None)])
def test_the_kernel_says_whether_its_clock_is_set(
        monkeypatch: pytest.MonkeyPatch, state: int, told: bool | None) -> None:
    class Libc:
        @staticmethod
        def adjtimex(timex: object) -> int:
            assert bytes(timex) == bytes(abilities.TIMEX), "modes 0 only reads"  # type: ignore[call-overload]
            return state

    monkeypatch.setattr(abilities.ctypes, "CDLL", lambda *_, **__: Libc)  # type: ignore[attr-defined]
    assert abilities.synchronized() is told


def test_this_machine_s_kernel_answers_about_its_clock() -> None:
    assert abilities.synchronized() in (True, False)
