"""`init` writes what `validate` accepts, or nothing: no question it cannot ask is guessed, nothing is overwritten."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from provisioner.artifacts.published import load_publications
from provisioner.artifacts.supply import first_lock
from provisioner.cli.main import main
from provisioner.errors import UsageFault
from provisioner.model.inventory import Inventory
from provisioner.orchestrate.run.look_ahead import is_provisional
from provisioner.orchestrate.run.options import Intent

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f me@example.net"
FIVE = ("10.1.0.11", "10.1.0.12", "10.1.0.13", "10.1.0.21", "10.1.0.22")


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.delenv("KUBEWRIGHT_INVENTORY", raising=False)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "home" / ".ssh").mkdir(parents=True)
    (tmp_path / "home" / ".ssh" / "id_ed25519.pub").write_text(KEY + "\n")
    return tmp_path


def made(place: str = "inventories/mine") -> Inventory:
    return Inventory.open(place)


def test_five_addresses_become_three_control_planes_and_two_workers(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["init", *FIVE, "--vip", "10.1.0.10"]) == 0
    cluster = made().cluster
    assert [(h.name, h.address, sorted(r.value for r in h.roles)) for h in cluster.machines] == [
        *((f"cp{n}", f"10.1.0.1{n}", ["control-plane", "etcd", "load-balancer"]) for n in (1, 2, 3)),
        *((f"w{n}", f"10.1.0.2{n}", ["worker"]) for n in (1, 2))]
    assert [str(n) for n in cluster.network.hosts] == ["10.1.0.0/24"]
    assert cluster.operators == (KEY,)
    said = capsys.readouterr().out.splitlines()
    assert said[0] == f"inventories/mine/cluster.yaml: cluster mine, Kubernetes {cluster.kubernetes}"
    assert said[-6:] == [f"  kubewright -i inventories/mine {verb}" for verb in (
        "validate", "artifacts lock", "trust", "check", "plan", "up")]


def test_a_first_plan_needs_no_lock_but_one_that_is_kept_or_of_a_cluster_that_is_there_does() -> None:
    assert main(["init", *FIVE, "--vip", "10.1.0.10"]) == 0
    inventory = made()
    assert is_provisional(inventory, Intent("up"))
    assert not is_provisional(inventory, Intent("up", plan_file=Path("kept.json")))
    assert not is_provisional(inventory, Intent("upgrade"))
    lock = first_lock(inventory)
    assert lock and {a.version for a in lock.artifacts if a.component == "kubernetes"} == {inventory.cluster.kubernetes}
    (inventory.secrets_dir / "registries").mkdir(parents=True)
    (inventory.secrets_dir / "registries" / "docker.io.json").write_text("{}")
    assert is_provisional(inventory, Intent("up")) and first_lock(inventory), "a login is kept already"
    (inventory.secrets_dir / "index.json").write_text("{}")
    assert not is_provisional(inventory, Intent("up")) and first_lock(inventory) is None, "its lock was lost"


def test_trust_of_init_asks_and_so_is_not_for_programs(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["-o", "json", "init", *FIVE, "--vip", "10.1.0.10", "--trust"]) == 64
    assert not Path("inventories").exists(), "nothing was written"


def test_the_commands_that_it_names_accept_what_it_wrote(capsys: pytest.CaptureFixture[str]) -> None:
    main(["init", *FIVE, "--vip", "10.1.0.10"])
    assert main(["-i", "inventories/mine", "validate"]) == 0


def test_its_kubernetes_is_one_that_upstream_publishes() -> None:
    main(["init", FIVE[0]])
    assert made().cluster.kubernetes in load_publications().versions("kubernetes", "amd64")


def test_one_machine_is_all_at_once() -> None:
    assert main(["init", "10.1.0.11"]) == 0
    [host] = made().cluster.machines
    assert sorted(r.value for r in host.roles) == ["control-plane", "etcd", "worker"]


def test_two_machines_are_a_control_plane_and_a_worker_without_a_vip() -> None:
    assert main(["init", "10.1.0.11", "10.1.0.12"]) == 0
    assert {h.name: sorted(r.value for r in h.roles) for h in made().cluster.machines} == {
        "cp1": ["control-plane", "etcd"], "w1": ["worker"]}


def test_users_and_ports_are_of_the_cluster_where_all_agree_and_of_the_host_else() -> None:
    assert main(["init", "admin@10.1.0.11:2222", "admin@10.1.0.12", "debian@10.1.0.13", "--preset", "small"]) == 0
    inventory = made()
    assert [(inventory.cluster.ssh_of(h).user, inventory.cluster.ssh_of(h).port) for h in ("cp1", "w1", "w2")] == [
        ("admin", 2222), ("admin", 22), ("debian", 22)]


def test_networks_of_ours_keep_out_of_the_hosts_way() -> None:
    assert main(["init", "10.244.3.11", "10.96.0.12"]) == 0
    network = made().cluster.network
    assert [str(n) for n in (*network.pods, *network.services)] == ["172.28.0.0/16", "172.29.0.0/16"]


def test_a_directory_of_its_own_names_the_cluster(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["init", "-i", "clusters/berlin", FIVE[0], "-o", "json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["file"] == "clusters/berlin/cluster.yaml"
    assert document["next"][0] == "kubewright -i clusters/berlin validate"
    assert made("clusters/berlin").cluster.cluster == "berlin"


def test_what_is_there_is_never_overwritten(capsys: pytest.CaptureFixture[str]) -> None:
    main(["init", FIVE[0]])
    before = Path("inventories/mine/cluster.yaml").read_bytes()
    assert main(["init", FIVE[1]]) == 64
    assert "inventories/mine/cluster.yaml: is there already; nothing was written" in capsys.readouterr().err
    assert Path("inventories/mine/cluster.yaml").read_bytes() == before


def test_a_file_that_appears_while_it_asks_stays() -> None:
    from provisioner.cli import init as verb

    place = Path("clusters")
    place.mkdir()
    (place / "cluster.yaml").write_text("somebody's\n")
    with pytest.raises(UsageFault, match=r"^clusters/cluster\.yaml: writing the inventory: File exists$"):
        verb._write(place, "ours\n")
    assert (place / "cluster.yaml").read_text() == "somebody's\n"


def test_killed_while_it_writes_it_leaves_no_cluster_yaml_and_is_run_again(monkeypatch: pytest.MonkeyPatch) -> None:
    class Killed(BaseException):
        pass

    fsync = os.fsync

    def killed(descriptor: int) -> None:
        if ".cluster.yaml." in str(Path(f"/proc/self/fd/{descriptor}").readlink()):
            raise Killed
        fsync(descriptor)

    with monkeypatch.context() as patched, pytest.raises(Killed):
        patched.setattr(os, "fsync", killed)
        main(["init", FIVE[0]])
    assert sorted(p.name for p in Path("inventories/mine").iterdir()) == [".gitignore", ".kubewright"]
    assert main(["init", FIVE[0]]) == 0
    assert made().cluster.hosts.keys() == {"cp1"}


def test_what_git_ignores_there_is_kept(home: Path) -> None:
    (home / "inventories" / "mine").mkdir(parents=True)
    (home / "inventories" / "mine" / ".gitignore").write_text("*.bak\n")
    main(["init", FIVE[0]])
    assert (home / "inventories" / "mine" / ".gitignore").read_text() == "*.bak\n"
    assert (home / "inventories" / "mine" / ".kubewright" / "cluster.schema.json").is_file()


@pytest.mark.parametrize(("arguments", "said", "code"), [
    ([], "no address given, and nobody is there to ask", 64),
    (["cp1.example.org"], "cp1.example.org is where one logs in", 64),
    (["10.1.0.11:0"], "'10.1.0.11:0' is no [NAME=][USER@]LOGIN[:PORT][,ADDRESS]", 64),
    (["@10.1.0.11"], "'@10.1.0.11' is no [NAME=][USER@]LOGIN[:PORT][,ADDRESS]", 64),
    (FIVE, "3 control planes need an address that moves between them", 64),
    ([*FIVE, "--vip", "10.1.0"], "--vip: ", 64),
    ([*FIVE, "--vip", "10.1.0.10", "--network", "10.1.0.0"], "10.1.0.22 is outside network.hosts", 10),
    ([*FIVE, "--vip", "10.1.0.11"], "1 fault; no host was contacted", 10),
    (["10.1.0.11", "10.1.0.11"], "fault", 10),
    (["10.1.0.11", "--preset", "ha"], "--preset ha wants 3 machines or more, 1 named", 64),
    (["10.1.0.11", "10.1.0.12", "--preset", "single"], "--preset single wants one machine, 2 named", 64),
    (["10.1.0.11", "--operator", "nowhere.pub"], "--operator nowhere.pub: No such file or directory", 64),
    (["10.1.0.11", "--name", "No Name"], "fault", 10),
    (["10.1.0.11", "--kubernetes", "1.2.3"], "fault", 10),
])
def test_what_cannot_be_is_refused_and_nothing_is_written(
        home: Path, arguments: list[str], said: str, code: int, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["init", *arguments]) == code
    assert said in capsys.readouterr().err
    assert not (home / "inventories").exists()


def test_who_has_no_key_is_told_how_to_make_one(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (home / "home" / ".ssh" / "id_ed25519.pub").unlink()
    assert main(["init", FIVE[0]]) == 64
    assert "hint: ssh-keygen -t ed25519" in capsys.readouterr().err


def test_a_private_key_is_not_written_anywhere(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (home / "key").write_text("-----BEGIN OPENSSH PRIVATE KEY-----\n")
    assert main(["init", FIVE[0], "--operator", "key"]) == 64
    assert "--operator key: that is a private key" in capsys.readouterr().err


def test_on_a_terminal_it_asks_for_what_it_must_know(monkeypatch: pytest.MonkeyPatch) -> None:
    from click.testing import CliRunner

    from provisioner.cli import init as verb
    from provisioner.cli.context import Context

    monkeypatch.setattr(verb, "can_ask", lambda: True)
    result = CliRunner().invoke(verb.init, [], input=f"{' '.join(FIVE)}\n10.1.0.10\n", obj=Context())
    assert result.exit_code == 0, result.output
    assert str(made().cluster.api.vip) == "10.1.0.10"
