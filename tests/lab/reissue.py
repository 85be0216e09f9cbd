"""The one `up` of a test session that carries secrets to every kind of host, watched from all sides."""

from __future__ import annotations

import datetime as dt
import json
import re
import subprocess
import threading
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from provisioner.compile import pki as table
from provisioner.model.desired import Certificate
from provisioner.operate import pki
from provisioner.operate.secrets import SECRET_NAMES
from provisioner.orchestrate.session.session import open_store
from tests.lab.conftest import NODES, ROOT, Lab, unit_ids
from tests.lab.hostside import at_once, remote
from tests.lab.needles import Needles
from tests.lab.shown import Processes, Trace

YEAR = dt.timedelta(days=365)
# one for each kind of reader: a controller, a member, a kubelet
OLD = (("cp2", table.SCHEDULER), ("cp3", table.ETCD_PEER), ("w1", table.KUBELET_SERVING))
ISSUING = threading.Lock()
SECRET_FILES = (table.CA_KEY, table.SA_KEY, table.ENCRYPTION_CONFIG)
KEYS = "find /etc/kubernetes /etc/haproxy -name '*.key' -type f | while read -r f; do echo \"== $f\"; cat \"$f\"; done"


@dataclass
class Reissue:
    """What was seen before, during and after."""

    lab: Lab
    began: float
    plan: dict[str, Any]
    check: subprocess.CompletedProcess[str]
    shown: dict[str, str]                    # verb -> all that it printed
    processes: Processes
    trace: Trace
    needles: Needles
    units: tuple[dict[str, str], dict[str, str]]


def reissue(lab: Lab, directory: Path) -> Reissue:
    """Bring certificates near their end, loosen secret files, and let `up` mend it all."""
    began = time.time()
    secrets = stored(lab) | keys_on_hosts(lab)
    for host, leaf in OLD:
        age(lab, host, leaf, dt.timedelta(days=20, hours=1))
    before = unit_ids(lab)
    seen = at_once({" ".join(verb): partial(lab.run, "-o", "json", *verb, check=False)
                    for verb in (("certs", "check"), ("plan",))})
    # Not for the plan: they make `up` carry the secrets themselves once more.
    lab.on("cp1", "chmod", "0640", *SECRET_FILES)
    shown = {"plan": _all(lab.run("plan", "-v", "--diff"))}
    processes, trace = Processes(), Trace(directory / "strace")
    with processes.watched():
        up = subprocess.run(trace.of(lab.argv("up", "--yes", "-v")), cwd=ROOT, capture_output=True, text=True,
                            errors="surrogateescape", timeout=500, check=False)
    shown["up"] = _all(up)
    assert up.returncode == 0, shown["up"]
    needles = Needles(secrets | {f"{name} (new)": key for name, key in keys_on_hosts(lab).items()})
    return Reissue(lab, began, document(seen["plan"]), seen["certs check"], shown, processes, trace, needles,
                   (before, unit_ids(lab)))


def stored(lab: Lab) -> dict[str, bytes]:
    """Return the secrets of the inventory, and the operator's key that opens them."""
    store, operator = open_store(lab.inventory), lab.inventory.ssh_key_path
    assert operator is not None
    return {name: store.resolve(name) for name in SECRET_NAMES} | {"operator": operator.read_bytes()}


def keys_on_hosts(lab: Lab) -> dict[str, bytes]:
    """Return the private key of every leaf certificate of every host."""
    printed = at_once({host: partial(lab.on, host, "sh", "-c", KEYS) for host in NODES})
    return {f"{host}:{path}": key.encode() for host, text in printed.items()
            for path, key in re.findall(r"^== (\S+)\n(-----BEGIN.*?-----END[^\n]*\n)", text, re.MULTILINE | re.DOTALL)
            if path not in SECRET_FILES}


def age(lab: Lab, host: str, leaf: table.Leaf, left: dt.timedelta) -> None:
    """Put a certificate of a year with so much of it left, and its key, in the place of one that the host has."""
    store = open_store(lab.inventory)
    pem = lab.on(host, "cat", leaf.path, check=False)
    if not pem:
        return
    seen = pki.read(pem, store.ca_certificates())
    assert seen is not None and seen.issued_by == leaf.ca
    item = Certificate(
        path=leaf.path, key_path=leaf.key_path, phase="pki", ca=leaf.ca, common_name=seen.common_name,
        organization=seen.organization, dns_names=seen.dns_names, ip_addresses=seen.ip_addresses, server=seen.server,
        client=seen.client)
    pair = issue(item, store.ca(leaf.ca), left)
    for path, data in ((leaf.key_path, pair.key), (leaf.path, pair.certificate)):
        remote(lab, host, ["sh", "-c", 'cat > "$1"', "write", path], data)


def issue(item: Certificate, ca: pki.KeyPair, left: dt.timedelta) -> pki.KeyPair:
    """Issue a certificate of a year with so much of it left; the tool itself issues none that began long ago."""
    with ISSUING, pytest.MonkeyPatch.context() as patch:
        patch.setattr(pki, "BACKDATE", YEAR - left)
        return pki.issue(item, ca, left)


def document(done: subprocess.CompletedProcess[str]) -> Any:
    return json.loads(done.stdout)


def _all(done: subprocess.CompletedProcess[str]) -> str:
    return done.stdout + done.stderr
