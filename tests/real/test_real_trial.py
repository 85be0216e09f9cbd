"""A minor on trial, asked of real API servers on one member's data: what behaves as the old minor can be taken back."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from provisioner.artifacts.supply import KNOWN
from provisioner.compile.control_plane import EMULATION
from provisioner.operate.kube import Kube
from tests.real.binaries import control_plane

pytestmark = [pytest.mark.binaries, pytest.mark.timeout(600)]

OLD, NEW = "1.36.3", "1.37.2"
PATH = "/api/v1/namespaces/default/configmaps"
DISRUPTION = "/apis/policy/v1/namespaces/default/poddisruptionbudgets"


@contextmanager
def runs(directory: Path, release: str, **flags: str) -> Iterator[Kube]:
    """Run an API server of a release on the data that all of them share, beside the newer etcd."""
    here = directory / str(len(list(directory.iterdir())))
    here.mkdir()
    locks = (KNOWN / f"{NEW}.lock", KNOWN / f"{release}.lock")
    with control_plane(here, locks=locks, data=directory.parent / "data", flags=flags) as access:
        kube = Kube(access)
        try:
            yield kube
        finally:
            kube.close()


def behaves(kube: Kube) -> tuple[str, str]:
    found: dict[str, Any] = kube.request("GET", "/version")
    return found["gitVersion"], found["emulationMinor"]


def test_what_a_newer_api_server_writes_as_the_older_minor_the_older_one_reads(tmp_path: Path) -> None:
    directory = tmp_path / "servers"
    directory.mkdir()
    with runs(directory, OLD) as kube:
        assert behaves(kube) == (f"v{OLD}", "36")
        kube.request("POST", PATH, {"metadata": {"name": "before"}, "data": {"a": "b"}})
    trial = dict.fromkeys(EMULATION, "kube=1.36")
    with runs(directory, NEW, **trial) as kube:
        assert behaves(kube) == (f"v{NEW}", "36")
        kube.request("PUT", f"{PATH}/before", {"metadata": {"name": "before"}, "data": {"a": "c"}})
        kube.request("POST", DISRUPTION, {"metadata": {"name": "on-trial"}, "spec": {
            "minAvailable": 1, "selector": {"matchLabels": {"app": "a"}}}})
    with runs(directory, OLD) as kube:
        assert behaves(kube) == (f"v{OLD}", "36")
        assert kube.request("GET", f"{PATH}/before")["data"] == {"a": "c"}
        assert kube.request("GET", f"{DISRUPTION}/on-trial")["spec"]["minAvailable"] == 1
    with runs(directory, NEW) as kube:
        assert behaves(kube) == (f"v{NEW}", "37")
        assert kube.request("GET", f"{DISRUPTION}/on-trial")["spec"]["minAvailable"] == 1
