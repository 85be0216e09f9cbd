"""Measure, from the hosts themselves, whether the cluster serves while it is changed.

Which hosts do it says decide/sample.py, which series there are `Questions`; they are made and timed on the hosts
(transport/sampling.py), summed up in decide/availability.py, and judged against a budget at the run's safe points.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from provisioner.compile import networks
from provisioner.compile import pki as table
from provisioner.compile.objects import PROBER_NAMESPACE
from provisioner.decide.availability import Tally
from provisioner.decide.batches import interrupts
from provisioner.decide.sample import measuring
from provisioner.errors import GateFailed, KubewrightError
from provisioner.model.availability import Availability, Batch, Budget
from provisioner.model.cluster import Cluster
from provisioner.model.components import INTERRUPTING
from provisioner.model.desired import KubeObject
from provisioner.model.endpoint import bracketed
from provisioner.model.os_state import OF_OS
from provisioner.model.plan import DATA, FORGET, Plan
from provisioner.model.ports import LOCAL_API
from provisioner.operate import etcd, kube, ledger
from provisioner.orchestrate.session.session import Session
from provisioner.report import availability as report
from provisioner.transport.sampling import DURATION, Sampling, Series

# Attempts a second of each series from each of its hosts; of a watch, the events that it should deliver.
RATES = {"vip": 10.0, "read": 2.0, "write": 2.0, "update": 2.0, "watch": 2.0, "service": 2.0, "local": 2.0, "dns": 2.0}
TIMEOUT = 5.0               # seconds; an attempt that takes longer has failed
TOKEN_LIFE = 2 * DURATION   # a channel begins with a token that is younger than DURATION, and lasts DURATION
STARTING = 15.0             # seconds in which the first host must have told something
UNSEEN = 15.0               # seconds without a word of the host that asks the API, after which no budget is kept


class Questions:
    """The series of each host that measures: what one worker (else the first) asks the API, and what each asks itself.

    `vip` asks only the API server for its version, so it shows connections; `read`, `write`, `update` and `watch` need
    etcd too; `local` is the host's own way to the API, `service` a node's way through kube-proxy, `dns` cluster DNS.
    """

    def __init__(self, cluster: Cluster, hosts: Sequence[str], run: str) -> None:
        self._api, self._run = cluster.api_endpoint.url, run
        self._service, self._name = cluster.kubernetes_service_ip, cluster.kubernetes_service_name
        self._dns = cluster.dns_ip
        there = frozenset(hosts)
        self.front = next((h.name for h in cluster.workers if h.name in there), next(iter(hosts), ""))
        self._nodes = frozenset(h.name for h in cluster.nodes if h.name in there)
        self._has_dns = networks.of(cluster).ours

    def of(self, host: str, bearer: str) -> list[Series]:
        """Return what `host` asks, as whom `bearer` says."""
        series = [_request("local", f"https://127.0.0.1:{LOCAL_API}/version", bearer)]
        if host == self.front:
            series += self._of_the_api(bearer)
            if host in self._nodes:
                series.append(_request("service", f"https://{bracketed(self._service)}/version", bearer))
        if host in self._nodes and self._has_dns:
            series.append({"name": "dns", "kind": "dns", "server": self._dns, "query": self._name,
                           "answer": self._service})
        return [_scheduled(one, n / len(series)) for n, one in enumerate(series)]

    def _of_the_api(self, bearer: str) -> list[Series]:
        keys, beat = f"{self._api}{ledger.KEYS}", f"{self._api}{ledger.KEYS}/{ledger.BEAT}"
        return [
            _request("vip", f"{self._api}/version", bearer),
            _request("read", beat, bearer),
            _request("write", keys, bearer, "POST", ledger.key(self._run, "{n}"), status=[201], first=0),
            _request("update", beat, bearer, "PATCH", json.dumps({"data": {"number": "{n}"}}), first=0,
                     content="application/merge-patch+json"),
            {**_request("watch", f"{keys}?watch=1&fieldSelector=metadata.name%3D{ledger.BEAT}", bearer),
             "kind": "stream"}]


def _request(name: str, url: str, bearer: str, method: str = "GET", body: str | None = None, *,
             content: str = "application/json", **more: Any) -> Series:
    headers = {"Authorization": f"Bearer {bearer}", "Accept": "application/json"}
    sent = {} if body is None else {"body": body, "method": method}
    return {"name": name, "kind": "http", "url": url, "ca": table.CA,
            "headers": headers | ({"Content-Type": content} if sent else {}), **sent, **more}


def _scheduled(one: Series, phase: float) -> Series:
    return {**one, "rate": RATES[str(one["name"])], "timeout": TIMEOUT, "phase": phase}


class Prober:
    """One measurement of a cluster, from `start` to `stop`; `objects` are applied first where the prober has no name.

    The prober's own trouble never looks like the cluster's: what it cannot see is `not_seen`.
    """

    def __init__(self, session: Session, budget: Budget, objects: Sequence[KubeObject] = ()) -> None:
        self._session, self._budget, self._objects = session, budget, objects
        there = [h.name for h in session.cluster.machines if h.roles and h.name not in session.unreachable
                 and session.has_begun(h.name, "haproxy.service")]      # a new host has no way to the cluster yet
        hosts = measuring(session.cluster, there)
        self._of_all = f"{len(hosts)} of {len(there)} hosts measure" if len(hosts) < len(there) else ""
        self._questions = Questions(session.cluster, hosts, session.run.id)
        self._tally = Tally(RATES)
        self._lock = threading.Lock()
        self._bearer, self._bearer_since = "", 0.0
        self._began = self._began_at = 0.0      # by the monotonic clock, and in seconds since 1970
        self._channels: dict[tuple[str, int], float] = {}
        self._term: int | None = None
        self._rebooted: set[str] = set()
        self._left_out: dict[str, int] = {}     # attempts of a host in its own turn
        self._turned: dict[str, tuple[int, float]] = {}     # until when that was, by the clock of which channel
        self._sampling = Sampling(session.hosts, hosts, self._compose, self._take)

    def start(self) -> None:
        """Become somebody in the cluster and begin; KubewrightError when nothing at all can be seen."""
        client = self._session.access.kube()
        try:
            self._take_token(client)
        except kube.ApiFault as fault:
            if fault.status != 404:
                raise
            if not self._objects:
                raise GateFailed("the cluster does not know the prober yet", hint="kubewright up",
                                 code="prober-unknown") from fault
            for item in self._objects:
                client.apply(item.body)
            self._take_token(client)
        ledger.prepare(client)
        self._term = self._raft_term()
        self._began, self._began_at = time.monotonic(), time.time()
        self._sampling.start(STARTING)
        if not self._sampling.seen:
            self._sampling.stop()
            raise GateFailed("no host measures", details=list(self._sampling.faults.values()), code="prober-blind")
        if self._of_all:
            self._session.tell("diagnostic", message=f"prober: {self._of_all}: the control planes and some others")

    def look(self) -> Availability:
        """Return what was seen until now; lost writes are known only in the end."""
        with self._lock:
            series, timeline = self._tally.results(), self._tally.timeline()
            writes = len(self._tally.acknowledged.get("write", ()))
        not_seen = {host: round(seconds, 1) for host, seconds in self._sampling.not_seen.items() if seconds >= 0.05}
        faults = {host: why for host, why in self._sampling.faults.items() if host in not_seen}
        return Availability(round(time.monotonic() - self._began, 1), series, writes, not_seen=not_seen, faults=faults,
                            began=round(self._began_at, 3), timeline=timeline)

    def check(self) -> None:
        """Raise GateFailed when the budget is spent, or nobody could tell."""
        self.judge(self.look())

    def judge(self, seen: Availability) -> None:
        """Raise GateFailed, with what was seen, when it is beyond the budget, or too little was seen to say so."""
        spent = self._budget.spent(seen)
        if spent:
            raise GateFailed(f"the prober's budget is spent: {'; '.join(spent)}", details=report.details(seen),
                             hint="kubewright status", code="slo-spent")
        front = self._questions.front
        unseen = self._sampling.longest_unseen[front]
        if self._budget.is_given and unseen > UNSEEN and front not in self._rested():
            why = self._sampling.faults.get(front, f"{front}: no word")
            raise GateFailed(
                f"a budget is given and cannot be measured: nothing was heard of {front} for {unseen:.0f} s",
                details=[why, f"{front} asks the API for all; what was seen is within the budget"],
                hint="kubewright status", code="slo-not-measured")

    def _rested(self) -> frozenset[str]:
        """Return the hosts that the run itself rebooted: that nothing was heard of them then is no fault."""
        self._rebooted |= self._session.run.resting
        return frozenset(self._rebooted)

    def stop(self, *, verify: bool = True) -> Availability:
        """End, look for every acknowledged write in the cluster, and remove them; `verify` off leaves this out."""
        seconds = round(time.monotonic() - self._began, 1)
        self._sampling.stop()
        if self._left_out:
            said = ", ".join(f"{host} ({number})" for host, number in self._left_out.items())
            self._session.tell("diagnostic", message=f"prober: not counted: what hosts tried in their own turn: {said}")
        lost = self._lost() if verify else None
        term = self._raft_term() if verify else None
        changes = None if term is None or self._term is None else term - self._term
        return replace(self.look(), seconds=seconds, lost=lost, leader_changes=changes)

    def _lost(self) -> int | None:
        try:
            client = self._session.access.fresh_kube()
            stored = ledger.stored(client, self._session.run.id)
            ledger.remove(client, self._session.run.id)
        except KubewrightError as fault:
            self._session.tell("diagnostic", message=f"prober: the ledger was not read to its end: {fault.message}")
            return None
        return len(self._tally.acknowledged.get("write", set()) - stored)

    def _raft_term(self) -> int | None:
        """Return etcd's raft term, which grows with each election, from the first member that answers."""
        for host in self._session.answering(self._session.cluster.etcd_hosts):
            try:
                return etcd.status(self._session.access.etcd(host)).raft_term
            except KubewrightError:
                continue
        return None

    def _take(self, batch: Batch) -> None:
        with self._lock:
            batch = self._of_others(batch)
            since = time.monotonic() - self._began - batch.until    # when the channel began, told as its host tells it
            began = self._channels.setdefault((batch.host, batch.channel), round(max(0.0, since), 3))
            self._tally.add(batch, began)

    def _of_others(self, batch: Batch) -> Batch:
        """Return a batch without what its host tried in its own turn, also where that ended only later."""
        host, resting = batch.host, batch.host in self._session.run.resting
        if resting:
            self._rebooted.add(host)
            self._turned[host] = batch.channel, batch.until
        if host not in self._turned:
            return batch
        channel, until = self._turned[host]
        counted = tuple(a for a in batch.attempts if not resting and (batch.channel != channel or a.at > until))
        if len(counted) < len(batch.attempts):
            self._left_out[host] = self._left_out.get(host, 0) + len(batch.attempts) - len(counted)
        return replace(batch, attempts=counted)

    def _compose(self, host: str) -> Sequence[Series]:
        with self._lock:
            if time.monotonic() - self._bearer_since > DURATION:
                self._take_token(self._session.access.fresh_kube())
            bearer = self._bearer
        return self._questions.of(host, bearer)

    def _take_token(self, client: kube.Kube) -> None:
        self._bearer = ledger.token(client, int(TOKEN_LIFE))
        self._bearer_since = time.monotonic()


