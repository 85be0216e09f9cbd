"""What no lab node can be given, why, and the case of `tests/cases/checks` that shows it found all the same."""

from __future__ import annotations

from dataclasses import dataclass

_KERNEL = "nodes share this machine's kernel"
_CLOCK = "nodes share this machine's clock"
_SIZE = "nodes have this machine's processors and memory"
_BOX = "a node is a container: there it is no fault, or it would not start"


@dataclass(frozen=True)
class Elsewhere:
    """One defect that is shown with what a machine would answer, not on one."""

    says: str
    check: str
    why: str
    case: str


NOT_GIVEN: tuple[Elsewhere, ...] = (
    Elsewhere("swap is on", "swap", _KERNEL, "swap is a warning, since it is turned off"),
    Elsewhere("swap comes back at a boot", "swap", _KERNEL,
              "what brings swap back is named, each with what keeps it away"),
    Elsewhere("the kernel's own settings are otherwise at boot", "sysctl", f"{_KERNEL}: `kernel.*` and `vm.*`",
              "what the kubelet insists on and a later file takes away is an error"),
    Elsewhere("the clock is off", "clock", _CLOCK, "more than half a minute is an error with its figure"),
    Elsewhere("nothing keeps the clock", "timekeeper", _BOX,
              "nothing keeps the clock of a machine; a container has that of the machine below"),
    Elsewhere("the kernel lacks overlay or vxlan", "kernel", _KERNEL, "a kernel without overlay and vxlan"),
    Elsewhere("the kernel's modules are gone until a boot", "kernel", _KERNEL,
              "a kernel that was upgraded below us has lost its modules until the next boot"),
    Elsewhere("cgroup v1", "cgroup", _KERNEL,
              "cgroup v1 is refused from kubelet 1.35 on, with the line that allows it"),
    Elsewhere("no memory controller", "controllers", _KERNEL,
              "the memory controller turned off at boot, as boards of a Raspberry Pi have it"),
    Elsewhere("root lacks capabilities", "capabilities", _BOX, "a container whose root may not do what a node does"),
    Elsewhere("no /dev/kmsg", "devices", _BOX, "a container without /dev/kmsg"),
    Elsewhere("SELinux enforces", "confinement", _KERNEL, "SELinux that enforces, and one that only tells"),
    Elsewhere("SELinux of a system that comes with it enforces", "selinux", _KERNEL,
              "SELinux of a system that comes with it, whose policy can be told of us"),
    Elsewhere("an agent of a cloud makes rules of routes", "cloud-routes", "nodes are Debian, which has none",
              "an agent of a cloud that makes rules of routes, on a node"),
    Elsewhere("AppArmor without its parser", "confinement", _KERNEL,
              "AppArmor without its parser, on a machine and in a container"),
    Elsewhere("no systemd", "init", _BOX, "another init than systemd, as in a container"),
    Elsewhere("a systemd that is too old", "systemd", "nodes are Debian 12", "a systemd before what our units say"),
    Elsewhere("a Python that is too old", "python", "nodes are Debian 12", "a Python before 3.9 is an error"),
    Elsewhere("an architecture without artifacts", "arch", "nodes have this machine's processor",
              "an architecture that artifacts.lock does not pin"),
    Elsewhere("too few processors", "cpus", _SIZE, "one CPU is a warning for a control plane and nothing for a worker"),
    Elsewhere("too little memory", "memory", _SIZE, "a control plane needs the 1700 MiB that kubeadm demands"),
    Elsewhere("one firmware UUID for two machines", "product", _BOX,
              "one firmware UUID is a warning, since some boards are made so"),
    Elsewhere("one hardware address for two machines", "mac", "the bridge would lose both, and the way in with them",
              "two machines with one MAC, in whatever case; one is a copy of the other"),
    Elsewhere("the inventory's address is not there", "address", "it is the way in",
              "an address of the inventory that no interface carries"),
    Elsewhere("one address for two machines", "own-address", "who had a copy of it would not find the other any more",
              "the address that a NAT gives to every machine"),
    Elsewhere("the mirror of artifacts is not reached", "mirror", "the lab's inventory names none",
              "a mirror that the host does not reach"),
    Elsewhere("packets take long", "latency", "no netem in the kernel that this was made on", "a member far away"),
    Elsewhere("no majority of etcd's members", "majority", "it takes several hosts at once: `lab fault drop`",
              "two networks, and etcd finds no majority in the larger one"),
    Elsewhere("etcd's disk is slow", "fsync", "no device mapper that delays in a node", "disks of etcd"),
    Elsewhere("containers of Docker would be removed", "packages", "Docker's packages are not in the lab's repository",
              "Docker's packages would be removed for ours"),
    Elsewhere("a CNI configuration of before", "cni", "the lab's Pod network has a directory of its own",
              "a CNI configuration of before, where the network is left to others"),
    Elsewhere("no DNS server that Pods reach", "resolver", "the lab's inventory names those of CoreDNS: none",
              "no node knows a DNS server that Pods reach"),
    Elsewhere("a run is at work", "idle", "a test of the lock shows it",
              "a login that only says a sentence, a Python that is not whole, and a step at work"),
)
