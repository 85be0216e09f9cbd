"""Collections that come in pages: every object once, whatever the server's word for the next page holds."""

from __future__ import annotations

from typing import Any

import pytest

from provisioner.operate.kube import PAGE
from tests.fakes.api import MemoryApi, MemoryKube

THREE: list[dict[str, Any]] = [{"items": [{"n": 1}, {"n": 2}], "metadata": {"continue": "a=&b/"}},
                               {"items": [{"n": 3}], "metadata": {"continue": "z"}}, {"items": [{"n": 4}]}]


class Paged(MemoryKube):
    """A server that cuts what it answers, and what it was asked for."""

    def __init__(self) -> None:
        super().__init__(MemoryApi())
        self.asked: list[str] = []

    def request(self, method: str, path: str, *args: Any, **more: Any) -> dict[str, Any]:
        self.asked.append(path)
        return THREE[len(self.asked) - 1]


@pytest.mark.parametrize(("path", "begins"), [("/api/v1/pods", "/api/v1/pods?limit"),
                                              ("/api/v1/pods?labelSelector=a", "/api/v1/pods?labelSelector=a&limit")])
def test_pages_are_read_to_the_last_one(path: str, begins: str) -> None:
    kube = Paged()
    assert [one["n"] for one in kube.every(path)] == [1, 2, 3, 4]
    first = f"{begins}={PAGE}"
    assert kube.asked == [first, f"{first}&continue=a%3D%26b/", f"{first}&continue=z"]
