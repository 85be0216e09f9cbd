"""Every TCP port the cluster listens on, in one table."""

from __future__ import annotations

ETCD_CLIENT = 2379
ETCD_PEER = 2380
ETCD_METRICS = 2381          # loopback only: health without a client certificate
APISERVER = 6443             # every control plane, at its own address
LOCAL_API = 7443             # every host, loopback: HAProxy before the API servers
BALANCER_HEALTH = 7444       # every host, loopback: what HAProxy knows of the API servers
CONTROLLER_MANAGER = 10257   # loopback
SCHEDULER = 10259            # loopback
KUBELET = 10250
KUBELET_HEALTH = 10248       # loopback
KUBE_PROXY_HEALTH = 10256
KUBE_PROXY_METRICS = 10249   # loopback
FLANNEL_HEALTH = 8471        # loopback

# Each as messages name it; whose it is and who connects: provisioner/model/components.py.
NAMES = {number: name.lower().replace("_", " ") for name, number in tuple(globals().items()) if name.isupper()}
