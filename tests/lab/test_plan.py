"""The plan is applied exactly as shown: what differs on real nodes is what it says, and what `up` does is the same."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from provisioner.compile.pki import ENCRYPTION_CONFIG, SA_KEY
from tests.lab.conftest import Lab, unit_ids
from tests.lab.hostside import at_once

pytestmark = [pytest.mark.lab, pytest.mark.timeout(600)]

KUBELET = "/var/lib/kubelet/config.yaml"
CONTAINERD = "/etc/containerd/config.toml"
FORWARD = "net.ipv4.ip_forward"
CRICTL = "/usr/local/bin/crictl"
Said = list[tuple[str, str, str, str]]      # (host, kind, path or object, reason)


def said(document: dict[str, Any]) -> Said:
    """Return what a plan says will be done."""
    return [(c["host"], c["kind"], c["path"], c["reason"]) for c in document["changes"]] + [
        ("", "object", o["identity"], o["reason"]) for o in document["objects"]]


def did(lab: Lab) -> Said:
    """Return what the newest run did, from its own record; what it found done already is left out."""
    done: Said = []
    for row in (r for r in lab.events() if r["type"] == "changed"):
        done += [(row["host"], c["kind"], c["path"], c["reason"]) for c in row["data"].get("changes", ())
                 if c["result"] == "done"]
        done += [("", "object", o["identity"], o["reason"]) for o in row["data"].get("objects", ())]
    return done


@pytest.fixture
def mended(cluster: Lab, has_failed: Callable[[], bool]) -> Iterator[Lab]:
    """The cluster, which each test leaves in order; after one that fails it is mended."""
    yield cluster
    if has_failed():
        cluster.run("up", "--yes")


def test_what_was_done_by_hand_is_what_plan_shows_and_exactly_that_is_what_up_did(mended: Lab) -> None:
    """On w1 a file edited, a unit stopped, a package removed, a symlink moved, a kernel setting changed; an object.

    On cp1 a secret edited and not read since, and another that others may read: nobody restarts for them.
    """
    lab, hand = mended, mended.on
    others = unit_ids(lab, ("cp1", "cp2", "w2"))
    target = hand("w1", "readlink", CRICTL).strip()
    hand("w1", "sed", "-i", "s/^podPidsLimit: .*/podPidsLimit: 50000/", KUBELET)
    hand("w1", "systemctl", "restart", "kubelet.service")       # it reads what was edited, so it has to restart again
    hand("w1", "sed", "-i", 's/default_runtime_name = .*/default_runtime_name = "other"/', CONTAINERD)    # unread
    hand("w1", "systemctl", "stop", "kube-proxy.service")
    hand("w1", "dpkg", "--purge", "conntrack")
    hand("w1", "ln", "-sfn", "/bin/true", CRICTL)
    hand("w1", "sysctl", "-w", f"{FORWARD}=0")
    hand("cp1", "sh", "-c", f"echo >> {ENCRYPTION_CONFIG}")
    hand("cp1", "chmod", "0640", SA_KEY)
    lab.kubectl("-n", "kube-system", "scale", "deployment", "coredns", "--replicas=1")

    reads = at_once({"plan": partial(lab.run, "-o", "json", "plan"), "drift": partial(lab.run, "-o", "json", "drift"),
                     "diff": partial(lab.run, "plan", "--diff")})
    plan, drift = (json.loads(reads[verb].stdout) for verb in ("plan", "drift"))
    cause = "podPidsLimit 50000 → 4096"
    assert sorted(said(plan)) == sorted([
        ("w1", "file", KUBELET, cause),
        ("w1", "unit", "kubelet.service", f"{KUBELET} ({cause})"),
        ("w1", "file", CONTAINERD,
         "plugins.io.containerd.cri.v1.runtime.containerd.default_runtime_name other → runc"),
        ("w1", "unit", "kube-proxy.service", "is inactive"),
        ("w1", "package", "conntrack", "missing"),
        ("w1", "symlink", CRICTL, f"/bin/true → {target}"),
        ("w1", "sysctl", FORWARD, "is 0, should be 1"),
        ("cp1", "file", ENCRYPTION_CONFIG, "content differs"),
        ("cp1", "file", SA_KEY, "mode 0640 → 0600"),
        ("", "object", "Deployment kube-system/coredns", "spec.replicas 1 → 2")])
    assert said(drift) == said(plan), "the inventory is as it was applied"
    assert "-podPidsLimit: 50000\n" in reads["diff"].stdout

    lab.run("up", "--yes")
    assert sorted(did(lab)) == sorted(said(plan))
    assert lab.run("plan", "--detailed-exitcode").stdout.startswith("No changes.")
    assert hand("w1", "sysctl", "-n", FORWARD).strip() == "1"
    assert unit_ids(lab, ("cp1", "cp2", "w2")) == others


@pytest.mark.full        # in memory: tests/unit/cli/test_plan_verbs.py
def test_a_saved_plan_is_refused_when_something_moved_and_applied_exactly_when_nothing_did(
        mended: Lab, tmp_path: Path) -> None:
    lab, file = mended, tmp_path / "plan.json"
    lab.on("w2", "sed", "-i", "s/^podPidsLimit: .*/podPidsLimit: 6/", KUBELET)
    lab.run("plan", "--out", str(file))
    before = unit_ids(lab, ("w1", "w2"))

    lab.on("w1", "sh", "-c", f"echo '# by hand' >> {KUBELET}")
    lab.on("w2", "sed", "-i", "s/^podPidsLimit: .*/podPidsLimit: 7/", KUBELET)
    refused = lab.run("up", "--plan", str(file), check=False)
    assert refused.returncode == 16, refused.stderr
    assert f"w1: file {KUBELET}: not in the plan: change" in refused.stderr
    assert f"w2: file {KUBELET}: the plan says change, podPidsLimit 6 → 4096; now it is change, podPidsLimit 7 → 4096" \
        in refused.stderr
    assert unit_ids(lab, ("w1", "w2")) == before
    assert "podPidsLimit: 7" in lab.on("w2", "cat", KUBELET), "nothing was written"

    lab.on("w1", "sed", "-i", "/^# by hand$/d", KUBELET)
    lab.on("w2", "sed", "-i", "s/^podPidsLimit: .*/podPidsLimit: 6/", KUBELET)
    lab.run("up", "--plan", str(file))
    assert sorted(did(lab)) == sorted(said(json.loads(file.read_text(encoding="utf-8"))))
    assert lab.json("plan")["changes"] == []


@pytest.mark.full        # in memory: tests/unit/cli/test_plan_verbs.py
def test_a_fresh_checkout_knows_from_the_hosts_what_the_cluster_cannot_be_given(mended: Lab) -> None:
    lab, text = mended, mended.file.read_text(encoding="utf-8")
    assert "10.244.0.0/16" in text
    kept = lab.directory / ".kubewright" / "last-applied.yaml"
    lab.file.write_text(text.replace("10.244.0.0/16", "10.245.0.0/16"), encoding="utf-8")
    try:
        here = lab.run("up", "--yes", check=False)
        kept.unlink()
        there = lab.run("up", "--yes", check=False)
    finally:
        lab.file.write_text(text, encoding="utf-8")
    for refused, compared in ((here, "no host was contacted"), (there, "on the hosts; nothing was changed")):
        assert refused.returncode == 15, refused.stderr
        assert "(pod-range-changed)" in refused.stderr and compared in refused.stderr
    assert lab.run("drift", "--detailed-exitcode").stdout.startswith("No drift.")


@pytest.mark.full        # in memory: tests/unit/cli/test_plan_verbs.py
def test_a_host_that_was_taken_out_of_the_inventory_is_still_reached_and_its_drift_seen(mended: Lab) -> None:
    lab, text = mended, mended.file.read_text(encoding="utf-8")
    left = "".join(line for line in text.splitlines(keepends=True) if not line.lstrip().startswith("w2:"))
    assert left != text
    lab.on("w2", "sh", "-c", f"echo '# by hand' >> {KUBELET}")
    lab.file.write_text(left, encoding="utf-8")
    try:
        drift = json.loads(lab.run("-o", "json", "drift").stdout)
        plan = lab.json("plan")
    finally:
        lab.file.write_text(text, encoding="utf-8")
        lab.on("w2", "sed", "-i", "/^# by hand$/d", KUBELET)
    assert ("w2", KUBELET) in {(c["host"], c["path"]) for c in drift["changes"]}
    assert "w2" not in {c["host"] for c in plan["changes"]}, "the inventory asks nothing of it any more"
    assert lab.run("drift", "--detailed-exitcode").stdout.startswith("No drift.")
