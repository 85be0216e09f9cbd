"""Nothing is changed unasked: every verb that changes something has a `--yes`, and refuses where nobody can answer."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import click
import pytest
import yaml

from provisioner.cli.main import cli
from provisioner.cli.verbs import existing_verbs
from provisioner.model.cluster import Cluster
from provisioner.model.etcd import MemberSeen
from provisioner.orchestrate.lock import cluster_lock
from provisioner.orchestrate.look import trust as trusting
from provisioner.orchestrate.look.trust import Shown
from provisioner.orchestrate.run import upgrade
from provisioner.orchestrate.session import runs
from provisioner.transport.trust import HostKey
from tests.fakes.host import FakeHost
from tests.fakes.session import World
from tests.unit.cli.test_cluster_verbs import Run, built, drift, run, world
from tests.unit.compile.compile_fixture import lock
from tests.unit.orchestrate.phases.test_membership_phase import leave

__all__ = ["built", "run", "world"]


class Asks(NamedTuple):
    """How a verb that changes hosts is called, and what makes that it has something to do."""

    words: tuple[str, ...]
    prepare: Callable[[World, Run, pytest.MonkeyPatch, ExitStack], None]


def nothing(world: World, run: Run, patch: pytest.MonkeyPatch, stack: ExitStack) -> None:
    """It has always something to do."""


def differs(world: World, run: Run, patch: pytest.MonkeyPatch, stack: ExitStack) -> None:
    drift(world)


def failed(world: World, run: Run, patch: pytest.MonkeyPatch, stack: ExitStack) -> None:
    patch.setattr(runs, "made_from", lambda cluster, lock: "same")
    patch.setattr(runs, "load_lock", lambda path: world.hosts.lock)
    drift(world)
    world.hosts.broken["w1: kubelet.service"] = "it does not stay up"
    assert run("up", "--yes").code == 13
    world.hosts.broken.clear()


def changed(world: World, run: Run, patch: pytest.MonkeyPatch, stack: ExitStack) -> None:
    drift(world)
    assert run("up", "--yes").code == 0


def locked(world: World, run: Run, patch: pytest.MonkeyPatch, stack: ExitStack) -> None:
    stack.enter_context(cluster_lock.look(world.session()).held())


def unpinned(world: World, run: Run, patch: pytest.MonkeyPatch, stack: ExitStack) -> None:
    key = HostKey("w1", "ssh-ed25519", "SHA256:a-key", "w1 ssh-ed25519 AAAA")
    patch.setattr(trusting, "pin", lambda file, new: file.write_text("pinned"))
    patch.setattr(trusting, "jump_hosts", lambda targets, waiting, also: [])
    patch.setattr(trusting, "machines", lambda targets, waiting, also: [Shown("w1", "10.77.0.21", key, "new")])


def left(world: World, run: Run, patch: pytest.MonkeyPatch, stack: ExitStack) -> None:
    leave(world, "w2")


def swapped(world: World, run: Run, patch: pytest.MonkeyPatch, stack: ExitStack) -> None:
    world.hosts.hosts["cp2"] = FakeHost("cp2", world.hosts.hosts["cp2"].facts, {("swap", "swap"): "off"})
    world.hosts.listed["cp2"] = MemberSeen(77, "cp2", ("https://10.77.0.12:2380",))


def cordoned(world: World, run: Run, patch: pytest.MonkeyPatch, stack: ExitStack) -> None:
    assert run("node", "drain", "w2", "--yes").code == 0


def older(world: World, run: Run, patch: pytest.MonkeyPatch, stack: ExitStack) -> None:
    patch.setattr(upgrade, "_keep_data", lambda session: None)
    text = yaml.safe_load(world.inventory.file.read_text()) | {"kubernetes": "1.37.2"}
    world.inventory.file.write_text(yaml.safe_dump(text, sort_keys=False))
    world.inventory = replace(world.inventory, cluster=Cluster.model_validate(text))
    world.hosts.lock = lock(kubernetes="1.37.2", etcd="3.7.3")


ASKS = {
    "up": Asks(("up",), differs),
    "resume": Asks(("resume",), failed),
    "retry": Asks(("retry", "--host", "w1"), differs),
    "rollback": Asks(("rollback", "w1"), changed),
    "unlock": Asks(("unlock",), locked),
    "trust": Asks(("trust",), unpinned),
    "upgrade": Asks(("upgrade",), older),
    "node drain": Asks(("node", "drain", "w2"), nothing),
    "node uncordon": Asks(("node", "uncordon", "w2"), cordoned),
    "node remove": Asks(("node", "remove", "w2"), left),
    "node replace": Asks(("node", "replace", "cp2"), swapped),
    "reset": Asks(("reset",), differs),
    "etcd defrag": Asks(("etcd", "defrag"), nothing),
}
ASK_ELSEWHERE = {"etcd restore", "etcd recover"}        # test_etcd_restore_verb.py: they need a snapshot
# What leaves every host of a real cluster as it is: reads, what writes here alone, and what makes or breaks the lab's
# nodes, which are there to be thrown away (decisions.md).
NEVER_ASKS = {
    "validate", "schema", "check", "plan", "plan show", "drift", "status", "ready", "kubeconfig", "compile", "version",
    "completion", "help", "certs check", "doctor", "etcd members", "etcd snapshot",
    "logs", "probe", "runs list", "runs show", "runs report", "runs diff",
    "lab up", "lab down", "lab reset", "lab snapshot", "lab restore", "lab status", "lab exec", "lab ssh", "lab trust",
    "lab fault kill", "lab fault cut", "lab fault drop", "lab fault pause", "lab fault undo",
    "lab fault inject", "lab fault list",
    "init", "artifacts list", "artifacts lock", "artifacts build", "artifacts verify", "artifacts bundle",
    "artifacts bundle verify", "serve", "registry login",
}


def commands(group: click.Group, *above: str) -> Iterator[tuple[str, click.Command]]:
    """Yield every command that does something, with its whole name."""
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        if isinstance(command, click.Group):
            yield from commands(command, *above, name)
        if not isinstance(command, click.Group) or command.invoke_without_command:
            yield " ".join([*above, name]), command


def state(world: World) -> list[object]:
    """Return all that a verb may change: hosts, their locks, the cluster's objects, pinned keys, secrets."""
    here = sorted(p.name for p in world.inventory.path.iterdir())
    return [[(dict(h.states), h.record.get("held")) for h in world.hosts.hosts.values()], list(world.hosts.log),
            list(world.api.log), here]


