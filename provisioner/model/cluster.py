"""The inventory as values: one cluster, its network, its machines."""

from __future__ import annotations

from enum import StrEnum
from ipaddress import IPv4Address, IPv4Network, IPv6Address
from typing import Annotated, Any, Literal

from pydantic import Field, StringConstraints

from provisioner.model.addresses import Addresses, IPNetwork
from provisioner.model.endpoint import Endpoint
from provisioner.model.outside import Artifacts, Proxy, Registry, Time
from provisioner.model.ports import APISERVER
from provisioner.model.section import Section

Name = Annotated[str, StringConstraints(pattern=r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$")]
# A host is called by a label or by a full name, as its Node will be.
HostName = Annotated[str, StringConstraints(
    pattern=r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?(\.[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?)*$")]
KubernetesVersion = Annotated[str, StringConstraints(pattern=r"^1\.\d+\.\d+$")]


class Role(StrEnum):
    """What a machine is for; an empty list of roles means that it is only prepared."""

    ETCD = "etcd"
    CONTROL_PLANE = "control-plane"
    LOAD_BALANCER = "load-balancer"
    WORKER = "worker"


class Network(Section):
    """Address ranges: of IPv4, or of IPv4 and IPv6 (dual stack)."""

    hosts: tuple[IPNetwork, ...] = Field(min_length=1, description="Networks that the machines' addresses lie in")
    pods: tuple[IPNetwork, ...] = Field(
        default=(IPv4Network("10.244.0.0/16"),), min_length=1, max_length=2,
        description="Addresses of Pods; dual stack: one of IPv4, and one of IPv6")
    services: tuple[IPNetwork, ...] = Field(
        default=(IPv4Network("10.96.0.0/16"),), min_length=1, max_length=2,
        description="Addresses of Services; dual stack likewise")
    plugin: Literal["flannel", "none"] = Field(
        default="flannel", description="Pod network: flannel (vxlan), or none to bring your own")
    domain: HostName = Field(default="cluster.local", description="DNS name below which Services and Pods have theirs")

    @property
    def is_dual(self) -> bool:
        """Say whether Pods and Services have addresses of both families; either both have, or neither."""
        return len(self.services) > 1 or len(self.pods) > 1


class Api(Section):
    """How the Kubernetes API is reached: a VIP that keepalived moves, or a load balancer of your own."""

    vips: Addresses | None = Field(
        default=None, alias="vip", description="Virtual address that the load-balancer hosts share, or a list of it: "
        "one, of IPv4, also in dual stack")
    port: int = Field(default=8443, ge=1, le=65535, description="Port of the API at the VIP")
    external: str | None = Field(default=None, description="HOST:PORT of a load balancer that is not ours")
    extra_sans: tuple[str, ...] = Field(default=(), description="Further names or addresses in the API's certificate")
    virtual_router_id: int | None = Field(
        default=None, ge=1, le=255, description="VRRP id, unique per network segment; default derived from the VIP")

    @property
    def vip(self) -> IPv4Address | IPv6Address | None:
        """Return the virtual address, the first where there are two; None without one."""
        return self.vips[0] if self.vips else None


class Ssh(Section):
    """How we log in."""

    user: str = Field(default="root", description="User that we log in as")
    port: int = Field(default=22, ge=1, le=65535, description="Port of sshd")
    become: Literal["sudo", "none"] = Field(default="sudo", description="How that user becomes root")
    key: str | None = Field(
        default=None,
        description="Private key file; relative to the inventory's directory; default: the agent and the usual files")
    jump: str | None = Field(default=None, description="USER@HOST[:PORT] that we go through")


class SshOverride(Section):
    """The same for one host; what is absent comes from the cluster's `ssh`."""

    host: str | None = Field(
        default=None, description="Name or address that we log in at, where it is not `address`: a public or a "
        "management address")
    user: str | None = Field(default=None, description="User that we log in as")
    port: int | None = Field(default=None, ge=1, le=65535, description="Port of sshd")
    become: Literal["sudo", "none"] | None = Field(default=None, description="How that user becomes root")
    key: str | None = Field(default=None, description="Private key file; relative to the inventory's directory")
    jump: str | None = Field(default=None, description="USER@HOST[:PORT] that we go through")


class Login(Ssh):
    """How we log in to one host, and where."""

    host: str = Field(description="Name or address that we log in at")


class Taint(Section):
    """A taint of the Node."""

    key: str = Field(description="Key of the taint, with a prefix of your own: example.org/disk")
    value: str = Field(default="", description="Value of the taint")
    effect: Literal["NoSchedule", "PreferNoSchedule", "NoExecute"] = Field(
        description="What happens to Pods that do not tolerate it")


class HostSpec(Section):
    """One machine."""

    addresses: Addresses = Field(
        alias="address", description="Address that the cluster uses for this machine, which an interface of it has; "
        "dual stack: a list of it and of one of IPv6")
    roles: tuple[Role, ...] = Field(description="etcd, control-plane, load-balancer, worker; empty: only prepared")
    system: str | None = Field(
        default=None, description="System that the machine has, as `debian-12`: a lab boots it, `check` refuses "
        "another; default: what the machine says, in a lab debian-12")
    labels: dict[str, str] = Field(default={}, description="Labels of the Node; those that others set there stay")
    taints: tuple[Taint, ...] = Field(default=(), description="Taints of the Node; those that others set there stay")
    ssh: SshOverride = Field(default=SshOverride(), description="What differs from the cluster's ssh")
    config: dict[str, dict[str, Any]] = Field(
        default={}, description="Overrides per component for this host: fields of its config, extra flags")


_MADE = "_made_of_hosts"        # no field: it is neither written, nor compared


class Host:
    """A machine with its name: what compile and the phases work with."""

    __slots__ = ("address", "addresses", "name", "roles", "spec")

    def __init__(self, name: str, spec: HostSpec) -> None:
        self.name = name
        self.spec = spec
        self.addresses = tuple(str(address) for address in spec.addresses)
        self.address = self.addresses[0]
        self.roles = frozenset(spec.roles)

    def __repr__(self) -> str:
        return f"Host({self.name})"

    @property
    def is_node(self) -> bool:
        """Say whether the machine runs a kubelet."""
        return bool(self.roles & {Role.CONTROL_PLANE, Role.WORKER})


class Gate(Section):
    """A question of one's own: a command that ends with 0 where all is well, or a Job that completes there."""

    name: Name = Field(description="What it is called in messages")
    command: tuple[str, ...] = Field(
        default=(),
        description="Program and arguments, run on this machine, in the inventory's directory, by no shell")
    job: str = Field(
        default="",
        description="Instead of a command: a manifest of one Job, in the inventory's directory; made anew each time, "
                    "it has to complete")
    timeout: int = Field(
        default=60, ge=1, le=3600, description="Seconds in which it has to hold; until then a command is asked again")


class Cluster(Section):
    """The whole inventory file."""

    version: Literal[1] = Field(description="Version of this file's format")
    cluster: Name = Field(description="Name of the cluster")
    lab: bool = Field(default=False, description="True: the machines are local nodes that `kubewright lab` boots")
    kubernetes: KubernetesVersion = Field(description='Kubernetes version, quoted: "1.36.3"')
    network: Network = Field(description="Address ranges of the hosts, Pods and Services; they must not overlap")
    api: Api = Field(default=Api(), description="How the API is reached; more than one control plane needs it")
    ssh: Ssh = Field(default=Ssh(), description="How we log in to the hosts")
    operators: tuple[str, ...] = Field(
        default=(),
        description="SSH public keys (ssh-ed25519, ssh-rsa) that may read the cluster's secrets; a lab makes its own")
    config: dict[str, dict[str, Any]] = Field(
        default={}, description="Overrides per component: fields of its config, `flags` for extra flags")
    registries: dict[str, Registry] = Field(
        default={}, description="Registries by HOST[:PORT], docker.io among them: their mirrors, CA and login")
    artifacts: Artifacts = Field(default=Artifacts(), description="Where hosts get what artifacts.lock pins")
    proxy: Proxy | None = Field(
        default=None, description="Proxy that images and packages are fetched through; nothing of the cluster is")
    time: Time = Field(default=Time(), description="Where hosts get their time from; default: as they are set up")
    trust: tuple[str, ...] = Field(
        default=(), description="Certificates (PEM) of authorities that hosts believe beside those of their system")
    firewall: Literal["leave", "ours"] = Field(
        default="leave", description="A firewall of a host that drops by default: leave it, and `check` says what it "
        "has to let in; or ours: `up` tells it, keeps it told, and `reset` takes that back")
    gates: tuple[Gate, ...] = Field(
        default=(), description="Commands asked after each turn of `upgrade`; where one fails, its hosts go back")
    hosts: dict[HostName, HostSpec] = Field(
        min_length=1, description="The machines by name, which is their hostname and their Node's name too")

    @property
    def machines(self) -> tuple[Host, ...]:
        """Return every machine, in the order of the file."""
        return self._machines()[None]

    def _machines(self) -> dict[Role | None, tuple[Host, ...]]:
        """Return all machines, and those of each role: made once of `hosts`, since much asks for them host by host.

        A copy of the cluster with other hosts, which takes this along, makes them anew.
        """
        kept: tuple[object, dict[Role | None, tuple[Host, ...]]] | None = self.__dict__.get(_MADE)
        if kept is None or kept[0] is not self.hosts:
            every = tuple(Host(name, spec) for name, spec in self.hosts.items())
            kept = self.hosts, {None: every, **{role: tuple(h for h in every if role in h.roles) for role in Role}}
            self.__dict__[_MADE] = kept
        return kept[1]

    def machine(self, name: str) -> Host:
        """Return the machine called `name`; KeyError if there is none."""
        return Host(name, self.hosts[name])

    def ssh_of(self, name: str) -> Login:
        """Return how we log in to one machine: the cluster's `ssh` with what differs for this host."""
        spec = self.hosts[name]
        return Login.model_construct(**{"host": str(spec.addresses[0]), **dict(self.ssh),
                                        **spec.ssh.model_dump(exclude_none=True)})

    def with_role(self, role: Role) -> tuple[Host, ...]:
        """Return the machines that have `role` in the file."""
        return self._machines()[role]

    @property
    def control_planes(self) -> tuple[Host, ...]:
        return self.with_role(Role.CONTROL_PLANE)

    @property
    def workers(self) -> tuple[Host, ...]:
        return self.with_role(Role.WORKER)

    @property
    def nodes(self) -> tuple[Host, ...]:
        """Return the machines that run a kubelet."""
        return tuple(h for h in self.machines if h.is_node)

    @property
    def etcd_hosts(self) -> tuple[Host, ...]:
        """Return the etcd hosts: those with the role, else the control planes."""
        return self.with_role(Role.ETCD) or self.control_planes

    @property
    def load_balancers(self) -> tuple[Host, ...]:
        """Return the VIP's hosts: those with the role, else the control planes."""
        return self.with_role(Role.LOAD_BALANCER) or self.control_planes

    @property
    def vip_holders(self) -> tuple[Host, ...]:
        """Return the load balancers that may hold the VIP: none where there is no VIP."""
        return self.load_balancers if self.api.vip is not None else ()

    @property
    def kubernetes_service_ip(self) -> str:
        """Return the first address of the Service range: the `kubernetes` Service."""
        return str(self.network.services[0][1])

    @property
    def kubernetes_service_name(self) -> str:
        """Return the full name of the `kubernetes` Service: how Pods may call the API, and who issues their tokens."""
        return f"kubernetes.default.svc.{self.network.domain}"

    @property
    def dns_ips(self) -> tuple[str, ...]:
        """Return the tenth address of each Service range, as kubeadm does for cluster DNS."""
        return tuple(str(services[10]) for services in self.network.services)

    @property
    def dns_ip(self) -> str:
        """Return the address of cluster DNS that Pods are told."""
        return self.dns_ips[0]

    @property
    def api_endpoint(self) -> Endpoint:
        """Return where people reach the API."""
        if self.api.external:
            return Endpoint.parse(self.api.external)
        if self.api.vip:
            return Endpoint(str(self.api.vip), self.api.port)
        return Endpoint(self.control_planes[0].address, APISERVER)
