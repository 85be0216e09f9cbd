"""Defects of a machine that was somebody's before: who listens, what lies there, which units have our names."""

from __future__ import annotations

from provisioner.lab.defects.defect import At, Defect, writes

_READ = "systemctl daemon-reload"
_VOLUME = "/var/lib/kubelet/pods/some/volumes"


def _listens(name: str, ports: str, whose: str, at: At = "control-plane") -> Defect:
    program, unit = "/usr/local/lib/lab-listen.py", "/etc/systemd/system/nginx.service"
    text = f"[Service]\nExecStart=/usr/bin/python3 {program} {ports}\n[Install]\nWantedBy=multi-user.target"
    return Defect(name, f"another service listens on {whose}", "ports",
                  writes(unit, text, f'printf "%s" "$LISTEN" > {program}\n{_READ}\n'
                                     "systemctl enable --quiet --now nginx"),
                  undo="systemctl disable --quiet --now nginx 2>/dev/null || true", after=_READ,
                  files=(program, unit), at=at, place="nginx")


def _left(name: str, says: str, path: str, check: str = "cluster", top: str = "", at: At = "any",
          place: str = "") -> Defect:
    """Return a file that another tool has left; `top` is the first directory that comes with it."""
    return Defect(name, says, check, writes(path, "left behind"), files=(top or path,), at=at, place=place)


PAST: tuple[Defect, ...] = (
    _listens("etcd-ports", "2379 2380", "etcd's ports"),
    _listens("api-port", "6443", "the API's port"),
    _listens("vip-port", "8443", "the balancers' port"),
    _listens("kubelet-port", "10250", "the kubelet's port", at="node"),
    _left("left-kubeadm", "a control plane of kubeadm is there", "/etc/kubernetes/manifests/kube-apiserver.yaml",
          top="/etc/kubernetes"),
    _left("left-etcd", "the data of an etcd member is there", "/var/lib/etcd/member/snap/db", top="/var/lib/etcd",
          place="mount /var/lib/etcd"),
    _left("left-k3s", "k3s is there", "/var/lib/rancher/k3s/server/token", top="/var/lib/rancher"),
    _left("left-rke2", "RKE2 is there", "/var/lib/rancher/rke2/server/token", top="/var/lib/rancher"),
    _left("left-k0s", "k0s is there", "/var/lib/k0s/pki/ca.crt", top="/var/lib/k0s"),
    _left("left-microk8s", "MicroK8s is there", "/var/snap/microk8s/current/args", top="/var/snap"),
    _left("left-docker", "Docker is there", "/usr/bin/dockerd", "services", at="node"),
    Defect("left-device", "a network device of Cilium is there", "netdevs", "ip link add cilium_host type bridge",
           undo="ip link delete cilium_host 2>/dev/null || true"),
    Defect("left-mounts", "a volume of another cluster's Pod is mounted", "mounts",
           f"mkdir -p {_VOLUME} && mount -t tmpfs -o size=1m lab {_VOLUME}",
           undo=f"umount {_VOLUME} 2>/dev/null || true", files=("/var/lib/kubelet/pods",),
           at="node"),
    _left("foreign-config", "HAProxy's configuration is somebody's", "/etc/haproxy/haproxy.cfg", "files",
          top="/etc/haproxy"),
    Defect("directory-linked", "a directory of ours is a link to elsewhere", "directories",
           "mkdir -p /data && ln -s /data /etc/containerd", undo="umount /etc/containerd 2>/dev/null || true",
           files=("/etc/containerd", "/data", "/etc/fstab")),
    Defect("unit-packaged", "a package brings a unit of one of our names", "services",
           writes("/usr/lib/systemd/system/etcd.service", "[Service]\nExecStart=/bin/true", _READ),
           files=("/usr/lib/systemd/system/etcd.service",), after=_READ),
    Defect("unit-masked", "the kubelet's unit is masked", "systemd",
           f"ln -s /dev/null /etc/systemd/system/kubelet.service && {_READ}",
           files=("/etc/systemd/system/kubelet.service",), after=_READ, at="node", place="kubelet.service"),
    Defect("unit-foreign", "somebody has made a unit of one of our names", "files",
           writes("/etc/systemd/system/kubelet.service", "[Service]\nExecStart=/bin/true", _READ),
           files=("/etc/systemd/system/kubelet.service", "/etc/systemd/system/kubelet.service.before"), after=_READ,
           at="node", place="kubelet.service"),
)
