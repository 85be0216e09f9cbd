"""Proofs about API servers, and about the load balancers that lead to them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from provisioner.compile.pki import APISERVER_UNIT
from provisioner.model.ports import LOCAL_API
from provisioner.orchestrate.gates.gate_probes import (
    API_IS_READY,
    Probe,
    control_plane_probe,
    host_probes,
    https,
    vip_probes,
)
from provisioner.orchestrate.gates.proofs import DEADLINE, STOP, hosts_hold, that_serve
from provisioner.orchestrate.session.session import Session

START = 60.0        # seconds from its start in which an API server of a running cluster has to be ready


def api_servers_that_serve(session: Session, hosts: Sequence[str]) -> list[str]:
    """Return those of `hosts` whose API server says now that it is ready; restarting another takes nothing away."""
    return that_serve(session, {h: control_plane_probe(session, h) for h in hosts})


def other_api_servers_are_ready(session: Session, host: str) -> None:
    """Prove that every API server but that of `host`, which is about to be restarted, is ready."""
    probes = {h: [control_plane_probe(session, h)] for h in session.api_servers}
    hosts_hold(session, {h: p for h, p in probes.items() if h != host}, "control-plane", when="before")


def api_server_is_back(session: Session, host: str, *, with_its_inputs: bool) -> None:
    """Prove that `host`'s API server runs and is ready itself, whatever the load balancers do.

    Without `with_its_inputs` it still runs with those that it had: its own change has a turn that comes later.
    """
    units = [p for p in host_probes(session, host, "control-plane") if p["kind"] == "unit"]
    probes = units if with_its_inputs else [{k: p[k] for k in p.keys() - {"current"}} for p in units]
    changed_are_ready(session, {host: [*probes, control_plane_probe(session, host)]})


def changed_are_ready(session: Session, probes: Mapping[str, Sequence[Probe]]) -> None:
    """Prove API servers that ran before; each may take its time to stop, and beside others it has START for its start.

    Whoever goes back has nothing to go back to, and the only one is all that a small machine starts: both are waited
    for to the end.
    """
    alone = len(session.api_servers) < 2
    bounded = {h: [p if alone or p["name"] != API_IS_READY or h in session.run.as_they_run else
                   {**p, "unit": APISERVER_UNIT, "patience": START} for p in of_host] for h, of_host in probes.items()}
    hosts_hold(session, bounded, "control-plane", STOP + DEADLINE)


def balancers_answer(session: Session) -> None:
    """Prove that the API is reached through HAProxy on every load balancer, and at the VIP where a host holds it.

    A VIP that no host had when the run began is new or lost: nothing is taken away from it.
    """
    balancers = [h.name for h in session.cluster.load_balancers if session.has_begun(h.name, "haproxy.service")]
    probe = https("kube-apiserver through haproxy", "127.0.0.1", LOCAL_API)
    hosts_hold(session, {h: [probe] for h in balancers}, "load-balancer", 30.0, when="before")
    vip = session.cluster.api.vip
    if vip is not None and any(o.facts.interface_of(str(vip)) for o in session.observed.values()):
        vip_answers(session, when="before")


def balancer_serves(session: Session, host: str) -> bool:
    """Say whether the API is reached now through `host`'s own HAProxy."""
    return bool(that_serve(session, {host: https("kube-apiserver through haproxy", "127.0.0.1", LOCAL_API)}))


def vip_answers(session: Session, *, when: str = "after") -> None:
    """Prove from every load balancer that the API answers at the VIP."""
    hosts_hold(session, vip_probes(session), "control-plane", 30.0, when=when)
