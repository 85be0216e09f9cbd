"""Files of other tools, given to us as an inventory: said once, instead of a fault for each of their keys."""

from __future__ import annotations

import re

_API_VERSION = re.compile(r"""^apiVersion:\s*["']?([\w.-]+)(?:/[\w.-]+)?["']?\s*(?:#.*)?$""", re.MULTILINE)
_KIND = re.compile(r"""^kind:\s*["']?(\w+)["']?\s*(?:#.*)?$""", re.MULTILINE)
_INI = re.compile(r"^\[[A-Za-z_][\w.-]*(:(vars|children))?\]\s*$", re.MULTILINE)
_OURS = re.compile(r"^(version|cluster|network|operators|lab):", re.MULTILINE)
_GROUPS = {
    "k0sctl.k0sproject.io": "k0sctl", "k0s.k0sproject.io": "k0s", "kubeadm.k8s.io": "kubeadm",
    "kubeone.k8c.io": "KubeOne", "kubeone.io": "KubeOne", "kubekey.kubesphere.io": "KubeKey",
    "kops.k8s.io": "kOps", "k3d.io": "k3d", "kind.x-k8s.io": "kind", "cluster.x-k8s.io": "Cluster API",
    "kubelet.config.k8s.io": "the kubelet", "kubeproxy.config.k8s.io": "kube-proxy",
}
_KEYS = (   # keys at the beginning of a line, all of which must be there, none of which are ours together
    (("all",), "Ansible (kubespray's hosts.yaml is one)"), (("kube_control_plane",), "kubespray"),
    (("machine", "cluster"), "Talos"), (("nodes", "services"), "RKE"), (("nodes", "ssh_key_path"), "RKE"),
)


def other_tool(text: str) -> str:
    """Return whose file this is, as a sentence with what to do; nothing where it may be one of ours."""
    whose = _whose(text)
    return f"this is {whose}; ours says less, and is made anew from the machines' addresses: " \
        "kubewright init [USER@]ADDRESS..." if whose else ""


def _whose(text: str) -> str:
    group = _API_VERSION.search(text)
    if group and not re.search(r"^version:", text, re.MULTILINE):
        if group[1] in _GROUPS:
            return f"a file of {_GROUPS[group[1]]}"
        kind = _KIND.search(text)
        if group[1] == "v1" and kind and kind[1] == "Config":
            return "a kubeconfig"
        return f"a Kubernetes object of kind {kind[1]}" if kind else ""
    if _INI.search(text) and not _OURS.search(text):
        return "an Ansible inventory in INI form"
    keys = set(re.findall(r"^([A-Za-z_]\w*):", text, re.MULTILINE))
    if keys & {"version", "hosts", "network"}:
        return ""
    found = next((tool for wanted, tool in _KEYS if set(wanted) <= keys), "")
    return f"a file of {found}" if found else ""
