"""Which old APIs are in use, by a real API server's own count."""

from __future__ import annotations

import pytest

from provisioner.operate.access import Access
from provisioner.operate.deprecated import gone_in, parse
from provisioner.operate.kube import Kube

pytestmark = [pytest.mark.binaries, pytest.mark.timeout(120)]


def test_an_old_api_that_was_asked_for_is_told_by_the_server_and_no_release_is_without_it_yet(api: Access) -> None:
    kube = Kube(api)
    kube.get("/api/v1/namespaces/default/endpoints")
    used = list(parse(kube.text("/metrics")))
    kube.close()
    assert ("v1", "endpoints", None) in used
    assert gone_in(used, "1.37.2") == ()
