"""`doctor --bundle`: what is inside is listed, whole, for its owner alone, and holds no secret, wherever one stood."""

from __future__ import annotations

import base64
import json
import os
import stat
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from provisioner.cli import main as command
from provisioner.errors import UsageFault
from provisioner.model.examination import Examination, UnitLife
from provisioner.operate.secrets import SECRET_NAMES
from provisioner.orchestrate.look import bundle, doctor
from provisioner.orchestrate.session import private
from provisioner.orchestrate.session.session import open_store
from provisioner.transport.hosts import OneHost, Take
from tests.fakes.session import World
from tests.lab.needles import Needles

KUBELET = "/var/lib/kubelet/config.yaml"


def contents(file: Path) -> dict[str, str]:
    with tarfile.open(file) as tar:
        return {m.name.partition("/")[2]: found.read().decode() for m in tar.getmembers()
                if (found := tar.extractfile(m))}


def made(world: World, file: Path) -> dict[str, str]:
    with world.session() as session:
        bundle.write(session, doctor.look(session), file)
    return contents(file)


def key() -> bytes:
    return ec.generate_private_key(ec.SECP256R1()).private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())


def test_what_is_inside_is_listed_with_its_size_and_what_is_not_with_why(built: World, tmp_path: Path) -> None:
    built.hosts.hosts["w2"].down = True
    file = tmp_path / "b.tar.gz"
    inside = made(built, file)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    listed = {line.split()[1]: int(line.split()[0]) for line in inside["MANIFEST.txt"].splitlines()
              if line.strip()[:1].isdigit()}
    assert listed == {name: len(text.encode()) for name, text in inside.items() if name != "MANIFEST.txt"}
    assert "hosts/w2: w2: connecting: no route" in inside["MANIFEST.txt"]
    assert "inventory/artifacts.lock: No such file or directory" in inside["MANIFEST.txt"]
    for name in ("doctor.json", "status.json", "versions.json", "inventory/cluster.yaml", "hosts/w1/examined.json",
                 f"hosts/w1/files{KUBELET}", "hosts/cp1/files/etc/systemd/system/etcd.service",
                 "hosts/cp1/journal/etcd.service.log"):
        assert name in inside, name
    assert not json.loads(inside["doctor.json"])["healthy"]
    assert not [name for name in inside if name.endswith((".key", "encryption.yaml", "sa.key"))]


def into_a_file(world: World, text: str) -> None:
    world.hosts.hosts["w1"].extras["file", KUBELET] = {"text": f"podPidsLimit: 5\n{text}"}


def into_a_journal(world: World, text: str, patch: pytest.MonkeyPatch) -> None:
    def journal(one: OneHost, request: Any, take: Take) -> dict[str, Any]:
        for line in (text, *text.splitlines()):
            take({"__REALTIME_TIMESTAMP": "1", "SYSLOG_IDENTIFIER": "etcd", "MESSAGE": f"started with {line}"})
        return {"ended": True}

    patch.setattr(world.hosts, "journal", journal)


def into_the_inventory(world: World, text: str) -> None:
    with world.inventory.file.open("a", encoding="utf-8") as file:
        file.write("".join(f"# {line}\n" for line in text.splitlines()))


def into_the_events(world: World, text: str) -> None:
    run = world.inventory.runs_dir / "20260101-000000-aaaa"
    run.mkdir(parents=True)
    (run / "events.jsonl").write_text(json.dumps({"type": "diagnostic", "message": text}) + "\n")


def into_last_words(world: World, text: str) -> None:
    world.hosts.examinations["w1"] = Examination(units=(UnitLife(
        "kubelet.service", active="failed", sub="failed", result="exit-code", words=(" ".join(text.split()),)),))


PLACES: list[Callable[..., None]] = [into_a_file, into_the_inventory, into_the_events, into_last_words]
FORMS: dict[str, Callable[[bytes], str]] = {
    "clear": lambda secret: secret.decode(), "base64": lambda secret: base64.b64encode(secret).decode(),
    "twice": lambda secret: base64.b64encode(base64.b64encode(secret)).decode(),
    "kubeconfig": lambda secret: f"client-key-data: {base64.b64encode(secret).decode()}"}


@pytest.mark.parametrize("place", [*PLACES, into_a_journal], ids=lambda place: place.__name__)
def test_a_key_is_in_no_file_of_it_wherever_and_however_it_stood(
        built: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: Callable[..., None]) -> None:
    canaries = {form: key() for form in FORMS}
    needles = Needles(canaries)
    text = "\n".join(FORMS[form](canary) for form, canary in canaries.items())
    assert needles.within(text.encode()) == set(FORMS), "they are there before"
    place(built, text, *([monkeypatch] if place is into_a_journal else []))
    inside = made(built, tmp_path / "b.tar.gz")
    assert {name: found for name, text in inside.items() if (found := needles.within(text.encode()))} == {}
    assert " masked)" in inside["MANIFEST.txt"], "that something was masked is told"


def test_of_the_cluster_s_own_secrets_nothing_is_in_it(built: World, tmp_path: Path) -> None:
    store = open_store(built.inventory)
    needles = Needles({name: store.resolve(name) for name in SECRET_NAMES} | {"operator": built.key.read_bytes()})
    inside = made(built, tmp_path / "b.tar.gz")
    assert {name: found for name, text in inside.items() if (found := needles.within(text.encode()))} == {}
    raw = b"".join(text.encode() for text in inside.values())
    assert needles.within(raw + built.key.read_bytes()) == {"operator"}, "the search finds one that is there"


def test_a_text_that_is_too_much_is_left_out_by_name_and_a_journal_keeps_its_end(
        built: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bundle, "TOTAL", 200_000)
    monkeypatch.setattr(bundle, "JOURNAL", 100)
    inside = made(built, tmp_path / "b.tar.gz")
    assert "the bundle holds 0 MiB already" in inside["MANIFEST.txt"]
    assert bundle._last("one\ntwo\nthree\n", 8) == "three\n"


def test_where_it_cannot_be_written_no_host_is_asked_and_an_old_one_stays(
        built: World, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    code = command.main(["-i", str(built.inventory.path), "doctor", "--bundle", str(tmp_path / "no" / "b.tar.gz")])
    assert code == 64 and "no host was asked" in capsys.readouterr().err
    assert command.main(["-i", str(built.inventory.path), "doctor", "--watch", "--bundle", str(tmp_path / "b")]) == 64
    file = tmp_path / "b.tar.gz"
    file.write_bytes(b"old")

    def fails(*_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(private, "write_whole", fails)
    with pytest.raises(UsageFault, match="No space left on device"):
        made(built, file)
    assert file.read_bytes() == b"old"


def test_the_verb_writes_it_and_ends_as_the_look_does(
        built: World, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "b.tar.gz"
    code = command.main(["-i", str(built.inventory.path), "doctor", "--bundle", str(file)])
    said = capsys.readouterr()
    assert code == 0 and "MANIFEST.txt lists them" in said.err and said.out.startswith("Cluster lab   healthy")
    assert "MANIFEST.txt" in contents(file) and os.access(file, os.R_OK)
