from __future__ import annotations

import ast
import io
import subprocess
import sys
import zipfile
from pathlib import Path

from provisioner.applier import package

APPLIER = Path(package.__file__).parent


def test_the_same_sources_give_the_same_bytes() -> None:
    first = package.build_zipapp()
    package.build_zipapp.cache_clear()
    assert package.build_zipapp() == first


def test_the_zipapp_carries_every_module_but_its_own_builder() -> None:
    names = set(zipfile.ZipFile(io.BytesIO(package.build_zipapp())).namelist())
    assert names == {"__main__.py"} | {f"applier/{p.name}" for p in APPLIER.glob("*.py")} - {"applier/package.py"}


def test_every_module_is_python_3_9_and_imports_the_standard_library_only() -> None:
    for path in APPLIER.glob("*.py"):
        tree = ast.parse(path.read_text(), feature_version=(3, 9))
        for node in ast.walk(tree):
            if isinstance(node, ast.Import):
                assert all(a.name.partition(".")[0] in sys.stdlib_module_names for a in node.names), path
            elif isinstance(node, ast.ImportFrom) and node.level == 0:
                assert (node.module or "").partition(".")[0] in {*sys.stdlib_module_names, "__future__"}, path


def test_every_module_and_so_every_command_runs_from_the_zipapp_without_the_site_s_packages(tmp_path: Path) -> None:
    zipapp = tmp_path / "applier.pyz"
    zipapp.write_bytes(package.build_zipapp())
    modules = [f"applier.{p.stem}" for p in APPLIER.glob("*.py") if p.stem not in ("__init__", "package")]
    program = "import sys; sys.path.insert(0, sys.argv[1]); [__import__(name) for name in sys.argv[2:]]"
    done = subprocess.run([sys.executable, "-I", "-S", "-c", program, str(zipapp), *modules], capture_output=True,
                          check=False, timeout=60)
    assert (done.returncode, done.stderr) == (0, b"")
    assert len(modules) > 20


def test_a_module_in_the_working_directory_is_never_run_as_root(tmp_path: Path) -> None:
    (tmp_path / "json.py").write_text("raise SystemExit('taken from the working directory')")
    done = subprocess.run([sys.executable, "-c", package.BOOTSTRAP, "observe"], cwd=tmp_path,
                          input=package.frame({"items": []}), capture_output=True, check=False)
    assert done.stdout == b'{"items": []}\n', done.stderr


def test_an_unknown_command_is_a_fault_with_text_and_no_traceback() -> None:
    argv = package.argv("destroy")
    done = subprocess.run([sys.executable, *argv[1:]], input=package.frame({}), capture_output=True, check=False)
    assert (done.returncode, done.stdout) == (1, b"")
    assert done.stderr == b"applier: unknown command: 'destroy'\n"


def test_an_older_python_says_its_version_before_anything_else() -> None:
    older = "import sys; sys.version_info = (3, 7, 3, 'final', 0); exec(sys.argv[1])"
    done = subprocess.run([sys.executable, "-c", older, package.BOOTSTRAP], input=package.frame({}),
                          capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (1, b"too old: Python 3.7.3\n")
