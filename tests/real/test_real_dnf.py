"""dnf and rpm as a host of the RHEL family has them, on packages made here and a root of their own."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from provisioner.applier import managers, os_state, owned, packages, sources
from provisioner.applier.dnf import Dnf
from provisioner.applier.host import Fault
from provisioner.converge.bundle import write_prepare
from provisioner.model.desired import Package
from provisioner.model.managers import DNF
from provisioner.model.os_state import OsState
from provisioner.model.plan import Change
from tests.unit.applier.support import FakeHost

ROOT = Path(__file__).resolve().parents[2]
TOOLS = ("dnf", "rpm", "rpmbuild", "createrepo_c")
pytestmark = pytest.mark.skipif(not all(map(shutil.which, TOOLS)), reason="apt-get install dnf rpm createrepo-c")
SPEC = """Name: {name}
Version: {version}
Release: 1
Summary: made by a test
License: none
BuildArch: noarch
{more}
%description
made by a test
%install
mkdir -p %{{buildroot}}/etc
echo "version {version}" > %{{buildroot}}/etc/{name}.cfg
%files
%config(noreplace) /etc/{name}.cfg
"""
# As on RHEL: best is asked for, what nobody needs goes with a removal unless that is said otherwise.
SETTINGS = "[main]\ngpgcheck=0\nbest=True\nclean_requirements_on_remove=True\nskip_if_unavailable=False\n"


class Rhel(FakeHost):
    """A root that dnf and rpm of this machine work in, and a repository of files."""

    def __init__(self, place: Path) -> None:
        self.place, root = place, place / "root"
        super().__init__(root, place)
        self.repo = place / "repo"
        for made in (self.repo, place / "bin", root / "var/log", root / "var/lib/rpm", root / "usr/bin"):
            made.mkdir(parents=True)
        self.put("/usr/bin/dnf", "")
        self.put("/etc/dnf/dnf.conf", SETTINGS)
        self.put("/etc/yum.repos.d/made.repo", f"[made]\nname=made\nbaseurl=file://{self.repo}\nenabled=1\n")
        said = {"dnf": f"--installroot={root} --releasever=9 --setopt=reposdir={root}/etc/yum.repos.d "
                       f"--config={root}/etc/dnf/dnf.conf --setopt=system_cachedir={root}/var/cache/dnf",
                "rpm": f"--root={root}"}
        for name, first in said.items():
            program = place / "bin" / name
            program.write_text(f'#!/bin/sh\nexec {shutil.which(name)} {first} "$@"\n')
            program.chmod(0o755)
        (place / ".rpmmacros").write_text("%_dbpath /var/lib/rpm\n")       # Debian's rpm has it in the home directory

    def make(self, name: str, version: str = "1.0", more: str = "") -> None:
        """Build a package, and let the repository know it."""
        spec = self.place / f"{name}-{version}.spec"
        spec.write_text(SPEC.format(name=name, version=version, more=more))
        run(["rpmbuild", "-bb", "--quiet", "--define", f"_topdir {self.place}/build", "--define",
             f"_rpmdir {self.repo}", "--define", "_build_name_fmt %%{NAME}-%%{VERSION}.rpm", str(spec)])
        run(["createrepo_c", "--quiet", str(self.repo)])

    def there(self) -> set[str]:
        return managers.of(self.host).installed(self.host)


def run(argv: list[str]) -> None:
    done = subprocess.run(argv, capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 0, done.stderr


@pytest.fixture
def rhel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Rhel:
    """A host with nothing on it, and sources that have a balancer, what it needs, what it recommends, and others."""
    made = Rhel(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    made.make("balancer", more="Requires: balancer-lib\nRecommends: balancer-doc")
    made.make("balancer-lib")
    made.make("balancer-doc")
    return made


def prepare(rhel: Rhel, *names: str) -> subprocess.CompletedProcess[str]:
    """Play prepare.yml for these packages, as `up` does; dnf and rpm are the host's."""
    items = [Package(path=name, phase="prepare") for name in names]
    bundles = rhel.place / "bundles"
    write_prepare(bundles, {"here": [Change("here", "prepare", item.kind, item.path, "add", "missing", "absent",
                                            item.want(), item) for item in items]}, managers={"here": "dnf"})
    hosts = rhel.place / "hosts.json"
    hosts.write_text(json.dumps({"all": {"hosts": {"here": {
        "ansible_connection": "local", "ansible_python_interpreter": sys.executable}}}}))
    return subprocess.run(
        [str(Path(sys.executable).with_name("ansible-playbook")), "-i", str(hosts), str(ROOT / "playbooks/prepare.yml"),
         "-e", f"bundles={bundles}"], timeout=110, check=False, capture_output=True, text=True, env={
            "PATH": f"{rhel.place}/bin:/usr/bin:/bin:/usr/sbin:/sbin", "HOME": str(rhel.place), "LC_ALL": "C.UTF-8",
            "ANSIBLE_NOCOLOR": "1", "ANSIBLE_CONFIG": str(ROOT / "playbooks/ansible.cfg")})


