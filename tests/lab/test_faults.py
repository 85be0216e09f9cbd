"""Each fault does to a node what it says, is seen while it is in force, and leaves nothing when it is undone."""

from __future__ import annotations

import json

import pytest

from provisioner.lab import faults, lifecycle, network
from provisioner.lab.lifecycle import NodeStatus
from tests.lab.conftest import Lab, until

pytestmark = [pytest.mark.lab, pytest.mark.timeout(300)]
NODE, OTHER = "w2", "w1"


def status(lab: Lab, host: str = NODE) -> NodeStatus:
    """Return the node's row of `lab status`."""
    return next(row for row in lifecycle.status(lab.inventory) if row.name == host)


def greets(lab: Lab) -> bool:
    with network.inside(lab.instance.name):
        return network.ssh_banner(lab.inventory.cluster.machine(NODE).address, 22, 1.0).startswith("SSH-")


def pings(lab: Lab, host: str, target: str) -> bool:
    address = lab.inventory.cluster.machine(target).address
    return "1 received" in lab.on(host, "ping", "-c", "1", "-W", "1", address, check=False)


@pytest.mark.full        # the VIP leaves a holder that is cut off, in each run
def test_a_pulled_cable_silences_a_node_and_the_node_sees_it(empty_lab: Lab) -> None:
    with faults.cut_off(empty_lab.inventory, NODE):
        assert not greets(empty_lab)
        assert "NO-CARRIER" in empty_lab.on(NODE, "ip", "link", "show", "host0")
        rows = json.loads(empty_lab.run("-o", "json", "lab", "status", check=False).stdout)["nodes"]
        assert {row["name"]: row["faults"] for row in rows if row["faults"]} == {NODE: ["cut"]}
    until(lambda: greets(empty_lab), 10, "SSH after the cable is back")
    assert "NO-CARRIER" not in empty_lab.on(NODE, "ip", "link", "show", "host0")
    assert status(empty_lab).faults == ()


@pytest.mark.full        # as is that of one whose packets are lost
def test_dropped_packets_silence_a_node_without_a_sign(empty_lab: Lab) -> None:
    with faults.dropping(empty_lab.inventory, NODE):
        assert not greets(empty_lab)
        assert "NO-CARRIER" not in empty_lab.on(NODE, "ip", "link", "show", "host0")
        assert status(empty_lab).faults == ("dropping everything",)
    until(lambda: greets(empty_lab), 10, "SSH after the packets are let through")
    assert status(empty_lab).faults == ()


def test_only_the_packets_named_are_dropped(empty_lab: Lab) -> None:
    with faults.dropping(empty_lab.inventory, NODE, port=22):
        assert not greets(empty_lab)
        assert pings(empty_lab, NODE, OTHER)
        assert status(empty_lab).faults == ("dropping port 22",)
    with faults.dropping(empty_lab.inventory, NODE, peer=OTHER):
        until(lambda: greets(empty_lab), 10, "SSH from others than that peer")
        assert not pings(empty_lab, NODE, OTHER)
        assert pings(empty_lab, NODE, "cp1")
    assert pings(empty_lab, NODE, OTHER)


@pytest.mark.full        # an API server that hangs is met in each run
def test_a_paused_process_holds_its_connections_and_answers_nothing(empty_lab: Lab) -> None:
    with faults.paused(empty_lab.inventory, NODE, "ssh"):
        with network.inside(empty_lab.instance.name):
            assert network.answers(empty_lab.inventory.cluster.machine(NODE).address, 22)
        assert not greets(empty_lab)
        assert status(empty_lab).faults == ("paused ssh.service",)
    until(lambda: greets(empty_lab), 10, "SSH after the process goes on")
    assert status(empty_lab).faults == ()


def test_a_stopped_process_beside_the_main_one_is_no_fault(empty_lab: Lab) -> None:
    """Such as a person's own job in a login: it is in the service's control group, and is not the service."""
    stopped = (      # stopped only once it is `sleep`: before that the shell's copy holds the login's output open
        "sleep 300 >/dev/null 2>&1 & until grep -q sleep /proc/$!/comm; do sleep 0.02; done; kill -STOP $!; echo $!")
    number = empty_lab.logged_in(NODE, "sh", "-c", stopped).strip()
    try:
        assert "T (stopped)" in empty_lab.on(NODE, "cat", f"/proc/{number}/status")
        assert "/ssh.service" in empty_lab.on(NODE, "cat", f"/proc/{number}/cgroup")
        assert status(empty_lab).faults == ()
    finally:
        empty_lab.on(NODE, "kill", "-KILL", number)


@pytest.mark.full        # and a node that loses its power
def test_a_node_without_power_is_silent_and_comes_back_with_its_disk(empty_lab: Lab) -> None:
    boot = empty_lab.on(NODE, "cat", "/proc/sys/kernel/random/boot_id")
    empty_lab.on(NODE, "touch", "/root/kept")
    faults.kill(empty_lab.inventory, NODE)
    assert not greets(empty_lab)
    assert status(empty_lab).state == "stopped"
    empty_lab.run("lab", "fault", "undo", NODE)
    until(lambda: greets(empty_lab), 10, "SSH after it has power again")
    assert empty_lab.on(NODE, "cat", "/proc/sys/kernel/random/boot_id") != boot
    empty_lab.on(NODE, "rm", "/root/kept")


def test_one_command_undoes_every_fault(empty_lab: Lab) -> None:
    for words in (("cut", NODE), ("drop", OTHER, "--port", "10250"), ("pause", NODE, "ssh")):
        empty_lab.run("lab", "fault", *words)
    said = empty_lab.run("lab", "fault", "undo").stderr
    assert set(said.splitlines()) == {f"{NODE}: no longer cut", f"{NODE}: no longer paused ssh.service",
                                      f"{OTHER}: no longer dropping port 10250"}
    until(lambda: greets(empty_lab), 10, "SSH after all is undone")
    assert "no fault" in empty_lab.run("lab", "fault", "undo").stderr


def test_a_unit_that_cannot_be_paused_is_told(empty_lab: Lab) -> None:
    done = empty_lab.run("lab", "fault", "pause", NODE, "nothing", check=False)
    assert done.returncode == 13
    assert f"error: {NODE}: sending SIGSTOP to nothing.service: " in done.stderr
