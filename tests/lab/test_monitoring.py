"""The how-to that feeds Prometheus, with a real one: its files, its certificates, every target, an alert that fires."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from provisioner.lab.network import in_network
from provisioner.model.inventory import Inventory
from tests.lab.machines import ADDRESSES, CONTROL_PLANES, ROOT, ROOTS, Lab, until
from tests.real.prometheus import program

pytestmark = [pytest.mark.lab, pytest.mark.full, pytest.mark.timeout(900)]
MONITORING = ROOT / "docs" / "how-to" / "monitoring"
PLACE = "/var/tmp/prometheus"
UP = 60.0           # seconds until every target was scraped: four times the how-to's interval
FIRES = 180.0       # seconds until the alert of a member fires: it is to be down for one minute, looked at every 15 s
GET = ("import sys, urllib.request as u; "
       "print(u.build_opener(u.ProxyHandler({})).open(sys.argv[1], timeout=5).read().decode())")
AGENT_JOBS = ("etcd-local", "kube-controller-manager", "kube-scheduler", "kube-proxy", "haproxy")


class Prometheus:
    """The one on the control host, inside the lab's network."""

    def __init__(self, lab: Lab) -> None:
        self.lab = lab

    def get(self, path: str) -> Any:
        call = (sys.executable, "-I", "-c", GET, f"http://127.0.0.1:9090{path}")
        done = subprocess.run(in_network(self.lab.instance, call), capture_output=True, text=True, timeout=20,
                              check=False)
        return json.loads(done.stdout)["data"] if done.returncode == 0 and done.stdout.startswith("{") else None

    def targets(self) -> dict[str, str]:
        """Return every target that it scrapes itself, with why it is not up, "" where it is."""
        active = (self.get("/api/v1/targets") or {}).get("activeTargets", ())
        return {f"{t['labels']['job']} {t['labels']['instance']}": t["lastError"] if t["health"] != "up" else ""
                for t in active}

    def ups(self) -> dict[tuple[str, str], str]:
        """Return `up` of what the agents sent: (host, job) -> value."""
        found = (self.get("/api/v1/query?query=up") or {}).get("result", ())
        return {(r["metric"]["kubewright_host"], r["metric"]["job"]): r["value"][1]
                for r in found if "kubewright_host" in r["metric"]}

    def firing(self) -> set[tuple[str, str]]:
        found = (self.get("/api/v1/alerts") or {}).get("alerts", ())
        return {(a["labels"]["alertname"], a["labels"].get("instance", "")) for a in found if a["state"] == "firing"}


def start(stack: ExitStack, lab: Lab, *command: str | Path, cwd: Path) -> None:
    """Start a program of the control host inside the lab's network, which the stack ends."""
    log = stack.enter_context((cwd / f"{Path(command[0]).name}.log").open("ab"))
    process = stack.enter_context(subprocess.Popen(in_network(lab.instance, [str(word) for word in command]), cwd=cwd,
                                                   stdin=subprocess.DEVNULL, stdout=log, stderr=log))
    stack.callback(process.kill)


def look(lab: Lab, place: Path) -> None:
    """Do what the how-to has a timer do: one look, written beside and renamed."""
    text = lab.run("status", "-o", "openmetrics", check=False).stdout
    assert text.endswith("# EOF\n")
    (place / "new").write_text(text)
    (place / "new").rename(place / "kubewright.txt")


def credentials(lab: Lab, place: Path) -> None:
    """Fetch what the how-to says that Prometheus needs."""
    lab.kubectl("apply", "-f", str(MONITORING / "access.yaml"))
    token = until(lambda: lab.kubectl("-n", "monitoring", "get", "secret", "prometheus", "-o",
                                      "go-template={{.data.token | base64decode}}", check=False), 30, "a token")
    (place / "token").write_text(token)
    pki = "/etc/kubernetes/pki"
    for name, path in (("ca.crt", f"{pki}/ca.crt"), ("etcd-ca.crt", f"{pki}/etcd/ca.crt"),
                       ("etcd.crt", f"{pki}/etcd/healthcheck-client.crt"),
                       ("etcd.key", f"{pki}/etcd/healthcheck-client.key")):
        (place / name).write_text(lab.on("cp1", "cat", path))
        (place / name).chmod(0o600)


