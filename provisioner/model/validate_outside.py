"""Rules for what hosts are told of the world outside the cluster: pure functions, each fault a (path, message)."""

from __future__ import annotations

import re
import ssl
from collections.abc import Iterator
from typing import NamedTuple

from provisioner.model.cluster import Cluster
from provisioner.model.document import Path
from provisioner.model.outside import Registry
from provisioner.model.syntax import HOST_PATTERN, host_fault, matches_with_port
from provisioner.model.values import escaped

Faults = Iterator[tuple[Path, str]]

_REGISTRY = re.compile(r"[a-z0-9]([a-z0-9.-]*[a-z0-9])?(:(?P<port>\d{1,5}))?")
_URL = re.compile(r"(?P<scheme>https?)://(?P<server>[^/]+)(?P<path>/[A-Za-z0-9._~/%-]*)?")
_SERVER = re.compile(rf"{HOST_PATTERN}(:(?P<port>\d{{1,5}}))?")
_DIRECT = re.compile(r"[A-Za-z0-9.*:/\[\]-]+")
# By other names of the same place containerd and the kubelet would not find it.
_DOCKER = ("index.docker.io", "registry-1.docker.io", "hub.docker.com", "registry.hub.docker.com")


def registries(cluster: Cluster) -> Faults:
    """What is said of registries: their names, their mirrors, who is given a login."""
    for name, registry in cluster.registries.items():
        path = ("registries", name)
        if name in _DOCKER:
            yield path, "images are called docker.io/NAME wherever they come from: write docker.io"
        elif not matches_with_port(_REGISTRY, name):
            yield path, f"`{escaped(name)}` is not HOST or HOST:PORT, as images begin with it: " \
                "registry.example.org:5000"
        for index, url in enumerate(registry.mirrors):
            fault = _mirror_fault(url, registry)
            if not fault and url in registry.mirrors[:index]:
                fault = f"{url} is in the list twice"
            if fault:
                yield (*path, "mirrors", index), fault
        yield from ((((*path, key), fault)) for key, fault in _registry_faults(name, registry))


def artifacts(cluster: Cluster) -> Faults:
    """A mirror that cannot be one."""
    mirror = cluster.artifacts.mirror
    fault = url_fault(mirror)[0] if mirror is not None else ""
    if fault:
        yield ("artifacts", "from"), fault


def proxy(cluster: Cluster) -> Faults:
    """What is said of the proxy: its URLs, and what is reached without it."""
    said = cluster.proxy
    if said is None:
        return
    for key, url in (("http", said.http), ("https", said.https)):
        fault, parts = url_fault(url) if url is not None else ("", None)
        if not fault and parts is not None and parts.path not in ("", "/"):
            fault = f"`{escaped(str(url))}` has a path, and a proxy has none"
        if fault:
            yield ("proxy", key), fault
    if said.http is None and said.https is None:
        yield ("proxy",), "names no proxy: give http, https or both"
    for index, entry in enumerate(said.no_proxy):
        if not _DIRECT.fullmatch(entry):
            yield ("proxy", "no_proxy", index), \
                f"`{escaped(entry)}` is neither a name, a .domain, an address nor a range"


def time(cluster: Cluster) -> Faults:
    """Time servers that cannot be some, or that stand there twice."""
    for index, server in enumerate(cluster.time.servers):
        fault = host_fault(server)
        if not fault and server in cluster.time.servers[:index]:
            fault = f"{server} is in the list twice"
        if fault:
            yield ("time", "servers", index), fault


def trust(cluster: Cluster) -> Faults:
    """Authorities that are no certificates, or several in one."""
    for index, text in enumerate(cluster.trust):
        fault = pem_fault(text)
        if not fault and text.count("BEGIN CERTIFICATE") > 1:
            fault = "several certificates in one: each is an entry of its own"
        if fault:
            yield ("trust", index), fault


def _registry_faults(name: str, registry: Registry) -> Iterator[tuple[str, str]]:
    if not registry.fallback and not registry.mirrors:
        yield "fallback", f"false leaves nobody to ask for images of {name}: it has no mirrors"
    if registry.login and registry.mirrors and registry.fallback:
        yield "login", "the login is offered to whoever of the registry's servers asks for one, the mirrors and the " \
            "registry itself: say whom it is for by `fallback: false`, or take the mirrors out"
    if registry.ca is not None and (fault := pem_fault(registry.ca)):
        yield "ca", fault
    if registry == Registry():
        yield "mirrors", f"nothing is said of {name} that is not so anyway: take it out, or give it mirrors, a ca or " \
            "a login"


def _mirror_fault(url: str, registry: Registry) -> str:
    fault, parts = url_fault(url)
    if fault or parts is None:
        return fault
    if registry.login and parts.scheme == "http":
        return f"{url} would be told the login in clear: use https"
    if parts.path not in ("", "/") and "/v2" not in parts.path:
        return f"{url}: nothing is added to a path, so it has the registry's own /v2 in it: " \
            f"{parts.scheme}://{parts.server}/v2{parts.path.rstrip('/')}"
    return ""


class Url(NamedTuple):
    """The URL of a server in its parts."""

    scheme: str
    server: str
    path: str


def url_fault(url: str) -> tuple[str, Url | None]:
    """Return what is wrong with the URL of a server, or its parts; it stands in files that everybody may read."""
    if "@" in url.partition("://")[2].partition("/")[0]:
        return "a URL with a login in it would stand in files that everybody may read: take it out, and change that " \
            "password", None
    found = _URL.fullmatch(url)
    if found and matches_with_port(_SERVER, found["server"]):
        return "", Url(found["scheme"], found["server"], found["path"] or "")
    return f"`{escaped(url)}` is not a URL of a server, such as https://mirror.example.org:5000", None


def pem_fault(text: str) -> str:
    """Return what is wrong with certificates in PEM form, or nothing."""
    if "PRIVATE KEY" in text:
        return "this is a PRIVATE key: take it out, and out of wherever this file has been; certificates stand here"
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(cadata=text)
    except (ssl.SSLError, ValueError):
        return "not a certificate in PEM form: the lines from BEGIN CERTIFICATE to END CERTIFICATE, below `|`"
    return ""
