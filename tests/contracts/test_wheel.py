"""The wheel is whole: installed outside of any checkout it validates, compiles and plays as the checkout does."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
LAB = ROOT / "inventories" / "lab"
FIXTURE = ROOT / "tests" / "unit" / "compile"

# Prints where the package is, then a digest over every file that compile makes of the fixture's inventory.
COMPILE = """
import hashlib, provisioner
from compile_fixture import compiled
from provisioner.model.desired import File
text = "".join(i.path + i.content for h in compiled().hosts.values() for i in h.items if isinstance(i, File))
print(provisioner.__file__)
print(hashlib.sha256(text.encode()).hexdigest())
"""


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("site")
    run([sys.executable, "-m", "pip", "install", "--quiet", "--no-index", "--no-deps", "--no-compile",
         "--target", str(target), str(wheel)], target)
    return target


def run(argv: list[str], cwd: Path, **environ: str) -> subprocess.CompletedProcess[str]:
    keep = {k: os.environ[k] for k in ("PATH", "HOME", "TMPDIR") if k in os.environ}
    done = subprocess.run(argv, cwd=cwd, timeout=110, capture_output=True, text=True, check=False,
                          env=keep | {"LC_ALL": "C.UTF-8", "PIP_DISABLE_PIP_VERSION_CHECK": "1"} | environ)
    assert done.returncode == 0, done.stdout + done.stderr
    return done


def files_of(directory: Path) -> set[str]:
    return {str(p.relative_to(directory)) for p in directory.rglob("*")
            if p.is_file() and "__pycache__" not in p.parts}


@pytest.mark.parametrize("name", ["templates", "playbooks"])
def test_the_wheel_carries_every_file_of_the_tool_s_own_data(wheel: Path, name: str) -> None:
    prefix = f"provisioner/_data/{name}/"
    carried = {n.removeprefix(prefix) for n in zipfile.ZipFile(wheel).namelist() if n.startswith(prefix)}
    assert carried == files_of(ROOT / name)
    assert len(carried) >= 5


def test_the_wheel_carries_the_catalogue_and_what_pins_the_builds(wheel: Path) -> None:
    prefix = "provisioner/artifacts/"
    carried = {n.removeprefix(prefix) for n in zipfile.ZipFile(wheel).namelist() if n.startswith(prefix)}
    assert carried == files_of(ROOT / "provisioner" / "artifacts")
    assert "catalogue.yaml" in carried
    assert {Path(n).suffix for n in carried if n.startswith("modules/")} >= {".mod", ".sum", ".go"}


def test_the_wheel_carries_the_applier_which_runs_on_the_hosts(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    assert {f"provisioner/applier/{n}" for n in files_of(ROOT / "provisioner" / "applier")} <= names


def test_the_wheel_carries_the_page_of_a_run(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    assert {"provisioner/report/run.html.j2", "provisioner/report/run.css", "provisioner/report/live.html.j2",
            "provisioner/report/live.css", "provisioner/report/live.js"} <= names


def test_the_wheel_carries_nothing_else(wheel: Path) -> None:
    tops = {n.split("/")[0] for n in zipfile.ZipFile(wheel).namelist()}
    assert {t for t in tops if not t.endswith(".dist-info")} == {"provisioner"}
    assert not [n for n in zipfile.ZipFile(wheel).namelist() if "__pycache__" in n or n.endswith((".key", ".age"))]


def test_a_checkout_has_no_second_copy_of_its_data() -> None:
    assert not (ROOT / "provisioner" / "_data").exists()


def test_the_installed_wheel_validates_an_inventory_outside_of_the_checkout(installed: Path, tmp_path: Path) -> None:
    shutil.copytree(LAB, tmp_path / "lab", ignore=shutil.ignore_patterns(".kubewright"))
    done = run([sys.executable, "-m", "provisioner.cli.main", "-i", "lab", "validate"], tmp_path,
               PYTHONPATH=str(installed))
    assert done.stderr == "" or "error" not in done.stderr
    where = run([sys.executable, "-c", "import provisioner; print(provisioner.__file__)"], tmp_path,
                PYTHONPATH=str(installed))
    assert where.stdout.startswith(str(installed)), "it must not be the checkout that answered"


def test_the_installed_wheel_compiles_the_same_files_as_the_checkout(installed: Path, tmp_path: Path) -> None:
    shutil.copy(FIXTURE / "compile_fixture.py", tmp_path)
    paths = {"wheel": f"{installed}{os.pathsep}{tmp_path}", "checkout": f"{ROOT}{os.pathsep}{tmp_path}"}
    answers = {name: run([sys.executable, "-c", COMPILE], tmp_path, PYTHONPATH=path).stdout.splitlines()
               for name, path in paths.items()}
    assert answers["wheel"][0].startswith(str(installed))
    assert answers["checkout"][0].startswith(str(ROOT))
    assert answers["wheel"][1] == answers["checkout"][1] != hashlib.sha256(b"").hexdigest()


def test_the_installed_command_is_called_kubewright(installed: Path) -> None:
    (points,) = installed.glob("*.dist-info/entry_points.txt")
    assert "kubewright = provisioner.cli.main:run" in points.read_text()
