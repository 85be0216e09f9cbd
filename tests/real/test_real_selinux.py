"""Our module of SELinux rules, built by the programs that build a host's policy; no kernel here enforces it."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from provisioner.compile.selinux import MODULE, POLICY, PROGRAM
from provisioner.model.desired import File
from tests.unit.compile.compile_fixture import compiled, facts_of, inventory

pytestmark = pytest.mark.skipif(shutil.which("semodule") is None, reason="apt-get install policycoreutils")
TYPES = ("init_t", "haproxy_t", "haproxy_var_run_t", "keepalived_t", "keepalived_unconfined_script_t",
         "keepalived_unconfined_script_exec_t", "bin_t", "usr_t", "http_port_t", "kubernetes_file_t")
# As little of RHEL's policy as our rules speak of, under the names that it has there (fedora-selinux/selinux-policy).
BASE = """
(class process (transition setsched setrlimit)) (class process2 (nnp_transition nosuid_transition))
(class tcp_socket (name_bind name_connect)) (class file (getattr open read map execute))
(class dir (getattr open search read)) (class capability (ipc_lock sys_nice)) (class security (load_policy))
(classorder (unordered process process2 tcp_socket file dir capability security))
(sid kernel) (sidorder (kernel)) (sidcontext kernel (system_u object_r usr_t ((s0) (s0))))
(sensitivity s0) (sensitivityorder (s0)) (category c0) (categoryorder (c0)) (sensitivitycategory s0 (c0))
(mls true) (handleunknown allow) (policycap nnp_nosuid_transition)
(role object_r) (role system_r) (user system_u) (userrole system_u system_r) (userrole system_u object_r)
(userlevel system_u (s0)) (userrange system_u ((s0) (s0)))
(typeattribute port_type) (typeattributeset port_type (http_port_t))
(allow init_t usr_t (file (read)))
(filecon "/opt/.*" any (system_u object_r usr_t ((s0) (s0))))
"""


def rules(host: str) -> dict[str, str]:
    """Return what a host of the RHEL family gets, by its path."""
    cluster = inventory()
    made = compiled(cluster, facts_of(cluster, os_id="rocky", os_version="9.5")).hosts[host]
    return {item.path: item.content for item in made.items if isinstance(item, File)}


class Store:
    """A policy store of semodule's, with a policy that has only these types."""

    def __init__(self, place: Path, types: tuple[str, ...]) -> None:
        self.place, self.store = place, place / "var/lib/selinux/t"
        (self.store / "active/modules").mkdir(parents=True)
        (place / "etc/selinux/t").mkdir(parents=True)
        (place / "semanage.conf").write_text("module-store = direct\npolicy-version = 33\nexpand-check = 0\n")
        base = place / "base.cil"
        base.write_text(BASE + "".join(f"(type {name}) (roletype object_r {name})\n" for name in types))
        self.load(base)

    def semodule(self, *words: str, where: Path | None = None) -> subprocess.CompletedProcess[str]:
        return subprocess.run(["semodule", f"--path={self.place}", "--store=t", "--noreload", *words], text=True,
                              capture_output=True, timeout=60, check=False, cwd=where)

    def load(self, *files: Path) -> None:
        done = self.semodule(*(f"--install={file}" for file in files))
        assert done.returncode == 0, done.stderr

    def contexts(self) -> str:
        return (self.place / "etc/selinux/t/contexts/files/file_contexts").read_text()


def written(place: Path, host: str) -> Path:
    file = place / f"{MODULE}.cil"
    file.write_text(rules(host)[POLICY])
    return file


def test_the_policy_takes_our_rules_and_labels_what_is_ours_and_gives_them_up_again(tmp_path: Path) -> None:
    store = Store(tmp_path, TYPES)
    store.load(written(tmp_path, "cp1"))
    assert MODULE in store.semodule("--list").stdout.split()
    labels = {line.split()[0]: line.split()[-1].split(":")[2] for line in store.contexts().splitlines()}
    assert labels["/opt/kubewright/.*"] == labels["/opt/kubewright"] == "bin_t" and labels["/opt/.*"] == "usr_t"
    assert {path for path, kind in labels.items() if kind == "keepalived_unconfined_script_exec_t"} == {
        "/opt/kubewright/bin/may-hold-vip", "/opt/kubewright/bin/is-a-host"}
    assert labels["/run/haproxy(/.*)?"] == labels["/var/run/haproxy(/.*)?"] == "haproxy_var_run_t"
    order = [line.split()[0] for line in store.contexts().splitlines()]
    assert order.index("/opt/.*") < order.index("/opt/kubewright/.*"), "of several that match, the last one counts"
    assert order.index("/opt/kubewright/.*") < order.index("/opt/kubewright/bin/is-a-host")
    done = store.semodule(f"--remove={MODULE}")
    assert done.returncode == 0, done.stderr
    assert "kubewright" not in store.contexts()


@pytest.mark.parametrize("allowed", ["haproxy_t bin_t", "haproxy_t kubernetes_file_t"])
def test_each_part_of_our_rules_is_in_what_is_built(tmp_path: Path, allowed: str) -> None:
    store = Store(tmp_path, TYPES)
    (tmp_path / "etc/selinux/semanage.conf").write_text("module-store = direct\nexpand-check = 1\n")
    never = tmp_path / "never.cil"
    never.write_text(f"(neverallow {allowed} (file (open)))\n")
    store.load(never)
    done = store.semodule(f"--install={written(tmp_path, 'cp1')}")
    assert done.returncode != 0 and "neverallow" in done.stderr, "a part with an unknown type is left out in silence"


def test_what_a_policy_has_no_type_for_is_left_out_and_the_rest_is_taken(tmp_path: Path) -> None:
    store = Store(tmp_path, tuple(name for name in TYPES if not name.startswith("keepalived")))
    store.load(written(tmp_path, "cp1"))
    assert "/opt/kubewright/.*" in store.contexts() and "is-a-host" not in store.contexts()
    assert "keepalived_t" not in rules("w1")[POLICY], "where no VIP may be, nobody is told of keepalived"


def test_rules_that_are_there_already_are_not_loaded_again(tmp_path: Path) -> None:
    Store(tmp_path, TYPES)
    file = written(tmp_path, "cp1")
    programs, calls = tmp_path / "bin", tmp_path / "calls"
    programs.mkdir()
    real = f"{shutil.which('semodule')} --path={tmp_path} --store=t --noreload"
    for name, body in (("semodule", f'exec {real} "$@"'), ("restorecon", "exit 0")):
        (programs / name).write_text(f'#!/bin/sh\necho "{name} $*" >> {calls}\n{body}\n')
        (programs / name).chmod(0o755)
    enforce = tmp_path / "enforce"
    program = tmp_path / "load-policy"
    text = rules("cp1")[PROGRAM].replace(POLICY, str(file))
    program.write_text(text.replace("/sys/fs/selinux/enforce", str(enforce)))

    def run() -> list[str]:
        calls.write_text("")
        done = subprocess.run(["sh", str(program)], capture_output=True, text=True, timeout=60, check=False,
                              env={"PATH": f"{programs}:{os.environ['PATH']}"})
        assert done.returncode == 0, done.stderr
        return [line.partition("=")[0] for line in calls.read_text().splitlines()]

    assert run() == [], "SELinux is off"
    enforce.write_text("1")
    install, extract, label = "semodule --install", "semodule --cil --extract", "restorecon -R /opt/kubewright"
    assert run() == [extract, install, label]
    assert run() == [extract, label]
    file.write_text(file.read_text() + "; newer\n")
    assert run() == [extract, install, label]
