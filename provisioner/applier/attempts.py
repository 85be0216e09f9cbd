"""One attempt at a service, on a connection of its own: TCP, TLS, an HTTP request with its whole answer, DNS."""

from __future__ import annotations

import contextlib
import http.client
import json
import socket
import ssl
import time
from typing import Any, Callable, Iterator, Mapping, Optional
from urllib.parse import urlsplit

from . import dns
from .host import Fault, Host

NUMBER = "{n}"      # stands for the attempt's number in an HTTP attempt's URL and body
SNIPPET = 200
Series = Mapping[str, Any]
Contexts = dict[tuple[str, ...], ssl.SSLContext]
FAULTS = (OSError, Fault, http.client.HTTPException)


class Cut(Exception):
    """The connection ended between the request and the end of its answer."""


class Deadline:
    """What is left of an attempt's time; the clock is this host's own."""

    def __init__(self, seconds: float) -> None:
        self._end = time.monotonic() + seconds
        self._text = f"no answer within {seconds:g} s"

    def left(self) -> float:
        """Return the seconds that are left; TimeoutError when there are none."""
        left = self._end - time.monotonic()
        if left <= 0:
            raise TimeoutError(self._text)
        return left

    def words(self, fault: BaseException) -> str:
        """Say what went wrong in one line; every kind of timeout has the same words."""
        if isinstance(fault, (TimeoutError, socket.timeout)) or "timed out" in str(fault):
            return self._text
        if isinstance(fault, (ssl.SSLEOFError, ssl.SSLZeroReturnError)):
            return "closed in the TLS handshake"
        if isinstance(fault, ssl.SSLError):
            return f"TLS: {getattr(fault, 'verify_message', '') or fault.reason or fault}"
        if isinstance(fault, OSError) and fault.strerror:
            return fault.strerror.lower()
        return " ".join(str(fault).split()) or type(fault).__name__


def context(host: Host, one: Series, known: Contexts) -> Optional[ssl.SSLContext]:
    """Return the TLS settings of a series, one object for all that name the same files; None where it uses no TLS."""
    if one["kind"] != "tls" and not str(one.get("url", "")).startswith("https:"):
        return None
    files = tuple(str(one.get(name, "")) for name in ("ca", "cert", "key"))
    if files not in known:
        ca, cert, key = files
        known[files] = ssl.create_default_context(cafile=host.at(ca) if ca else None)
        if cert:
            known[files].load_cert_chain(host.at(cert), host.at(key), password=lambda: b"")
    return known[files]


def place(one: Series) -> tuple[str, int]:
    """Return the address and port that a series connects to."""
    if "url" not in one:
        return str(one["address"]), int(one["port"])
    url = urlsplit(one["url"])
    return url.hostname or "", url.port or (443 if url.scheme == "https" else 80)


@contextlib.contextmanager
def connected(one: Series, tls: Optional[ssl.SSLContext], deadline: Deadline) -> Iterator[socket.socket]:
    """Open a new connection, with a new TLS handshake where there is TLS, and close it in the end."""
    address, port = place(one)
    with contextlib.ExitStack() as stack:
        stream = stack.enter_context(socket.create_connection((address, port), deadline.left()))
        if tls is not None:
            stream.settimeout(deadline.left())
            stream = stack.enter_context(
                tls.wrap_socket(stream, server_hostname=str(one.get("server_name") or address)))
        yield stream


def ask(one: Series, stream: socket.socket, number: int, deadline: Deadline) -> http.client.HTTPResponse:
    """Send the request of a series and return the answer's head; Fault when its status is not a wanted one."""
    address, port = place(one)
    url = urlsplit(_numbered(one["url"], number))
    connection = http.client.HTTPConnection(str(one.get("server_name") or address), port)
    connection.sock = stream
    body = one.get("body")
    headers = {"Connection": "close", **one.get("headers", {})}
    stream.settimeout(deadline.left())
    try:
        connection.request(str(one.get("method", "GET")), (url.path or "/") + (f"?{url.query}" if url.query else ""),
                           None if body is None else _numbered(body, number).encode(), headers)
        answer = connection.getresponse()
    except (ConnectionError, ssl.SSLEOFError) as lost:
        raise Cut(f"cut before the answer ({deadline.words(lost)})") from None
    if answer.status not in one.get("status", [200]):
        body = b""
        with contextlib.suppress(*FAULTS):
            body = answer.read(4096)
        raise Fault(" ".join(f"{answer.status} {answer.reason}: {said(body)}".split()))
    return answer


def said(body: bytes) -> str:
    """Return an error body's own `message` where it is a JSON object with one, else its beginning."""
    with contextlib.suppress(ValueError, KeyError, TypeError):
        return str(json.loads(body)["message"])[:SNIPPET]
    return body[:SNIPPET].decode(errors="replace")


def _numbered(text: str, number: int) -> str:
    return str(text).replace(NUMBER, str(number))


def _tcp(one: Series, tls: Optional[ssl.SSLContext], number: int, deadline: Deadline) -> None:
    with connected(one, None, deadline):
        pass


def _tls(one: Series, tls: Optional[ssl.SSLContext], number: int, deadline: Deadline) -> None:
    with connected(one, tls, deadline):
        pass


def _http(one: Series, tls: Optional[ssl.SSLContext], number: int, deadline: Deadline) -> None:
    with connected(one, tls, deadline) as stream:
        answer = ask(one, stream, number, deadline)
        stream.settimeout(deadline.left())
        try:
            answer.read()
        except (ConnectionError, ssl.SSLEOFError, http.client.IncompleteRead) as lost:
            raise Cut(f"cut within the answer ({deadline.words(lost)})") from None


def _dns(one: Series, tls: Optional[ssl.SSLContext], number: int, deadline: Deadline) -> None:
    found = dns.ask(one["server"], one["query"], deadline.left())
    if not found or one.get("answer", found[0]) not in found:
        raise Fault(f"{one['query']} is {', '.join(found) or 'nothing'}, should be {one.get('answer', 'an address')}")


KINDS: dict[str, Callable[[Series, Optional[ssl.SSLContext], int, Deadline], None]] = {
    "tcp": _tcp, "tls": _tls, "http": _http, "dns": _dns,
}


def attempt(one: Series, tls: Optional[ssl.SSLContext], number: int, timeout: float) -> tuple[str, bool]:
    """Try once; return why it failed (empty: it did not, and took no longer than `timeout`) and whether it was cut."""
    deadline = Deadline(timeout)
    try:
        KINDS[one["kind"]](one, tls, number, deadline)
        deadline.left()
    except Cut as cut:
        return str(cut), True
    except FAULTS as fault:
        return deadline.words(fault), False
    return "", False
