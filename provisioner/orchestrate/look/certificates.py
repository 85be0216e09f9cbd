"""What `certs check` tells: every certificate and kubeconfig of ours, on every host and here.

Asked of the hosts over SSH alone, so it is told also while the API is down or the certificates have expired.
"""

from __future__ import annotations

import datetime as dt
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import Any

from provisioner.compile import pki as table
from provisioner.compile.diff import RENEW_BELOW, why_issue
from provisioner.errors import KubewrightError
from provisioner.model.certificate import CertificateSeen
from provisioner.model.desired import Certificate, File, HostDesired, Item
from provisioner.model.finding import Finding, Severity
from provisioner.model.observed import ABSENT, PairState
from provisioner.operate import health, pki
from provisioner.orchestrate.plan.survey import observe
from provisioner.orchestrate.session.session import Session

HERE = "here"
UP = "kubewright up"
OK, DUE, BAD, UNUSED = "ok", "due", "bad", "unused"
_SEVERITY: Mapping[str, Severity] = {BAD: "error", DUE: "warning", UNUSED: "warning"}
_EXPECTED = {"ca": "this inventory's CA, valid for more than a year", "certificate": "valid, and its key is its own",
             "kubeconfig": "names a certificate that is valid"}
# A leaf never outlives its CA: from here on new ones get less than their year.
CA_WARNING = 365 * 86400.0


@dataclass(frozen=True, kw_only=True)
class Row:
    """One certificate or kubeconfig at one place; a kubeconfig has the dates of the certificate that it names.

    `kind` is ca, certificate or kubeconfig. `state` is ok; due (it works, and the next `up` renews it); bad (whoever
    uses it is refused, or nothing is there); unused (left from a role that the host no longer has). `note` says why it
    is not ok, `cure` what helps. Dates are ISO 8601 in UTC, `life_left` is a share of 1; both are empty where nothing
    could be read.
    """

    host: str
    path: str
    kind: str
    state: str
    note: str = ""
    cure: str = ""
    subject: str = ""
    names: tuple[str, ...] = ()
    issuer: str = ""
    not_before: str = ""
    not_after: str = ""
    days_left: int | None = None
    life_left: float | None = None

    def finding(self, shown: str) -> Finding:
        """Return what is not as it should be, with the path as it is `shown`."""
        return Finding("certificates", self.host, _SEVERITY[self.state], f"{shown}: {self.note}", self.cure,
                       expected=_EXPECTED[self.kind], code=f"{self.kind}-{self.state}")


@dataclass(frozen=True)
class Report:
    """All rows, the hosts that could not be asked, and whether everything that is used is valid now."""

    cluster: str
    rows: tuple[Row, ...]
    unreachable: Mapping[str, KubewrightError]
    seconds: float

    @property
    def valid(self) -> bool:
        return all(row.state != BAD for row in self.rows)

    def findings(self, shown: Callable[[Row], str] = lambda row: row.path) -> list[Finding]:
        """Return what is not as it should be, and which hosts could not be asked; `shown` is a row's path as told."""
        return [*(row.finding(shown(row)) for row in self.rows if row.note),
                *(health.failed("reach", host, fault) for host, fault in self.unreachable.items())]

    def to_json(self) -> dict[str, Any]:
        """Return the report as plain values."""
        return {"cluster": self.cluster, "valid": self.valid, "certificates": [asdict(row) for row in self.rows],
                "unreachable": {host: fault.message for host, fault in self.unreachable.items()},
                "findings": [f.to_json() for f in self.findings()], "seconds": self.seconds}


def look(session: Session, kubeconfigs: Mapping[str, str]) -> Report:
    """Read everything; `kubeconfigs` are those on this machine: path -> PEM of the client certificate in it.

    Raises Unreachable only when no host answers.
    """
    began = time.monotonic()
    desired = observe(session, _wanted, partial=True)
    teller = _Teller(session, time.time())
    rows = [*teller.here(kubeconfigs)]
    for name in session.observed:
        rows += teller.host(desired.hosts[name])
    return Report(session.cluster.cluster, tuple(rows), dict(session.unreachable), round(time.monotonic() - began, 1))


def here(session: Session, kubeconfigs: Mapping[str, str]) -> list[Finding]:
    """Return what is not as it should be of this inventory's CAs and of kubeconfigs on this machine; asks no host."""
    return [row.finding(row.path) for row in _Teller(session, time.time()).here(kubeconfigs) if row.note]


def _wanted(host: HostDesired) -> tuple[Item, ...]:
    """Return what to look at: what the host should have, and what it may have from roles that it had."""
    own = [i for i in host.items if isinstance(i, Certificate)
           or (isinstance(i, File) and (i.path in table.CAS or i.path in table.KUBECONFIGS))]
    paths = {i.path for i in own}
    former: list[Item] = [
        Certificate(path=leaf.path, key_path=leaf.key_path, phase="pki", ca=leaf.ca, common_name=leaf.common_name)
        for leaf in table.TABLE if leaf.path not in paths]
    former += [File(path=p, phase="pki") for p in (*table.CAS, *table.KUBECONFIGS) if p not in paths]
    return (*own, *former)


