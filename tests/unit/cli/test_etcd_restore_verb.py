"""`etcd restore` and `etcd recover` as they are typed: what is shown, what is asked, what may be said."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

import pytest

from provisioner.cli import main as command
from provisioner.model.snapshot import Proof
from provisioner.operate import etcd, snapshots
from provisioner.operate.snapshots import Opened
from provisioner.orchestrate.look import snapshots as look
from provisioner.orchestrate.plan import restorable
from provisioner.orchestrate.run import recover
from tests.fakes.session import World, instant

Call = Callable[..., tuple[int, str]]
THEN = {b"/registry/configmaps/default/a": 5}
NOW = {b"/registry/configmaps/default/b": 9, b"/registry/pods/default/p": 10}


@pytest.fixture
def call(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Call:
    world = World.make(tmp_path, monkeypatch)
    instant(monkeypatch)
    world.build(monkeypatch)
    db = tmp_path / "given.db"
    db.write_bytes(b"x")
    monkeypatch.setattr(look, "opened", lambda *a: Opened(db, True, None, {}, hashlib.sha256(b"x").hexdigest()))
    monkeypatch.setattr(look, "rehearsed", lambda *a: (Proof(5, 1, True, "secrets/a/b", 0.1, ""), THEN))
    monkeypatch.setattr(etcd, "revisions", lambda access: NOW)
    monkeypatch.setattr("sys.argv", ["kubewright"])
    (tmp_path / "s.db.age").write_bytes(b"y")

    def ask(*words: str) -> tuple[int, str]:
        code = command.main(["-i", str(world.inventory.path), "etcd", *words])
        out = capsys.readouterr()
        assert not [entry for entry in world.hosts.log if entry[0] == "apply"], "nothing was changed"
        return code, out.out + out.err

    return ask


def test_what_is_lost_and_what_comes_back_is_shown_before_anybody_is_asked(call: Call, tmp_path: Path) -> None:
    code, said = call("restore", str(tmp_path / "s.db.age"))
    assert code == 15 and "nobody is there to ask" in said and "code: needs-yes" in said
    assert "configmaps  1 made since then, lost; 1 deleted since then, back" in said
    assert "pods        1 made since then, lost" in said


def test_a_rehearsal_says_what_was_proved_and_keeps_it_beside_the_snapshot(call: Call, tmp_path: Path) -> None:
    code, said = call("restore", "--rehearse", str(tmp_path / "s.db.age"))
    assert code == 0
    assert "1 keys at revision 5, the same hash, secrets/a/b decrypted" in said
    assert snapshots.beside(tmp_path / "s.db.age", "proved.json").is_file()


@pytest.mark.parametrize("verb", ["restore", "recover"])
def test_a_word_that_allows_nothing_is_refused(call: Call, tmp_path: Path, verb: str) -> None:
    code, said = call(verb, *([str(tmp_path / "s.db.age")] if verb == "restore" else []), "--allow", "everything")
    assert code == 64 and "'everything' is not " in said


def test_the_words_are_those_that_the_refusals_name() -> None:
    words = {name: next(p for p in cli.params if p.name == "allow").type.choices
             for name, cli in command.cli.get_command(None, "etcd").commands.items()  # type: ignore[arg-type,union-attr]
             if name in ("restore", "recover")}
    assert set(words["restore"]) == {snapshots.NO_HASH, snapshots.NO_MANIFEST, restorable.DIFFER}
    assert set(words["recover"]) == {recover.MAJORITY, restorable.DIFFER}
