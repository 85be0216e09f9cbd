"""Our objects in a real API server: what applying them would change, what is put back, and what is pruned."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from provisioner.compile.objects import record
from provisioner.compile.parts import MANAGED_BY
from provisioner.model.desired import KubeObject
from provisioner.operate.access import Access
from provisioner.operate.kube import ApiFault, Kube, compare_objects, make_changes, object_path
from tests.unit.compile.compile_fixture import compiled

pytestmark = [pytest.mark.binaries, pytest.mark.timeout(120)]
OBJECTS = compiled().objects
COMPARED = [o for o in OBJECTS if o.certificate is None]


@pytest.fixture
def kube(api: Access) -> Iterator[Kube]:
    made = Kube(api)
    yield made
    made.close()


def config_map(name: str, **data: str) -> KubeObject:
    metadata = {"name": name, "namespace": "default", "labels": dict(MANAGED_BY)}
    return KubeObject("node", {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data})


def settle(kube: Kube, objects: list[KubeObject]) -> None:
    make_changes(kube, compare_objects(kube, objects))


def told(kube: Kube, objects: list[KubeObject]) -> list[tuple[str, str]]:
    return [(c.action, c.identity) for c in compare_objects(kube, objects)]


def test_every_object_of_ours_is_to_add_and_once_applied_equals_what_the_server_has(kube: Kube) -> None:
    fresh = compare_objects(kube, OBJECTS)
    assert {(c.action, c.identity) for c in fresh} == {("add", o.identity) for o in COMPARED}
    make_changes(kube, fresh)
    assert compare_objects(kube, OBJECTS) == (), "defaults that the server fills in are no changes"


def test_a_field_that_somebody_else_changed_is_exactly_what_is_told_and_put_back(kube: Kube) -> None:
    mine = config_map("changed", colour="blue", size="9")
    settle(kube, [mine])
    path = object_path(mine.body)
    kube.merge_patch(path, {"data": {"colour": "red", "theirs": "kept"}})
    (found,) = compare_objects(kube, [mine])
    assert (found.action, found.diff) == ("change", "-data.colour: red\n+data.colour: blue")
    assert kube.get(path)["data"]["colour"] == "red", "to compare changes nothing"
    make_changes(kube, [found])
    assert kube.get(path)["data"] == {"colour": "blue", "size": "9", "theirs": "kept"}
    assert told(kube, [mine]) == []


def test_what_is_desired_no_more_is_removed_and_what_others_made_of_that_name_stays(kube: Kube) -> None:
    kept, gone, retaken = (config_map(name, is_="ours") for name in ("kept", "gone", "retaken"))
    three = [kept, gone, retaken]
    settle(kube, [*three, record(three)])
    kube.delete(retaken.body)
    theirs: dict[str, Any] = {**retaken.body, "data": {"is_": "theirs"}}
    kube.request("POST", object_path(theirs, name="") + "?fieldManager=theirs", theirs)
    less = [kept, record([kept])]
    assert told(kube, less) == [("remove", "ConfigMap default/gone"), ("change", record([kept]).identity)]
    settle(kube, less)
    assert kube.find(object_path(gone.body)) is None
    assert kube.get(object_path(retaken.body))["data"] == {"is_": "theirs"}
    assert told(kube, less) == []


def test_an_object_that_was_made_anew_meanwhile_is_not_the_one_to_remove(kube: Kube) -> None:
    kept, gone = config_map("stays", is_="ours"), config_map("replaced", is_="ours")
    settle(kube, [kept, gone, record([kept, gone])])
    changes = compare_objects(kube, [kept, record([kept])])
    kube.delete(gone.body)
    kube.apply({**gone.body, "data": {"is_": "new"}})
    with pytest.raises(ApiFault) as refused:
        make_changes(kube, changes)
    assert refused.value.status == 409
    assert kube.get(object_path(gone.body))["data"] == {"is_": "new"}
