"""What every download over HTTP has in common: logins in addresses, redirections, and words for what went wrong.

The proxies are those of the environment (http_proxy, https_proxy, no_proxy), as urllib reads them.
"""

from __future__ import annotations

import http.client
import json
import re
import urllib.error
import urllib.parse
import urllib.request
from typing import IO, Any

from provisioner.errors import KubewrightError

NOT_THERE = (404, 410)
FAULTS = (OSError, ValueError, http.client.HTTPException)      # what a download ends with, where it does not end well
_SCHEMES = ("https://", "http://", "file://")
_CHALLENGE = re.compile(r'(\w+)="([^"]*)"')
_TOKEN_AT_MOST = 1 << 20


class Careful(urllib.request.HTTPRedirectHandler):
    """Follows a redirection as urllib does, but never from https to http."""

    def redirect_request(self, req: urllib.request.Request, fp: IO[bytes], code: int, msg: str,
                         headers: Any, newurl: str) -> urllib.request.Request | None:
        if req.full_url.startswith("https:") and not newurl.startswith("https:"):
            raise ValueError(f"leads on to {shown(newurl)}, which is not https")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def opener(url: str) -> tuple[str, urllib.request.OpenerDirector]:
    """Return the address without the name and password that may stand in it, and what tells them to that host alone."""
    if not url.startswith(_SCHEMES):
        raise ValueError("is no https, http or file address")
    parts = urllib.parse.urlsplit(url)
    if not parts.username:          # the handler for names and passwords fails where a registry asks for a token
        return url, urllib.request.build_opener(Careful())
    passwords = urllib.request.HTTPPasswordMgrWithDefaultRealm()
    passwords.add_password(None, shown(url), urllib.parse.unquote(parts.username),
                           urllib.parse.unquote(parts.password or ""))
    return shown(url), urllib.request.build_opener(Careful(), urllib.request.HTTPBasicAuthHandler(passwords))


def token(fault: urllib.error.HTTPError, within: float) -> str:
    """Return the token that a registry gives to anybody who asks where its refusal says; empty where it says nothing.

    Raises one of FAULTS where that place does not give one.
    """
    scheme, _, rest = (fault.headers.get("WWW-Authenticate") or "").partition(" ")
    said = dict(_CHALLENGE.findall(rest))
    if scheme.lower() != "bearer" or not said.get("realm"):
        return ""
    # What is found there is sent to whoever said so: no file of this machine, and nothing that came in the clear.
    if not said["realm"].startswith(_SCHEMES[:2] if fault.url.startswith("http:") else _SCHEMES[:1]):
        raise ValueError(f"wants a token of {shown(said['realm'])}, which is no https address")
    asked = urllib.parse.urlencode({name: said[name] for name in ("service", "scope") if name in said})
    address, director = opener(f"{said['realm']}?{asked}")
    with director.open(address, timeout=within) as answer:
        document = json.loads(answer.read(_TOKEN_AT_MOST))
    found = document.get("token") or document.get("access_token") if isinstance(document, dict) else None
    return found if isinstance(found, str) else ""


def is_not_there(fault: BaseException) -> bool:
    """Say whether the place answered that it has no such file."""
    if isinstance(fault, urllib.error.HTTPError):
        return fault.code in NOT_THERE
    return isinstance(fault, urllib.error.URLError) and isinstance(fault.reason, FileNotFoundError)


def may_pass(fault: BaseException) -> bool:
    """Say whether the same request may go well a moment later: nobody answered, or somebody is too busy."""
    if isinstance(fault, urllib.error.HTTPError):
        return fault.code in (408, 425, 429) or fault.code >= 500
    return not is_not_there(fault) and not isinstance(fault, ValueError)


def reason(fault: BaseException) -> str:
    """Return what a place answered, in few words."""
    if isinstance(fault, KubewrightError):
        return fault.message
    if isinstance(fault, urllib.error.HTTPError):
        return f"answered {fault.code}" + (", redirections without an end" if 300 <= fault.code < 400 else "")
    if isinstance(fault, urllib.error.URLError):
        why = fault.reason
        return (why.strerror if isinstance(why, OSError) else "") or str(why)
    return str(fault) or type(fault).__name__


def shown(url: str) -> str:
    """Return the address without a password that stands in it."""
    return re.sub(r"//[^/@]*@", "//", url)
