"""What `inspect` reads of a machine's past: package sources, kernel settings, links, who has an address."""

from __future__ import annotations

import hashlib
import os
import socket
import subprocess
import time
from pathlib import Path

import pytest
import yaml

from provisioner.applier import arp, generations, others, sources, states, sysctls
from provisioner.transport.answers import inspection_of
from tests.unit.applier.support import FakeHost

ROOT = Path(__file__).resolve().parents[3]
RUNC = "'{0}/pool/r/runc_1.1.5_amd64.deb' runc_1.1.5_amd64.deb 2559000 SHA256:ab\n"
IN_RELEASE = "'{0}/dists/bookworm/InRelease' x_InRelease 0 \n"


@pytest.fixture
def apt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Stand-ins for apt and dpkg: each prints the file of its name, and fails where there is none."""
    programs = tmp_path / "apt"
    programs.mkdir()
    for name in ("apt-get", "apt-config", "dpkg-query"):
        (programs / name).write_text(f"""#!/bin/sh
case "$*" in *install*) word=install;; *update*) word=update;; *) word={name};; esac
cat "{programs}/$word.says" 2>/dev/null || exit 100
""")
        (programs / name).chmod(0o755)
    (programs / "dpkg-query.says").write_text("haproxy\tinstalled\t1\ncurl\tconfig-files\t1\n")
    (programs / "apt-config.says").write_text('Acquire::http::Timeout "10";\n')
    monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.delenv(name, raising=False)
    return programs


def site() -> str:
    """Return a site at which nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return f"http://127.0.0.1:{server.getsockname()[1]}"


def test_of_packages_that_are_there_no_source_is_asked(box: FakeHost, apt: Path) -> None:
    assert sources.look(box.host, ["haproxy"]) == {
        "missing": [], "listed": True, "sites": {}, "removes": []}


