"""Which inventory is taken, and where its things lie."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from provisioner.errors import InventoryRefused, UsageFault
from provisioner.model.inventory import Inventory, find_inventory

LAB = """\
version: 1
cluster: shop
lab: true
kubernetes: "1.36.3"
network: {hosts: [10.20.0.0/24]}
hosts:
  cp1: {address: 10.20.0.11, roles: [control-plane, worker]}
  w1: {address: 10.20.0.21, roles: [worker], ssh: {key: keys/w1}}
"""
KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAiUKfncuWSokX3LVyysFBQf4zzgKKxGumVZPqiKkGca"
REAL = LAB.replace("lab: true", f"operators: [{KEY}]\nssh: {{key: ~/.ssh/shop}}")


def inventory(directory: Path, text: str) -> Inventory:
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "cluster.yaml").write_text(text, encoding="utf-8")
    return Inventory.open(directory)


def test_the_argument_wins_over_the_environment(tmp_path: Path) -> None:
    environ = {"KUBEWRIGHT_INVENTORY": "there"}
    assert find_inventory("here", environ, tmp_path) == tmp_path / "here"
    assert find_inventory(None, environ, tmp_path) == tmp_path / "there"


def test_the_only_inventory_is_taken_without_being_named(tmp_path: Path) -> None:
    inventory(tmp_path / "inventories" / "shop", LAB)
    (tmp_path / "inventories" / "notes").mkdir()
    assert find_inventory(None, {}, tmp_path) == tmp_path / "inventories" / "shop"


def test_of_several_inventories_none_is_taken_and_all_are_listed(tmp_path: Path) -> None:
    for name in ("b", "a"):
        inventory(tmp_path / "inventories" / name, LAB)
    with pytest.raises(UsageFault) as fault:
        find_inventory(None, {}, tmp_path)
    assert fault.value.details == ("  inventories/a", "  inventories/b")
    assert fault.value.hint == "kubewright -i inventories/a validate"


def test_a_hint_never_leads_to_the_example_which_is_refused_as_it_is(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("example", "mine", "shop"):
        inventory(tmp_path / "inventories" / name, LAB)
    with pytest.raises(UsageFault) as fault:
        find_inventory(None, {}, tmp_path)
    assert fault.value.hint == "kubewright -i inventories/mine validate"
    assert refused_at(tmp_path / "inventories" / "shopp").hint == "kubewright -i inventories/shop validate"
    for name in ("mine", "shop"):
        (tmp_path / "inventories" / name / "cluster.yaml").unlink()
    assert refused_at(tmp_path / "nothere").hint.startswith("kubewright init ")


def test_no_inventory_is_a_usage_fault(tmp_path: Path) -> None:
    with pytest.raises(UsageFault, match="no inventory"):
        find_inventory(None, {}, tmp_path)


def test_a_named_directory_without_a_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InventoryRefused, match="no such file"):
        Inventory.open(tmp_path)


def test_text_that_is_not_utf8_is_refused(tmp_path: Path) -> None:
    (tmp_path / "cluster.yaml").write_bytes(b"cluster: caf\xe9\n")
    with pytest.raises(InventoryRefused, match="not UTF-8"):
        Inventory.open(tmp_path)


def test_the_file_itself_may_be_named_too(tmp_path: Path) -> None:
    made = inventory(tmp_path, LAB)
    assert Inventory.open(tmp_path / "cluster.yaml").path == made.path == tmp_path.resolve()


def test_paths_are_absolute_wherever_we_stand(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    inventory(tmp_path / "shop", LAB)
    monkeypatch.chdir(tmp_path)
    assert Inventory.open("shop").path == (tmp_path / "shop").resolve()


def test_a_fault_names_the_file_from_where_we_stand(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InventoryRefused) as refused:
        inventory(tmp_path / "shop", "")
    assert refused.value.message.startswith("shop/cluster.yaml: ")


def test_a_labs_secrets_are_thrown_away_with_it(tmp_path: Path) -> None:
    lab = inventory(tmp_path, LAB)
    kept = (lab.secrets_dir, lab.known_hosts_path, lab.ssh_key_path, lab.runs_dir)
    assert all(path is not None and path.parent == lab.state_dir for path in kept)


def test_a_real_clusters_secrets_lie_beside_its_file(tmp_path: Path) -> None:
    real = inventory(tmp_path, REAL)
    assert real.secrets_dir == tmp_path / "secrets"
    assert real.known_hosts_path == tmp_path / "known_hosts"
    assert real.ssh_key_path == Path.home() / ".ssh" / "shop"
    assert real.artifacts_lock_path == tmp_path / "artifacts.lock"


def test_a_host_may_have_a_key_of_its_own_relative_to_the_inventory(tmp_path: Path) -> None:
    real = inventory(tmp_path, REAL)
    assert real.ssh_key_of("w1") == tmp_path / "keys" / "w1"
    assert real.ssh_key_of("cp1") == Path.home() / ".ssh" / "shop"


def test_without_a_key_the_agent_is_left_to_decide(tmp_path: Path) -> None:
    assert inventory(tmp_path, REAL.replace("ssh: {key: ~/.ssh/shop}\n", "")).ssh_key_path is None


def test_a_lab_encrypts_to_its_own_key_once_it_has_one(tmp_path: Path) -> None:
    lab = inventory(tmp_path, LAB)
    assert lab.operators == ()
    lab.state_dir.mkdir()
    (lab.state_dir / "id_ed25519.pub").write_text(KEY + "\n", encoding="utf-8")
    assert lab.operators == (KEY,)  # type: ignore[comparison-overlap]


def test_opening_creates_nothing(tmp_path: Path) -> None:
    lab = inventory(tmp_path, LAB)
    _ = (lab.state_dir, lab.runs_dir, lab.secrets_dir, lab.known_hosts_path, lab.operators)
    assert [file.name for file in tmp_path.iterdir()] == ["cluster.yaml"]


def refused_at(path: Path) -> InventoryRefused:
    with pytest.raises(InventoryRefused) as refused:
        Inventory.open(path)
    assert refused.value.code == "inventory-missing"
    return refused.value


@pytest.mark.parametrize(("make", "said"), [
    (lambda file: file.mkdir(), "a directory; an inventory is a file"),
    (lambda file: os.mkfifo(file), "a pipe; an inventory is a file"),
    (lambda file: file.symlink_to("/dev/zero"), "a device; an inventory is a file"),
    (lambda file: file.symlink_to(file.name), "a link that leads back to itself"),
    (lambda file: file.symlink_to("gone.yaml"), "a link to gone.yaml, where there is nothing"),
    (lambda file: None, "there is no such file"),
], ids=["directory", "pipe", "device", "loop", "dangling", "nothing"])
def test_what_stands_where_an_inventory_should_be_is_said(
        tmp_path: Path, make: Callable[[Path], None], said: str) -> None:
    file = tmp_path / "cluster.yaml"
    make(file)
    assert refused_at(tmp_path).message.endswith(f"cluster.yaml: {said}")


def test_an_inventory_with_the_other_ending_is_pointed_at(tmp_path: Path) -> None:
    (tmp_path / "cluster.yml").write_text("version: 1\n")
    assert "cluster.yml is there: an inventory is called cluster.yaml" in refused_at(tmp_path).details[0]


def test_a_directory_that_is_not_there_lists_those_that_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("mine", "yours"):
        (tmp_path / "inventories" / name).mkdir(parents=True)
        (tmp_path / "inventories" / name / "cluster.yaml").write_text("")
    monkeypatch.chdir(tmp_path)
    fault = refused_at(tmp_path / "nothere")
    assert fault.details == ("inventories here:", "  inventories/mine", "  inventories/yours")
    assert fault.hint == "kubewright -i inventories/mine validate"


def test_a_name_that_no_file_can_have_is_refused(tmp_path: Path) -> None:
    assert "too long" in refused_at(tmp_path / ("a" * 300)).message
