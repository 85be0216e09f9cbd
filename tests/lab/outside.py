"""Load from outside of all nodes, as a client on another machine has it: it goes on while any of them is rebooted."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from tests.lab.load import LEDGER, VIP, WRITES_PER_SECOND, Load
from tests.lab.machines import Lab

HERE = "--here"     # of `lab exec`: this machine, inside the lab's network
FIELDS = {"ca": "certificate-authority-data", "cert": "client-certificate-data", "key": "client-key-data"}


def credentials(lab: Lab) -> dict[str, str]:
    """Write an administrator's certificate, key and CA beside the inventory, and return their places."""
    config = lab.directory / "kubeconfig"
    lab.run("kubeconfig", "--output", str(config))
    kubeconfig = yaml.safe_load(config.read_text(encoding="utf-8"))
    said = {**kubeconfig["users"][0]["user"], **kubeconfig["clusters"][0]["cluster"]}
    places = {}
    for name, field in FIELDS.items():
        place = lab.directory / f"outside.{name}"
        place.touch(mode=0o600)
        place.write_bytes(base64.b64decode(said[field]))
        places[name] = str(place)
    return places


def series(of: Mapping[str, str]) -> list[Mapping[str, Any]]:
    """Return ten reads a second through the VIP and twenty numbered writes, each on a new TLS connection."""
    body = {"metadata": {"name": "n{n}"}, "data": {"n": "{n}"}}
    return [
        {"name": VIP, "kind": "http", "url": f"{VIP}/api", "rate": 10, "timeout": 5.0, **of},
        {"name": "writes", "kind": "http", "url": f"{VIP}/api/v1/namespaces/{LEDGER}/configmaps", "method": "POST",
         "body": json.dumps(body), "headers": {"Content-Type": "application/json"}, "status": [201],
         "rate": WRITES_PER_SECOND, "timeout": 5.0, "first": 0, **of}]


@contextmanager
def load(lab: Lab) -> Iterator[Load]:
    """Send it during the block."""
    places = credentials(lab)
    try:
        with Load(lab, HERE, series(places)) as running:
            yield running
    finally:
        for place in places.values():
            Path(place).unlink(missing_ok=True)
