"""`rollback` as people meet it, on hosts in memory that keep what was there before."""

from __future__ import annotations

import json
import signal
import sys

import pytest
import yaml

from tests.fakes.session import World
from tests.unit.cli.test_cluster_verbs import Run, built, run, world

__all__ = ["built", "run", "world"]
KUBELET, APISERVER = "/var/lib/kubelet/config.yaml", "/etc/systemd/system/kube-apiserver.service"


def change(world: World, run: Run, **config: object) -> dict[tuple[str, str], str]:
    """Change the inventory and apply it; return what cp1 was before."""
    before = dict(world.hosts.hosts["cp1"].states)
    text = yaml.safe_load(world.inventory.file.read_text())
    for component, fields in config.items():
        name = component.replace("_", "-")
        text["config"][name] = text["config"].get(name, {}) | fields
    world.inventory.file.write_text(yaml.safe_dump(text, sort_keys=False))
    ended = run("up", "--yes")
    assert ended.code == 0, ended.err
    world.forget()
    return before


def touched(world: World) -> list[tuple[object, ...]]:
    return [entry for entry in world.hosts.log if entry[0] in ("apply", "haproxy")]


def test_it_shows_the_diff_puts_back_proves_and_says_that_the_inventory_still_asks(built: World, run: Run) -> None:
    before = change(built, run, kubelet={"maxPods": 77})
    ended = run("rollback", "cp1", "--yes")
    assert ended.code == 0, ended.err
    assert f"~ {KUBELET}" in ended.err and "-maxPods: 77" in ended.err and "as it was" in ended.err
    assert "! unit kubelet.service" in ended.err and "what it reads was put back" in ended.err
    assert "cp1 runs what it ran before" in ended.out and "kubewright" in ended.out
    assert touched(built) == [("apply", "node.0.back", ("cp1",))]
    assert {k: s for k, s in built.hosts.hosts["cp1"].states.items() if k[1] != "/etc/kubewright/cluster.yaml"} == {
        k: s for k, s in before.items() if k[1] != "/etc/kubewright/cluster.yaml"}
    assert KUBELET in run("plan").out


def test_an_api_server_goes_back_out_of_service_and_proved(built: World, run: Run) -> None:
    change(built, run, kube_apiserver={"flags": {"event-ttl": "3h0m0s"}}, kubelet={"maxPods": 77})
    assert run("rollback", "cp1", "--component", "kube-apiserver", "--yes").code == 0
    drained = [e for e in touched(built) if e[0] == "haproxy"]
    assert {e[2:] for e in drained} == {("cp1", "drain"), ("cp1", "ready")}
    assert [e for e in touched(built) if e[0] == "apply"] == [("apply", "control-plane.0.back", ("cp1",))]
    assert "maxPods: 77" in str(built.hosts.hosts["cp1"].extras["file", KUBELET]), "only the component that was named"


def test_a_member_goes_back_with_its_api_server_stopped_meanwhile(built: World, run: Run) -> None:
    change(built, run, etcd={"flags": {"snapshot-count": "9000"}})
    assert run("rollback", "cp2", "--yes").code == 0
    assert [e for e in touched(built) if e[0] == "apply"] == [("apply", "etcd.0.back", ("cp2",))]
    assert built.hosts.hosts["cp2"].states["unit", "kube-apiserver.service"].startswith("active ")


def test_nobody_there_to_ask_and_a_no_change_nothing(
        built: World, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    change(built, run, kubelet={"maxPods": 77})
    ended = run("rollback", "cp1")
    assert (ended.code, "nobody is there to ask; nothing was changed" in ended.err) == (15, True)
    monkeypatch.setattr(sys.stdin, "isatty", lambda: True, raising=False)
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    monkeypatch.setattr("click.confirm", lambda *_, **__: False)
    ended = run("rollback", "cp1")
    assert (ended.code, "Nothing was changed." in ended.err) == (0, True)
    assert touched(built) == []


def test_what_made_the_host_is_no_change_to_go_back_from(built: World, run: Run) -> None:
    ended = run("rollback", "w1", "--component", "kubelet", "--yes")
    assert ended.code == 15
    assert "there was no " in ended.err and "kubelet.service" in ended.err
    assert touched(built) == []


@pytest.mark.parametrize(("words", "code", "said"), [
    (("nobody",), 64, "the inventory has no host nobody"),
    (("w1", "--component", "etcd"), 64, "w1 has no component etcd"),
    (("w1", "--run", "x", "--step", "y"), 64, "say two things"),
    (("w1", "--run", "19700101-000000-aaaa"), 64, "w1 keeps nothing from before 19700101-000000-aaaa"),
])
def test_what_is_not_there_is_said_with_what_is(
        built: World, run: Run, words: tuple[str, ...], code: int, said: str) -> None:
    ended = run("rollback", *words)
    assert (ended.code, said in ended.err) == (code, True), ended.err


def test_going_back_twice_does_not_make_it_new_again(built: World, run: Run) -> None:
    change(built, run, kubelet={"maxPods": 77})
    assert run("rollback", "cp1", "--component", "kubelet", "--yes").code == 0
    built.forget()
    ended = run("rollback", "cp1", "--component", "kubelet", "--yes")
    assert (ended.code, touched(built)) == (15, []), ended.err


def test_a_host_out_of_reach_elsewhere_does_not_keep_this_one_from_going_back(built: World, run: Run) -> None:
    change(built, run, kubelet={"maxPods": 77})
    built.hosts.hosts["w2"].down = True
    assert run("rollback", "cp1", "--component", "kubelet", "--yes").code == 0
    assert run("rollback", "w2", "--yes").code == 12


def test_a_way_back_that_is_stopped_says_how_to_go_on_with_that_very_one(
        built: World, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    change(built, run, kubelet={"maxPods": 77})
    was = json.loads(run("-o", "json", "runs", "list", "--here").out)["runs"][0]["id"]
    real = built.hosts.apply

    def asked_to_stop(*words: object, **more: object) -> object:
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)
        return real(*words, **more)     # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr("provisioner.converge.runner.apply", asked_to_stop)
        ended = run("rollback", "cp1", "--component", "kubelet", "--yes")
    assert ended.code == 130
    assert f"Continue: kubewright -i {built.inventory.path} rollback cp1 --component kubelet --run {was}\n" in ended.err
    assert run("rollback", "cp1", "--component", "kubelet", "--run", was, "--yes").code == 0


def test_it_is_a_run_with_events_and_a_proof_that_fails_is_told_and_not_put_back_again(built: World, run: Run) -> None:
    change(built, run, kubelet={"maxPods": 77})
    built.hosts.broken = {"cp1: kubelet": "connection refused"}
    ended = run("rollback", "cp1", "--yes", "--events")
    assert (ended.code, "gate after node" in ended.err) == (13, True)
    assert [e[1] for e in touched(built)] == ["node.0.back"]
    assert {"run-start", "changed", "run-end"} <= {json.loads(line)["type"] for line in ended.out.splitlines()}
    resumed = run("resume", "--yes")
    assert (resumed.code, "begun anew, not resumed" in resumed.err) == (64, True), resumed.err
