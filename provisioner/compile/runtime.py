"""containerd, the images it must have without any registry, and the tools to look at both."""

from __future__ import annotations

from collections.abc import Iterator

from provisioner.compile import networks, registries, surroundings, web_proxy
from provisioner.compile.context import HostContext
from provisioner.compile.parts import BIN_DIR, binary, directories, rendered, service
from provisioner.model.components import BY_NAME
from provisioner.model.desired import Artifact, Item, Symlink

CONTAINERD_SOCKET = "unix:///run/containerd/containerd.sock"
CONFIG = "/etc/containerd/config.toml"
IMAGES_DIR = "/opt/kubewright/images"
IMPORT_IMAGES = "/opt/kubewright/bin/import-images"

BINARIES = ("containerd", "containerd-shim-runc-v2", "ctr", "crictl")


def items(ctx: HostContext) -> Iterator[Item]:
    """Return the container runtime of a node."""
    if not ctx.is_node:
        return
    for name in BINARIES:
        yield from binary(ctx, name, "runtime")
    pods = networks.of(ctx.cluster)
    yield from directories(["/etc/containerd", *pods.parents, pods.config_dir, pods.bin_dir], "runtime")
    for name in ("loopback", *pods.plugins):
        yield from binary(ctx, name, "runtime", pods.bin_dir)
    yield rendered("/etc/crictl.yaml", "runtime", component="crictl", socket=CONTAINERD_SOCKET)
    yield rendered(
        CONFIG, "runtime", component="containerd", sandbox=ctx.artifact(BY_NAME["containerd"].image).image,
        cni_bin_dir=pods.bin_dir, cni_config_dir=pods.config_dir, may_lower_oom_score=ctx.facts.cap_sys_resource,
        registries=registries.DIRECTORY if ctx.cluster.registries else "")
    # It reads whom the system believes when it starts, and never again.
    inputs = [CONFIG, f"{BIN_DIR}/containerd", *surroundings.authorities(ctx.cluster)]
    yield from service("containerd.service", "runtime", inputs, component="containerd",
                       write_cni_config=pods.write_cni_config,
                       web_proxy=web_proxy.environment(ctx.cluster))
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