def restarts(plan: Plan) -> bool:
    """Say whether the plan takes away something that serves now: a restart or reload on a cluster that lives, or newer
    OS packages, whose hosts are out of service meanwhile."""
    return not plan.bootstrap and any(c.kind in OF_OS or (c.phase in INTERRUPTING and interrupts([c]))
                                      for c in plan.changes)


def is_needed(plan: Plan) -> bool:
    """Say whether somebody may notice the plan on a cluster that lives: what restarts, a member that rewrites its data,
    one that comes or goes."""
    return not plan.bootstrap and (restarts(plan) or any(c.kind == DATA for c in plan.changes)
                                   or any(m.action != FORGET for m in plan.members))


@contextmanager
def during(session: Session, budget: Budget) -> Iterator[None]:
    """Measure while a run does what may be noticed, and tell the result; with a budget, stop the run when it is spent.

    Without a budget nothing that happens to the prober ends a run. With one, a run that cannot be measured does not
    begin: GateFailed.
    """
    if not is_needed(session.the_plan):
        yield
        return
    own = [o for o in session.the_plan.desired.objects if _is_ours(o)]
    prober = Prober(session, budget, own)
    try:
        prober.start()
    except KubewrightError as fault:
        if budget.is_given:
            raise GateFailed(f"a budget is given and cannot be measured: {fault.message}", details=fault.details,
                             hint="kubewright status", code="slo-not-measured") from fault
        session.tell("diagnostic", message=f"prober: not seen: {fault.message}")
        yield
        return
    if budget.is_given:
        session.run.safe_points.append(prober.check)
    try:
        yield
    except KeyboardInterrupt:
        tell(session, prober.stop(verify=False), budget)
        raise
    except BaseException:
        tell(session, prober.stop(), budget)
        raise
    seen = prober.stop()
    tell(session, seen, budget)
    if budget.is_given:
        prober.judge(seen)


def tell(session: Session, seen: Availability, budget: Budget) -> None:
    """Tell the result as an event: good when nothing failed, was lost or went beyond the budget."""
    good = not seen.failures and not budget.spent(seen)
    session.tell("availability", status="ok" if good else "failed", seconds=seen.seconds,
                 message=report.headline(seen), data={**seen.to_json(), "details": report.details(seen)})


def _is_ours(item: KubeObject) -> bool:
    metadata = item.body["metadata"]
    return PROBER_NAMESPACE in (metadata["name"], metadata.get("namespace"))
