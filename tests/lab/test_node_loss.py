"""A control plane that loses its power: the API goes on, the controllers go on elsewhere, and it rejoins by itself."""

from __future__ import annotations

import time
from contextlib import ExitStack
from functools import partial
from typing import Any

import pytest

from provisioner.compile.etcd import ETCDCTL
from provisioner.lab import faults
from provisioner.model.ports import LOCAL_API
from tests.lab.figures import record
from tests.lab.machines import CONTROL_PLANES, LEADERS, NODES, UNITS, Lab, until
from tests.lab.voters import etcdctl
from tests.lab.witness import Api, Attempts, Holders, admin

pytestmark = [pytest.mark.lab, pytest.mark.timeout(600)]
CONFIGMAPS = "/api/v1/namespaces/default/configmaps"
LEASES = "/apis/coordination.k8s.io/v1/namespaces"
PODS = "/api/v1/namespaces/default/pods"
DEPLOYMENTS = "/apis/apps/v1/namespaces/default/deployments"
API_LIMIT, WRITE_LIMIT, ACT_LIMIT = 3.0, 5.0, 30.0


@pytest.fixture(scope="module")
def vip(cluster: Lab) -> Api:
    """Requests to the VIP from this machine, in the lab's network."""
    api = cluster.inventory.cluster.api
    return Api(cluster, admin(cluster), None, str(api.vip), api.port)


def others(host: str, hosts: tuple[str, ...] = CONTROL_PLANES) -> list[str]:
    return [name for name in hosts if name != host]


def everything_to(lab: Lab, vip: Api, host: str) -> None:
    """Make one host hold whatever one of three holds: etcd's leadership, the VIP, both controllers' leases."""
    for name in others(host):
        lab.on(name, "systemctl", "stop", "keepalived", *LEADERS)
    with Holders(lab, CONTROL_PLANES) as holders:
        try:
            for unit in LEADERS:
                until(partial(has_lease, vip, host, unit), 40, f"{host} has the lease of {unit}")
            assert holders.one() == host
        finally:
            for name in others(host):
                lab.on(name, "systemctl", "start", "keepalived", *LEADERS)
    status = {name: etcd_status(lab, name) for name in CONTROL_PLANES}
    wanted, leader = status[host]["header"]["member_id"], status[host]["leader"]
    now = next(name for name, one in status.items() if one["header"]["member_id"] == leader)
    if now != host:
        lab.on(now, *ETCDCTL, "move-leader", f"{wanted:x}")


def etcd_status(lab: Lab, host: str) -> dict[str, Any]:
    found: dict[str, Any] = etcdctl(lab, host, "endpoint", "status")[0]["Status"]
    return found


