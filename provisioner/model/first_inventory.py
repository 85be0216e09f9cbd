"""The first cluster.yaml, drafted from addresses: names, roles and ranges that fit, as text with its reasons. Pure."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, collapse_addresses
from typing import Literal

from provisioner.errors import UsageFault

Preset = Literal["single", "small", "ha"]
CONTROL_PLANES = {"single": 1, "small": 1, "ha": 3}
# The first of each that no host's network overlaps; 172.17 and on is Docker's, 192.168.0 and .1 are home routers'.
PODS = ("10.244.0.0/16", "172.28.0.0/16", "192.168.128.0/17")
SERVICES = ("10.96.0.0/16", "172.29.0.0/16", "192.168.64.0/18")
_MEANT = ("null", "true", "false", "yes", "no", "on", "off", "y", "n")      # words that YAML takes for something else
_ROLES = {"cp": ("etcd", "control-plane", "load-balancer"), "w": ("worker",)}


@dataclass(frozen=True)
class Login:
    """One machine as it was named: [USER@]ADDRESS[:PORT]."""

    address: IPv4Address
    user: str = ""
    port: int = 22


@dataclass(frozen=True)
class Draft:
    """What a person said; `operators` are public keys, `networks` is made from the addresses where none is named."""

    name: str
    kubernetes: str
    machines: tuple[Login, ...]
    operators: tuple[str, ...]
    preset: Preset | None = None
    vip: str = ""
    external: str = ""
    user: str = "root"
    networks: tuple[str, ...] = ()

    @property
    def control_planes(self) -> int:
        """Return how many of the machines carry the API: as the preset says, else as many as fit."""
        preset = self.preset or ("ha" if len(self.machines) >= CONTROL_PLANES["ha"] else "small")
        wanted = CONTROL_PLANES[preset]
        if len(self.machines) < wanted or (preset == "single" and len(self.machines) > 1):
            says = "one machine" if preset == "single" else f"{wanted} machines or more"
            raise UsageFault(f"--preset {preset} wants {says}, {len(self.machines)} named",
                             hint="kubewright init --help")
        return wanted

    @property
    def hosts(self) -> dict[str, tuple[Login, tuple[str, ...]]]:
        """Return name -> machine and roles, in the order in which they were named."""
        count = self.control_planes
        alone = (*_ROLES["cp"][:2], *_ROLES["w"])
        found = {}
        for at, machine in enumerate(self.machines):
            is_control_plane = at < count
            name = f"cp{at + 1}" if is_control_plane else f"w{at + 1 - count}"
            roles = _ROLES["cp" if is_control_plane else "w"] if len(self.machines) > 1 else alone
            found[name] = (machine, roles if self.vip or not is_control_plane else tuple(
                role for role in roles if role != "load-balancer"))
        return found


def login(text: str) -> Login:
    """Read [USER@]ADDRESS[:PORT]; UsageFault for what is none."""
    user, at, rest = text.rpartition("@")
    address, colon, port = rest.partition(":")
    try:
        number = int(port) if colon else 22
        if not 0 < number < 65536 or (at and not user):
            raise ValueError
        return Login(IPv4Address(address), user, number)
    except ValueError:
        raise UsageFault(f"{text!r} is no [USER@]ADDRESS[:PORT]; an address is like 10.0.0.11",
                         details=["where one logs in by name, say so afterwards as the host's `ssh.host`"],
                         hint="kubewright init --help") from None


def networks_of(draft: Draft) -> tuple[IPv4Network, ...]:
    """Return where the hosts are: as was said, else the /24s of all addresses, those side by side as one."""
    try:
        if draft.networks:
            return tuple(IPv4Network(network) for network in draft.networks)
        addresses = [machine.address for machine in draft.machines]
        addresses += [IPv4Address(draft.vip)] if draft.vip else []
    except ValueError as fault:
        raise UsageFault(f"--{'network' if draft.networks else 'vip'}: {fault}",
                         hint="kubewright init --help") from None
    return tuple(collapse_addresses({IPv4Network(f"{address}/24", strict=False) for address in addresses}))


def text_of(draft: Draft) -> str:
    """Return the file: what was said, and what had to be chosen with a word on why."""
    networks = networks_of(draft)
    pods, services = _free(PODS, networks), _free(SERVICES, networks)
    users = {machine.user or draft.user for machine in draft.machines}
    user = users.pop() if len(users) == 1 else draft.user
    lines = [
        "# yaml-language-server: $schema=.kubewright/cluster.schema.json",
        "# Every key with its default: kubewright schema. Read it back: kubewright validate",
        "version: 1",
        f"cluster: {_quoted(draft.name)}",
        f"kubernetes: {json.dumps(draft.kubernetes)}",
        "",
        "network:",
        f"  hosts: [{', '.join(map(str, networks))}]      # where the addresses below and the VIP lie",
        f"  pods: [{pods}]",
        f"  services: [{services}]",
    ]
    api = [f"  vip: {draft.vip}      # free, and nobody else's: keepalived moves it between the load balancers"
           ] if draft.vip else [f"  external: {_quoted(draft.external)}"] if draft.external else []
    lines += ["", "api:", *api] if api else []
    become = [] if user == "root" else ["  become: sudo      # without a password"]
    lines += ["", "ssh:", f"  user: {_quoted(user)}", *become]
    lines += ["", "# SSH public keys of those who may read the cluster's secrets.", "operators:",
              *(f"  - {_quoted(key)}" for key in draft.operators)]
    lines += ["", "hosts:"]
    for name, (machine, roles) in draft.hosts.items():
        own = {key: value for key, value, usual in (
            ("user", machine.user or draft.user, user), ("port", machine.port, 22)) if value != usual}
        ssh = f", ssh: {{{', '.join(f'{key}: {_quoted(str(value))}' for key, value in own.items())}}}" if own else ""
        lines.append(f"  {name}: {{address: {machine.address}, roles: [{', '.join(roles)}]{ssh}}}")
    return "\n".join(lines) + "\n"


def _free(ranges: Sequence[str], networks: Sequence[IPv4Network]) -> str:
    free = [r for r in ranges if not any(IPv4Network(r).overlaps(network) for network in networks)]
    return free[0] if free else ranges[0]       # which `validate` then refuses with both


def _quoted(text: str) -> str:
    """Return a text as YAML takes it for this text and nothing else; numbers and plain words stay bare."""
    word = text.replace("-", "").replace("_", "")
    bare = word.isascii() and word.isalnum() and text[0] != "-" and text.lower() not in _MEANT
    return text if bare and (text.isdigit() or word[0].isalpha()) else json.dumps(text, ensure_ascii=False)
