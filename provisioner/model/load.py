"""cluster.yaml as text -> Cluster, or every fault of the file at once as `file:line:col: path: what`."""

from __future__ import annotations

import json
from typing import Any

from pydantic import ValidationError

from provisioner.errors import InventoryRefused
from provisioner.model.cluster import Cluster
from provisioner.model.document import Document, Fault, Mark, Path, read_document
from provisioner.model.fault_lines import fault_lines
from provisioner.model.other_tools import other_tool
from provisioner.model.schema_faults import schema_faults
from provisioner.model.validate import validate


class FaultyInventory(InventoryRefused):
    """A cluster.yaml that was read and has faults: `faults` in the order of the file, for those who print them anew."""

    def __init__(self, faults: list[Fault], filename: str, text: str = "") -> None:
        self.faults = tuple(faults)
        self.filename = filename
        count = "1 fault" if len(faults) == 1 else f"{len(faults)} faults"
        super().__init__(f"{filename}: {count}; no host was contacted",
                         details=fault_lines(faults, filename, text), hint=_explained(faults))


def _explained(faults: list[Fault]) -> str:
    """Return where to read what may stand there; of what is not even YAML there is no more to say."""
    if all("config" in fault.path for fault in faults):
        return "docs/reference/config.md lists what each component takes"
    return "inventories/example/cluster.yaml explains every key" if any(fault.path for fault in faults) else ""


def load_cluster(text: str, filename: str) -> Cluster:
    """Return the cluster that `text` describes; InventoryRefused holds all faults in the order of the file."""
    document = read_document(text)
    if not isinstance(document.data, dict):
        whose = other_tool(text)
        if whose:
            document.faults[:] = [Fault(Mark(1, 1), (), whose)]
        elif not document.faults:
            what = "the file is empty" if document.data is None else "must be a mapping of keys and values"
            document.faults.append(Fault(Mark(1, 1), (), what))
        raise _refused(document.faults, filename, text)
    cluster, faults = _cluster(document)
    faults += document.faults
    if faults or cluster is None:
        whose = other_tool(text)
        raise _refused([Fault(Mark(1, 1), (), whose)] if whose else faults, filename, text)
    return cluster


def _cluster(document: Document) -> tuple[Cluster | None, list[Fault]]:
    """Validate against the schema, then across fields, the latter also on what the schema faults left over."""
    try:
        cluster = _parse(document.data)
    except ValidationError as err:
        known = {fault.path for fault in document.faults}
        faults = [fault for fault in schema_faults(err, document) if fault.path not in known]
        return None, faults + _cross_faults(document, known | {fault.path for fault in faults})
    faults = [_place(document, path, "nothing stands behind this key: write a value, or take the key out")
              for path in document.empty if "config" not in path]
    return cluster, faults + [_place(document, path, message) for path, message in validate(cluster)]


def _cross_faults(document: Document, faulty: set[Path]) -> list[Fault]:
    """Find the faults between fields that hold however the faulty parts are put right."""
    try:
        cluster = _parse(_without(faulty, document.data))
    except ValidationError:
        return []  # a section is missing: nothing certain can be said before it is there
    guessed = {path[0] for path in faulty if path and path[0] != "hosts"}
    return [_place(document, path, message) for path, message in validate(cluster, partial=True)
            if path[0] not in guessed]


def _parse(data: dict[str, Any]) -> Cluster:
    # Strict JSON mode: lists become tuples and text becomes addresses, but 22 is not "22" and "yes" is not true.
    return Cluster.model_validate_json(json.dumps(data), strict=True)


def _without(faulty: set[Path], data: dict[str, Any]) -> dict[str, Any]:
    """Leave out the faulty hosts and keys; the few keys without a default get one, as their section is not judged."""
    result: dict[str, Any] = {"api": {}, **data}
    inner: dict[str, set[str | int]] = {}
    for path in faulty:
        section = str(path[0]) if path else ""
        if len(path) > 1 and isinstance(result.get(section), dict):
            inner.setdefault(section, set()).add(path[1])
        else:
            inner.pop(section, None)
            result.pop(section, None)
    for section, keys in inner.items():
        result[section] = {key: value for key, value in result[section].items() if key not in keys}
    return {"version": 1, "cluster": "unnamed", "kubernetes": "1.36.0", **result}


def _place(document: Document, path: Path, message: str) -> Fault:
    return Fault(document.mark(path, key=path not in document.raw), path, message)  # a section is its key's line


def _refused(faults: list[Fault], filename: str, text: str) -> FaultyInventory:
    return FaultyInventory(sorted(dict.fromkeys(faults), key=lambda fault: fault.mark), filename, text)
