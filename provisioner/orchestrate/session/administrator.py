"""An administrator's own certificate: bound by name, so that people are told apart and one can be shut out alone."""

from __future__ import annotations

import datetime as dt

from provisioner.errors import InventoryRefused, RefusedForSafety
from provisioner.model.desired import Certificate
from provisioner.operate import pki
from provisioner.orchestrate.session.session import Session

LIFE = dt.timedelta(days=90)


def credentials(session: Session) -> tuple[bytes, bytes, bytes]:
    """Return the cluster CA's certificate, and a new certificate and key in the name of the operator who asks.

    Raises InventoryRefused where no operator's key is at hand, RefusedForSafety where the cluster has another CA.
    """
    there = session.access.cluster_ca()
    name = session.target.secrets.operator()
    if not name:
        raise InventoryRefused("none of your keys is that of one of the `operators:`", code="no-operator",
                               details=["the CA's key, which signs your certificate, is encrypted to theirs"],
                               hint="kubewright kubeconfig --shared")
    ca = session.target.secrets.ca("cluster")
    if pki.is_another(there.decode(errors="replace"), ca.certificate.decode()):
        raise RefusedForSafety("the cluster has another CA than this inventory, and would not know your certificate",
                               code="foreign-ca", hint="use the inventory that built it")
    item = Certificate(path="", phase="access", key_path="", ca="cluster", common_name=name, client=True)
    pair = pki.issue(item, ca, LIFE)
    return ca.certificate, pair.certificate, pair.key
