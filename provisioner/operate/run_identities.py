"""What a run's hosts prove themselves by to one another: a CA that nobody keeps, and a leaf for each."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable

from provisioner.model.desired import Certificate
from provisioner.model.sharing import Identity
from provisioner.operate import pki

LIFETIME = dt.timedelta(days=1)     # a run is shorter, and what it proves ends with it


def make(hosts: Iterable[str]) -> dict[str, Identity]:
    """Return an identity for each host, all of one new CA whose key is forgotten at once."""
    ca = pki.new_ca("kubewright-run")
    return {host: _identity(host, ca) for host in hosts}


def _identity(host: str, ca: pki.KeyPair) -> Identity:
    leaf = Certificate(path="", phase="stage", key_path="", ca="run", common_name="kubewright-peer", dns_names=(host,),
                       server=True, client=True)
    pair = pki.issue(leaf, ca, LIFETIME)
    return Identity(ca.certificate.decode(), pair.certificate.decode(), pair.key.decode())
