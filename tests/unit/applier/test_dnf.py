"""What dnf and rpm say, as printed by dnf 4.14 and rpm 4.18 (RHEL 9 has dnf 4.14 and rpm 4.16), as values."""

from __future__ import annotations

from typing import Any

import pytest

from provisioner.applier import admission, dnf, facts, managers, os_state, others, packages, sources
from provisioner.applier.apt import Apt
from provisioner.applier.dnf import Dnf, Row
from provisioner.applier.host import Fault
from provisioner.applier.managers import Brought
from provisioner.model import families
from provisioner.transport.answers import inspection_of
from tests.unit.applier.support import FakeHost

UPGRADE = """\
Last metadata expiration check: 0:00:01 ago on Mon Nov 30 03:57:41 2026.
Dependencies resolved.
================================================================================
 Package                                            Arch    Version    Repo
                                                                           Size
================================================================================
Installing:
 kernel-core                                        x86_64  5.14.0-503.el9
                                                                       baseos  18 M
Upgrading:
 haproxy                                            x86_64  2.4.22-3.el9_3  appstream  2.2 M
 runc                                               x86_64  4:1.1.12-4.el9  appstream  3.0 M
 tracker                                            noarch  2.0-1      t  6.2 k
     replacing  slim.noarch 1.0-1
Installing dependencies:
 a-very-long-name-of-a-package-that-wraps-the-line  noarch  2.0-1      t  6.5 k

Transaction Summary
================================================================================
Install  2 Packages
Upgrade  3 Packages

Total size: 19 k
Operation aborted.
"""
REMOVE = """\
Dependencies resolved.
================================================================================
 Package              Architecture       Version           Repository      Size
================================================================================
Removing:
 balancer-lib         noarch             1.0-1             @t              16  
Removing dependent packages:
 balancer             noarch             1.0-1             @t              16  

Transaction Summary
================================================================================
Remove  2 Packages

Freed space: 32  
Operation aborted.
"""
PROTECTED = """\
Error: 
 Problem: The operation would result in removing the following protected packages: dnf
(try to add '--skip-broken' to skip uninstallable packages or '--nobest' to use not only best candidate packages)
"""


def test_a_transaction_is_read_row_by_row_also_where_a_row_wraps_or_takes_anothers_place() -> None:
    assert dnf.transaction(UPGRADE) == [
        Row("Installing", "kernel-core", "5.14.0-503.el9", "baseos", ()),
        Row("Upgrading", "haproxy", "2.4.22-3.el9_3", "appstream", ()),
        Row("Upgrading", "runc", "4:1.1.12-4.el9", "appstream", ()),
        Row("Upgrading", "tracker", "2.0-1", "t", ("slim",)),
        Row("Installing dependencies", "a-very-long-name-of-a-package-that-wraps-the-line", "2.0-1", "t", ())]
    assert [(row.part, row.name) for row in dnf.transaction(REMOVE)] == [
        ("Removing", "balancer-lib"), ("Removing dependent packages", "balancer")]
    assert dnf.transaction(PROTECTED) == dnf.transaction("Dependencies resolved.\nNothing to do.\nComplete!\n") == []


def test_what_comes_has_the_version_that_is_there_and_what_would_take_anothers_place_stays_away() -> None:
    there = ("100\tkernel-core\t5.14.0-427.el9\n200\tkernel-core\t5.14.0-427.13.1.el9_4\n100\thaproxy\t2.4.22-3.el9\n"
             "100\trunc\t4:1.1.12-2.el9\n100\ttracker\t1.0-1\n")
    assert dnf.newer(dnf.transaction(UPGRADE), there) == [
        ["kernel-core", "5.14.0-427.13.1.el9_4", "5.14.0-503.el9"], ["haproxy", "2.4.22-3.el9", "2.4.22-3.el9_3"],
        ["runc", "4:1.1.12-2.el9", "4:1.1.12-4.el9"],
        ["a-very-long-name-of-a-package-that-wraps-the-line", "", "2.0-1"]]


