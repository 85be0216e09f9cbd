"""Bundles: the applier's requests, with everything a change needs and nothing that others may read."""

from __future__ import annotations

import base64
import hashlib
import json
import stat
from pathlib import Path

import pytest

from provisioner.converge.bundle import change_request, prepare_vars, write_bundles, write_prepare
from provisioner.errors import KubewrightError
from provisioner.model.desired import (
    Certificate,
    Directory,
    File,
    Item,
    KernelModule,
    Package,
    SwapOff,
    Symlink,
    Sysctl,
    Unit,
    User,
)
from provisioner.model.plan import Change
from provisioner.model.secret import SecretRef

SECRET = b"canary-secret-bytes"
CERTIFICATE = Certificate(path="/etc/x/a.crt", key_path="/etc/x/a.key", ca="etcd", common_name="a", phase="pki",
                          owner="etcd", group="etcd")


def resolve(name: str) -> bytes:
    assert name == "token"
    return SECRET


def mint(item: Certificate) -> tuple[bytes, bytes]:
    return b"CRT " + item.common_name.encode(), b"KEY"


def change(item: Item, action: str = "add", expect: str = "absent") -> Change:
    return Change("cp1", item.phase, item.kind, item.path, action, "new", expect, item.want() or "", item)


def request(item: Item, action: str = "add") -> dict[str, object]:
    return change_request(change(item, action), resolve, mint)


def test_a_file_travels_with_its_bytes_mode_and_owner() -> None:
    item = File(path="/etc/a", phase="pki", content="é\n", mode=0o640, group="etcd")
    made = request(item)
    assert base64.b64decode(str(made["content"])).decode() == "é\n"
    assert (made["mode"], made["owner"], made["group"]) == ("0640", "root", "etcd")
    assert (made["kind"], made["expect"], made["want"], made["action"]) == ("file", "absent", item.want(), "add")


def test_a_secret_file_travels_with_the_secrets_bytes_and_the_key_of_its_digest() -> None:
    made = request(File(path="/etc/s", phase="pki", mode=0o600, secret=SecretRef("token", "aa", "bb")))
    assert base64.b64decode(str(made["content"])) == SECRET
    assert made["hmac_key"] == "aa"
    assert made["want"] == "file hmac:bb 0600 root:root"


def test_a_certificate_wants_the_state_of_the_bytes_just_minted() -> None:
    made = request(CERTIFICATE)
    digest = hashlib.sha256(b"CRT a").hexdigest()
    assert made["want"] == f"certificate sha256:{digest} key-ok 0600 etcd:etcd"
    assert (base64.b64decode(str(made["certificate"])), base64.b64decode(str(made["key"]))) == (b"CRT a", b"KEY")
    assert (made["key_path"], made["mode"], made["owner"]) == ("/etc/x/a.key", "0600", "etcd")


@pytest.mark.parametrize(("item", "fields"), [
    (Directory(path="/etc/d", phase="pki", mode=0o700), {"mode": "0700", "owner": "root", "group": "root"}),
    (Symlink(path="/usr/local/bin/x", phase="pki", target="/opt/x"), {"target": "/opt/x"}),
    (Unit(path="etcd.service", phase="pki", inputs=("/etc/a", "/etc/b")), {"inputs": ["/etc/a", "/etc/b"]}),
])
def test_every_kind_travels_with_what_it_needs(item: Item, fields: dict[str, object]) -> None:
    made = request(item)
    assert {name: made[name] for name in fields} == fields


def test_a_removal_needs_no_item() -> None:
    gone = Change("cp1", "pki", "file", "/etc/old", "remove", "not desired", "file sha256:0 0644 root:root", "absent")
    assert change_request(gone, resolve, mint) == {
        "kind": "file", "path": "/etc/old", "action": "remove", "expect": gone.expect, "want": "absent"}


def test_a_unit_that_goes_travels_with_what_it_leaves_behind() -> None:
    gone = Change("w1", "remove", "unit", "etcd.service", "remove", "reset", "active enabled current", "absent")
    assert {"kind": "data", "path": "/var/lib/etcd"} in change_request(gone, resolve, mint)["leaves"]


def test_what_the_applier_cannot_make_is_refused() -> None:
    with pytest.raises(KubewrightError, match="package haproxy: the applier cannot make"):
        request(Package(path="haproxy", phase="pki"))


def test_bundles_are_readable_by_their_owner_only(tmp_path: Path) -> None:
    directory = tmp_path / "bundles" / "pki.0"
    changes = {host: [change(File(path="/etc/s", phase="pki", secret=SecretRef("token", "aa", "bb")))]
               for host in ("cp1", "w1")}
    write_bundles(directory, changes, resolve, mint, lambda host: f"run-1-{host}", timeout=30)
    write_prepare(directory, changes)
    assert {stat.S_IMODE(d.stat().st_mode) for d in (directory, directory.parent)} == {0o700}
    files = sorted(directory.iterdir())
    assert [f.name for f in files] == ["cp1.json", "cp1.prepare.json", "w1.json", "w1.prepare.json"]
    assert {stat.S_IMODE(f.stat().st_mode) for f in files} == {0o600}
    bundle = json.loads(files[0].read_text())
    assert (bundle["step"], bundle["timeout"], bundle["check"], len(bundle["changes"])) == ("run-1-cp1", 30, False, 1)


def test_changes_keep_their_order(tmp_path: Path) -> None:
    items: list[Item] = [
        Directory(path="/z", phase="pki"), File(path="/z/a", phase="pki"), Unit(path="a.service", phase="pki")]
    write_bundles(tmp_path, {"cp1": [change(i) for i in items]}, resolve, mint, lambda h: "s")
    made = json.loads((tmp_path / "cp1.json").read_text())["changes"]
    assert [c["path"] for c in made] == ["/z", "/z/a", "a.service"]


def test_prepare_gets_lists_that_need_no_decision() -> None:
    items: list[Item] = [
        Package(path="haproxy", phase="pki"), Package(path="runc", phase="pki"), User(path="etcd", phase="pki"),
        KernelModule(path="vxlan", phase="pki"), KernelModule(path="overlay", phase="pki"),
        Sysctl(path="net.ipv4.ip_local_port_range", value="32768 60999", phase="pki"),
        SwapOff(path="swap", phase="pki")]
    assert prepare_vars([change(i) for i in items], before_packages=["env", "http_proxy=x"]) == {
        "manager": "apt", "before_packages": ["env", "http_proxy=x"],
        "packages": ["haproxy", "runc"], "archives": [], "users": [],
        "commands": [
            {"argv": ["useradd", "--system", "--no-create-home", "--home-dir", "/nonexistent", "--shell",
                      "/usr/sbin/nologin", "etcd"], "passes": [9]},
            {"argv": ["modprobe", "-a", "vxlan", "overlay"], "passes": []},
            {"argv": ["sysctl", "-w", "net.ipv4.ip_local_port_range=32768 60999"], "passes": []},
            {"argv": ["swapoff", "-a"], "passes": []},
            {"argv": ["systemctl", "mask", "--quiet", "swap.target"], "passes": []}]}
    assert prepare_vars([])["commands"] == []
