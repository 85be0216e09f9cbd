from __future__ import annotations

import hashlib
import hmac
import os
from typing import Any

import pytest

from provisioner.applier import kernel, states
from provisioner.model import desired as d
from provisioner.model.secret import SecretRef
from tests.unit.applier.support import ME, US, FakeHost, pair

SECRET = SecretRef("encryption", "ab" * 32, hmac.new(bytes.fromhex("ab" * 32), b"top secret", "sha256").hexdigest())
OWNED: dict[str, Any] = {"phase": "prepare", "owner": ME, "group": US}


def see(box: FakeHost, item: d.Item) -> tuple[str, dict[str, object]]:
    return states.Look(box.host, [item.spec()]).see(item.spec())


def test_what_is_there_is_told_in_the_very_words_in_which_the_model_wants_it(box: FakeHost) -> None:
    box.put("/etc/text", "hello\n", 0o640)
    box.put("/etc/secret", "top secret", 0o600)
    box.put("/opt/kubewright/x/1/x", "binary", 0o755)
    box.path("/etc/link").symlink_to("/opt/kubewright/x/1/x")
    box.path("/etc/dir").mkdir(mode=0o750)
    digest = hashlib.sha256(b"binary").hexdigest()
    for item in (
        d.File(path="/etc/text", content="hello\n", mode=0o640, **OWNED),
        d.File(path="/etc/secret", secret=SECRET, mode=0o600, **OWNED),
        d.Directory(path="/etc/dir", mode=0o750, **OWNED),
        d.Symlink(path="/etc/link", target="/opt/kubewright/x/1/x", phase="prepare"),
        d.Artifact(path="/opt/kubewright/x/1/x", sha256=digest, size=6, name="x", version="1", phase="prepare"),
        d.User(path=ME, phase="prepare"),
    ):
        assert see(box, item)[0] == item.want(), item


def test_what_is_not_there_is_absent_whatever_its_kind(box: FakeHost) -> None:
    names = {"sysctl": "net.no.such", "module": "nope", "unit": "nope.service", "user": "nobody-here"}
    for kind in ("file", "directory", "symlink", "artifact", "certificate", *names):
        spec = {"kind": kind, "path": names.get(kind, "/no/such"), "key_path": "/no/key", "inputs": []}
        assert states.Look(box.host, [spec]).see(spec)[0] == "absent", kind


def test_a_path_of_another_type_is_named_and_a_symlink_is_never_followed(box: FakeHost) -> None:
    box.put("/etc/target", "x")
    box.path("/etc/link").symlink_to("target")
    box.path("/etc/dir").mkdir()
    for kind, path, state in (("file", "/etc/link", "other symlink"), ("file", "/etc/dir", "other directory"),
                              ("directory", "/etc/link", "other symlink"), ("symlink", "/etc/target", "other file"),
                              ("artifact", "/etc/link", "other symlink"), ("certificate", "/etc/dir",
                                                                           "other directory")):
        spec = {"kind": kind, "path": path, "key_path": "/k"}
        assert states.Look(box.host).see(spec)[0] == state


def test_text_comes_back_for_a_diff_but_never_that_of_a_secret(box: FakeHost) -> None:
    box.put("/etc/text", "hello\n")
    box.put("/etc/binary", b"\xff\xfe")
    box.put("/etc/large", "x" * 70_000)
    assert see(box, d.File(path="/etc/text", phase="prepare"))[1] == {"text": "hello\n"}
    assert see(box, d.File(path="/etc/text", secret=SECRET, phase="prepare"))[1] == {}
    assert see(box, d.File(path="/etc/binary", phase="prepare"))[1] == {}
    assert see(box, d.File(path="/etc/large", phase="prepare"))[1] == {}


def test_a_certificate_tells_whether_its_key_belongs_to_it(box: FakeHost) -> None:
    certificate, key = pair()
    spec = {"kind": "certificate", "path": "/pki/x.crt", "key_path": "/pki/x.key"}
    box.put("/pki/x.crt", certificate)
    digest = hashlib.sha256(certificate).hexdigest()
    assert states.Look(box.host).see(spec) == (f"certificate sha256:{digest} key-missing",
                                               {"pem": certificate.decode()})
    box.put("/pki/x.key", key, 0o600)
    assert states.Look(box.host).see(spec)[0] == f"certificate sha256:{digest} key-ok 0600 {ME}:{US}"
    box.put("/pki/x.key", pair()[1], 0o600)
    assert states.Look(box.host).see(spec)[0] == f"certificate sha256:{digest} key-mismatch 0600 {ME}:{US}"


