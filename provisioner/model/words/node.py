"""What containerd and the kubelet say on a node."""

from __future__ import annotations

from provisioner.model.words.row import Row

ROWS = (
    Row("image-not-found", r"failed to resolve (reference|image) [\\\"]*(?P<image>[\w./:@-]++).*not found|"
        r"\"(?P<also>[\w./:@-]+)\": not found$|image \"(?P<third>[\w./:@-]+)\" not found|ErrImageNeverPull",
        "the image {image}{also}{third} is not there",
        ("it was removed from the node: our images are brought by `up`", "its name or digest is wrong",
         "the registry no longer has it"), "kubewright up; on {host}, as root: crictl images"),
    Row("image-pull", r"failed to pull (and unpack )?image [\\\"]*(?P<image>[\w./:@-]+)",
        "the image {image} cannot be fetched",
        ("the node does not reach the registry", "the registry asks for credentials", "the name is wrong"),
        "on {host}, as root: crictl pull {image}", weak=True),
    Row("cni-missing", r"cni plugin not initialized|no network config found in /etc/cni/net.d|NetworkPluginNotReady",
        "the Pod network is not there on this node yet",
        ("its plugin has not started (flannel, or your own)", "a file in /etc/cni/net.d was removed"),
        "kubewright logs {host} flannel"),
    Row("runtime-down", r"container runtime (is down|status check may not have completed)|"
        r"containerd\.sock: (connect: )?(connection refused|no such file)|runtime service is not initialized|"
        r"failed to connect to \S*containerd", "the kubelet does not reach containerd",
        ("containerd is down or starting", "its disk is full"), "kubewright logs {host} containerd"),
    Row("cgroup-driver", r"cgroup driver:? \"?\w+\"? is different from|misconfiguration: kubelet cgroup driver|"
        r"expected cgroupsPath to be of format", "kubelet and containerd manage cgroups in different ways",
        ("`config:` of one of them sets the driver",), "kubewright plan"),
    Row("cgroup-v1", r"kubelet is configured to not run on a host using cgroup v1|cgroup v1 support is unsupported",
        "the kubelet does not run on cgroup v1",
        ("the system is old, or was started with systemd.unified_cgroup_hierarchy=0",),
        "in cluster.yaml: config: {{kubelet: {{failCgroupV1: false}}}}; better: a system with cgroup v2"),
    Row("swap-on", r"running with swap on is not supported", "the kubelet does not run with swap",
        ("swap was turned on again, by a unit or /etc/fstab",), "on {host}, as root: swapoff -a; then kubewright up"),
    Row("node-unknown", r"nodes? \"(?P<name>[\w.-]+)\" not found", "the API does not know the Node {name} yet",
        ("the kubelet has not registered: see what it says", "the Node object was deleted"),
        "kubewright logs {host} kubelet", weak=True),
    Row("sandbox", r"failed to (create|setup|set up) (pod )?sandbox|Failed to create pod sandbox",
        "containerd cannot make a Pod's sandbox",
        ("the Pod network's plugin fails", "the pause image is missing", "no process or memory is left"),
        "kubewright logs {host} containerd", weak=True),
    Row("evicted", r"node (was low on resource|had condition): \[?(?P<what>[\w-]+)|threshold quantity",
        "the kubelet puts Pods out: the node runs short of {what}", ("disk or memory is nearly full",),
        "on {host}: df -h; free -h"),
    Row("kubelet-name", r"is forbidden: node (\"[^\"]*\" )?is not allowed to modify node \"(?P<name>[^\"]*)\"",
        "the kubelet calls itself by another name than its certificate: {name}",
        ("the machine's name was changed",), "on {host}: hostname; kubewright check"),
)