def answer(vip: Api, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
    """Ask once; nothing where no answer comes, as while the VIP moves."""
    try:
        return vip.ask(method, path, body, timeout=2.0)
    except (OSError, ValueError):
        return None


def has_lease(vip: Api, host: str, unit: str) -> bool:
    lease = answer(vip, "GET", f"{LEASES}/kube-system/leases/{unit}")
    return lease is not None and str(lease["spec"]["holderIdentity"]).startswith(f"{host}_")


def acting_again(vip: Api, name: str, since: float) -> dict[str, float]:
    """Ask each controller for something new; return after how many seconds it had been done."""
    pods = f"/api/v1/namespaces/default/pods?labelSelector=app%3D{name}"
    alone = f"{PODS}/{name}-alone"
    found: dict[str, float] = {}

    def done() -> bool:
        if (answer(vip, "GET", pods) or {"items": []})["items"]:
            found.setdefault("kube-controller-manager", time.monotonic() - since)
        if (answer(vip, "GET", alone) or {"spec": {}})["spec"].get("nodeName"):
            found.setdefault("kube-scheduler", time.monotonic() - since)
        return len(found) == 2

    labels = {"app": name}
    container = {"name": "pause", "image": "kubewright.local/busybox:1", "command": ["sleep", "3600"]}
    spec = {"terminationGracePeriodSeconds": 0, "containers": [container]}
    made(vip, PODS, {"metadata": {"name": f"{name}-alone"}, "spec": spec})
    template = {"metadata": {"labels": labels}, "spec": spec}
    made(vip, DEPLOYMENTS, {"metadata": {"name": name},
                            "spec": {"replicas": 1, "selector": {"matchLabels": labels}, "template": template}})
    until(done, 60, "a Pod was made for the Deployment, and a Pod was given a node")
    return found


def made(vip: Api, path: str, wanted: dict[str, Any]) -> None:
    """Make an object; a request without an answer may have been done all the same, so it may be there already."""
    until(lambda: answer(vip, "POST", path, wanted) or answer(vip, "GET", f"{path}/{wanted['metadata']['name']}"), 30,
          f"{path} takes an object")


def has_rejoined(lab: Lab, vip: Api, host: str, since: str) -> bool:
    """Say whether all units run, and member, API server and kubelet work again, each seen there or by its lease."""
    if set(lab.on(host, "systemctl", "is-active", *UNITS, check=False).split()) != {"active"}:
        return False
    healthy = lab.on(host, *ETCDCTL, "endpoint", "health", "-w", "json", check=False)
    url = f"https://{lab.inventory.cluster.machine(host).address}:6443/readyz"
    ready = lab.on(host, "curl", "-sk", "--max-time", "2", url, check=False)
    lease = answer(vip, "GET", f"{LEASES}/kube-node-lease/leases/{host}")
    node = answer(vip, "GET", f"/api/v1/nodes/{host}")
    if '"health":true' not in healthy or ready != "ok" or lease is None or node is None:
        return False
    conditions = {condition["type"]: condition["status"] for condition in node["status"]["conditions"]}
    return bool(lease["spec"]["renewTime"] > since and conditions["Ready"] == "True")


def lose(lab: Lab, vip: Api, victim: str) -> dict[str, float]:
    """Kill the node that holds everything and give its power back; return what was measured."""
    everything_to(lab, vip, victim)
    try:
        found = while_it_is_down(lab, vip, victim)
    finally:        # in any case: the tests that follow need it
        since = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime())
        powered = time.monotonic()
        faults.come_back(lab.inventory, victim)
    until(lambda: has_rejoined(lab, vip, victim, since), 120, f"{victim} has rejoined", 0.5)
    rejoined = time.monotonic() - powered
    lab.kubectl("delete", "configmaps", "-l", "witness=yes", "--wait=false")
    lab.kubectl("delete", "--ignore-not-found", f"pod/after-{victim}-alone", f"deployment/after-{victim}")
    return {**found, "rejoined": rejoined}


def while_it_is_down(lab: Lab, vip: Api, victim: str) -> dict[str, float]:
    """Kill the node and return for how long what was silent, how much failed, and when the controllers acted again."""
    survivors = others(victim, NODES)
    with ExitStack() as stack:
        tls = admin(lab)
        local = [stack.enter_context(Attempts(Api(lab, tls, host, "127.0.0.1", LOCAL_API), interval=0.2))
                 for host in survivors]
        front = stack.enter_context(Attempts(vip))
        writes = stack.enter_context(Attempts(vip, "POST", CONFIGMAPS, interval=0.2))
        until(lambda: all(a.answered() for a in (*local, front, writes)), 20, "all is answered before the fault")
        began = time.monotonic()
        faults.kill(lab.inventory, victim)
        acted = acting_again(vip, f"after-{victim}", began)
        silence = {"API through the VIP": front.longest_silence(began), "writes": writes.longest_silence(began),
                   "API through the worst loopback port": max(a.longest_silence(began) for a in local)}
        failed = {"failed at the VIP": len(front.failed(began)), "failed writes": len(writes.failed(began)),
                  "failed at loopback ports": sum(len(a.failed(began)) for a in local)}
    return {**silence, **acted, **failed}


def prove(victims: list[str], found: list[dict[str, float]]) -> None:
    limits = {"API through the VIP": API_LIMIT, "API through the worst loopback port": API_LIMIT, "writes": WRITE_LIMIT,
              **dict.fromkeys(LEADERS, ACT_LIMIT), "rejoined": None}
    words = {"writes": "writes silent", "rejoined": "rejoined after its power came back",
             **{unit: f"{unit} acts again" for unit in LEADERS}}
    failed = {key: [one[key] for one in found] for key in found[0] if key.startswith("failed")}
    for name, limit in limits.items():
        what = words.get(name, f"{name} silent")
        record(f"{what} (node that holds everything killed)", [one[name] for one in found], unit="s", limit=limit,
               victims=victims, failed=failed)
    for name, limit in limits.items():
        assert limit is None or max(one[name] for one in found) <= limit, name


def test_the_node_that_holds_everything_may_lose_its_power(cluster: Lab, vip: Api) -> None:
    prove(["cp1"], [lose(cluster, vip, "cp1")])


@pytest.mark.full
def test_each_control_plane_in_turn_may_lose_its_power(cluster: Lab, vip: Api) -> None:
    prove(list(CONTROL_PLANES), [lose(cluster, vip, host) for host in CONTROL_PLANES])
