"""containerd, the images it must have without any registry, and the tools to look at both."""

from __future__ import annotations

from collections.abc import Iterator

from provisioner.compile.context import HostContext
from provisioner.compile.parts import BIN_DIR, binary, directories, rendered, service
from provisioner.model.desired import Artifact, Item, Symlink

CONTAINERD_SOCKET = "unix:///run/containerd/containerd.sock"
CONFIG = "/etc/containerd/config.toml"
IMAGES_DIR = "/opt/kubewright/images"
IMPORT_IMAGES = "/opt/kubewright/bin/import-images"

# Directories of our own for the Pod network of ours: in the standard ones a file of somebody else's that sorts first
# decides about the Pods. A network that people bring themselves expects the standard ones.
CNI_DIRS = {"flannel": ("/etc/kubewright/cni", "/opt/kubewright/cni"), "none": ("/etc/cni/net.d", "/opt/cni/bin")}
WRITE_CNI_CONFIG = "/opt/kubewright/bin/write-cni-config"
CNI_CONFIG = f"{CNI_DIRS['flannel'][0]}/10-kubewright.conflist"
BINARIES = ("containerd", "containerd-shim-runc-v2", "ctr", "crictl")
FLANNEL_CNI_PLUGINS = ("ptp", "host-local", "portmap")


def items(ctx: HostContext) -> Iterator[Item]:
    """Return the container runtime of a node."""
    if not ctx.is_node:
        return
    for name in BINARIES:
        yield from binary(ctx, name, "runtime")
    config_dir, bin_dir = CNI_DIRS[ctx.cluster.network.plugin]
    standard = ["/opt/cni", "/etc/cni"] if ctx.cluster.network.plugin == "none" else []
    yield from directories(["/etc/containerd", *standard, config_dir, bin_dir], "runtime")
    plugins = ("loopback", *(FLANNEL_CNI_PLUGINS if ctx.cluster.network.plugin == "flannel" else ()))
    for name in plugins:
        yield from binary(ctx, name, "runtime", bin_dir)
    yield rendered("/etc/crictl.yaml", "runtime", component="crictl", socket=CONTAINERD_SOCKET)
    yield rendered(
        CONFIG, "runtime", component="containerd", sandbox=ctx.artifact("pause.tar").image, cni_bin_dir=bin_dir,
        cni_config_dir=config_dir,
        may_lower_oom_score=ctx.facts.cap_sys_resource)
    yield from service("containerd.service", "runtime", [CONFIG, f"{BIN_DIR}/containerd"], component="containerd",
                       write_cni_config=WRITE_CNI_CONFIG if ctx.cluster.network.plugin == "flannel" else "")
    yield from _images(ctx)


def _images(ctx: HostContext) -> Iterator[Item]:
    links = {image.name: f"{IMAGES_DIR}/{image.name}" for image in ctx.images()}
    yield from directories([IMAGES_DIR], "runtime")
    for image in ctx.images():
        yield Artifact(path=image.host_path, phase="stage", component=image.component, sha256=image.sha256,
                       size=image.size, name=image.name, version=image.version, source=image.source, mode=0o644)
        yield Symlink(path=links[image.name], phase="runtime", component=image.component, target=image.host_path)
    archives = [(links[image.name], image.image) for image in ctx.images()]
    yield rendered(IMPORT_IMAGES, "runtime", component="containerd", mode=0o755, archives=archives)
    yield from service("kubewright-images.service", "runtime", [IMPORT_IMAGES, *links.values()],
                       component="containerd", program=IMPORT_IMAGES)
