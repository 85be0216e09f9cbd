"""An API server for the tests of this directory: started once."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from provisioner.operate.access import Access
from tests.real.binaries import control_plane


@pytest.fixture(scope="session")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Access]:
    """An administrator's way to an API server that nothing was applied to yet; tests of it name their own objects."""
    with control_plane(tmp_path_factory.mktemp("control-plane")) as access:
        yield access