def test_packages_come_with_what_they_need_and_nothing_more_and_a_second_time_nothing_does(rhel: Rhel) -> None:
    assert isinstance(managers.of(rhel.host), Dnf)
    done = prepare(rhel, "balancer")
    assert done.returncode == 0, done.stdout + done.stderr
    assert rhel.there() == {"balancer", "balancer-lib"}, "no weak dependencies"
    assert managers.of(rhel.host).automatic(rhel.host) == {"balancer-lib"}
    assert managers.of(rhel.host).states(rhel.host, ["balancer", "none"]) == {"balancer": ("installed", "1.0-1")}
    rhel.put("/etc/balancer.cfg", "mine\n")
    again = prepare(rhel, "balancer")
    assert again.returncode == 0 and rhel.there() == {"balancer", "balancer-lib"}
    assert rhel.path("/etc/balancer.cfg").read_text() == "mine\n"


@pytest.mark.full
def test_a_package_that_is_not_to_be_had_and_one_that_excludes_another_are_named_and_nothing_changes(
        rhel: Rhel) -> None:
    rhel.make("slim", more="Provides: fat = 1\nConflicts: fat")
    rhel.make("fat")
    assert prepare(rhel, "slim").returncode == 0
    missing = prepare(rhel, "balancer", "none")
    assert missing.returncode == 2 and "Unable to find a match: none" in missing.stdout
    excluded = prepare(rhel, "fat")
    assert excluded.returncode == 2 and "conflicts with fat" in excluded.stdout
    assert rhel.there() == {"slim"}
    assert managers.of(rhel.host).states(rhel.host, ["fat"]) == {"fat": ("installed", "1.0-1")}, "slim is one"


@pytest.mark.full
def test_a_broken_source_stops_nothing_that_does_not_come_from_it_and_is_named_with_what_does(rhel: Rhel) -> None:
    rhel.put("/etc/yum.repos.d/a.repo", f"[a]\nname=a\nbaseurl=file://{rhel.place}/gone\nskip_if_unavailable=0\n")
    done = prepare(rhel, "balancer")
    assert done.returncode == 0, done.stdout + done.stderr
    assert rhel.there() == {"balancer", "balancer-lib"}
    missing = prepare(rhel, "none")
    assert missing.returncode == 2 and "Unable to find a match: none (Errors during downloading" in missing.stdout
    assert f"{rhel.place}/gone/repodata/repomd.xml" in missing.stdout
    assert sources.look(rhel.host, ["balancer-doc"])["listed"] is True
    assert "lists" in os_state.state(rhel.host, {"refresh": True})["unseen"]


