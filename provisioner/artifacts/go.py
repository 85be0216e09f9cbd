"""The source `go`: static binaries built from Go modules, so that the same catalogue entry gives the same bytes.

The versions of all modules are pinned by the committed go.mod and go.sum, the toolchain by the catalogue, paths and
version control are kept out of the bytes by flags. Go's own module and build caches are used as this machine has them.
"""

from __future__ import annotations

import json
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from provisioner.artifacts.catalogue import Component, digest_of, fill
from provisioner.artifacts.gosource import BUILD_FLAGS, PINNED, go_environment, prepare_sources
from provisioner.artifacts.toolchain import Toolchain
from provisioner.errors import KubewrightError

_RECIPE = 1                       # part of the build key: raise it when the way of building changes
_TICK = 2.0
_DEADLINE = 3600.0                # one component; kubernetes took 6 min on two cores with cold caches
_STOP_WITHIN = 15.0

Progress = Callable[[str], None]


def build_key(component: Component, version: str, arch: str, toolchain: str) -> str:
    """Return the digest of everything that decides the bytes of a component's binaries."""
    directory = component.module_dir(version)
    files = [part for path in sorted(directory.iterdir()) for part in (path.name.encode(), path.read_bytes())]
    recipe = component.go_source.model_dump(mode="json")
    settings = [_RECIPE, component.name, version, arch, toolchain, recipe, BUILD_FLAGS, PINNED]
    return digest_of(json.dumps(settings, sort_keys=True).encode(), *files)


def build(component: Component, version: str, arch: str, toolchain: Toolchain, work: Path,
          progress: Progress) -> dict[str, Path]:
    """Build all binaries of a component below `work`, in one call of Go, and return name -> file."""
    go, what = toolchain.go(progress), f"{component.name} {version}"
    for name in ("go.mod", "go.sum"):
        shutil.copyfile(component.module_dir(version) / name, work / name)
    progress(f"{what}: fetching modules")
    packages = prepare_sources(component, version, work, go)
    out, made = work / "out", work / "made"
    out.mkdir()
    made.mkdir()
    command = [str(go), "build", *BUILD_FLAGS, *_tags(component), "-ldflags", _link_flags(component, version),
               "-o", f"{out}/", *packages.values()]
    _run(command, work, arch, f"{what}: building {', '.join(packages)}", progress)
    return {name: (out / executable(package, component)).rename(made / name) for name, package in packages.items()}


def build_standard_library(toolchain: Toolchain, arch: str, work: Path, progress: Progress) -> None:
    """Put Go's own packages into its build cache, so that builds at one time do not each compile them."""
    (work / "go.mod").write_text("module kubewright.local/build/none\n", encoding="utf-8")
    command = [str(toolchain.go(progress)), "build", *BUILD_FLAGS, "std"]
    _run(command, work, arch, f"{toolchain.name}: building its library", progress)


def executable(package: str, component: Component) -> str:
    """Return the name that Go gives a main package's program: the last part of its path that is not a version."""
    if package == ".":
        return component.name
    return re.sub(r"/v\d+$", "", package).rpartition("/")[2]


def _tags(component: Component) -> list[str]:
    return ["-tags", ",".join(component.go_source.tags)] if component.go_source.tags else []


def _link_flags(component: Component, version: str) -> str:
    values = [f"-X {name}={fill(value, version)}" for name, value in sorted(component.go_source.set.items())]
    return " ".join(["-s", "-w", "-buildid=", *values])


def _run(command: Sequence[str], work: Path, arch: str, doing: str, progress: Progress) -> None:
    """Run one build with its output in a file (a full pipe would block it), telling how long it has taken."""
    log = work / "build.log"
    start = time.monotonic()
    with log.open("wb") as output:
        process = subprocess.Popen(command, cwd=work, env=go_environment(arch), stdin=subprocess.DEVNULL,
                                   stdout=output, stderr=subprocess.STDOUT)
        try:
            while _still_running(process):
                elapsed = time.monotonic() - start
                if elapsed > _DEADLINE:
                    raise KubewrightError(f"this machine: {doing}: not done in {elapsed:.0f} s", code="artifact-build")
                progress(f"{doing}, {elapsed:.0f} s")
        finally:
            _stop(process)
    if process.returncode:
        tail = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()[-20:]
        raise KubewrightError(f"this machine: {doing}: go build ended with {process.returncode}",
                              code="artifact-build", details=tail)


def _still_running(process: subprocess.Popen[bytes]) -> bool:
    try:
        process.wait(timeout=_TICK)
    except subprocess.TimeoutExpired:
        return True
    return False


def _stop(process: subprocess.Popen[bytes]) -> None:
    """End a build that still runs: asked first, so that Go removes its own temporary files."""
    if process.poll() is not None:
        return
    process.send_signal(signal.SIGINT)
    try:
        process.wait(timeout=_STOP_WITHIN)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
