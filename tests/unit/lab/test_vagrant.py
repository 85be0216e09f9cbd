"""Vagrant's machines: keys are read through a stand-in for its command; the Vagrantfile itself where there is Ruby."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from provisioner.errors import KubewrightError, PreflightRefused, Unreachable
from provisioner.lab import vagrant
from provisioner.lab.network import enter_namespace
from provisioner.model.inventory import Inventory

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a directory with Vagrantfile, machine keys and a `vagrant` that answers as a machine would."""
    (tmp_path / "Vagrantfile").write_text("")
    (tmp_path / "inventory").mkdir()
    shutil.copy(ROOT / "inventories/vagrant/cluster.yaml", tmp_path / "inventory")
    for name in ("cp1", "cp2", "cp3", "w1", "w2"):
        key = tmp_path / ".vagrant/machines" / name / "libvirt/private_key"
        key.parent.mkdir(parents=True)
        key.write_text(f"key of {name}")
    stand_in = tmp_path / "bin/vagrant"
    stand_in.parent.mkdir()
    stand_in.write_text('#!/bin/sh\n[ -e "broken-$2" ] && exit 1\n[ -e "silent-$2" ] && exit 0\n'
                        'printf "Welcome to %s\\r\\nssh-ed25519 AAAA$2 root@%s\\r\\n" "$2" "$2"\n')
    stand_in.chmod(0o755)
    monkeypatch.setenv("PATH", f"{stand_in.parent}:{os.environ['PATH']}")
    return tmp_path


def test_host_keys_are_pinned_and_private_keys_linked(place: Path) -> None:
    inventory = Inventory.open(place / "inventory")
    lines = vagrant.trust(inventory, place)
    assert lines[0] == "192.168.56.11 ssh-ed25519 AAAAcp1"
    assert inventory.known_hosts_path.read_text().splitlines() == list(lines)
    for name in inventory.cluster.hosts:
        key = inventory.ssh_key_of(name)
        assert key is not None and key.read_text() == f"key of {name}"


def test_one_machine_that_is_down_pins_nothing(place: Path) -> None:
    (place / "broken-w2").touch()
    inventory = Inventory.open(place / "inventory")
    with pytest.raises(KubewrightError, match="w2"):
        vagrant.trust(inventory, place)
    assert not inventory.known_hosts_path.exists()


def test_a_machine_that_prints_no_key_is_named(place: Path) -> None:
    (place / "silent-cp2").touch()
    with pytest.raises(Unreachable, match="cp2: reading its host key"):
        vagrant.trust(Inventory.open(place / "inventory"), place)


def test_machines_that_were_never_up_are_named_all_at_once(place: Path) -> None:
    shutil.rmtree(place / ".vagrant/machines/cp1")
    shutil.rmtree(place / ".vagrant/machines/w1")
    with pytest.raises(PreflightRefused, match="cp1, w1"):
        vagrant.trust(Inventory.open(place / "inventory"), place)


def test_the_newest_key_of_a_machine_counts(place: Path) -> None:
    newer = place / ".vagrant/machines/cp1/virtualbox/private_key"
    newer.parent.mkdir()
    newer.write_text("newer")
    os.utime(newer.parent.parent / "libvirt/private_key", (1, 1))
    assert vagrant.private_key(place, "cp1") == newer


def test_a_lab_that_is_not_up_is_refused_with_the_command_that_helps() -> None:
    with pytest.raises(PreflightRefused) as caught:
        enter_namespace("no-such-lab-here")
    assert caught.value.hint == "kubewright lab up"


@pytest.mark.skipif(shutil.which("ruby") is None, reason="ruby is not installed")
def test_the_vagrantfile_is_ruby() -> None:
    subprocess.run(["ruby", "-c", str(ROOT / "Vagrantfile")], check=True, capture_output=True)


has_vagrant = pytest.mark.skipif(shutil.which("vagrant") is None, reason="vagrant is not installed")
PROVIDERS = ("libvirt", "virtualbox", "vmware_desktop", "hyperv")
# Of these Vagrant validates nothing where they are not installed, so each has a stand-in that is. What judges the
# settings is Vagrant's own for VirtualBox and Hyper-V; VMware's plugin is not Debian's, and its documentation names
# these three. Vagrant reads this from its home, before the Vagrantfile.
STAND_INS = """class StandIn < Vagrant.plugin("2")
  name "stand-ins"
  config(:vmware_desktop, :provider) do
    Class.new(Vagrant.plugin("2", :config)) do
      attr_accessor :gui, :linked_clone, :vmx
      def initialize
        @vmx = {}
      end
    end
  end
  [:virtualbox, :vmware_desktop, :hyperv].each do |called|
    provider(called) do
      Class.new(Vagrant.plugin("2", :provider)) do
        def state
          Vagrant::MachineState.new(:not_created, "", "")
        end
      end
    end
  end
end
"""


