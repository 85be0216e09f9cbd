"""`registry login`: the password goes from stdin into the secrets, and from there into one file of a host alone."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from provisioner.cli import main as command
from provisioner.compile.cluster import compile_cluster
from provisioner.errors import InventoryRefused
from provisioner.model.inventory import Inventory
from provisioner.model.secret import SecretRef
from provisioner.operate.registry_logins import answer
from provisioner.operate.secrets import SecretStore
from tests.fakes.session import operator_key
from tests.unit.compile.compile_fixture import LAB, PUBLIC, SECRETS, facts_of, inventory, lock

REGISTRY = "registry.example.org:5000"
NAME = f"registries/{REGISTRY}"
PASSWORD = "correct horse"
Login = Callable[..., int]


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """An inventory of its own, with a registry that has a login and one that has none."""
    public = operator_key(tmp_path / "key")
    document = yaml.safe_load(LAB) | {"lab": False, "operators": [public], "registries": {
        REGISTRY: {"login": True}, "quay.io": {"mirrors": ["https://mirror.example.org"]}}}
    document["ssh"]["key"] = str(tmp_path / "key")
    (tmp_path / "cluster.yaml").write_text(yaml.safe_dump(document), encoding="utf-8")
    return tmp_path


@pytest.fixture
def login(directory: Path, monkeypatch: pytest.MonkeyPatch) -> Login:
    def call(registry: str = REGISTRY, password: str = PASSWORD) -> int:
        monkeypatch.setattr("sys.stdin", io.StringIO(f"{password}\n" if password else ""))
        monkeypatch.setattr("sys.argv", ["kubewright"])
        return command.main(["-i", str(directory), "registry", "login", registry, "--username", "puller"])
    return call


def store(directory: Path) -> SecretStore:
    opened = Inventory.open(directory)
    return SecretStore(opened.secrets_dir, opened.operators, opened.identity_files)


def test_a_login_is_kept_encrypted_and_opened_as_what_a_kubelet_is_answered(
        directory: Path, login: Login, capsys: pytest.CaptureFixture[str]) -> None:
    assert login() == 0
    assert PASSWORD not in "".join(capsys.readouterr())
    kept = [file for file in (directory / "secrets").rglob("*") if file.is_file()]
    assert [file.relative_to(directory / "secrets").as_posix() for file in kept] == [f"{NAME}.json"]
    assert kept[0].stat().st_mode & 0o777 == 0o600
    assert PASSWORD not in kept[0].read_text() and PASSWORD not in repr(store(directory).refs())
    said = json.loads(store(directory).resolve(NAME))
    assert said["auth"] == {REGISTRY: {"username": "puller", "password": PASSWORD}}
    assert said["cacheDuration"] == "0s"


def test_it_is_there_before_the_first_up_and_stays_beside_what_that_makes(directory: Path, login: Login) -> None:
    assert login() == 0
    made = store(directory)
    assert not made.exists
    made.create("lab")
    assert {NAME, "ca.key"} <= set(made.refs())
    assert json.loads(made.resolve(NAME))["auth"][REGISTRY]["username"] == "puller"


def test_another_login_takes_its_place_and_a_plan_sees_that(directory: Path, login: Login) -> None:
    login()
    before = store(directory).refs()[NAME]
    login(password="another")
    after = store(directory).refs()[NAME]
    assert before != after and b"another" in store(directory).resolve(NAME)


def test_the_digest_of_a_login_tells_nobody_which_password_it_is_of() -> None:
    once, again = (answer("registry.example.org", "u", "hunter2") for _ in range(2))
    assert once != again and json.loads(once) == json.loads(again), "what is compared has chance in it"


def test_bytes_that_are_not_those_of_the_login_are_refused(directory: Path, login: Login) -> None:
    login()
    file = directory / "secrets" / f"{NAME}.json"
    kept = json.loads(file.read_text())
    login(password="another")
    file.write_text(json.dumps(kept | {"sealed": json.loads(file.read_text())["sealed"]}))
    with pytest.raises(InventoryRefused, match="its bytes are not those"):
        store(directory).resolve(NAME)


@pytest.mark.parametrize(("registry", "password", "says"), [
    ("quay.io", PASSWORD, "has no registry quay.io with `login: true`"),
    ("elsewhere.example.org", PASSWORD, "has no registry elsewhere.example.org"),
    (REGISTRY, "", "no password: stdin has none"),
])
def test_what_cannot_be_kept_is_a_usage_fault_and_nothing_is_written(
        directory: Path, login: Login, capsys: pytest.CaptureFixture[str], registry: str, password: str, says: str,
) -> None:
    assert login(registry, password) == 64
    assert says in capsys.readouterr().err
    assert not (directory / "secrets").exists()


def test_a_registry_whose_login_is_not_kept_is_refused_with_the_command_that_keeps_it() -> None:
    cluster = inventory(registries={REGISTRY: {"login": True}})
    with pytest.raises(InventoryRefused) as refused:
        compile_cluster(cluster, facts_of(cluster), lock(), SECRETS, PUBLIC)
    assert (refused.value.code, refused.value.hint) == (
        "registry-without-login", f"kubewright registry login {REGISTRY} --username NAME")
    kept = {NAME: SecretRef(NAME)}
    assert compile_cluster(cluster, facts_of(cluster), lock(), SECRETS | kept, PUBLIC).hosts
