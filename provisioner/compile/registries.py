"""Registries: where containerd gets images, and what the kubelet gives it to log in with.

containerd reads a `hosts.toml` a registry (its docs/hosts.md). A login is none of its files, which would show it among
plain settings: the kubelet asks a program for it at each pull (Kubernetes' docs, "Configure a kubelet image credential
provider") and hands it on. It is offered to whichever server of that registry asks for one.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple

from provisioner.compile.context import HostContext
from provisioner.compile.parts import directories, rendered
from provisioner.compile.render import render
from provisioner.errors import InventoryRefused
from provisioner.model.cluster import Cluster
from provisioner.model.desired import Directory, File, Item
from provisioner.model.outside import Registry, login_name
from provisioner.model.secret import SecretRef

DIRECTORY = "/etc/containerd/certs.d"
LOGINS_DIR = "/etc/kubewright/registries"
PROGRAMS_DIR = "/opt/kubewright/registries"
PROVIDERS = "/etc/kubernetes/image-logins.yaml"
# By whom images without a registry in their name are served, which is another than what they are called by.
DOCKER, DOCKER_SERVER = "docker.io", "https://registry-1.docker.io"


class Server(NamedTuple):
    """One server of a registry; `as_it_is`: its URL has a path, to which nothing is added."""

    url: str
    as_it_is: bool


def with_login(cluster: Cluster) -> tuple[str, ...]:
    """Return the registries that images are pulled from with a login."""
    return tuple(name for name, one in cluster.registries.items() if one.login)


def items(ctx: HostContext) -> Iterator[Item]:
    """Return what containerd of a node is told of each registry."""
    if not ctx.is_node or not ctx.cluster.registries:
        return
    yield from directories([DIRECTORY], "runtime")
    for name, registry in ctx.cluster.registries.items():
        yield from _registry(name, registry)


def _registry(name: str, registry: Registry) -> Iterator[Item]:
    place = f"{DIRECTORY}/{name}"
    yield Directory(path=place, phase="runtime", component="containerd")
    ca = f"{place}/ca.crt" if registry.ca else ""
    if registry.ca:
        yield File(path=ca, phase="runtime", component="containerd", content=registry.ca)
    mirrors = [_server(url) for url in registry.mirrors]
    own = Server(DOCKER_SERVER if name == DOCKER else f"https://{name}", as_it_is=False)
    *before, last = [*mirrors, own] if registry.fallback else mirrors
    text = render(f"{DIRECTORY}/hosts.toml", registry=name, ca=ca, mirrors=before, server=last)
    yield File(path=f"{place}/hosts.toml", phase="runtime", component="containerd", content=text)


def _server(url: str) -> Server:
    return Server(url, as_it_is=bool(url.partition("://")[2].partition("/")[2]))


def logins(ctx: HostContext) -> Iterator[Item]:
    """Return what the kubelet of a node logs in to registries with."""
    names = with_login(ctx.cluster)
    if not names:
        return
    yield Directory(path=LOGINS_DIR, phase="node", component="kubelet", mode=0o700)
    yield from directories([PROGRAMS_DIR], "node")
    for name in names:
        login = f"{LOGINS_DIR}/{name}.json"
        yield File(path=login, phase="node", component="kubelet", mode=0o600, secret=ctx.secret(login_name(name)))
        yield File(path=f"{PROGRAMS_DIR}/{name}", phase="node", component="kubelet", mode=0o755,
                   content=render(f"{PROGRAMS_DIR}/login", login=login))
    yield rendered(PROVIDERS, "node", component="kubelet", registries=names)


def flags(cluster: Cluster) -> dict[str, object]:
    """Return the kubelet's flags that say where logins are; none where no registry has one."""
    if not with_login(cluster):
        return {}
    return {"image-credential-provider-config": PROVIDERS, "image-credential-provider-bin-dir": PROGRAMS_DIR}


def refuse_without_login(cluster: Cluster, secrets: Mapping[str, SecretRef]) -> None:
    """Refuse an inventory whose registry has a login that nobody has given yet."""
    lost = [name for name in with_login(cluster) if login_name(name) not in secrets]
    if lost:
        raise InventoryRefused(
            f"registries: no login is kept for {', '.join(lost)}", code="registry-without-login",
            details=["`login: true` wants one, which rests among the secrets, encrypted to the operators"],
            hint=f"kubewright registry login {lost[0]} --username NAME")
