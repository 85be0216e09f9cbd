"""Write the go.mod and go.sum of one component's version, once, to be committed: `python -m provisioner.artifacts.pin`.

The dependency versions are upstream's: our module only requires the component's modules, and Go's version selection
takes what their go.mod files say. Staging modules that upstream replaces by a directory get the matching release.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from provisioner.artifacts.cache import Cache
from provisioner.artifacts.catalogue import ARCHES, Component, load_catalogue
from provisioner.artifacts.gosource import go_environment, prepare_sources
from provisioner.artifacts.toolchain import Toolchain
from provisioner.errors import KubewrightError
from provisioner.model.releases import numbers

_STAGING = re.compile(r"^\s*(k8s\.io/\S+) => \./staging/src/", re.M)
_GODEBUG = re.compile(r"^godebug (?:[^\n(]+|\([^)]*\))$", re.M)
_GO_LINE = re.compile(r"^go (\d+\.\d+(?:\.\d+)?)$", re.M)
_TIMEOUT = 900


def pin(component: Component, version: str, go: Path) -> Path:
    """Write modules/<component>/<version>/go.mod and go.sum; both architectures' packages are covered."""
    target = component.module_dir(version)
    with tempfile.TemporaryDirectory(prefix="kubewright-pin-") as scratch:
        work = Path(scratch)
        upstream = [_upstream_go_mod(module, version, work, go) for module in component.go_source.modules]
        (work / "go.mod").write_text(go_mod_text(component, version, upstream), encoding="utf-8")
        (work / "go.sum").touch()
        _resolve(component, version, work, go)
        target.mkdir(parents=True, exist_ok=True)
        for name in ("go.mod", "go.sum"):
            shutil.copyfile(work / name, target / name)
    return target


def go_mod_text(component: Component, version: str, upstream: Sequence[str]) -> str:
    """Return the first go.mod: upstream's language version and godebug settings, and nothing but our requirements."""
    lines = [f"module kubewright.local/build/{component.name}", "", f"go {_newest(upstream)}", ""]
    lines += [match.group(0) for text in upstream for match in _GODEBUG.finditer(text)]
    lines += [f"require {module} v{version}" for module in component.go_source.modules]
    staging = sorted({name for text in upstream for name in _STAGING.findall(text)})
    released = "v0." + version.partition(".")[2]
    lines += [f"replace {name} => {name} {released}" for name in staging]
    return "\n".join(lines) + "\n"


def _newest(upstream: Sequence[str]) -> str:
    found: list[str] = [match for text in upstream for match in _GO_LINE.findall(text)]
    return max(found, key=numbers)


def _upstream_go_mod(module: str, version: str, work: Path, go: Path) -> str:
    answer = json.loads(_go(["mod", "download", "-json", f"{module}@v{version}"], work, go, "amd64"))
    return Path(str(answer["GoMod"])).read_text(encoding="utf-8")


def _resolve(component: Component, version: str, work: Path, go: Path) -> None:
    """Let Go write all requirements and checksums that the packages need, per architecture, until nothing moves."""
    if component.go_source.modules:
        _go(["mod", "download", *component.go_source.modules], work, go, "amd64")
    packages = prepare_sources(component, version, work, go)
    tags = ["-tags", ",".join(component.go_source.tags)] if component.go_source.tags else []
    for arch in (*ARCHES, *ARCHES):
        _go(["list", "-mod=mod", "-deps", "-f", "{{.ImportPath}}", *tags, *packages.values()], work, go, arch)


def _go(args: Sequence[str], work: Path, go: Path, arch: str) -> str:
    environment = go_environment(arch) | {"GOFLAGS": "-mod=mod"}
    done = subprocess.run([go, *args], cwd=work, env=environment, text=True, timeout=_TIMEOUT, capture_output=True,
                          check=False)
    if done.returncode:
        raise KubewrightError(f"go {' '.join(args[:3])}: exit {done.returncode} ({go})",
                              details=done.stderr.strip().splitlines()[-20:])
    return done.stdout


def main(arguments: Sequence[str]) -> int:
    """Pin the named components' versions (default: all) that have no go.sum yet; to pin anew, remove it."""
    catalogue = load_catalogue()
    toolchain = Toolchain(catalogue, Cache())
    for name in arguments or catalogue.components:
        component = catalogue.components[name]
        for version in component.versions if component.go else ():
            if not (component.module_dir(version) / "go.sum").exists():
                print(pin(component, version, toolchain.go(print)), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