class _Teller:
    """Judges what was seen of one session at one moment."""

    def __init__(self, session: Session, now: float) -> None:
        self.session = session
        self.now = now
        self.cas = session.target.secrets.ca_certificates()
        self.public = session.target.secrets.public()

    def here(self, kubeconfigs: Mapping[str, str]) -> Iterator[Row]:
        """Yield this inventory's CAs, and the kubeconfigs that were written on this machine."""
        for name, pem in self.public.items() if self.cas else ():
            if name in table.CAS.values():
                yield self._ca(HERE, str(self.session.target.inventory.secrets_dir / name), pem)
        for path, pem in kubeconfigs.items():
            yield self._kubeconfig_here(path, pem)

    def host(self, host: HostDesired) -> Iterator[Row]:
        """Yield what one host has, and what it lacks."""
        wanted = {(i.kind, i.path) for i in host.items}
        for item in _wanted(host):
            state = self.session.observed[host.name].state(item.kind, item.path)
            used = (item.kind, item.path) in wanted
            if state == ABSENT and not (used and self.cas):     # before the first `up` nothing is missing
                continue
            if isinstance(item, Certificate):
                row = self._leaf(host.name, item, state)
            elif item.path in table.CAS:
                row = self._ca_on(host.name, item.path, state)
            else:
                row = self._kubeconfig(host, item, state)
            if not used:
                row = replace(row, state=UNUSED, note="left from a role that the host no longer has")
            mended = row.state in (DUE, BAD) and (row.kind != "ca" or state == ABSENT)     # a CA that is there stays
            yield replace(row, cure=UP if mended else "")

    def _leaf(self, host: str, item: Certificate, state: str) -> Row:
        seen = pki.read(str(self.session.observed[host].extra(item.kind, item.path).get("pem", "")), self.cas)
        why = why_issue(item, state, seen, self.now)
        works = (seen is not None and PairState.of(state).works
                 and seen.issued_by == item.ca and seen.is_valid(self.now))
        return self._row(seen, host=host, path=item.path, kind="certificate",
                         state=OK if not why else DUE if works else BAD, note=why)

    def _ca_on(self, host: str, path: str, state: str) -> Row:
        if state == ABSENT:
            return Row(host=host, path=path, kind="ca", state=BAD, note="missing")
        pem = str(self.session.observed[host].extra("file", path).get("text", ""))
        row = self._ca(host, path, pem)
        another = pki.is_another(pem, self.public[table.CAS[path]])
        return replace(row, state=BAD, note="not this inventory's CA") if another else row

    def _ca(self, host: str, path: str, pem: str) -> Row:
        seen = pki.read(pem, self.cas)
        row = partial(self._row, seen, host=host, path=path, kind="ca")
        if seen is None:
            return row(state=BAD, note="not readable as a certificate")
        if not seen.is_valid(self.now):
            return row(state=BAD, note=seen.when(self.now))
        if seen.not_after - self.now < CA_WARNING:
            return row(state=DUE, note=f"{seen.when(self.now)}: no certificate that it signs lives longer")
        return row(state=OK, note="")

    def _kubeconfig(self, host: HostDesired, item: Item, state: str) -> Row:
        leaf = table.KUBECONFIGS[item.path]
        certificate = host.find(Certificate.kind, leaf.path)
        row = partial(Row, host=host.name, path=item.path, kind="kubeconfig")
        if state == ABSENT:
            return row(state=BAD, note="missing")
        if not isinstance(certificate, Certificate):
            return row(state=BAD, note=f"{leaf.path} is not of this host")
        of = self._leaf(host.name, certificate, self.session.observed[host.name].state("certificate", leaf.path))
        note = of.note if of.state == BAD else "" if state == item.want() else "not as this inventory writes it"
        return replace(of, path=item.path, kind="kubeconfig", note=note,
                       state=BAD if of.state == BAD else DUE if note else OK)

    def _kubeconfig_here(self, path: str, pem: str) -> Row:
        seen = pki.read(pem, self.cas)
        row = partial(self._row, seen, host=HERE, path=path, kind="kubeconfig",
                      cure=f"kubewright kubeconfig --output {path}")
        if seen is None:
            return row(state=BAD, note="no certificate in it")
        if seen.issued_by != table.ADMIN.ca:
            return row(state=BAD, note=f"not issued by this inventory's {table.ADMIN.ca} CA")
        if not seen.is_valid(self.now):
            return row(state=BAD, note=seen.when(self.now))
        if seen.life_left(self.now) < RENEW_BELOW:
            return row(state=DUE, note=seen.when(self.now))
        return row(state=OK, note="", cure="")

    def _row(self, seen: CertificateSeen | None, **values: Any) -> Row:
        if seen is None:
            return Row(**values)
        return Row(
            subject=f"{seen.organization}/{seen.common_name}" if seen.organization else seen.common_name,
            names=(*seen.dns_names, *seen.ip_addresses), issuer=seen.issued_by or seen.issuer,
            not_before=_iso(seen.not_before), not_after=_iso(seen.not_after),
            days_left=int((seen.not_after - self.now) // 86400), life_left=round(seen.life_left(self.now), 4), **values)


def _iso(moment: float) -> str:
    return dt.datetime.fromtimestamp(moment, dt.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
