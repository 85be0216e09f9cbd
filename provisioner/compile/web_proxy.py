"""The proxy that hosts reach the world through: who is told of it, and what is never sent there.

Told are containerd, which pulls images, apt or dnf while packages are installed, and what fetches from the mirror.
Nobody else of ours speaks to anything but the cluster.
"""

from __future__ import annotations

from contextlib import suppress
from ipaddress import ip_address, ip_network

from provisioner.model.cluster import Cluster
from provisioner.model.sharing import Mirror
from provisioner.model.validate_outside import url_fault


def direct(cluster: Cluster) -> str:
    """Return what is reached without it, as programs in Go read `NO_PROXY` (golang.org/x/net/http/httpproxy).

    The networks of hosts and no host by its name: a host that comes must not restart containerd on all others.
    """
    network = cluster.network
    external = (cluster.api_endpoint.host,) if cluster.api.external else ()
    own = ("localhost", "127.0.0.0/8", "::1", *network.hosts, *(cluster.api.vips or ()), *external, *network.pods,
           *network.services, ".svc", f".{network.domain}", *(cluster.proxy.no_proxy if cluster.proxy else ()))
    return ",".join(dict.fromkeys(map(str, own)))


def environment(cluster: Cluster) -> dict[str, str]:
    """Return the variables of a service that goes through it; nothing where there is none.

    Both are said though one is not given: what systemd tells all services of a host must not be the other.
    """
    proxy = cluster.proxy
    if proxy is None:
        return {}
    return {"HTTP_PROXY": proxy.http or "", "HTTPS_PROXY": proxy.https or "", "NO_PROXY": direct(cluster)}


def before_packages(cluster: Cluster) -> list[str]:
    """Return the words before a call of apt or dnf, whose own settings on a host win; nothing without a proxy."""
    said = {name.lower(): value for name, value in environment(cluster).items() if value}
    return ["env", *(f"{name}={value}" for name, value in said.items())] if said else []


def mirror_of(cluster: Cluster) -> Mirror | None:
    """Return how hosts reach the inventory's mirror; None where it has none."""
    url = cluster.artifacts.mirror
    parts = url_fault(url)[1] if url is not None else None
    if url is None or parts is None:        # validated: the second is with the first
        return None
    server = parts.server.rpartition("]")[0].removeprefix("[") or parts.server.partition(":")[0]
    proxy = getattr(cluster.proxy, parts.scheme, None) or ""
    return Mirror(url, "" if is_direct(server, direct(cluster)) else proxy, cluster.trust)


def is_direct(server: str, without: str) -> bool:
    """Say whether a list as `direct` has it names a server: by its name, a domain above it, its address or a range."""
    for entry in without.split(","):
        name = entry.removeprefix("*")
        if entry == "*" or server == entry or (name.startswith(".") and server.endswith(name)) \
                or server.endswith(f".{entry}"):
            return True
        with suppress(ValueError):      # one of them is a name
            if ip_address(server) in ip_network(entry, strict=False):
                return True
    return False
