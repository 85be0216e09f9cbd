"""The lab's own network: a namespace with a bridge and no route out, so none of its packets can reach a real one."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from provisioner.errors import KubewrightError, PreflightRefused
from provisioner.lab.instance import Instance, LabNetwork
from provisioner.lab.launch import setns
from provisioner.lab.mounts import mounted_below, unmount_below
from provisioner.lab.processes import run

BRIDGE = "lab0"
# Beside the unit that gives a node its first address; the image knows nothing of a second.
SECOND_FILE = "/etc/systemd/system/lab-network.service.d/second-address.conf"
NAMESPACES = Path("/run/netns")


def namespace_path(name: str) -> Path:
    """Return where the namespace of the instance `name` is held."""
    return NAMESPACES / Instance(name).namespace


def exists(instance: Instance) -> bool:
    """Say whether the namespace is there; a plain file at its place is what a killed `ip netns add` leaves."""
    path = namespace_path(instance.name)
    return str(path) in mounted_below(path)


def enter_namespace(name: str) -> None:
    """Move this process into the network of the lab instance `name`, for good; call it before any thread starts.

    Only the network changes: files, processes and /sys stay this machine's, so the cgroups remain visible.
    """
    path = namespace_path(name)
    try:
        with path.open() as handle:
            setns(handle.fileno())
    except OSError as error:
        if isinstance(error, PermissionError):
            raise PreflightRefused("this machine: entering the lab's network: only root may",
                                   hint=f"sudo ip netns exec {path.name} true", code="lab-not-root") from None
        raise PreflightRefused(f"this machine: entering the lab's network: {path} does not exist or is no namespace: "
                               f"the lab {name} is not up", hint="kubewright lab up", code="lab-not-up") from None


@contextmanager
def inside(name: str) -> Iterator[None]:
    """Let the calling thread work in the lab's network, and bring it back."""
    with Path("/proc/thread-self/ns/net").open() as home:
        enter_namespace(name)
        try:
            yield
        finally:
            setns(home.fileno())


def ssh_banner(address: str, port: int, seconds: float) -> str:
    """Return the first line that the SSH server at `address` says, or an empty string when none answers."""
    try:
        with socket.create_connection((address, port), timeout=seconds) as connection:
            connection.settimeout(seconds)
            return connection.recv(256).decode(errors="replace").strip()
    except OSError:
        return ""


def answers(address: str, port: int, seconds: float = 2.0) -> bool:
    """Say whether something accepts connections there, from the network of the calling thread."""
    try:
        socket.create_connection((address, port), timeout=seconds).close()
    except OSError:
        return False
    return True


def in_network(instance: Instance, command: Sequence[str]) -> tuple[str, ...]:
    """Return `command` as a command that runs inside the lab's network.

    Never `ip netns exec`: that mounts a new /sys and hides the cgroups.
    """
    return ("nsenter", f"--net={namespace_path(instance.name)}", "--", *command)


def setup_commands(network: LabNetwork) -> tuple[tuple[str, ...], ...]:
    """Return the commands that make the bridge, inside the namespace.

    The nodes get the bridge as their gateway, as a real machine has one, and it answers "unreachable" at once for
    everything beyond: nothing inside waits for a timeout. To all who ask: of a few a second (the kernel's own limit) an
    API server whose cluster has just booted waits 5 s for metrics-server's old address before it is ready.
    """
    first, *second = network.addresses
    return (
        ("ip", "link", "set", "lo", "up"),
        ("ip", "link", "add", BRIDGE, "type", "bridge", "forward_delay", "0", "stp_state", "0"),
        ("ip", "address", "add", first, "dev", BRIDGE),
        *(("ip", "address", "add", address, "dev", BRIDGE, "nodad") for address in second),
        ("ip", "link", "set", BRIDGE, "up"),
        ("ip", "route", "add", "unreachable", "default"),
        ("sysctl", "-q", "-w", "net.ipv4.ip_forward=1", "net.ipv4.conf.all.send_redirects=0",
         "net.ipv4.icmp_ratelimit=0"),
    )


def ensure(instance: Instance, network: LabNetwork) -> bool:
    """Make namespace and bridge where they are missing; True when something was made.

    A namespace that a killed run left half made is taken down and made again.
    """
    path = namespace_path(instance.name)
    if is_complete(instance, network):
        return False
    if path.exists():
        remove(instance)
    run(["ip", "netns", "add", instance.namespace], doing="making the lab's network")
    for command in setup_commands(network):
        run(in_network(instance, command), doing="making the lab's network")
    return True


def is_complete(instance: Instance, network: LabNetwork) -> bool:
    """Say whether the setup took effect to its end: the address is on a bridge that is up, the way out is shut."""
    if not exists(instance):
        return False
    try:
        links = link_details(instance)
        routes = run(in_network(instance, ["ip", "route", "show", "default"]), doing="reading the lab's network")
    except KubewrightError:
        return False
    bridge = next((link for link in links if link["ifname"] == BRIDGE), {})
    addresses = {f"{a['local']}/{a['prefixlen']}" for a in bridge.get("addr_info", ())}
    return addresses.issuperset(network.addresses) and "unreachable" in routes


def link_details(instance: Instance) -> Sequence[Mapping[str, Any]]:
    """Return the links inside the namespace as iproute2 tells them."""
    text = run(in_network(instance, ["ip", "-json", "address", "show"]), doing="reading the lab's network")
    return [link for link in json.loads(text) if link]


def links(instance: Instance) -> dict[str, tuple[str, ...]]:
    """Return every link inside the namespace with its other names: a long name is cut and kept as an alias."""
    if not exists(instance):
        return {}
    return {str(link["ifname"]): tuple(link.get("altnames", ())) for link in link_details(instance)}


def link_name(machine: str) -> str:
    """Return the name that systemd-nspawn wants for a machine's link on the bridge; a long one becomes an alias."""
    return f"vb-{machine}"


def set_link(instance: Instance, name: str, state: str) -> None:
    """Plug a node's cable in (`up`) or pull it (`down`): the node sees its carrier come and go."""
    run(in_network(instance, ["ip", "link", "set", name, state]), doing=f"setting the link {name} {state}")


def remove_link(instance: Instance, name: str) -> None:
    """Remove a link that a dead node left; absent is fine, the kernel removes it when the last process ends."""
    try:
        run(in_network(instance, ["ip", "link", "delete", name]), doing=f"removing the link {name}")
    except KubewrightError:
        if name in links(instance):
            raise


def remove(instance: Instance) -> bool:
    """Remove the namespace; its bridge and links go with it. False when there was none."""
    path = namespace_path(instance.name)
    if not path.exists():
        return False
    unmount_below(path)
    path.unlink(missing_ok=True)
    return True


def address_file(address: str, network: LabNetwork) -> str:
    """Return what the node's boot reads: its address with prefix, and the bridge as its gateway."""
    return f"{address}/{network.prefix} {network.gateway}\n"


def second_file(address: str, network: LabNetwork) -> str:
    """Return what gives a node its address of IPv6 at boot, after the first; nobody else can have it, so none is asked.
    """
    return f"""[Service]
ExecStart=/bin/ip -6 address replace {address}/{network.second_prefix} dev host0 nodad
ExecStart=/bin/ip -6 route replace default via {network.second_gateway} dev host0
"""