def agent(lab: Lab, host: str, place: Path, server: str) -> Callable[[], None]:
    """Run an agent on a host, with the how-to's file; what is returned takes it away again."""
    config = (MONITORING / "agent.yml").read_text().replace("_host: HOST", f"_host: {host}")
    send(lab, host, f"{PLACE}/prometheus", program("prometheus").read_bytes())
    send(lab, host, f"{PLACE}/agent.yml", config.replace("http://SERVER:", f"http://{server}:").encode())
    send(lab, host, f"{PLACE}/token", (place / "token").read_bytes())
    lab.on(host, "chmod", "0755", f"{PLACE}/prometheus")
    lab.on(host, "systemd-run", "--quiet", "--collect", "--unit=prometheus-agent", f"{PLACE}/prometheus",
           "--enable-feature=agent", f"--config.file={PLACE}/agent.yml", f"--storage.agent.path={PLACE}/data",
           "--web.listen-address=127.0.0.1:9095")

    def remove() -> None:
        lab.on(host, "systemctl", "stop", "prometheus-agent", check=False)
        lab.on(host, "rm", "-rf", PLACE)

    return remove


def send(lab: Lab, host: str, path: str, content: bytes) -> None:
    argv = lab.entered(host, "sh", "-c", 'mkdir -p "${1%/*}" && cat > "$1"', "sh", path)
    subprocess.run(argv, input=content, env=ROOTS, timeout=60, check=True)


@pytest.fixture
def prometheus(cluster: Lab, tmp_path: Path) -> Iterator[Prometheus]:
    """The how-to, done: access, credentials, the one Prometheus, an agent on each control plane."""
    gateway = str(next(iter(Inventory.open(cluster.directory).cluster.network.hosts))[1])
    program("prometheus")
    with ExitStack() as stack:
        credentials(cluster, tmp_path)
        stack.callback(cluster.kubectl, "delete", "-f", str(MONITORING / "access.yaml"), check=False)
        for name in ("prometheus.yml", "rules.yml"):
            shutil.copy(MONITORING / name, tmp_path)
        look(cluster, tmp_path)
        start(stack, cluster, sys.executable, "-m", "http.server", "9400", "--bind", "127.0.0.1", cwd=tmp_path)
        start(stack, cluster, program("prometheus"), "--config.file=prometheus.yml", "--storage.tsdb.path=data",
              "--web.enable-remote-write-receiver", cwd=tmp_path)
        for host in CONTROL_PLANES:
            stack.callback(agent(cluster, host, tmp_path, gateway))
        yield Prometheus(cluster)


def test_every_target_of_the_how_to_is_up_with_its_certificates_and_the_alert_of_a_stopped_member_fires(
        cluster: Lab, prometheus: Prometheus) -> None:
    wanted = set(re.findall(r'"([\d.]+:\d+)"', (MONITORING / "prometheus.yml").read_text()))
    until(lambda: {name.split()[1] for name in prometheus.targets()} == wanted, UP, "it knows all targets")
    until(lambda: not any(prometheus.targets().values()), UP, f"all are up: {prometheus.targets()}")
    sent = {(host, job): "1" for host in CONTROL_PLANES for job in AGENT_JOBS}
    until(lambda: prometheus.ups() == sent, UP, f"all that the agents sent are up: {prometheus.ups()}")
    rules = (prometheus.get("/api/v1/rules") or {})["groups"]
    assert [r["lastError"] for group in rules for r in group["rules"] if r.get("lastError")] == []
    assert sum(len(group["rules"]) for group in rules) > 15
    assert prometheus.firing() == set()
    members = prometheus.get("/api/v1/query?query=etcd_server_has_leader") or {}
    assert len(members["result"]) == 6, "by 2379 and by each host's own agent"
    down = ("EtcdMemberDown", f"{ADDRESSES['cp3']}:2379")
    cluster.on("cp3", "systemctl", "stop", "etcd")
    try:
        until(lambda: down in prometheus.firing(), FIRES, "the alert fires", interval=1)
        assert {name for name, _ in prometheus.firing()} <= {"EtcdMemberDown", "ApiServerDown"}
    finally:
        cluster.on("cp3", "systemctl", "start", "etcd")
    until(lambda: down not in prometheus.firing(), FIRES, "it is over", interval=1)
