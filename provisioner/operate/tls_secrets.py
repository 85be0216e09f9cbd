"""Secrets in the cluster that hold a leaf of ours: judged as the certificates on hosts are, by the same rules."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from provisioner.compile.diff import why_issue
from provisioner.model.desired import Certificate, KubeObject
from provisioner.model.observed import ABSENT, PairState
from provisioner.model.plan import ObjectChange
from provisioner.operate import pki
from provisioner.operate.kube import Kube, object_path


def compare_tls_secrets(
    kube: Kube, objects: Sequence[KubeObject], cas: Mapping[str, str], now: float,
) -> Iterator[ObjectChange]:
    """Yield which of the Secrets with a leaf are to be made anew; a leaf that is valid is kept.

    `cas` maps the names of our CAs to their PEM, `now` is in seconds since 1970.
    """
    for desired in objects:
        if desired.certificate is None:
            continue
        live = kube.find(object_path(desired.body))
        reason = _why(desired, desired.certificate, live, cas, now)
        if reason:
            yield ObjectChange(desired.phase, desired.identity, "add" if live is None else "change", reason, desired)


def _why(
    desired: KubeObject, leaf: Certificate, live: Mapping[str, Any] | None, cas: Mapping[str, str], now: float,
) -> str:
    if live is None:
        return why_issue(leaf, ABSENT, None, now)
    pem, key = (_value(live, name) for name in ("tls.crt", "tls.key"))
    # As the applier tells of a pair on a host; in an object it has no mode and no owner, so none that is wrong.
    state = PairState(pki.is_pair(pem, key), f"{leaf.key_mode:04o} {leaf.owner}:{leaf.group}")
    reason = why_issue(leaf, str(state), pki.read(pem, cas), now)
    labels = desired.body["metadata"].get("labels", {}).items()
    return reason or ("" if labels <= live["metadata"].get("labels", {}).items() else "metadata.labels")


def _value(live: Mapping[str, Any], name: str) -> str:
    try:
        return base64.b64decode(live.get("data", {}).get(name) or "", validate=True).decode()
    except (binascii.Error, UnicodeDecodeError):
        return ""


def with_leaf(desired: KubeObject, pair: pki.KeyPair) -> KubeObject:
    """Return the Secret with the leaf and its key in it; it goes to the API and nowhere else."""
    data = {"tls.crt": pair.certificate, "tls.key": pair.key}
    return replace(desired, body={**desired.body, "data": {k: base64.b64encode(v).decode() for k, v in data.items()}})
