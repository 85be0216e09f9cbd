"""k0sctl.yaml (apiVersion k0sctl.k0sproject.io/v1beta1) as machines: roles, addresses, logins, ranges.

Written from k0sctl's README and its types of the release of mid 2026; what k0s itself is told has no place here.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from provisioner.model.endpoint import bracketed
from provisioner.model.first_inventory import Login
from provisioner.model.imported.values import Imported, LeftOut, address_of, jump_of, mapping, port_of, refuse, sequence

GROUP = "k0sctl.k0sproject.io/"
_ROLES = {"controller": ("etcd", "control-plane"), "controller+worker": ("etcd", "control-plane", "worker"),
          "single": ("etcd", "control-plane", "worker"), "worker": ("worker",)}
_UNDERSTOOD = {"role", "hostname", "privateAddress", "ssh", "noTaints"}
_OF_SSH = {"address", "user", "port", "keyPath", "bastion"}
_CONFIG = "spec.k0s.config.spec"
_WHY = {"spec.k0s.version": "which Kubernetes it is, --kubernetes says",
        f"{_CONFIG}.api.externalAddress": "one control plane is found at its own address",
        f"{_CONFIG}.api.sans": "names for its certificate: api.extra_sans",
        f"{_CONFIG}.network.provider": "Pods are connected by flannel, or by what you bring",
        "ssh.hostKey": "keys are pinned by `kubewright trust`",
        "ssh.bastion.keyPath": "a jump host is logged in to with the key of its host"}


def read(file: str, document: Mapping[str, Any]) -> Imported:
    """Return the machines of a k0sctl.yaml; refuses what is of another form."""
    left = LeftOut()
    spec = mapping(file, "spec", document.get("spec"))
    hosts = sequence(file, "spec.hosts", spec.get("hosts"))
    if not hosts:
        refuse(file, "spec.hosts: names no host")
    machines = tuple(_machine(file, at, mapping(file, f"spec.hosts[{at}]", host), left)
                     for at, host in enumerate(hosts))
    k0s = mapping(file, "spec.k0s", spec.get("k0s"))
    config = mapping(file, _CONFIG, mapping(file, "spec.k0s.config", k0s.get("config")).get("spec"))
    api, network = (mapping(file, f"{_CONFIG}.{key}", config.get(key)) for key in ("api", "network"))
    _leave(left, "spec", spec, {"hosts", "k0s"})
    _leave(left, "spec.k0s", k0s, {"config"})
    _leave(left, _CONFIG, config, {"api", "network"})
    _leave(left, f"{_CONFIG}.api", api, {"externalAddress", "port"})
    _leave(left, f"{_CONFIG}.network", network, {"podCIDR", "serviceCIDR"})
    several = sum("control-plane" in (m.roles or ()) for m in machines) > 1
    outside = str(api.get("externalAddress") or "")
    if outside and not several:
        _leave(left, f"{_CONFIG}.api", {"externalAddress": outside}, set())
    external = f"{bracketed(outside)}:{port_of(file, 'api', api.get('port'), 6443)}" if outside and several else ""
    name = str(mapping(file, "metadata", document.get("metadata")).get("name") or "")
    return Imported("k0sctl", machines, left.lines, name, external, pods=str(network.get("podCIDR") or ""),
                    services=str(network.get("serviceCIDR") or ""))


def _leave(left: LeftOut, where: str, there: Mapping[str, Any], known: set[str], host: str = "") -> None:
    for key in [key for key in there if key not in known]:
        path = f"{where}.{key}" if where else key
        left.add(path, _WHY.get(path, ""), host)


def _machine(file: str, at: int, host: Mapping[str, Any], left: LeftOut) -> Login:
    ssh, where = mapping(file, f"spec.hosts[{at}].ssh", host.get("ssh")), str(host.get("hostname") or f"host {at + 1}")
    if not ssh:
        other = next((key for key in ("openSSH", "winRM", "localhost") if key in host), "")
        refuse(file, f"{where}: is not reached by `ssh:`" + (f" but by `{other}:`" if other else ""))
    role, place = str(host.get("role")), str(ssh.get("address") or "")
    if role not in _ROLES:
        refuse(file, f"{where}: its role is {role!r}, and only {', '.join(_ROLES)} are known")
    address = address_of(file, where, host.get("privateAddress"), place)
    name = str(host.get("hostname") or "")
    _leave(left, "", host, _UNDERSTOOD, name or str(address))
    _leave(left, "ssh", ssh, _OF_SSH, name or str(address))
    return Login(address, str(ssh.get("user") or "root"), port_of(file, where, ssh.get("port")),
                 place if place != str(address) else "", name, _ROLES[role], str(ssh.get("keyPath") or ""),
                 _jump(file, where, mapping(file, f"{where}: bastion", ssh.get("bastion")), left))


def _jump(file: str, where: str, bastion: Mapping[str, Any], left: LeftOut) -> str:
    if not bastion:
        return ""
    _leave(left, "ssh.bastion", bastion, {"address", "user", "port"})
    port = port_of(file, f"{where}: bastion", bastion.get("port"))
    return jump_of(bastion.get("user") or "root", str(bastion.get("address") or ""), port)
