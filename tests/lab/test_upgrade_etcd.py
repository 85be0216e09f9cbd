"""A minor of etcd by `upgrade`, under the prober: the upgrade that each run of all tests makes.

From an empty build cache etcd 3.7.3 took 88 s of processor time, another Kubernetes some 800. It takes the way of every
upgrade but for kubelets: a snapshot that is proved, everything brought before the first restart, members one by one
with the leader last, each with its API server out of service meanwhile.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator

import pytest

from provisioner.artifacts.lockfile import load_lock, write_lock
from provisioner.artifacts.supply import KNOWN, merged
from provisioner.model.artifact import ArtifactLock
from tests.lab import figures
from tests.lab.machines import CONTROL_PLANES, Lab
from tests.lab.newer import BUILDING, FROM, TO
from tests.lab.voters import etcdctl, is_settled

pytestmark = [pytest.mark.lab, pytest.mark.dirties, pytest.mark.bears_changes,
              pytest.mark.timeout(BUILDING + 600)]

OLD, NEW = "3.6.16", "3.7.3"


@pytest.fixture
def asked(cluster: Lab) -> Iterator[Lab]:
    """A cluster whose lock asks for the etcd of the next Kubernetes."""
    path = cluster.directory / "artifacts.lock"
    before, newer = path.read_bytes(), load_lock(KNOWN / f"{TO}.lock")
    etcd = ArtifactLock(tuple(a for a in newer.artifacts if a.component == "etcd"))
    write_lock(path, merged(load_lock(path), etcd))
    cluster.run("artifacts", "build", timeout=BUILDING)
    yield cluster
    path.write_bytes(before)


def members(lab: Lab) -> dict[str, tuple[str, bool]]:
    """Return what each member runs, and whether it leads, as it says itself."""
    said = {host: etcdctl(lab, host, "endpoint", "status")[0]["Status"] for host in CONTROL_PLANES}
    return {host: (one["version"], one["leader"] == one["header"]["member_id"]) for host, one in said.items()}


def test_a_minor_of_etcd_is_changed_and_no_client_notices(asked: Lab) -> None:
    refused = asked.run("up", "--yes", check=False)
    assert refused.returncode == 15 and "`upgrade` does that, `up` does not" in refused.stderr, refused.stderr
    before, began = members(asked), time.time()
    assert {version for version, _ in before.values()} == {OLD}
    print(asked.run("upgrade", "--yes").stderr)
    events = asked.events(began)
    assert {version for version, _ in members(asked).values()} == {NEW}
    order = [e["host"] for e in events if e["type"] == "host-start" and e["phase"] == "etcd"]
    assert before[list(dict.fromkeys(order))[-1]][1], f"the leader comes last: {order}, {before}"
    assert any("proved by a restore here" in (e.get("message") or "") for e in events), "its data was kept before"
    assert json.loads(asked.kubectl("get", "--raw", "/version"))["gitVersion"] == f"v{FROM}"
    is_settled(asked, CONTROL_PLANES)
    seen = next(e["data"] for e in events if e["type"] == "availability")
    seconds = next(e["seconds"] for e in events if e["type"] == "run-end")
    figures.record("upgrade of a minor of etcd", [seconds], unit="s", attempts=seen["attempts"])
    figures.record("upgrade of a minor of etcd: failed attempts, cut requests, lost writes",
                   [seen["failures"], seen["cuts"], seen["lost"]], unit="", limit=0, attempts=seen["attempts"])
    assert (seen["failures"], seen["cuts"], seen["lost"]) == (0, 0, 0), seen
