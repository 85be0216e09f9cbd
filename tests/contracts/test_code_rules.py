"""Rules of the code that a reader may rely on: layers, sizes, faults, and one place for each third-party package."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tokenize
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from provisioner.model import ports

ROOT = Path(__file__).resolve().parents[2]
SOURCES = sorted((ROOT / "provisioner").rglob("*.py"))
LONGEST = 400

# Each third-party package with the only packages of ours that may import it. `ansible` itself is imported by the
# plugins in playbooks/ alone: they run inside Ansible.
HOMES = {
    "paramiko": {"transport"}, "fabric": {"transport"},
    "ansible_runner": {"converge"},
    "jinja2": {"compile", "report"},
    "etcd3": {"operate"}, "grpc": {"operate"}, "kubernetes": {"operate"}, "urllib3": {"operate"},
    # `transport` judges the certificates of hosts, which paramiko does not know.
    "cryptography": {"operate", "transport"}, "pyrage": {"operate"}, "nacl": {"operate"}, "google": {"operate"},
    "prometheus_client": {"report"}, "zstandard": {"artifacts"},
    "click": {"cli"},
    # What reads and writes documents stands where the documents are.
    "pydantic": {"model", "artifacts"}, "pydantic_core": {"model", "artifacts"},
    "yaml": {"model", "artifacts", "compile", "converge", "cli"},
}
# A fault of any kind becomes a result in these two places, and nowhere else.
CATCH_ALL = {"transport/pool.py", "orchestrate/run/engine.py"}


@cache
def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), str(path))


def shown(path: Path) -> str:
    return str(path.relative_to(ROOT / "provisioner"))


def layer(path: Path) -> str:
    return path.relative_to(ROOT / "provisioner").parts[0]


def imported(path: Path) -> Iterator[str]:
    """Yield the first name of every absolute import, those inside functions too."""
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            yield node.module.partition(".")[0]


def test_the_rules_look_at_the_whole_package() -> None:
    assert {layer(p) for p in SOURCES} >= {"model", "compile", "applier", "transport", "converge", "operate",
                                           "orchestrate", "artifacts", "report", "cli", "lab", "errors.py"}


def test_imports_point_down_only() -> None:
    done = subprocess.run([str(Path(sys.executable).with_name("lint-imports")), "--no-cache"], cwd=ROOT, timeout=90,
                          capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_no_file_is_longer_than_a_reader_s_patience() -> None:
    lines = {shown(p): len(p.read_text(encoding="utf-8").splitlines()) for p in SOURCES}
    assert {name: count for name, count in lines.items() if count > LONGEST} == {}


def test_each_third_party_package_is_imported_by_its_own_packages_only() -> None:
    ours = {"provisioner"} | sys.stdlib_module_names
    found: dict[str, set[str]] = {}
    for path in SOURCES:
        for name in set(imported(path)) - ours:
            found.setdefault(name, set()).add(layer(path))
    assert found.keys() <= HOMES.keys(), "a package that the table does not know"
    assert {name: homes - HOMES[name] for name, homes in found.items() if homes - HOMES[name]} == {}


def test_the_applier_needs_nothing_but_python_and_itself() -> None:
    for path in SOURCES:
        if layer(path) == "applier":
            assert set(imported(path)) <= sys.stdlib_module_names, shown(path)


def _catches_everything(handler: ast.ExceptHandler) -> bool:
    kinds = handler.type.elts if isinstance(handler.type, ast.Tuple) else [handler.type]
    return any(kind is None or (isinstance(kind, ast.Name) and kind.id in ("Exception", "BaseException"))
               for kind in kinds)


def _raises_again(handler: ast.ExceptHandler) -> bool:
    return isinstance(handler.body[-1], ast.Raise) and handler.body[-1].exc is None


def test_faults_of_any_kind_are_caught_in_two_places_only() -> None:
    """Clean up and raise again is allowed everywhere; to swallow what we do not know is not."""
    found = {shown(path) for path in SOURCES for node in ast.walk(tree(path))
             if isinstance(node, ast.ExceptHandler) and _catches_everything(node) and not _raises_again(node)}
    assert found <= CATCH_ALL


def test_nothing_is_left_to_do() -> None:
    marks = re.compile(r"\b(TODO|FIXME|XXX|HACK)\b")
    found = []
    for path in (p for p in SOURCES if marks.search(p.read_text(encoding="utf-8"))):
        with path.open("rb") as file:
            found += [f"{shown(path)}:{t.start[0]}" for t in tokenize.tokenize(file.readline)
                      if t.type in (tokenize.COMMENT, tokenize.STRING) and marks.search(t.string)]
    assert found == []


def test_no_process_is_started_through_a_shell() -> None:
    found = []
    for path in SOURCES:
        for node in ast.walk(tree(path)):
            if isinstance(node, ast.keyword) and node.arg == "shell" and not (
                    isinstance(node.value, ast.Constant) and node.value.value is False):
                found.append(shown(path))
            if isinstance(node, ast.Attribute) and (getattr(node.value, "id", ""), node.attr) in (
                    ("os", "system"), ("os", "popen")):
                found.append(shown(path))
    assert found == []


WAITING = {("subprocess", "run"), ("subprocess", "check_output"), ("subprocess", "check_call"), ("subprocess", "call")}


def test_every_process_that_is_waited_for_has_a_deadline() -> None:
    found = []
    for path in SOURCES:
        for node in ast.walk(tree(path)):
            called = node.func if isinstance(node, ast.Call) else None
            if isinstance(called, ast.Attribute) and (getattr(called.value, "id", ""), called.attr) in WAITING:
                named = {k.arg for k in node.keywords}      # type: ignore[attr-defined]
                if not named & {"timeout", None}:           # None: **options of the caller
                    found.append(f"{shown(path)}:{node.lineno}")    # type: ignore[attr-defined]
    assert found == []


_PORT = re.compile(r"(^|[._])(port|PORT)$|\b(" + "|".join(n for n in vars(ports) if n.isupper()) + r")\b")


def _joined_by_hand(text: ast.JoinedStr) -> bool:
    """Say whether a value is followed by a colon and a port: an IPv6 address would lack its brackets there."""
    for value, colon, after in zip(text.values, text.values[1:], [*text.values[2:], None], strict=False):
        if isinstance(value, ast.FormattedValue) and isinstance(colon, ast.Constant):
            sign = str(colon.value)
            port = ast.unparse(after.value) if isinstance(after, ast.FormattedValue) else ""
            if re.match(r"\]?:\d", sign) or (sign in (":", "]:") and _PORT.search(port)):
                return True
    return False


def test_hosts_and_ports_are_joined_in_one_place_only() -> None:
    for text, by_hand in (('f"https://{host.address}:{ETCD_CLIENT}/"', True), ('f"{host}:6443"', True),
                          ('f"{owner}:{group}"', False), ('f"http://127.0.0.1:{PORT}"', False)):
        parsed = ast.parse(text, mode="eval").body
        assert isinstance(parsed, ast.JoinedStr) and _joined_by_hand(parsed) is by_hand, text
    found = {shown(path) for path in SOURCES for node in ast.walk(tree(path))
             if isinstance(node, ast.JoinedStr) and _joined_by_hand(node)}
    assert found == {"model/endpoint.py"}
    templates = [p for p in (ROOT / "templates").rglob("*") if p.is_file()]
    assert len(templates) > 20
    joined = re.compile(r"\}\}:(\d|\{\{[^}]*port)|%s:%[sd]")
    assert [p.name for p in templates if joined.search(p.read_text(encoding="utf-8"))] == []


def test_the_command_line_neither_runs_phases_nor_holds_the_lock() -> None:
    """It parses, asks and prints; the order of what a verb does stands in one callable."""
    allowed = {"perform", "look_ahead", "options", "verb", "verbs"}
    for path in (p for p in SOURCES if layer(p) == "cli"):
        text = path.read_text(encoding="utf-8")
        rooms = re.findall(r"from provisioner\.orchestrate\.run(?:\.(\w+))? import ([\w, ]+)", text)
        found = {name.strip() for room, names in rooms for name in ([room] if room else names.split(","))}
        assert found <= allowed, shown(path)
        assert ".held(" not in text, shown(path)


def test_the_plan_that_a_run_goes_by_has_one_writer() -> None:
    found = set()
    for path in (p for p in SOURCES if layer(p) == "orchestrate"):
        for node in ast.walk(tree(path)):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target] if isinstance(
                node, ast.AugAssign) else []
            found |= {shown(path) for t in targets if isinstance(t, ast.Attribute) and t.attr == "plan"}
    assert found == {"orchestrate/session/session.py"}


@pytest.mark.parametrize("directory", ["compile", "decide", "model"])
def test_what_decides_reads_no_clock_network_randomness_or_environment(directory: str) -> None:
    never = {"time", "random", "secrets", "socket", "subprocess", "datetime", "uuid", "urllib", "http", "asyncio"}
    for path in SOURCES:
        if layer(path) == directory:
            assert not set(imported(path)) & never, shown(path)
            reads = [n for n in ast.walk(tree(path)) if isinstance(n, ast.Attribute)
                     and (getattr(n.value, "id", ""), n.attr) in (("os", "environ"), ("os", "getenv"))]
            assert reads == [], shown(path)


def test_every_public_name_says_what_it_is_for() -> None:
    """Properties whose name says it all, and methods that implement a documented one, may stay without."""
    missing = []
    for path in SOURCES:
        if ast.get_docstring(tree(path)) is None and path.name != "__init__.py":
            missing.append(shown(path))
        for node in tree(path).body:
            if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_") \
                    and ast.get_docstring(node) is None:
                missing.append(f"{shown(path)}: {node.name}")
    assert missing == []


def test_files_are_written_whole_by_one_function() -> None:
    """Whoever syncs a file by itself has a reason: it is shipped alone, or it copies a stream of gigabytes."""
    reasons = {"files.py", "lab/launch.py", "artifacts/cache.py"}
    found = {shown(path) for path in SOURCES if layer(path) != "applier" for node in ast.walk(tree(path))
             if isinstance(node, ast.Attribute) and node.attr == "fsync"}
    assert found <= reasons
