"""`inspect`: who listens, what is there, how much room is; by the kernel's own tables."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from provisioner.applier import inspect, kernel
from provisioner.applier.host import Host
from provisioner.model.inspection import Inspection
from provisioner.transport.answers import inspection_of
from tests.unit.applier.support import FakeHost

HEAD = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n"


def row(address: str, port: int, inode: int, state: str = "0A") -> str:
    return f"   0: {address}:{port:04X} 00000000:0000 {state} 00000000:00000000 00:00000000 00000000  0  0 {inode} 1\n"


def process(box: FakeHost, pid: int, comm: str, inode: int, cgroup: str) -> None:
    box.put(f"/proc/{pid}/comm", f"{comm}\n")
    box.put(f"/proc/{pid}/cgroup", cgroup)
    place = box.path(f"/proc/{pid}/fd")
    place.mkdir(exist_ok=True)
    (place / "3").symlink_to(f"socket:[{inode}]")


def test_a_real_listener_is_found_with_its_process() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        found = inspect.listeners(Host(), [port, 1])
    assert [(f["port"], f["address"], f["pid"]) for f in found] == [(port, "127.0.0.1", os.getpid())]


def test_a_listener_on_ipv6_is_one_too(box: FakeHost) -> None:
    box.put("/proc/net/tcp6", HEAD + row("0" * 32, 10250, 5) + row("0" * 24 + "01000000", 6443, 6))
    assert [(f["port"], f["address"]) for f in inspect.listeners(box.host, [10250, 6443])] == [
        (10250, "::"), (6443, "::1")]


def test_only_listeners_on_the_asked_ports_count(box: FakeHost) -> None:
    box.put("/proc/net/tcp", HEAD + row("0100007F", 2379, 5) + row("0B004D0A", 6443, 6, state="01"))
    assert inspect.listeners(box.host, [6443]) == []


@pytest.mark.parametrize(("cgroup", "unit"), [
    ("0::/system.slice/nginx.service\n", "nginx.service"),
    ("4:memory:/x\n1:name=systemd:/machine/n1/system.slice/system-a.slice/a@1.service/sub\n0::/\n", "a@1.service"),
    ("0::/user.slice/user-0.slice/session-3.scope\n", "session-3.scope"),
    ("0::/user.slice/user-0.slice/user@0.service/app.slice/mine.service\n", ""),
    ("0::/system.slice/ssh.service\n", ""),
    ("0::/system.slice/system-getty.slice/getty@tty1.service\n", ""),
    ("0::/\n", ""), ("", ""), ("nonsense\n", "")])
def test_the_unit_is_the_one_whose_end_ends_the_process_and_nothing_else(
        box: FakeHost, cgroup: str, unit: str) -> None:
    box.put("/proc/net/tcp", HEAD + row("0B004D0A", 6443, 77))
    process(box, 12, "nginx", 77, cgroup)
    assert inspect.listeners(box.host, [6443]) == [
        {"port": 6443, "address": "10.77.0.11", "pid": 12, "process": "nginx", "unit": unit}]


def test_of_a_family_that_shares_a_socket_the_parent_is_named(box: FakeHost) -> None:
    box.put("/proc/net/tcp", HEAD + row("0B004D0A", 6443, 77))
    for pid in (101, 12, 102):
        process(box, pid, f"nginx-{pid}", 77, "0::/\n")
    assert inspect.listeners(box.host, [6443])[0]["process"] == "nginx-12"


def test_a_process_of_another_pid_namespace_is_a_listener_without_a_name(box: FakeHost) -> None:
    box.put("/proc/net/tcp", HEAD + row("0B004D0A", 6443, 77))
    assert inspect.listeners(box.host, [6443])[0] == {
        "port": 6443, "address": "10.77.0.11", "pid": 0, "process": "", "unit": ""}


def test_a_question_that_fails_leaves_the_others_their_answers(
        box: FakeHost, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: object) -> str:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(kernel, "swap", fails)
    answer = inspection_of(box.call("inspect", {}))
    assert (answer.unseen, answer.swap) == ({"swap": "[Errno 5] Input/output error"}, "off")


def test_the_whole_answer_is_what_the_model_reads_and_leaves_nothing(box: FakeHost) -> None:
    box.put("/proc/swaps", "Filename Type\n/dev/sda2 partition 1 0 -2\n")
    box.put("/sys/class/dmi/id/product_uuid", "4C4C-AB\n")
    box.path("/var/lib/k0s").mkdir(parents=True)
    before = sorted(str(p) for p in box.root.rglob("*"))
    answer = inspection_of(box.call("inspect", {
        "ports": [6443], "paths": ["/var/lib/k0s", "/var/lib/rancher/k3s"],
        "directories": ["/opt/kubewright", "/var/lib"]}))
    assert (answer.prepared, answer.there, answer.swap, answer.product) == (
        False, frozenset({"/var/lib/k0s"}), "on /dev/sda2", "4c4c-ab")
    assert [d.paths for d in answer.disks] == [("/opt/kubewright", "/var/lib")], "one file system, listed once"
    assert answer.disks[0].free_mib > 0
    assert sorted(str(p) for p in box.root.rglob("*")) == before


def test_nothing_asked_is_an_answer_too(box: FakeHost) -> None:
    assert inspection_of(box.call("inspect", {})) == Inspection()


def test_our_own_directory_marks_a_host_that_we_prepared(box: FakeHost) -> None:
    box.path("/var/lib/kubewright").mkdir(parents=True)
    assert box.call("inspect", {})["prepared"] is True


def test_a_container_has_no_firmware_of_its_own(box: FakeHost) -> None:
    box.put("/sys/class/dmi/id/product_uuid", "4C4C-AB\n")
    box.put("/run/systemd/container", "systemd-nspawn")
    assert box.call("inspect", {})["product"] == ""


def test_a_dangling_link_is_there(box: FakeHost, tmp_path: Path) -> None:
    box.path("/var").mkdir()
    box.path("/var/snap").symlink_to("/nowhere")
    assert box.call("inspect", {"paths": ["/var/snap"]})["there"] == ["/var/snap"]