def test_an_artifact_of_the_wrong_size_is_wrong_without_being_read(box: FakeHost) -> None:
    box.put("/opt/x", "trunc")
    spec = {"kind": "artifact", "path": "/opt/x", "sha256": "0" * 64, "size": 100}
    assert states.Look(box.host).see(spec)[0] == f"artifact size:5 0644 {ME}:{US}"


@pytest.mark.parametrize("mode", [0o777, 0o644, 0o4755])
def test_who_may_write_and_run_a_binary_is_part_of_its_state(box: FakeHost, mode: int) -> None:
    item = d.Artifact(path="/opt/kubewright/x/1/x", sha256="ab", size=6, name="x", version="1", phase="prepare")
    box.put(item.path, "binary").chmod(mode)
    assert see(box, item)[0].split()[2:] == [f"{mode:04o}", f"{ME}:{US}"]


@pytest.mark.parametrize("place", ["/opt/kubewright/x", "/opt/kubewright/x/1"])
def test_a_directory_of_the_store_that_others_may_write_into_is_part_of_the_state_of_what_lies_there(
        box: FakeHost, place: str) -> None:
    item = d.Artifact(path="/opt/kubewright/x/1/x", sha256="ab", size=6, name="x", version="1", phase="prepare")
    box.put(item.path, "binary", 0o755)
    clean = see(box, item)[0]
    box.path(place).chmod(0o777)
    assert see(box, item)[0] == f"{clean} but {place} 0777 {ME}:{US}"


def test_a_certificate_that_others_may_write_is_not_as_it_was_made(box: FakeHost) -> None:
    certificate, key = pair()
    spec = {"kind": "certificate", "path": "/pki/x.crt", "key_path": "/pki/x.key"}
    box.put("/pki/x.crt", certificate)
    box.put("/pki/x.key", key, 0o600)
    clean = states.Look(box.host).see(spec)[0]
    box.path("/pki/x.crt").chmod(0o666)
    assert states.Look(box.host).see(spec)[0] == f"{clean} but 0666 {ME}:{US}"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives a link away")
def test_a_link_of_another_owner_is_not_ours(box: FakeHost) -> None:
    box.path("/etc").mkdir()
    box.path("/etc/link").symlink_to("/t")
    os.lchown(box.path("/etc/link"), 12345, 12345)
    assert states.Look(box.host).see({"kind": "symlink", "path": "/etc/link"})[0] == "link /t but 12345:12345"


def test_kernel_settings_fold_their_blanks_and_names_may_hold_dots(box: FakeHost) -> None:
    box.put("/proc/sys/net/ipv4/ip_local_port_range", "32768\t60999\n")
    box.put("/proc/sys/net/ipv4/conf/eth0.7/forwarding", "1\n")
    assert kernel.sysctl(box.host, "net.ipv4.ip_local_port_range") == "32768 60999"
    assert kernel.sysctl(box.host, "net/ipv4/conf/eth0.7/forwarding") == "1"
    assert kernel.sysctl(box.host, "net.ipv4.conf.eth0/7.forwarding") == "1"


def test_swap_is_off_or_names_its_devices(box: FakeHost) -> None:
    box.put("/proc/swaps", "Filename\tType\tSize\tUsed\tPriority\n")
    assert kernel.swap(box.host) == "off"
    box.put("/proc/swaps", "Filename Type\n/dev/sda2 partition 1 0 -2\n/swap file 1 0 -3\n")
    assert kernel.swap(box.host) == "on /dev/sda2 /swap"