@pytest.mark.parametrize(("text", "sites"), [
    # As Rocky 9 has it.
    ("[baseos]\nname=Rocky Linux $releasever - BaseOS\n"
     "mirrorlist=https://mirrors.rockylinux.org/mirrorlist?arch=$basearch&repo=BaseOS-$releasever$rltype\n"
     "#baseurl=http://dl.rockylinux.org/$contentdir/$releasever/BaseOS/$basearch/os/\ngpgcheck=1\nenabled=1\n\n"
     "[baseos-debug]\nmirrorlist=https://mirrors.rockylinux.org/debug\nenabled=0\n",
     ["https://mirrors.rockylinux.org/mirrorlist?arch=$basearch&repo=BaseOS-$releasever-x"]),
    # As AlmaLinux 9 has it.
    ("[appstream]\nname=AlmaLinux $releasever - AppStream\nmirrorlist=https://mirrors.almalinux.org/mirrorlist/"
     "$releasever/appstream\n# baseurl=https://repo.almalinux.org/almalinux/$releasever/AppStream/$basearch/os/\n"
     "enabled=1\n", ["https://mirrors.almalinux.org/mirrorlist/$releasever/appstream"]),
    # As subscription-manager writes it.
    ("[rhel-9-for-x86_64-baseos-rpms]\nname = x\nbaseurl = https://cdn.redhat.com/content/dist/rhel9/$releasever/x/os\n"
     "enabled = 1\nproxy =\nsslverify = 1\n",
     ["https://cdn.redhat.com/content/dist/rhel9/$releasever/x/os/repodata/repomd.xml"]),
    ("[two]\nbaseurl=http://10.0.0.1/a/\n  http://10.0.0.2/b/\n", ["http://10.0.0.1/a/repodata/repomd.xml"]),
    # A plugin of dnf puts the region in: whom to ask is not known here.
    ("[rhui]\nmirrorlist=https://rhui.REGION.aws.example.com/pulp/mirror\n\n[x]\nbaseurl=https://$host/x\n", []),
    # Only dnf knows which directory that is.
    ("[dvd]\nbaseurl=file:///mnt/$releasever/$basearch\n\n[here]\nbaseurl=file:///srv/r\n",
     ["file:///srv/r/repodata/repomd.xml"]),
    ("not = a section\n", []),
], ids=["rocky", "alma", "rhel", "two", "plugin", "directory", "broken"])
def test_the_sites_of_repositories_that_are_on(text: str, sites: list[str]) -> None:
    assert [url for _, url in dnf.repositories(text, {"rltype": "-x"})] == sites


def test_packages_that_came_after_the_boot_ask_for_another_as_dnfs_plugin_has_it() -> None:
    stat = "cpu 1 2 3\nbtime 1700000000\nprocesses 7\n"
    said = "kernel-core 1600000000\nkernel-core 1700000500\npackage kernel-rt is not installed\nglibc 1600000000\n"
    assert dnf.newer_than_boot(stat, said) == ["kernel-core"]
    assert dnf.newer_than_boot(stat, "glibc 1600000000\n") == []
    with pytest.raises(Fault, match="does not say when it booted"):
        dnf.newer_than_boot("cpu 1\n", said)


def test_what_is_there_twice_is_left_of_an_upgrade_but_kernels_stand_side_by_side() -> None:
    assert dnf.doubles("haproxy.x86_64\nhaproxy.x86_64\nglibc.x86_64\nglibc.i686\nkernel-core.x86_64\n"
                       "kernel-core.x86_64\ngpg-pubkey.(none)\ngpg-pubkey.(none)\n") == ["haproxy"]


def test_what_is_held_is_in_two_places() -> None:
    assert dnf.locked("# Added lock on Mon Nov 30 2026\nhaproxy-0:2.4.22-3.el9.*\n!runc-0:1.1-1.*\n") == [
        "haproxy-0:2.4.22-3.el9.*"]
    assert dnf.excluded("[main]\ngpgcheck=1\nexclude=kernel* postgresql\nexcludepkgs=a,b\n") == [
        "kernel*", "postgresql", "a", "b"]


def test_only_settings_of_packages_are_what_a_package_brought() -> None:
    said = (f"haproxy\t17\t{'a' * 64}\t/etc/haproxy/haproxy.cfg\nhaproxy\t0\t{'b' * 64}\t/usr/sbin/haproxy\n"
            f"old\t1\t{'c' * 32}\t/etc/old\nfile /etc/x is not owned by any package\n")
    assert dnf.configuration(said, ["/etc/haproxy/haproxy.cfg", "/usr/sbin/haproxy", "/etc/old", "/etc/x"]) == {
        "/etc/haproxy/haproxy.cfg": Brought("haproxy", "sha256", "a" * 64), "/etc/old": Brought("old", "md5", "c" * 32)}


