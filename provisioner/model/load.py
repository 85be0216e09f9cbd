"""cluster.yaml as text -> Cluster, or every fault of the file at once as `file:line:col: path: what`."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from pydantic import ValidationError

from provisioner.errors import InventoryRefused
from provisioner.model.cluster import Cluster
from provisioner.model.document import Document, Fault, Mark, Path, read_document, show_path
from provisioner.model.schema_faults import schema_faults
from provisioner.model.validate import validate


def load_cluster(text: str, filename: str) -> Cluster:
    """Return the cluster that `text` describes; InventoryRefused holds all faults in the order of the file."""
    document = read_document(text)
    if not isinstance(document.data, dict):
        if not document.faults:
            what = "the file is empty" if document.data is None else "must be a mapping of keys and values"
            document.faults.append(Fault(Mark(1, 1), (), what))
        raise _refused(document.faults, filename)
    cluster, faults = _cluster(document)
    faults += document.faults
    if faults or cluster is None:
        raise _refused(faults, filename)
    return cluster


def _cluster(document: Document) -> tuple[Cluster | None, list[Fault]]:
    """Validate against the schema, then across fields, the latter also on what the schema faults left over."""
    try:
        cluster = _parse(document.data)
    except ValidationError as err:
        faults = schema_faults(err, document)
        rest = _without({fault.path for fault in faults}, document.data)
        return None, faults + _cross_faults(rest, document, faults)
    return cluster, [_place(document, path, message) for path, message in validate(cluster)]


def _cross_faults(data: dict[str, Any], document: Document, known: list[Fault]) -> list[Fault]:
    """Find the faults between fields that hold however the faulty parts are put right."""
    try:
        cluster = _parse(data)
    except ValidationError:
        return []  # a section is missing: nothing certain can be said before it is there
    seen = {fault.path for fault in known}
    return [_place(document, path, message) for path, message in validate(cluster, partial=True) if path not in seen]


def _parse(data: dict[str, Any]) -> Cluster:
    # Strict JSON mode: lists become tuples and text becomes addresses, but 22 is not "22" and "yes" is not true.
    return Cluster.model_validate_json(json.dumps(data), strict=True)


def _without(paths: Iterable[Path], data: dict[str, Any]) -> dict[str, Any]:
    """Leave out unknown top-level parts and every host that has a fault; other faults make the rest unparsable."""
    result = dict(data)
    hosts = result.get("hosts")
    bad = {path[1] for path in paths if len(path) > 1 and path[0] == "hosts"}
    if isinstance(hosts, dict) and bad:
        result["hosts"] = {name: spec for name, spec in hosts.items() if name not in bad}
    for path in paths:
        if len(path) == 1 and path[0] not in Cluster.model_fields:
            result.pop(str(path[0]), None)
    return result


def _place(document: Document, path: Path, message: str) -> Fault:
    return Fault(document.mark(path), path, message)


def _refused(faults: list[Fault], filename: str) -> InventoryRefused:
    ordered = sorted(dict.fromkeys(faults), key=lambda fault: fault.mark)
    count = "1 fault" if len(ordered) == 1 else f"{len(ordered)} faults"
    return InventoryRefused(
        f"{filename}: {count}; no host was contacted",
        details=[_line(fault, filename) for fault in ordered],
        hint="kubewright schema",
    )


def _line(fault: Fault, filename: str) -> str:
    where = f"{filename}:{fault.mark.line}:{fault.mark.column}: "
    return where + (f"{show_path(fault.path)}: " if fault.path else "") + fault.message
