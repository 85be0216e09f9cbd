"""Images of Pods come from a registry that wants a login, and from docker.io's mirror behind a proxy.

A stand-in within the lab's network has both; there is no way to any other, so that what starts came from there.
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from provisioner.artifacts.lockfile import load_lock
from provisioner.artifacts.supply import held
from provisioner.compile.web_proxy import direct
from provisioner.lab.network import inside
from provisioner.model.inventory import Inventory
from tests.fakes.registry import Registry, self_signed, serving
from tests.lab import shapes
from tests.lab.conftest import Lab, until

pytestmark = [pytest.mark.lab, pytest.mark.full, pytest.mark.changes, pytest.mark.timeout(900)]
GATEWAY = "10.77.0.1"
NAME, PASSWORD = "shop/app", "correct-horse-battery"
NODE = "w2"
PROXIES = ("http_proxy", "https_proxy", "no_proxy", "all_proxy")
OURS = ("containerd", "kubelet", "kube-proxy", "flanneld", "haproxy")


class World:
    """The cluster with registries and proxy in its inventory, and what stands in for the world."""

    def __init__(self, lab: Lab, private: Registry, proxied: Registry, private_port: int) -> None:
        self.lab, self.private, self.proxied = lab, private, proxied
        self.registry = f"{GATEWAY}:{private_port}"
        self.before = lab.file.read_text(encoding="utf-8")

    def login(self, password: str) -> None:
        done = subprocess.run(self.lab.argv("registry", "login", self.registry, "--username", "puller"),
                              input=f"{password}\n", capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 0, done.stderr
        assert password not in done.stdout + done.stderr

    def starts(self, pod: str, image: str) -> None:
        self.lab.kubectl("run", pod, "--restart=Never", f"--image={image}", "--image-pull-policy=Always",
                         f'--overrides={{"spec": {{"nodeName": "{NODE}"}}}}', "--command", "--", "sleep", "3600")

    def waits(self, pod: str) -> str:
        waiting = "jsonpath={.status.containerStatuses[*].state.waiting.message}"
        return self.lab.kubectl("get", "pod", pod, "-o", waiting)


@pytest.fixture(scope="module")
def world(single: Lab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """The stand-ins serve, the inventory names them, and `up` has told the nodes."""
    lock = load_lock(single.directory / "artifacts.lock")
    archive = held(lock)[lock.get("busybox.tar", "amd64").sha256]
    private, proxied = Registry(NAME, login=f"puller:{PASSWORD}"), Registry(NAME)
    private.take(archive, "1", "private")
    proxied.take(archive, "1", "proxied")
    certificate, ca = self_signed(tmp_path_factory.mktemp("registry"), GATEWAY)
    # No daemon-reexec: with cgroups of version 1 it takes containers their cgroups; containerd takes them for ended.
    single.on(NODE, "sh", "-c", "mkdir -p /etc/systemd/system.conf.d && printf '[Manager]\\nDefaultEnvironment="
                                "HTTP_PROXY=http://192.0.2.1:9 https_proxy=http://192.0.2.1:9\\n' > "
                                "/etc/systemd/system.conf.d/proxy.conf && systemctl daemon-reload")
    with ExitStack() as stack:
        with inside(single.instance.name):
            ports = [stack.enter_context(serving(*what)) for what in (
                (private, GATEWAY, certificate), (proxied, GATEWAY, None))]
        made = World(single, private, proxied, ports[0])
        shapes.write(single, {
            "trust": [ca], "time": {"servers": [GATEWAY]}, "proxy": {"http": f"http://{GATEWAY}:{ports[1]}"},
            "registries": {made.registry: {"login": True, "ca": ca},
                           "docker.io": {"mirrors": ["http://mirror.example.org"]}}})
        yield made


def test_a_login_that_nobody_gave_is_told_with_the_command_and_nothing_is_changed(world: World) -> None:
    said = world.lab.run("up", "--yes", check=False)
    assert said.returncode == 10
    assert f"registry login {world.registry} --username NAME" in said.stderr


def test_a_pod_s_image_is_pulled_with_the_login_once_it_is_the_right_one(world: World) -> None:
    world.login("a-wrong-one")
    world.lab.run("up", "--yes")
    world.starts("private", f"{world.registry}/{NAME}:1")
    until(lambda: "401" in world.waits("private"), 90, "the registry refuses the wrong password")
    process = world.lab.on(NODE, "systemctl", "show", "-p", "InvocationID", "kubelet", "containerd")
    world.login(PASSWORD)
    plan = world.lab.run("plan")
    assert f"/etc/kubewright/registries/{world.registry}.json" in plan.stdout
    assert PASSWORD not in plan.stdout + plan.stderr
    world.lab.run("up", "--yes")
    world.lab.kubectl("wait", "--for=condition=Ready", "pod/private", "--timeout=180s")
    assert world.lab.on(NODE, "systemctl", "show", "-p", "InvocationID", "kubelet", "containerd") == process
    assert any(status == 200 and "/manifests/" in path for _, path, status in world.private.asked)
    assert not [path for _, path, _ in world.proxied.asked if GATEWAY in path], "the proxy was asked for the registry"


def test_the_password_is_in_one_file_of_root_s_and_nowhere_else(world: World) -> None:
    login = f"/etc/kubewright/registries/{world.registry}.json"
    assert world.lab.on(NODE, "stat", "-c", "%a %U", login).strip() == "600 root"
    found = world.lab.on(NODE, "sh", "-c", f"grep -rlsF {PASSWORD} /etc /run /opt/kubewright /var/log "
                                           "/var/lib/kubewright --exclude-dir=generations || true").split()
    assert found == [login]
    for words in (("journalctl", "--no-pager", "-b"), ("sh", "-c", "cat /proc/[0-9]*/cmdline /proc/[0-9]*/environ")):
        assert PASSWORD not in world.lab.on(NODE, *words, check=False).replace("\0", " ")
    kept = [file for file in (world.lab.directory / ".kubewright").rglob("*") if file.is_file()]
    assert [file for file in kept if PASSWORD.encode() in file.read_bytes()] == []


def test_an_image_of_docker_io_comes_from_its_mirror_through_the_proxy(world: World) -> None:
    world.starts("mirrored", f"{NAME}:1")
    world.lab.kubectl("wait", "--for=condition=Ready", "pod/mirrored", "--timeout=120s")
    asked = [path for _, path, status in world.proxied.asked if status == 200]
    assert any(path.startswith(f"http://mirror.example.org/v2/{NAME}/manifests/") for path in asked), asked


def believed(world: World) -> bool:
    """Say whether a program of the node that believes whom the system believes takes the registry's certificate."""
    program = "import socket, ssl, sys; ssl.create_default_context().wrap_socket(socket.create_connection(" \
        "(sys.argv[1], int(sys.argv[2])), 5), server_hostname=sys.argv[1]).close()"
    said = world.lab.on(NODE, "sh", "-c", 'python3 -c "$1" "$2" "$3" && echo yes || true', "sh", program,
                        *world.registry.split(":"))
    return said.strip() == "yes"