def ask_vagrant(home: Path, *arguments: str, inventory: str | Path = "inventories/vagrant",
                **environ: str) -> subprocess.CompletedProcess[str]:
    """Call Vagrant in a home of its own, in a network of its own: this machine's interfaces are nobody's business."""
    alone = ["unshare", "--net"] if os.geteuid() == 0 else []
    (home / "home").mkdir(exist_ok=True)
    (home / "home" / "Vagrantfile").write_text(STAND_INS, encoding="utf-8")
    return subprocess.run([*alone, "vagrant", *arguments], cwd=ROOT, capture_output=True, text=True, check=False,
                          timeout=110, env={
                              **os.environ, "KUBEWRIGHT_INVENTORY": str(inventory), "VAGRANT_HOME": str(home / "home"),
                              "VAGRANT_DOTFILE_PATH": str(home / "dot"), **environ})


@has_vagrant
@pytest.mark.parametrize("inventory", ["inventories/vagrant", "inventories/vagrant-one"])
@pytest.mark.parametrize("provider", PROVIDERS)
def test_vagrant_accepts_the_vagrantfile_for_each_provider(provider: str, inventory: str, tmp_path: Path) -> None:
    done = ask_vagrant(tmp_path, "validate", inventory=inventory, VAGRANT_DEFAULT_PROVIDER=provider)
    assert done.returncode == 0, done.stdout + done.stderr


@has_vagrant
def test_vagrant_knows_the_machines_of_the_inventory_and_no_others(tmp_path: Path) -> None:
    done = ask_vagrant(tmp_path, "status", "--machine-readable", VAGRANT_DEFAULT_PROVIDER="libvirt")
    told = {line.split(",")[1] for line in done.stdout.splitlines() if line.split(",")[2:3] == ["metadata"]}
    assert told == {"cp1", "cp2", "cp3", "w1", "w2"}, done.stdout + done.stderr


@has_vagrant
@pytest.mark.parametrize(("said", "instead", "error", "hint"), [
    ("192.168.56.12,", "192.168.56.11,", "192.168.56.11 is used 2 times", "validate"),
    ("192.168.56.12,", "192.168.57.12,", "192.168.57.12 is outside 192.168.56.0/24", "validate"),
    ("cluster: vagrant", "cluster: vagrant\nlab: true", "its machines are lab nodes", "lab up"),
])
def test_what_cannot_become_machines_is_refused_with_what_helps(
        tmp_path: Path, said: str, instead: str, error: str, hint: str) -> None:
    text = (ROOT / "inventories/vagrant/cluster.yaml").read_text(encoding="utf-8")
    assert said in text
    (tmp_path / "cluster.yaml").write_text(text.replace(said, instead), encoding="utf-8")
    done = ask_vagrant(tmp_path, "validate", inventory=tmp_path, VAGRANT_DEFAULT_PROVIDER="libvirt")
    assert done.returncode == 1 and f"error: {tmp_path}/cluster.yaml: {error}" in done.stderr
    assert f"hint: kubewright -i {tmp_path} {hint}" in done.stderr
    assert ask_vagrant(tmp_path, "status", inventory=tmp_path, VAGRANT_DEFAULT_PROVIDER="libvirt").returncode == 0


@has_vagrant
def test_a_failed_up_names_no_next_command(tmp_path: Path) -> None:
    done = ask_vagrant(tmp_path, "up", "no-such-machine", VAGRANT_DEFAULT_PROVIDER="virtualbox")
    assert done.returncode != 0 and "Next:" not in done.stdout


@has_vagrant
@pytest.mark.parametrize(("provider", "said"), [
    ("libvirt", "domain.graphics_type"), ("virtualbox", "box.linked_clone"), ("vmware_desktop", "box.linked_clone"),
    ("hyperv", "box.maxmemory")])
def test_a_setting_that_a_provider_does_not_have_is_found(provider: str, said: str, tmp_path: Path) -> None:
    """The proof that the acceptance above can fail for each provider."""
    text = (ROOT / "Vagrantfile").read_text(encoding="utf-8")
    assert said in text
    spoiled = text.replace(said, f"{said.partition('.')[0]}.no_such_setting")
    (tmp_path / "Vagrantfile").write_text(spoiled, encoding="utf-8")
    done = ask_vagrant(tmp_path, "validate", inventory=ROOT / "inventories/vagrant-one", VAGRANT_CWD=str(tmp_path),
                       VAGRANT_DEFAULT_PROVIDER=provider)
    assert done.returncode == 1 and "no_such_setting" in done.stdout + done.stderr, done
