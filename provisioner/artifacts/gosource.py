"""What a Go build starts from: the pinned environment, and a module directory with the component's main package."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from provisioner.artifacts.catalogue import Component
from provisioner.errors import KubewrightError

# Everything that could change the bytes is fixed here; where modules are fetched from stays the machine's choice.
PINNED = {
    "CGO_ENABLED": "0", "GOOS": "linux", "GOAMD64": "v1", "GOARM64": "v8.0", "GOTOOLCHAIN": "local", "GOWORK": "off",
    "GOEXPERIMENT": "", "GOFIPS140": "off", "GODEBUG": "", "GOFLAGS": "-mod=readonly",
}
BUILD_FLAGS = ("-trimpath", "-buildvcs=false", "-mod=readonly")
_GO_TIMEOUT = 600


def go_environment(arch: str) -> dict[str, str]:
    """Return the environment of every `go` call for `arch`: this machine's, with all that decides bytes pinned."""
    own = {name: value for name, value in os.environ.items() if name != "GOROOT"}     # of another Go than the pinned
    return {**own, **PINNED, "GOARCH": arch}


def prepare_sources(component: Component, version: str, work: Path, go: Path) -> dict[str, str]:
    """Put the component's own sources into `work` and return binary -> package to build from there."""
    for source in component.module_dir(version).glob("*.go"):
        shutil.copyfile(source, work / source.name)
    if not component.go_source.without_imports:
        return dict(component.go_source.binaries)
    [(binary, package)] = component.go_source.binaries.items()
    text = (_module_directory(package, version, work, go) / "main.go").read_text(encoding="utf-8")
    text = without_imports(text, component.go_source.without_imports, f"{component.name} {version}")
    (work / "main.go").write_text(text, encoding="utf-8")
    return {binary: "."}


def _module_directory(module: str, version: str, work: Path, go: Path) -> Path:
    done = subprocess.run([go, "mod", "download", "-json", module], cwd=work, env=go_environment("amd64"),
                          text=True, timeout=_GO_TIMEOUT, capture_output=True, check=False)
    if done.returncode:
        raise KubewrightError(f"{module} {version}: its sources are not to be had", code="artifact-build",
                              details=done.stderr.strip().splitlines()[-10:])
    return Path(json.loads(done.stdout)["Dir"])


def without_imports(text: str, packages: Sequence[str], what: str) -> str:
    """Return a main package's text without the blank imports of `packages`; refuse where one is not found once."""
    for package in packages:
        line = re.compile(rf'^\t_ "{re.escape(package)}"\n', re.M)
        if len(line.findall(text)) != 1:
            raise KubewrightError(
                f"{what}: main.go does not import {package} the way we know", code="catalogue-moved",
                details=["upstream moved it: look at main.go and correct `without_imports` in the catalogue"])
        text = line.sub("", text)
    return text