@pytest.mark.full
def test_an_installation_that_was_killed_is_ended_by_the_next(rhel: Rhel) -> None:
    waits = rhel.path("/waits")
    rhel.make("slow", more="Requires: balancer\n%post -p <lua>\nio.open('/waits', 'w'):close()\nwhile true do end")
    line = ["dnf", "-y", "--setopt=install_weak_deps=False", "install", "slow"]
    with subprocess.Popen(line, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as dnf:
        deadline = time.monotonic() + 60
        while not waits.exists():
            assert time.monotonic() < deadline and dnf.poll() is None, "dnf came to its script"
            time.sleep(0.05)
        held = managers.of(rhel.host).holder(rhel.host)
        dnf.send_signal(signal.SIGKILL)
    assert held is not None, "while it was at work"
    assert managers.of(rhel.host).holder(rhel.host) is None
    assert "balancer" in rhel.there()
    rhel.make("slow", "1.1", more="Requires: balancer")
    done = prepare(rhel, "slow", "balancer")
    assert done.returncode == 0, done.stdout + done.stderr
    assert rhel.there() == {"slow", "balancer", "balancer-lib"}
    assert managers.of(rhel.host).half(rhel.host) == []


def test_only_what_came_with_us_goes_and_nothing_that_others_need(rhel: Rhel) -> None:
    rhel.make("theirs", more="Requires: balancer-lib")
    owned.own(rhel.host, {"items": [{"kind": "package", "path": "balancer", "want": "installed"}], "step": "r.0"})
    assert prepare(rhel, "balancer").returncode == 0
    owned.own(rhel.host, {"items": []})
    book = json.loads(rhel.path("/var/lib/kubewright/owned.json").read_text())["items"]
    assert {row["path"]: row.get("asked", False) for row in book.values()} == {"balancer": True, "balancer-lib": False}
    assert packages.others_of(rhel.host, ["balancer-lib"], ["balancer-lib"]) == {"balancer"}
    run(["dnf", "-y", "install", "theirs"])
    assert packages.purge(rhel.host, ["balancer"]) == "purged"
    assert rhel.there() == {"theirs", "balancer-lib"}
    run(["dnf", "-y", "--noautoremove", "remove", "theirs"])
    assert packages.purge(rhel.host, ["balancer"]) == "purged" and rhel.there() == set()
    assert packages.purge(rhel.host, ["balancer"]) == "purged", "a second time there is nothing to do"


@pytest.mark.full
def test_what_is_missing_and_what_it_would_take_the_place_of_is_known_before(rhel: Rhel) -> None:
    rhel.make("old")
    assert sources.look(rhel.host, ["balancer"])["listed"] is False, "no list was read yet"
    assert prepare(rhel, "old").returncode == 0
    rhel.make("new", more="Obsoletes: old < 2")
    run(["dnf", "-q", "--refresh", "makecache"])
    assert sources.look(rhel.host, ["balancer", "old"]) == {
        "missing": ["balancer"], "listed": True, "sites": {f"file:{rhel.repo}/repodata": "no such directory"},
        "removes": []}, "the root has no repository in it: sites are looked for there"
    assert sources.look(rhel.host, ["new"])["removes"] == ["old"]
    assert sources.look(rhel.host, ["none"])["listed"] is False


def test_an_upgrade_brings_exactly_the_versions_that_were_seen(rhel: Rhel) -> None:
    assert prepare(rhel, "balancer").returncode == 0
    rhel.make("balancer-lib", "1.1")
    rhel.make("balancer", "2.0", more="Requires: balancer-lib >= 1.1, balancer-new\nEpoch: 1")
    rhel.make("balancer-new")
    rhel.put("/proc/stat", "btime 9999999999\n")
    state = OsState.of_answer(os_state.state(rhel.host, {"refresh": True}))
    assert state.unseen == {}
    assert {(one.name, one.was, one.will) for one in state.newer} == {
        ("balancer", "1.0-1", "1:2.0-1"), ("balancer-lib", "1.0-1", "1.1-1"), ("balancer-new", "", "1.0-1")}
    assert (state.required, state.half, state.held) == (False, (), ())
    rhel.make("balancer", "3.0", more="Epoch: 1")       # comes too late for the plan
    run([*DNF.upgrade, *DNF.versions(state.newer)])
    assert managers.of(rhel.host).states(rhel.host, ["balancer", "balancer-lib", "balancer-new"]) == {
        "balancer": ("installed", "1:2.0-1"), "balancer-lib": ("installed", "1.1-1"),
        "balancer-new": ("installed", "1.0-1")}
    assert managers.of(rhel.host).automatic(rhel.host) == {"balancer-lib", "balancer-new"}, "they go with it as before"
    with pytest.raises(AssertionError, match="Unable to find a match"):
        run([*DNF.upgrade, "balancer-9-9"])


@pytest.mark.full
def test_a_dnf_that_is_at_work_is_waited_for(rhel: Rhel) -> None:
    program, calls = rhel.place / "bin/dnf", rhel.place / "busy"
    program.write_text(f"#!/bin/sh\necho x >> {calls}\n[ $(wc -l < {calls}) -gt 2 ] || exit 200\n"
                       + program.read_text().partition("\n")[2])
    done = prepare(rhel, "balancer")
    assert done.returncode == 0 and "balancer" in rhel.there(), done.stdout + done.stderr
    with pytest.raises(Fault, match="held by process"):
        rhel.put("/var/lib/dnf/rpmdb_lock.pid", str(os.getpid()))
        rhel.put(f"/proc/{os.getpid()}/comm", "dnf\n")
        managers.of(rhel.host).wait(rhel.host, 0)
