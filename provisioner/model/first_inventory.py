"""The first cluster.yaml, drafted from addresses: names, roles and ranges that fit, as text with its reasons. Pure."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Network, collapse_addresses
from typing import Literal

from provisioner.errors import UsageFault
from provisioner.model.endpoint import SSH_PORT, Endpoint

Preset = Literal["single", "small", "ha"]
CONTROL_PLANES = {"single": 1, "small": 1, "ha": 3}
# The first of each that no host's network overlaps; 172.17 and on is Docker's, 192.168.0 and .1 are home routers'.
PODS = ("10.244.0.0/16", "172.28.0.0/16", "192.168.128.0/17")
SERVICES = ("10.96.0.0/16", "172.29.0.0/16", "192.168.64.0/18")
_MEANT = ("null", "true", "false", "yes", "no", "on", "off", "y", "n")      # words that YAML takes for something else
_ROLES = {"cp": ("etcd", "control-plane", "load-balancer"), "w": ("worker",)}


FORM = "[NAME=][USER@]LOGIN[:PORT][,ADDRESS]"
_NAMED = re.compile(r"(?:(?P<name>[^=@,:]*)=)?(?:(?P<user>[^@,]*)@)?(?P<place>[^@,]+)(?:,(?P<address>[^@,]*))?")
_IS_NAME = re.compile(r"(?=.*[a-z])[a-z0-9][a-z0-9.-]*")


@dataclass(frozen=True)
class Login:
    """One machine as it was named; what is empty is chosen. `host` is where one logs in, if not at its address."""

    address: IPv4Address
    user: str = ""
    port: int = SSH_PORT
    host: str = ""
    name: str = ""
    roles: tuple[str, ...] | None = None
    key: str = ""
    jump: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    taints: tuple[Mapping[str, str], ...] = ()


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
    jump: str = ""
    pods: str = ""
    services: str = ""

    @property
    def has_roles(self) -> bool:
        """Say whether the machines came with their roles: then no preset gives them any."""
        return any(machine.roles is not None for machine in self.machines)

    @property
    def control_planes(self) -> int:
        """Return how many of the machines carry the API: as they came, as the preset says, else as many as fit."""
        if self.has_roles:
            return sum("control-plane" in (machine.roles or ()) for machine in self.machines)
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
        found: dict[str, tuple[Login, tuple[str, ...]]] = {}
        for at, machine in enumerate(self.machines):
            is_control_plane = at < count
            name = machine.name or (f"cp{at + 1}" if is_control_plane else f"w{at + 1 - count}")
            if name in found:
                raise UsageFault(f"two machines are called {name}", hint="kubewright init --help")
            roles = _ROLES["cp" if is_control_plane else "w"] if len(self.machines) > 1 else alone
            if machine.roles is not None:
                carries = self.vip and "control-plane" in machine.roles
                roles = (*machine.roles, *(("load-balancer",) if carries else ()))
            found[name] = (machine, tuple(role for role in roles if self.vip or role != "load-balancer"))
        return found


def login(text: str) -> Login:
    """Read a machine as it is named on the command line; UsageFault for what is none."""
    said = _NAMED.fullmatch(text)
    try:
        if said is None or "" in (said["name"], said["user"], said["address"]):
            raise ValueError
        place = Endpoint.parse(said["place"], SSH_PORT)
        address = said["address"] or place.host
        host = place.host if place.host != address else ""
        by_name = place.host if _IS_NAME.fullmatch(place.host) else ""
        if by_name and not said["address"]:
            raise UsageFault(f"{text!r}: {by_name} is where one logs in; which address has the machine in the cluster?",
                             details=["an interface of the machine has it, and the other machines reach it there"],
                             hint=f"kubewright init {text},ADDRESS")
        return Login(IPv4Address(address), said["user"] or "", place.port, host, said["name"] or by_name)
    except ValueError:
        raise UsageFault(f"{text!r} is no {FORM}; an address is like 10.0.0.11", hint="kubewright init --help"
                         ) from None


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
    pods, services = draft.pods or _free(PODS, networks), draft.services or _free(SERVICES, networks)
    user = Counter(machine.user or draft.user for machine in draft.machines).most_common(1)[0][0]
    port = Counter(machine.port for machine in draft.machines).most_common(1)[0][0]
    key = _shared([machine.key for machine in draft.machines])
    jump = _shared([machine.jump or draft.jump for machine in draft.machines])
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
    become = [] if user == "root" else ["  become: sudo      # where it asks for a password: --ask-become"]
    lines += ["", "ssh:", f"  user: {_quoted(user)}", *([f"  port: {port}"] if port != SSH_PORT else ()), *become,
              *(f"  {name}: {_quoted(value)}" for name, value in (("key", key), ("jump", jump)) if value)]
    lines += ["", "# SSH public keys of those who may read the cluster's secrets.", "operators:",
              *(f"  - {_quoted(key)}" for key in draft.operators)]
    lines += ["", "hosts:"]
    for name, (machine, roles) in draft.hosts.items():
        own = {key: str(value) for key, value, usual in (
            ("host", machine.host, ""), ("user", machine.user or draft.user, user), ("port", machine.port, port),
            ("key", machine.key, key), ("jump", machine.jump or draft.jump, jump)) if value != usual}
        parts = [f"address: {machine.address}", f"roles: [{', '.join(roles)}]",
                 *([f"labels: {_mapping(machine.labels)}"] if machine.labels else ()),
                 *([f"taints: [{', '.join(map(_mapping, machine.taints))}]"] if machine.taints else ()),
                 *([f"ssh: {_mapping(own, numbers=('port',))}"] if own else ())]
        lines.append(f"  {_quoted(name)}: {{{', '.join(parts)}}}")
    return "\n".join(lines) + "\n"


def _shared(values: Sequence[str]) -> str:
    """Return what all machines say; a host cannot take back what the cluster's `ssh` says."""
    return values[0] if len(set(values)) == 1 else ""


def _free(ranges: Sequence[str], networks: Sequence[IPv4Network]) -> str:
    free = [r for r in ranges if not any(IPv4Network(r).overlaps(network) for network in networks)]
    return free[0] if free else ranges[0]       # which `validate` then refuses with both


def _mapping(values: Mapping[str, str], numbers: Sequence[str] = ()) -> str:
    """Return a mapping in one line; every value is a text but those of `numbers`."""
    return "{" + ", ".join(f"{_quoted(key)}: {value if key in numbers else _text(value)}"
                           for key, value in values.items()) + "}"


def _text(value: str) -> str:
    return json.dumps(value, ensure_ascii=False) if value.isdigit() else _quoted(value)


def _quoted(text: str) -> str:
    """Return a text as YAML takes it for this text and nothing else; numbers and plain words stay bare."""
    word = text.replace("-", "").replace("_", "")
    bare = word.isascii() and word.isalnum() and text[0] != "-" and text.lower() not in _MEANT
    return text if bare and (text.isdigit() or word[0].isalpha()) else json.dumps(text, ensure_ascii=False)
