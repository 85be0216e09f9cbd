"""Where something listens: a host and a port, written with brackets where the host is an IPv6 address."""

from __future__ import annotations

import re
from dataclasses import dataclass

SSH_PORT = 22
_HIGHEST = 65535
# `[fd00::1]:6443`, `lb.example.org:6443`, and both without a port.
_FORM = re.compile(r"(\[(?P<v6>[0-9A-Fa-f:.]+)\]|(?P<host>[^\[\]:\s]+))(:(?P<port>\d{1,5}))?")


@dataclass(frozen=True)
class Endpoint:
    """A host (a name or an address, which has no brackets here) and a port; `str` is HOST:PORT, `url` the https one."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"{bracketed(self.host)}:{self.port}"

    @property
    def url(self) -> str:
        """Return the https URL of its root, without the last slash."""
        return f"https://{self}"

    @classmethod
    def parse(cls, text: str, port: int | None = None) -> Endpoint:
        """Read HOST:PORT, of which an IPv6 host needs its brackets; `port` is what counts where none is given.

        ValueError where it is not of that form, or the port is none.
        """
        found = _FORM.fullmatch(text)
        given = int(found["port"]) if found is not None and found["port"] else port
        if found is None or given is None or not 1 <= given <= _HIGHEST:
            raise ValueError(f"{text!r} is not HOST:PORT")
        return cls(found["v6"] or found["host"], given)


def known_hosts_name(host: str, port: int) -> str:
    """Return the name that a place has in a known_hosts file, as OpenSSH writes it: at port 22 the host alone."""
    return host if port == SSH_PORT else f"[{host}]:{port}"


def bracketed(host: str) -> str:
    """Return a host as it stands in a URL and before a port."""
    return f"[{host}]" if ":" in host else host