@pytest.mark.parametrize(("path", "text", "module"), [
    ("/proc/filesystems", "nodev\toverlay\n", "overlay"),
    ("/proc/sys/net/bridge/bridge-nf-call-iptables", "1", "br_netfilter"),
    ("/sys/module/vxlan/uevent", "", "vxlan"),
    ("/lib/modules/RELEASE/modules.builtin", "kernel/net/netfilter/nf-tables.ko\n", "nf_tables"),
    ("/boot/config-RELEASE", "# x\nCONFIG_IP_VS=y\n", "ip_vs"),
])
def test_a_module_counts_as_loaded_on_any_evidence(box: FakeHost, path: str, text: str, module: str) -> None:
    box.put(path.replace("RELEASE", os.uname().release), text)
    assert kernel.has_module(box.host, module)
    assert not kernel.has_module(box.host, "nfs")


def test_a_module_that_could_be_loaded_but_is_not_is_absent(box: FakeHost) -> None:
    box.put(f"/boot/config-{os.uname().release}", "\nCONFIG_IP_VS=m\n")
    assert not kernel.has_module(box.host, "ip_vs")


def test_a_unit_is_three_words_and_says_why_it_is_due(box: FakeHost) -> None:
    box.put("/etc/x.conf", "1")
    box.put("/etc/kubewright/inputs/x.service", "/etc/x.conf\n")
    box.set_units(x={"ActiveState": "active", "SubState": "running", "UnitFileState": "enabled", "NRestarts": "3",
                     "InvocationID": "abc"})
    unit = d.Unit(path="x.service", inputs=("/etc/x.conf",), phase="prepare")
    assert see(box, unit)[0] == "active enabled due"
    box.stamp("x.service")
    assert see(box, unit)[0] == unit.want()
    box.put("/etc/x.conf", "2")
    state, extra = see(box, unit)
    assert state == "active enabled due"
    assert extra["causes"] == ["/etc/x.conf"]
    assert extra["started"] == {"/etc/x.conf": f"file {hashlib.sha256(b'1').hexdigest()}"}
    assert (extra["invocation_id"], extra["restarts"], extra["sub"]) == ("abc", 3, "running")


def test_of_a_secret_it_is_told_by_a_keyed_digest_what_a_unit_started_with(box: FakeHost) -> None:
    box.put("/etc/secret", "top secret", 0o600)
    box.put("/etc/kubewright/inputs/x.service", "/etc/secret\n")
    box.set_units(x={"ActiveState": "active", "UnitFileState": "enabled"})
    box.stamp("x.service")
    box.put("/etc/secret", "by hand", 0o600)
    file = d.File(path="/etc/secret", secret=SECRET, mode=0o600, **OWNED)
    unit = d.Unit(path="x.service", inputs=("/etc/secret",), phase="prepare")
    look = states.Look(box.host, [file.spec(), unit.spec()])
    digest = hashlib.sha256(b"top secret").hexdigest()
    stamp = hmac.new(bytes.fromhex(SECRET.hmac_key), digest.encode(), "sha256").hexdigest()
    assert look.see(unit.spec())[1]["started"] == {"/etc/secret": f"file hmac:{stamp}"}


def test_many_units_cost_one_call(box: FakeHost, monkeypatch: pytest.MonkeyPatch) -> None:
    specs = [{"kind": "unit", "path": f"u{n}.service", "inputs": []} for n in range(30)]
    calls = []
    run = box.host.run
    monkeypatch.setattr(box.host, "run", lambda argv, **more: (calls.append(argv), run(argv, **more))[1])
    look = states.Look(box.host, specs)
    assert [look.see(s)[0] for s in specs] == ["absent"] * 30
    assert len(calls) == 1


def test_packages_are_told_apart_from_leftovers_and_strangers(box: FakeHost, monkeypatch: pytest.MonkeyPatch) -> None:
    text = "haproxy\tinstalled\t2.6.12-1\nkeepalived\tconfig-files\t1\nrunc\thalf-configured\t1.1\n"
    monkeypatch.setattr(box.host, "run", lambda argv, **more: text)
    specs = [{"kind": "package", "path": p} for p in ("haproxy", "keepalived", "runc", "never-heard")]
    look = states.Look(box.host, specs)
    assert [look.see(s) for s in specs] == [
        ("installed", {"version": "2.6.12-1"}), ("absent", {}), ("half-configured", {"version": "1.1"}), ("absent", {})]