def test_a_site_that_answers_and_one_that_does_not_are_told_apart(box: FakeHost, apt: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        well, ill = f"http://127.0.0.1:{server.getsockname()[1]}", site()
        (apt / "install.says").write_text(RUNC.format(well) + RUNC.format(ill))
        assert sources.look(box.host, ["haproxy", "runc", "curl"]) == {
            "missing": ["runc", "curl"], "listed": True, "sites": {well: "", ill: "connection refused"}, "removes": []}


def test_where_the_lists_do_not_know_a_package_the_sources_of_the_lists_are_asked(box: FakeHost, apt: Path) -> None:
    sites = ("http://nowhere.invalid", "cdrom://[Debian GNU/Linux 12 _Bookworm_]")
    (apt / "update.says").write_text("".join(IN_RELEASE.format(site) for site in sites))
    answer = sources.look(box.host, ["runc"])
    assert (answer["listed"], answer["sites"]) == (False, {
        "http://nowhere.invalid": "the name does not resolve",
        "cdrom:": "a medium that somebody would have to put in"})


def test_a_resolver_that_never_answers_is_waited_for_as_long_as_a_connection(
        box: FakeHost, apt: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (apt / "install.says").write_text(RUNC.format("http://slow.invalid"))
    monkeypatch.setattr(sources, "CONNECT_SECONDS", 0.1)
    monkeypatch.setattr(socket, "create_connection", lambda *a: time.sleep(30) or socket.socket())
    began = time.monotonic()
    assert sources.look(box.host, ["runc"])["sites"] == {"http://slow.invalid": "no answer in 0.1 s"}
    assert time.monotonic() - began < 20


@pytest.mark.parametrize("setting", ['Acquire::http::Proxy "http://10.0.0.1:3128";',
                                     'Acquire::http::Proxy-Auto-Detect "/usr/bin/x";'])
def test_who_goes_through_a_proxy_needs_no_way_of_its_own(box: FakeHost, apt: Path, setting: str) -> None:
    ill = site()
    (apt / "install.says").write_text(RUNC.format(ill))
    (apt / "apt-config.says").write_text(f'Acquire::http::Proxy "DIRECT";\n{setting}\n')
    assert sources.look(box.host, ["runc"])["sites"] == {ill: ""}


def test_nor_does_who_is_told_of_a_proxy_with_the_packages_themselves(box: FakeHost, apt: Path) -> None:
    ill = site()
    (apt / "install.says").write_text(RUNC.format(ill))
    seen = [box.call("inspect", {"packages": ["runc"], **more})["packages"]["sites"][ill]
            for more in ({}, {"proxied": False}, {"proxied": True})]
    assert seen[0] and seen[1] and not seen[2]


def test_a_directory_of_packages_is_looked_for(box: FakeHost, apt: Path) -> None:
    box.path("/srv/debs").mkdir(parents=True)
    (apt / "install.says").write_text("'file:/srv/debs/' x 0\n'file:///srv/none/x.deb' y 0\n")
    assert sources.look(box.host, ["runc"])["sites"] == {"file:/srv/debs": "", "file:/srv/none": "no such directory"}


def test_a_list_that_a_directory_of_packages_need_not_have_is_not_missed(box: FakeHost, apt: Path) -> None:
    box.path("/srv/debs").mkdir(parents=True)
    (apt / "update.says").write_text("'file:/srv/debs/./Packages.xz' x 0\n'file:/srv/debs/./en.xz' x 0\n")
    assert sources.look(box.host, ["runc"])["sites"] == {"file:/srv/debs": ""}


def test_files_are_read_in_the_order_of_their_names_and_one_hides_its_namesake(box: FakeHost) -> None:
    box.put("/etc/sysctl.d/50-a.conf", "# kernel.panic = 3\n;kernel.panic=4\nkernel.panic=1\n")
    box.put("/usr/lib/sysctl.d/50-a.conf", "kernel.panic = 99\n")
    box.put("/run/sysctl.d/60-b.conf", "-kernel/panic =  5\nvm.swappiness = 1\n")
    box.put("/usr/lib/sysctl.d/10-c.conf", "net.ipv4.conf.all.forwarding=0\nkernel.pan* = 7\n")
    box.put("/etc/sysctl.d/README", "kernel.panic = 8\n")
    keys = ["kernel.panic", "net.ipv4.ip_forward"]
    assert sysctls.lines(box.host, keys) == [
        ["/usr/lib/sysctl.d/10-c.conf", "net.ipv4.ip_forward", "0"],
        ["/usr/lib/sysctl.d/10-c.conf", "kernel.panic", "7"],
        ["/etc/sysctl.d/50-a.conf", "kernel.panic", "1"],
        ["/run/sysctl.d/60-b.conf", "kernel.panic", "5"]]


def test_links_in_the_place_of_our_directories_are_told_with_where_they_lead(box: FakeHost) -> None:
    box.path("/var/lib").mkdir(parents=True)
    box.path("/var/lib/etcd").symlink_to("/data/etcd")
    answer = inspection_of(box.call("inspect", {"own": ["/var/lib/etcd", "/var/lib/kubelet"]}))
    assert answer.links == {"/var/lib/etcd": "/data/etcd"}


ADDRESS, OWN, OTHER = socket.inet_aton("10.77.0.10"), bytes.fromhex("525400000001"), bytes.fromhex("525400000099")


def reply(sender: bytes, address: bytes, operation: int = 2) -> bytes:
    return OWN + sender + b"\x08\x06" + bytes([0, 1, 8, 0, 6, 4, 0, operation]) + sender + address + OWN + bytes(4)


def test_whoever_says_that_the_address_is_theirs_has_it() -> None:
    assert arp.holder(reply(OTHER, ADDRESS), ADDRESS) == OTHER
    assert arp.holder(reply(OTHER, ADDRESS, operation=1), ADDRESS) == OTHER, "a holder that announces itself"


@pytest.mark.parametrize("frame", [reply(OTHER, socket.inet_aton("10.77.0.11")), b"", reply(OTHER, ADDRESS)[:30],
                                   arp.question(OWN, ADDRESS)])
def test_whoever_says_something_else_has_not(frame: bytes) -> None:
    assert arp.holder(frame, ADDRESS) == b""


def test_a_segment_that_cannot_be_asked_has_not_answered() -> None:
    probe = arp.Probe("no-such-nic", "10.77.0.10")
    assert probe.heard() is None
    probe.close()


INSTALLED = """Package: {0}
Status: install ok installed
Version: 1.7.27-1
Architecture: amd64
Maintainer: nobody
Description: of others
{1}

"""
OF_DOCKER = INSTALLED.format("containerd.io", "Provides: containerd, runc\nConflicts: containerd, runc\n"
                             "Replaces: containerd, runc") + INSTALLED.format("docker-ce", "Depends: containerd.io")
RUNC_ENTRY = """Package: runc
Version: 1.1.5
Architecture: amd64
Maintainer: nobody
Filename: ./runc.deb
Size: 3
SHA256: ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad
Description: runs containers
"""


@pytest.fixture
def real_apt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Apt and dpkg themselves, over a machine that has what `status` says and a source that has runc."""
    repo, dpkg, lists, config = (tmp_path / name for name in ("repo", "dpkg", "lists", "apt.conf"))
    for place in (repo, dpkg / "updates", dpkg / "info", lists / "partial", tmp_path / "cache/archives/partial"):
        place.mkdir(parents=True)
    (repo / "Packages").write_text(RUNC_ENTRY)
    (tmp_path / "sources.list").write_text(f"deb [trusted=yes] file:{repo} ./\n")
    (dpkg / "status").write_text("")
    config.write_text(f"""APT::Architecture "amd64"; APT::Sandbox::User "root"; Acquire::Languages "none";
Dir::Etc::sourcelist "{tmp_path}/sources.list"; Dir::Etc::sourceparts "/dev/null"; Dir::Etc::parts "/dev/null";
Dir::State::lists "{lists}"; Dir::State::status "{dpkg}/status"; Dir::Cache "{tmp_path}/cache";
Dir::State "{tmp_path}";
""")
    monkeypatch.setenv("APT_CONFIG", str(config))
    monkeypatch.setenv("DPKG_ADMINDIR", str(dpkg))
    subprocess.run(["apt-get", "-q", "update"], check=True, capture_output=True, timeout=60)
    return dpkg / "status"


def test_packages_of_others_that_would_have_to_go_are_named_by_apt_itself(box: FakeHost, real_apt: Path) -> None:
    assert sources.look(box.host, ["runc"])["removes"] == []
    real_apt.write_text(OF_DOCKER)
    answer = sources.look(box.host, ["runc"])
    assert (answer["missing"], answer["listed"]) == (["runc"], True)
    assert answer["removes"] == ["containerd.io", "docker-ce"]


def test_what_prepare_hands_to_apt_makes_it_refuse_to_remove(real_apt: Path) -> None:
    install = ["apt-get", "-s", "-y", "--no-install-recommends", "install", "runc"]
    real_apt.write_text(OF_DOCKER)
    assert subprocess.run(install, capture_output=True, timeout=60, check=False).returncode == 0, "it would go ahead"
    done = subprocess.run([*install, "--no-remove"], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode != 0 and "remove is disabled" in done.stderr
    tasks = yaml.safe_load((ROOT / "playbooks/tasks/apt.yml").read_text())
    (task,) = (task for task in tasks if task["name"] == "Install packages")
    assert "'--no-remove'" in task["kubewright_run"]["argv"]


def test_a_file_is_ours_once_we_changed_it_a_package_s_as_it_came_and_else_somebody_s(
        box: FakeHost, real_apt: Path) -> None:
    config = "/etc/haproxy/haproxy.cfg"
    files = {config: b"as it came\n", "/etc/crictl.yaml": b"mine\n"}
    for path, data in files.items():
        place = Path(box.host.at(path))
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(data)
    real_apt.write_text(INSTALLED.format("haproxy", f"Conffiles:\n {config} {md5(files[config])}"))
    asked = [*files, "/etc/keepalived/keepalived.conf"]
    assert others.look(box.host, asked) == {"/etc/crictl.yaml": "somebody put it there"}
    Path(box.host.at(config)).write_bytes(b"as it came\nfrontend mine\n")
    assert others.look(box.host, asked)[config] == "somebody has changed what package haproxy put there"
    for path in files:
        spec = {"kind": "file", "path": path}
        generations.save(box.host, "run.step", spec, states.Look(box.host).see(spec)[0])
    assert others.look(box.host, asked) == {}


def md5(data: bytes) -> str:
    return hashlib.md5(data).hexdigest()  # noqa: S324 - dpkg's own digest