@pytest.fixture
def rhel(box: FakeHost, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """A host of the RHEL family: what it answers by a part of the command, the first that is in it."""
    box.put("/usr/bin/dnf", "")
    answers: dict[str, str] = {}

    def said(argv: Any, **_: Any) -> str:
        line = " ".join(argv)
        return next((text for part, text in answers.items() if part in line), "")

    monkeypatch.setattr(box.host, "run", said)
    monkeypatch.setattr(box.host, "said", said)
    return answers


def test_a_host_has_dnf_where_dpkg_has_no_list(box: FakeHost, rhel: dict[str, str]) -> None:
    assert isinstance(managers.of(box.host), Dnf)
    box.put("/var/lib/dpkg/status", "")
    assert isinstance(managers.of(box.host), Apt), "rpm's programs may be installed on a Debian"


@pytest.mark.parametrize(("release", "name"), [
    ("ID=debian\n", "apt"), ('ID="rocky"\nID_LIKE="rhel centos fedora"\n', "dnf"), ("ID=fedora\n", "dnf"),
    ('ID=mint\nID_LIKE="ubuntu debian"\n', "apt"), ('ID=new\nID_LIKE="fedora"\n', "dnf"),
    ("ID=plan9\n", "dnf"), ("", "dnf"),
], ids=["debian", "rocky", "fedora", "like-debian", "like-fedora", "unknown", "none"])
def test_a_systems_own_word_decides_whose_packages_it_has_whatever_else_is_installed(
        box: FakeHost, rhel: dict[str, str], release: str, name: str) -> None:
    box.put("/etc/os-release", release)
    assert managers.name_of(box.host) == name
    box.put("/var/lib/dpkg/status", "")
    known = any(word in release for word in ("debian", "fedora"))
    assert managers.name_of(box.host) == (name if known else "apt")
    assert isinstance(managers.of(box.host), Dnf if managers.name_of(box.host) == "dnf" else Apt)


def test_a_host_and_its_row_name_the_same_manager() -> None:
    assert {name: managers.OF_SYSTEMS.get(name) for row in families.TABLE for name in (row.os_id, *row.also)} == {
        name: row.manager for row in families.TABLE for name in (row.os_id, *row.also)}


def test_a_package_that_provides_what_is_asked_for_is_it(box: FakeHost, rhel: dict[str, str]) -> None:
    rhel["--whatprovides"] = ("curl-minimal\t7.76.1-29.el9\tcurl curl-minimal curl-minimal(x86-64) \n"
                              "no package provides runc\n")
    assert managers.of(box.host).states(box.host, ["curl", "runc"]) == {"curl": ("installed", "7.76.1-29.el9")}


def test_what_is_missing_is_asked_of_the_lists_that_are_there_and_of_the_sites_behind_them(
        box: FakeHost, rhel: dict[str, str]) -> None:
    rhel["--whatprovides"] = "no package provides tracker\n"
    rhel["repoquery"] = "tracker\n"
    rhel["--assumeno"] = UPGRADE
    (box.root / "srv/r/repodata").mkdir(parents=True)
    box.put("/etc/yum.repos.d/x.repo", "[t]\nbaseurl=file:///srv/r\n")
    assert sources.look(box.host, ["tracker"]) == {
        "missing": ["tracker"], "listed": True, "sites": {"file:/srv/r/repodata": ""}, "removes": ["slim"]}
    rhel["repoquery"] = ""
    box.put("/etc/yum.repos.d/x.repo", "[x]\nbaseurl=file:///srv/none\n")
    assert sources.look(box.host, ["tracker"]) == {
        "missing": ["tracker"], "listed": False, "sites": {"file:/srv/none/repodata": "no such directory"},
        "removes": []}
    box.put("/etc/dnf/dnf.conf", "[main]\nproxy=http://10.0.0.9:3128\n")
    assert sources.look(box.host, ["tracker"])["sites"] == {"file:/srv/none/repodata": ""}


def test_a_dead_source_of_others_does_not_matter_unless_dnf_finds_no_way_to_install_what_is_missing(
        box: FakeHost, rhel: dict[str, str]) -> None:
    rhel.update({"repoquery": "tracker\n", "--assumeno": UPGRADE})
    box.put("/etc/yum.repos.d/x.repo", "[t]\nbaseurl=file:///srv/r\n\n[docker-ce]\nbaseurl=file:///srv/dead\n")
    fetched, dead = "file:///srv/r/repodata/repomd.xml", "file:///srv/dead/repodata/repomd.xml"
    assert fetches(box) == [fetched]
    rhel["--assumeno"] = "Error: \n Problem: conflicting requests\n  - nothing provides lib needed by tracker-2.0-1\n"
    assert fetches(box) == [fetched, dead]
    rhel["repoquery"] = ""
    assert fetches(box) is None


def fetches(box: FakeHost) -> list[str] | None:
    would = managers.of(box.host).would_install(box.host, ["tracker"])
    return None if would is None else would.fetches


def test_packages_that_others_need_stay_and_a_dnf_that_does_not_say_what_goes_removes_nothing(
        box: FakeHost, rhel: dict[str, str]) -> None:
    rhel["-qa"] = "balancer\nbalancer-lib\n"
    rhel["--assumeno"] = REMOVE
    assert packages.purge(box.host, ["balancer-lib"]) == "purged; kept, as other packages need them: balancer-lib"
    rhel["--assumeno"] = PROTECTED
    with pytest.raises(Fault, match=r"^dnf remove balancer-lib: \(try to add"):
        packages.purge(box.host, ["balancer-lib"])


def test_who_works_with_the_packages_is_told_while_it_lives(box: FakeHost, rhel: dict[str, str]) -> None:
    assert admission.dpkg(box.host) == {"held": None, "half": []}
    box.put("/var/lib/dnf/rpmdb_lock.pid", "812")
    assert admission.dpkg(box.host)["held"] is None, "it was killed"
    box.put("/proc/812/comm", "dnf\n")
    assert admission.dpkg(box.host)["held"] == ["/var/lib/dnf/rpmdb_lock.pid", 812, "dnf"]
    with pytest.raises(Fault, match=r"held by process 812 \(dnf\) for 0 s"):
        managers.of(box.host).wait(box.host, 0)


def test_a_file_of_a_package_that_somebody_changed_is_somebodys(box: FakeHost, rhel: dict[str, str]) -> None:
    box.put("/etc/haproxy/haproxy.cfg", "changed\n")
    rhel["--file"] = f"haproxy\t17\t{'a' * 64}\t/etc/haproxy/haproxy.cfg\n"
    assert others.look(box.host, ["/etc/haproxy/haproxy.cfg"]) == {
        "/etc/haproxy/haproxy.cfg": "somebody has changed what package haproxy put there"}


def test_the_system_as_a_whole_says_what_it_waits_for(box: FakeHost, rhel: dict[str, str]) -> None:
    rhel.update({"upgrade": UPGRADE, "INSTALLTIME}\t": "100\truncx\t1\n", "INSTALLTIME}\n": "glibc 20\n",
                 "repoquery": "runc dependency\nhaproxy user\ndocs weak-dependency\n"})
    box.put("/proc/stat", "btime 10\n")
    box.put("/proc/sys/kernel/random/boot_id", "0b5d\n")
    answer = os_state.state(box.host, {})
    assert answer["unseen"] == {}
    assert (answer["required"], answer["by"], answer["automatic"]) == (True, ["glibc"], ["docs", "runc"])
    assert ["haproxy", "", "2.4.22-3.el9_3"] in answer["newer"] and len(answer["newer"]) == 4
    rhel["upgrade"] = "Error: Cache-only enabled but no cache for 'baseos'\n"
    assert os_state.state(box.host, {})["unseen"] == {
        "newer": "dnf upgrade: Error: Cache-only enabled but no cache for 'baseos'"}


def test_the_answer_to_inspect_is_read_as_that_of_apt_is(box: FakeHost, rhel: dict[str, str]) -> None:
    told = inspection_of({"dpkg": {"held": ["/var/lib/dnf/rpmdb_lock.pid", 812, "dnf"], "half": ["haproxy"]}})
    assert told.dpkg.held == ("/var/lib/dnf/rpmdb_lock.pid", 812, "dnf") and told.dpkg.half == ("haproxy",)


@pytest.mark.parametrize(("release", "row"), [
    ('NAME="Red Hat Enterprise Linux"\nVERSION="9.4 (Plow)"\nID="rhel"\nVERSION_ID="9.4"\n', "rhel-9"),
    ('NAME="Rocky Linux"\nVERSION="9.5 (Blue Onyx)"\nID="rocky"\nID_LIKE="rhel centos fedora"\nVERSION_ID="9.5"\n',
     "rhel-9"),
    ('NAME="AlmaLinux"\nVERSION="9.4 (Seafoam Ocelot)"\nID="almalinux"\nVERSION_ID="9.4"\n', "rhel-9"),
    ('NAME="CentOS Stream"\nVERSION="9"\nID="centos"\nVERSION_ID="9"\n', "rhel-9"),
    ('NAME="AlmaLinux"\nVERSION="10.0 (Purple Lion)"\nID="almalinux"\nVERSION_ID="10.0"\n', "rhel-10"),
    ('NAME="Rocky Linux"\nVERSION="8.10 (Green Obsidian)"\nID="rocky"\nVERSION_ID="8.10"\n', None),
    ('NAME="Fedora Linux"\nID=fedora\nVERSION_ID=41\n', None),
], ids=["rhel", "rocky", "alma", "stream", "alma-10", "rocky-8", "fedora"])
def test_a_system_is_told_by_its_own_release_file(box: FakeHost, release: str, row: str | None) -> None:
    box.put("/etc/os-release", release)
    told = facts.gather(box.host)
    found = families.of(told["os_id"], told["os_version"])
    assert (found.key if found else None) == row
