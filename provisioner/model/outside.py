"""What hosts are told of the world outside the cluster: registries, a mirror, a proxy, time servers."""

from __future__ import annotations

from pydantic import Field

from provisioner.model.section import Section

LOGINS = "registries"       # directory of the secrets, and the first part of a login's name among them


class Registry(Section):
    """One registry, as containerd reaches it."""

    mirrors: tuple[str, ...] = Field(
        default=(), description="URLs that are asked before the registry, in this order")
    fallback: bool = Field(default=True, description="False: the registry itself is never asked, its mirrors alone are")
    login: bool = Field(
        default=False, description="True: images are pulled with the login that `kubewright registry login` keeps")
    ca: str | None = Field(
        default=None, description="Certificates (PEM) by which its servers are known, beside those of the system")


class Proxy(Section):
    """The way to the world for hosts that have none of their own."""

    http: str | None = Field(default=None, description="URL of the proxy for http")
    https: str | None = Field(default=None, description="URL of the proxy for https; often the same, http:// too")
    no_proxy: tuple[str, ...] = Field(
        default=(), description="What else is reached without it, beside the cluster's own: names, .domains, ranges")


class Artifacts(Section):
    """Where hosts get the files that artifacts.lock pins."""

    mirror: str | None = Field(
        default=None, alias="from", description="URL below which hosts fetch them for themselves, as files/SHA256 (a "
        "bundle that is a directory, served); what it does not give comes from here; default: all does")


class Time(Section):
    """Where hosts get their time from."""

    servers: tuple[str, ...] = Field(
        default=(), description="Names or addresses of NTP servers, for systemd-timesyncd or chrony, whichever runs")


def login_name(registry: str) -> str:
    """Return the name of a registry's login among the secrets."""
    return f"{LOGINS}/{registry}"
