"""Who votes in etcd and what it holds, asked on the nodes; and more machines than the lab's inventory has."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from provisioner.compile.etcd import ETCDCTL
from provisioner.lab import mounts, state
from tests.lab.machines import Lab

NEW = {"cp4": "10.77.0.14", "cp5": "10.77.0.15"}
ROLES = "[etcd, control-plane, load-balancer]"


@contextmanager
def with_more(lab: Lab, hosts: Mapping[str, str], roles: str) -> Iterator[Lab]:
    """Have more machines that are in the inventory and empty; they are gone afterwards, whatever became of them."""
    before = lab.file.read_text(encoding="utf-8")
    lab.file.write_text(before.rstrip("\n") + "\n" + "".join(
        f"  {host}: {{address: {address}, roles: {roles}}}\n" for host, address in hosts.items()), encoding="utf-8")
    try:
        lab.run("lab", "up")
        yield lab
    finally:
        state.end_nodes(lab.instance, tuple(hosts))
        for host in hosts:
            mounts.remove_tree(lab.instance.node_dir(host))
        lab.file.write_text(before, encoding="utf-8")


def removed(lab: Lab, *hosts: str) -> None:
    """Take hosts out of the inventory, as a person does."""
    lines = lab.file.read_text(encoding="utf-8").splitlines(keepends=True)
    lab.file.write_text("".join(line for line in lines if not line.startswith(tuple(f"  {h}:" for h in hosts))),
                        encoding="utf-8")


def etcdctl(lab: Lab, host: str, *words: str) -> Any:
    return json.loads(lab.on(host, *ETCDCTL, "--write-out=json", *words))


def members(lab: Lab, host: str = "cp1") -> dict[str, bool]:
    """Return the members by name, each with whether it is a learner."""
    return {m.get("name", ""): bool(m.get("isLearner")) for m in etcdctl(lab, host, "member", "list")["members"]}


def hashes(lab: Lab, hosts: tuple[str, ...]) -> set[int]:
    """Return the hashes of all members' data at one revision, which every member has."""
    revision = min(etcdctl(lab, h, "endpoint", "status")[0]["Status"]["header"]["revision"] for h in hosts)
    return {etcdctl(lab, h, "endpoint", "hashkv", f"--rev={revision}")[0]["HashKV"]["hash"] for h in hosts}


def leader(lab: Lab) -> str:
    return next(str(r["host"]) for r in lab.json("status")["hosts"] if str(r["etcd"]).startswith("leader"))


def follower(lab: Lab) -> str:
    """Return a member that does not lead: one that leads and loses its data is given all of it by the next leader."""
    return next(str(r["host"]) for r in lab.json("status")["hosts"] if str(r["etcd"]).startswith("member"))


def vip_holder(lab: Lab) -> str:
    return str(lab.json("status")["vip_holder"])


def is_unnoticed(lab: Lab, since: float) -> dict[str, Any]:
    """Return what the prober saw of the newest run: no failed probe, no acknowledged write lost."""
    seen: dict[str, Any] = next(e["data"] for e in lab.events(since) if e["type"] == "availability")
    failed = {(row["series"], row["host"]): row["failures"] for row in seen["series"] if row["failures"]}
    assert not failed and seen["lost"] == 0 and seen["attempts"] > 100, json.dumps(seen)
    return seen


def is_settled(lab: Lab, hosts: tuple[str, ...]) -> None:
    """See that exactly these vote, have the same data, and that a second run has nothing to do."""
    assert members(lab, hosts[0]) == dict.fromkeys(hosts, False)
    assert len(hashes(lab, hosts)) == 1
    second = lab.run("plan", "--detailed-exitcode")
    assert second.stdout.startswith("No changes."), second.stdout
    lab.run("ready", "--timeout", "60")


def is_empty(lab: Lab, host: str) -> None:
    """See that nothing of the cluster runs or lies on a host."""
    assert lab.on(host, "sh", "-c", "ls -d /opt/kubewright /etc/kubernetes /var/lib/etcd/member /var/lib/kubewright "
                  "2>/dev/null", check=False) == ""
    for unit in ("etcd", "kube-apiserver", "kubelet", "keepalived", "haproxy"):
        assert lab.on(host, "systemctl", "is-active", unit, check=False).strip() != "active", unit
