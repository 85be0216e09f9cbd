"""What the programs that will read our files say of them; skipped where this machine has no such program."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from provisioner.compile.load_balancer import LEAVE_ILL
from provisioner.compile.render import render
from provisioner.model.desired import File, HostDesired, Unit
from tests.unit.compile.compile_fixture import compiled

HOSTS = list(compiled().hosts.values())
every_host = pytest.mark.parametrize("host", HOSTS, ids=lambda host: host.name)


def run(*argv: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([str(a) for a in argv], capture_output=True, text=True, timeout=60, check=False)


@every_host
def test_systemd_takes_every_unit_without_a_word(host: HostDesired, tmp_path: Path) -> None:
    if not shutil.which("systemd-analyze"):
        pytest.skip("systemd-analyze is not on this machine")
    files = [i for i in host.items if isinstance(i, File) and i.path.startswith("/etc/systemd/system/")]
    for item in files:
        path = tmp_path / item.path.removeprefix("/etc/systemd/system/")
        path.parent.mkdir(exist_ok=True)
        # verify wants the programs to be there.
        path.write_text(re.sub(r"^(Exec\w+=[-+]*)\S+", r"\1/bin/true", item.content, flags=re.M))
    for unit in host.items:
        if isinstance(unit, Unit) and not (tmp_path / unit.path).exists():
            (tmp_path / unit.path).write_text("[Service]\nExecStart=/bin/true\nExecReload=/bin/true\n")
    units = sorted(tmp_path.glob("*.service"))
    result = run("systemd-analyze", "verify", "--man=no", "--recursive-errors=no", *units)
    assert (result.returncode, result.stdout + result.stderr) == (0, "")


@every_host
def test_haproxy_takes_its_configuration(host: HostDesired, tmp_path: Path) -> None:
    if not shutil.which("openssl"):
        pytest.skip("openssl is not on this machine")
    made = run("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
               "-days", "1", "-subj", "/CN=test", 
               "-keyout", tmp_path / "health.crt.key", "-out", tmp_path / "health.crt")
    assert made.returncode == 0, made.stderr
    item, leave = (host.find("file", path) for path in ("/etc/haproxy/haproxy.cfg", LEAVE_ILL))
    assert isinstance(item, File) and isinstance(leave, File)
    (tmp_path / "leave.lua").write_text(leave.content)
    body = item.content.replace(LEAVE_ILL, str(tmp_path / "leave.lua"))
    body = body.replace("/etc/kubernetes/pki/ca.crt", str(tmp_path / "health.crt"))
    body = body.replace("/etc/haproxy/", f"{tmp_path}/")
    body = re.sub(r"^    (chroot|user|group) .*\n", "", body, flags=re.M)  # this machine may lack the user
    config = tmp_path / "haproxy.cfg"
    config.write_text(body)
    result = run("haproxy", "-c", "-f", config)
    assert result.returncode == 0, result.stderr
    assert "WARNING" not in result.stderr


@every_host
def test_the_shell_takes_every_script(host: HostDesired, tmp_path: Path) -> None:
    scripts = [i for i in host.items if isinstance(i, File) and i.content.startswith("#!/bin/sh\n")]
    assert scripts
    for item in scripts:
        path = tmp_path / Path(item.path).name
        path.write_text(item.content)
        result = run("sh", "-n", path)
        assert (result.returncode, result.stderr) == (0, "")
        assert item.mode == 0o755


def test_a_value_in_a_script_is_one_word_of_it_whatever_it_says(tmp_path: Path) -> None:
    evil = f"x; touch {tmp_path}/ran #$(touch {tmp_path}/ran)"
    for path, values in {
        "/opt/kubewright/bin/import-images": {"archives": [(evil, evil)]},
        "/opt/kubewright/bin/may-hold-vip": {"health_port": 1, "api_port": 1, "peers": [evil], "ca": evil},
        "/opt/kubewright/bin/write-cni-config": {"subnet_env": evil, "cni_config": evil, "dual": True,
                                                 "rules": "nftables"},
        "/opt/kubewright/registries/login": {"login": evil},
        "/opt/kubewright/bin/is-a-host": dict.fromkeys(("name", "list", "ca", "health", "health_key"), evil) | {
            "servers": [evil]},
    }.items():
        script = tmp_path / "script"
        script.write_text(render(path, **values).replace("/usr/local/bin/ctr", "true").replace("/usr/bin/curl", "true"))  # type: ignore[arg-type]
        run("sh", script)
        assert not (tmp_path / "ran").exists(), path


@pytest.fixture
def cni(tmp_path: Path) -> tuple[Path, Path, Path]:
    """Return the CNI script with its input and output below tmp_path."""
    env, conf = tmp_path / "subnet.env", tmp_path / "net.d" / "10.conflist"
    conf.parent.mkdir()
    script = tmp_path / "write-cni-config"
    script.write_text(render("/opt/kubewright/bin/write-cni-config", subnet_env=env, cni_config=conf,
                             dual=False, rules="nftables"))
    return script, env, conf


def subnet(env: Path, subnet: str) -> None:
    env.write_text(f"FLANNEL_NETWORK=10.244.0.0/16\nFLANNEL_SUBNET={subnet}\nFLANNEL_MTU=1450\nFLANNEL_IPMASQ=true\n")


@pytest.mark.parametrize(("given", "network"), [
    ("10.244.3.1/24", "10.244.3.0/24"), ("10.244.3.129/25", "10.244.3.128/25"), ("10.244.16.1/20", "10.244.16.0/20"),
])
def test_the_cni_configuration_names_the_subnet_that_flannel_got(
        cni: tuple[Path, Path, Path], given: str, network: str) -> None:
    script, env, conf = cni
    subnet(env, given)
    assert run("sh", script).returncode == 0
    plugin = json.loads(conf.read_text())["plugins"][0]
    assert plugin["ipam"]["ranges"] == [[{"subnet": network}]]
    assert plugin["mtu"] == 1450
    assert conf.stat().st_mode & 0o777 == 0o600


def test_a_cni_configuration_that_is_right_is_left_alone(cni: tuple[Path, Path, Path]) -> None:
    script, env, conf = cni
    subnet(env, "10.244.3.1/24")
    run("sh", script)
    before = conf.stat()
    run("sh", script)
    assert (conf.stat().st_ino, conf.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
    subnet(env, "10.244.4.1/24")
    run("sh", script)
    assert "10.244.4.0/24" in conf.read_text()
    assert [p.name for p in conf.parent.iterdir()] == [conf.name]


def test_without_a_subnet_no_cni_configuration_is_written(cni: tuple[Path, Path, Path]) -> None:
    script, env, conf = cni
    env.write_text("")
    assert run("sh", script).returncode != 0
    assert list(conf.parent.iterdir()) == []
