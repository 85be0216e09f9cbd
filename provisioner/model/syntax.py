"""Small languages inside the inventory: labels, taints, certificate names, SSH public keys. Each says what is wrong."""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from ipaddress import ip_address

from provisioner.model.values import escaped

_NAME = re.compile(r"[A-Za-z0-9]([A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?")
_DNS_LABEL = r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?"
_DNS = re.compile(rf"{_DNS_LABEL}(\.{_DNS_LABEL})*")
HOST_PATTERN = r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?)"      # an IPv6 address has brackets
HOST_AND_PORT = rf"{HOST_PATTERN}:(?P<port>\d{{1,5}})"
_KUBERNETES = ("kubernetes.io", "k8s.io")
# What a kubelet may say of itself; all else under kubernetes.io and k8s.io the API server refuses (NodeRestriction).
_SELF_PREFIXES = ("kubelet.kubernetes.io", "node.kubernetes.io")
_SELF_LABELS = ("topology.kubernetes.io/region", "topology.kubernetes.io/zone")
_OPERATOR_KEYS = ("ssh-ed25519", "ssh-rsa")


def matches_with_port(pattern: re.Pattern[str], text: str) -> bool:
    """Match the whole text, with a port that exists; so nothing that begins with `-` ever reaches an ssh command."""
    found = pattern.fullmatch(text)
    return found is not None and (found["port"] is None or 1 <= int(found["port"]) <= 65535)


def host_fault(host: str) -> str:
    """Return what is wrong with a name or address that we log in at, or nothing; it reaches ssh's command line."""
    try:
        address = ip_address(host)
    except ValueError:
        fits = len(host) <= 253 and _DNS.fullmatch(host.lower()) and not host.rpartition(".")[2].isdigit()
        return "" if fits else f"`{escaped(host)}` is neither a host name nor an address"
    if address.is_unspecified or address.is_multicast:
        return f"{address} is no machine's address"
    return "" if "%" not in host else f"`{escaped(host)}` names an interface of one machine: take out what is behind %"


def label_fault(key: str, value: str) -> str:
    """Return what is wrong with a label, or nothing; also labels that a kubelet may not set on itself."""
    fault = _key_fault(key) or _value_fault(value)
    if fault:
        return fault
    prefix = key.rpartition("/")[0]
    if not _under(prefix, _KUBERNETES) or _under(prefix, _SELF_PREFIXES) or key in _SELF_LABELS:
        return ""
    return f"a kubelet may not set labels of {prefix} on itself (NodeRestriction); use a prefix of your own"


def taint_fault(key: str, value: str) -> str:
    """Return what is wrong with a taint, or nothing."""
    return _key_fault(key) or _value_fault(value)


def san_fault(name: str) -> str:
    """Return what is wrong with a name or address for the API's certificate, or nothing."""
    try:
        ip_address(name)
    except ValueError:
        host = name.lower().removeprefix("*.")
        if len(name) <= 253 and _DNS.fullmatch(host) and not host.rpartition(".")[2].isdigit():
            return ""
        return f"`{name}` is neither a DNS name nor an IP address"
    return ""


# What a Service's name has before the cluster's: a name and a namespace of 63 each, `svc`, and the dots between.
_LONGEST_DOMAIN = 253 - 2 * 64 - 4


def domain_fault(name: str) -> str:
    """Return why Services cannot have names below this DNS name, or nothing."""
    last = name.rpartition(".")[2]
    if len(name) > _LONGEST_DOMAIN:
        return f"has {len(name)} characters; the longest name of a Service fits into DNS with at most {_LONGEST_DOMAIN}"
    if last.isdigit():
        return "ends in a number, as an address does; it must be a name, such as cluster.local"
    if last in ("arpa", "localhost"):
        return f"is below {last}, which has a meaning of its own to every resolver; take a name such as cluster.local"
    return ""


# The keys of inventories/example, by their fingerprints: what is encrypted to them nobody can ever read.
_EXAMPLES = frozenset({"SHA256:exobCqw19+LqFAbOHGUY0PWWvdjrXLN+ijvmbNurTgw",
                       "SHA256:tsq0NQWwEL4tWUUtGhpSm6/l9PDayFp4+nUXC2/7mJE"})


def operator_fault(key: str) -> str:
    """Return what is wrong with an operator's public key, or nothing; the types are those that age can encrypt to."""
    if "PRIVATE KEY" in key:
        return "this is a PRIVATE key: take it out, and out of wherever this file has been; its public half stands here"
    words = key.split(maxsplit=2)
    if not key.isprintable() or len(words) < 2:
        return "not an SSH public key: TYPE BASE64 [COMMENT], one line of a .pub file"
    kind, text = words[0], words[1]
    if kind not in _OPERATOR_KEYS:
        return f"a key of type {kind} cannot decrypt secrets; use {' or '.join(_OPERATOR_KEYS)}"
    try:
        blob = base64.b64decode(text, validate=True)
    except binascii.Error:
        return f"the key after {kind} is not base64; was it cut?"
    inner = kind.encode()
    if not blob.startswith(len(inner).to_bytes(4, "big") + inner) or not _complete(blob):
        return f"the text after {kind} is not such a key; was it cut?"
    if fingerprint(blob) in _EXAMPLES:
        return "a key of the example, and nobody has its private half: put your own ~/.ssh/id_ed25519.pub here"
    return ""


def fingerprint(blob: bytes) -> str:
    """Return the fingerprint of a public key as ssh-keygen prints it."""
    return "SHA256:" + base64.b64encode(hashlib.sha256(blob).digest()).decode().rstrip("=")


def _complete(blob: bytes) -> bool:
    """Say whether the length-prefixed fields fill the blob exactly."""
    while len(blob) >= 4:
        size = int.from_bytes(blob[:4], "big")
        if size == 0 or len(blob) < 4 + size:
            return False
        blob = blob[4 + size:]
    return not blob


def _key_fault(key: str) -> str:
    prefix, slash, name = key.rpartition("/")
    if slash and (len(prefix) > 253 or not _DNS.fullmatch(prefix)):
        return f"`{prefix}` is not a DNS name, as the part before `/` must be"
    if not _NAME.fullmatch(name):
        return f"`{name}` must be at most 63 letters, digits, `-`, `_`, `.`, with a letter or digit at both ends"
    return ""


def _value_fault(value: str) -> str:
    if value and not _NAME.fullmatch(value):
        return f"the value `{value}` must be at most 63 letters, digits, `-`, `_`, `.`, " \
            "with a letter or digit at both ends"
    return ""


def _under(prefix: str, domains: tuple[str, ...]) -> bool:
    return any(prefix == domain or prefix.endswith("." + domain) for domain in domains)