def test_every_verb_is_known_to_ask_or_to_change_nothing() -> None:
    named = ASKS.keys() | ASK_ELSEWHERE | NEVER_ASKS
    assert {name for name, _ in commands(cli)} == named
    assert {name.partition(" ")[0] for name in named} == existing_verbs().keys()


def test_what_asks_takes_yes() -> None:
    for name, command in commands(cli):
        if name in ASKS.keys() | ASK_ELSEWHERE:
            assert any("--yes" in param.opts for param in command.params), name


@pytest.mark.parametrize("ends", [(), ("stdin",), ("stderr",)], ids=["no terminal", "stdin is one", "stderr is one"])
@pytest.mark.parametrize("verb", ASKS)
def test_where_nobody_can_answer_nothing_is_changed_and_the_refusal_says_how_it_is_meant(
        built: World, run: Run, monkeypatch: pytest.MonkeyPatch, verb: str, ends: tuple[str, ...]) -> None:
    with ExitStack() as stack:
        ASKS[verb].prepare(built, run, monkeypatch, stack)
        for stream in ("stdin", "stderr"):
            monkeypatch.setattr(getattr(sys, stream), "isatty", lambda is_one=stream in ends: is_one, raising=False)
        before = state(built)
        ended = run(*ASKS[verb].words)
        assert (ended.code, state(built)) == (15, before), ended.err
        assert "nobody is there to ask; nothing was changed" in ended.err
        assert f"kubewright -i {built.inventory.path} {' '.join(ASKS[verb].words)} --yes" in ended.err


def test_an_empty_plan_needs_no_answer(built: World, run: Run) -> None:
    assert run("up").code == 0


def test_what_is_to_be_pinned_is_shown_before_it_is_refused(
        built: World, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    unpinned(built, run, monkeypatch, ExitStack())
    assert "not pinned yet" in run("trust").out
    assert not Path(built.inventory.known_hosts_path).exists()
