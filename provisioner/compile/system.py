"""The operating system under the cluster: packages, users, kernel settings, and the stamp program."""

from __future__ import annotations

from collections.abc import Iterator

from provisioner.applier.host import STATE_DIR
from provisioner.compile.context import HostContext
from provisioner.compile.parts import STAMP, directories, rendered
from provisioner.compile.render import verbatim
from provisioner.model.applied import HOST_PATH
from provisioner.model.cluster import Cluster
from provisioner.model.components import modules_of, packages_of
from provisioner.model.desired import Directory, File, Item, KernelModule, Package, SwapOff, Sysctl, User

# Each reads its own secrets only (LoadCredential= in its unit), and has no power over the host.
CONTROL_PLANE_USERS = ("kube-apiserver", "kube-controller-manager", "kube-scheduler")

# Read after Debian's 99-sysctl.conf and after what hardening roles write: what is forced now holds over a boot too.
SYSCTL_FILE = "/etc/sysctl.d/99-zz-kubewright.conf"
# The first six are what the kubelet writes itself when it starts; said here, so that the plan shows them.
NODE_SYSCTLS = {
    "vm.overcommit_memory": "1",
    "vm.panic_on_oom": "0",
    "kernel.panic": "10",
    "kernel.panic_on_oops": "1",
    "kernel.keys.root_maxkeys": "1000000",
    "kernel.keys.root_maxbytes": "25000000",
    "net.ipv4.ip_forward": "1",
    "fs.inotify.max_user_instances": "8192",
    "fs.inotify.max_user_watches": "524288",
}
# What forwards the packets of Pods that have an address of IPv6 too.
DUAL_SYSCTLS = {"net.ipv6.conf.all.forwarding": "1"}
# With protectKernelDefaults it does not write them, and does not start where one differs.
KUBELET_SYSCTLS = tuple(NODE_SYSCTLS)[:6]


def node_sysctls(cluster: Cluster) -> dict[str, str]:
    """Return the kernel settings of a node."""
    return NODE_SYSCTLS | (DUAL_SYSCTLS if cluster.network.is_dual else {})


def items(ctx: HostContext) -> Iterator[Item]:
    """Return what is installed and set before anything of ours runs."""
    yield from (Package(path=name, phase="prepare")
                for name in packages_of(ctx.cluster, ctx.host, ctx.system))
    if ctx.is_etcd:
        yield User(path="etcd", phase="prepare", component="etcd", home="/var/lib/etcd")
    if ctx.is_control_plane:
        yield from (User(path=name, phase="prepare", component=name) for name in CONTROL_PLANE_USERS)
    if ctx.is_node or not ctx.is_used:
        yield from _kernel(ctx)
    if ctx.is_used:
        yield Directory(path=STATE_DIR, phase="pki", mode=0o700)
        yield from directories(
            ["/etc/kubewright", "/etc/kubewright/inputs", "/opt/kubewright", "/opt/kubewright/bin"], "pki")
        yield File(path=STAMP, phase="pki", mode=0o755, content=verbatim(STAMP))
    if ctx.is_control_plane or ctx.is_etcd:
        # Last of all, once the cluster is proved: what the next change is judged against, and drift measured from.
        yield File(path=HOST_PATH, phase="verify", mode=0o600, content=ctx.site.applied)


def _kernel(ctx: HostContext) -> Iterator[Item]:
    modules = modules_of(ctx.cluster, ctx.host)
    yield SwapOff(path="swap", phase="prepare")
    yield from (KernelModule(path=name, phase="prepare") for name in modules)
    yield from (Sysctl(path=key, phase="prepare", value=value) for key, value in node_sysctls(ctx.cluster).items())
    # What is in force now is prepare's; these two files keep it over a boot.
    yield rendered("/etc/modules-load.d/kubewright.conf", "runtime", modules=modules)
    yield rendered(SYSCTL_FILE, "runtime", sysctls=node_sysctls(ctx.cluster))
