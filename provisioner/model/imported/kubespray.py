"""An inventory of kubespray (hosts.yaml, inventory.ini) as machines: from what Ansible itself has made of the file.

Its groups are those of kubespray's documentation, the names of before 2021 among them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from provisioner.model.endpoint import bracketed
from provisioner.model.first_inventory import Login
from provisioner.model.imported.values import Imported, LeftOut, address_of, jump_of, mapping, port_of, refuse, sequence

_ROLES = {"etcd": ("etcd",), "control-plane": ("kube_control_plane", "kube-master"), "worker": ("kube_node",
          "kube-node")}
_BASTION = "bastion"
_MEANINGLESS = {"k8s_cluster", "k8s-cluster", "all", "ungrouped", "_meta", "calico_rr", "calico-rr"}
_LOGIN = {"ansible_host", "ansible_ssh_host", "ansible_user", "ansible_ssh_user", "ansible_port", "ansible_ssh_port",
          "ansible_ssh_private_key_file", "ansible_private_key_file"}
_USED = _LOGIN | {"ip", "access_ip", "node_labels", "node_taints", "loadbalancer_apiserver", "kube_vip_address",
                  "kube_pods_subnet", "kube_service_addresses"}
_SILENT = {"etcd_member_name", "ansible_become", "ansible_become_user", "ansible_become_method",
           "ansible_python_interpreter", "ansible_connection", "kube_vip_enabled"}
_WHY = {"ansible_become_password": "give it with --ask-become", "ansible_become_pass": "give it with --ask-become",
        "ansible_ssh_pass": "keys let us in", "ansible_password": "keys let us in",
        "ansible_ssh_common_args": "a jump host is ssh.jump", "ansible_ssh_extra_args": "a jump host is ssh.jump",
        "kube_version": "which Kubernetes it is, --kubernetes says",
        "kube_network_plugin": "Pods are connected by flannel, or by what you bring"}
_TAINT = re.compile(r"(?P<key>[^=:]+)(?:=(?P<value>[^:]*))?:(?P<effect>\w+)")
Listing = Mapping[str, Any]
"""What `ansible-inventory --list` prints: groups with their hosts and children, and every host's variables."""


def read(file: str, listing: Listing) -> Imported:
    """Return the machines of kubespray's groups; refuses an inventory without them."""
    left = LeftOut()
    roles = {role: _members(listing, *groups) for role, groups in _ROLES.items()}
    if not roles["control-plane"]:
        refuse(file, "no host in the group kube_control_plane: is it an inventory of kubespray?")
    variables = mapping(file, "hosts", mapping(file, "_meta", listing.get("_meta")).get("hostvars"))
    named = list(dict.fromkeys(host for members in (roles["control-plane"], roles["etcd"], roles["worker"])
                               for host in members))
    bastions = _members(listing, _BASTION)
    for host in [h for h in variables if h not in named and h not in bastions]:
        left.add(f"the host {host}", "it is in none of the groups kube_control_plane, etcd, kube_node")
    for group in [g for g in listing if g not in _MEANINGLESS | {_BASTION} and not any(
            g in groups for groups in _ROLES.values()) and _members(listing, g)]:
        left.add(f"the group {group}")
    machines = tuple(_machine(file, host, mapping(file, host, variables.get(host)),
                              tuple(role for role, members in roles.items() if host in members), left)
                     for host in named)
    of_cluster = mapping(file, named[0], variables.get(named[0]))
    several = len(roles["control-plane"]) > 1
    balancer = mapping(file, "loadbalancer_apiserver", of_cluster.get("loadbalancer_apiserver"))
    place = str(balancer.get("address") or "")
    external = f"{bracketed(place)}:{port_of(file, 'loadbalancer_apiserver', balancer.get('port'), 6443)}"
    vip = str(of_cluster.get("kube_vip_address") or "")
    return Imported("kubespray", machines, left.lines, "", external if place and several and not vip else "",
                    vip if several else "", _jump(file, bastions, variables, left),
                    str(of_cluster.get("kube_pods_subnet") or ""), str(of_cluster.get("kube_service_addresses") or ""))


def _members(listing: Listing, *groups: str) -> list[str]:
    """Return the hosts of groups and of those below them, each once, in their order."""
    found: dict[str, None] = {}
    for group in groups:
        entry = listing.get(group)
        if isinstance(entry, Mapping):
            found |= dict.fromkeys(map(str, entry.get("hosts", ())))
            found |= dict.fromkeys(_members(listing, *map(str, entry.get("children", ()))))
    return list(found)


def _machine(file: str, host: str, variables: Mapping[str, Any], roles: tuple[str, ...], left: LeftOut) -> Login:
    place = str(_first(variables, "ansible_host", "ansible_ssh_host") or host)
    address = address_of(file, host, variables.get("ip"), variables.get("access_ip"), place)
    others = str(variables.get("access_ip") or address)
    if others != str(address):
        left.add(f"access_ip {others}", "one address is for all of the cluster: `address`", host)
    for name in [n for n in variables if n not in _USED | _SILENT]:
        left.add(name, _WHY.get(name, ""), host)
    return Login(address, str(_first(variables, "ansible_user", "ansible_ssh_user") or ""),
                 port_of(file, host, _first(variables, "ansible_port", "ansible_ssh_port")),
                 place if place != str(address) else "", host.lower(), roles,
                 str(_first(variables, "ansible_ssh_private_key_file", "ansible_private_key_file") or ""),
                 labels={str(k): str(v) for k, v in mapping(file, host, variables.get("node_labels")).items()},
                 taints=tuple(_taint(file, host, str(taint)) for taint in sequence(
                     file, f"{host}: node_taints", variables.get("node_taints"))))


def _first(variables: Mapping[str, Any], *names: str) -> object:
    return next((variables[name] for name in names if variables.get(name)), None)


def _taint(file: str, host: str, text: str) -> Mapping[str, str]:
    found = _TAINT.fullmatch(text)
    if found is None:
        refuse(file, f"{host}: {text!r} is no taint KEY=VALUE:EFFECT")
    return {name: value for name, value in found.groupdict().items() if value}


def _jump(file: str, bastions: Sequence[str], variables: Mapping[str, Any], left: LeftOut) -> str:
    if not bastions:
        return ""
    for other in bastions[1:]:
        left.add(f"the bastion {other}", "one jump host is for all, or ssh.jump of each host")
    of_it = mapping(file, bastions[0], variables.get(bastions[0]))
    place = str(_first(of_it, "ansible_host", "ansible_ssh_host") or bastions[0])
    user, port = _first(of_it, "ansible_user", "ansible_ssh_user"), port_of(
        file, bastions[0], _first(of_it, "ansible_port", "ansible_ssh_port"))
    for name in [n for n in of_it if n not in _USED | _SILENT]:
        left.add(name, _WHY.get(name, ""), bastions[0])
    return jump_of(user, place, port)