def test_the_system_of_a_node_believes_the_inventory_s_authority_and_time_services_are_told_their_servers(
        world: World) -> None:
    assert believed(world)
    for file in ("/etc/systemd/timesyncd.conf.d/50-kubewright.conf", "/etc/chrony/sources.d/kubewright.sources"):
        assert GATEWAY in world.lab.on(NODE, "cat", file)
    for unit in ("kubewright-time", "kubewright-trust"):
        assert world.lab.on(NODE, "systemctl", "is-active", unit).strip() == "active"


def test_of_the_host_s_own_proxy_no_service_of_ours_knows_and_containerd_has_the_inventory_s(world: World) -> None:
    cluster = Inventory.open(world.lab.directory).cluster
    for unit in OURS:
        pid = world.lab.on(NODE, "systemctl", "show", "-p", "MainPID", "--value", unit).strip()
        lines = world.lab.on(NODE, "cat", f"/proc/{pid}/environ").split("\0")
        proxies = dict(line.split("=", 1) for line in lines if line.lower().partition("=")[0] in PROXIES)
        wanted = {"HTTP_PROXY": str(cluster.proxy and cluster.proxy.http), "HTTPS_PROXY": "",
                  "NO_PROXY": direct(cluster)}
        assert proxies == (wanted if unit == "containerd" else {}), unit


def test_a_second_up_changes_nothing_and_registries_that_leave_take_all_with_them(world: World) -> None:
    assert "No changes" in world.lab.run("plan").stdout
    world.lab.file.write_text(world.before, encoding="utf-8")
    world.lab.run("up", "--yes")
    left = world.lab.on(NODE, "sh", "-c", "ls -d /etc/containerd/certs.d /etc/kubewright/registries "
                                          "/opt/kubewright/registries /etc/kubernetes/image-logins.yaml; "
                                          "find /etc/ssl/certs -xtype l || true")
    assert left == "" and not believed(world)
    assert Path(world.lab.directory / ".kubewright" / "secrets" / "registries").is_dir()      # nobody gave it twice
