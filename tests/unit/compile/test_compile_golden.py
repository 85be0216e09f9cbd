"""Every file, item and object of the lab's cluster, compared to the byte with tests/golden.

`UPDATE_GOLDEN=1 pytest tests/unit/compile/test_compile_golden.py` writes them anew; the diff is then what to review.
"""

from __future__ import annotations

import os
from functools import cache
from pathlib import Path

import pytest
import yaml

from provisioner.compile.parts import STAMP
from provisioner.model.desired import Certificate, File, HostDesired, Item, Unit
from tests.unit.compile.compile_fixture import compiled

GOLDEN = Path(__file__).resolve().parents[2] / "golden" / "lab"
DESIRED = compiled()


@cache
def texts() -> dict[str, str]:
    """Return every golden file's path and text."""
    found = {"objects.yaml": yaml.safe_dump_all([dict(o.body) for o in DESIRED.objects], sort_keys=False)}
    for host in DESIRED.hosts.values():
        found[f"{host.name}.items"] = listing(host)
        for item in host.items:
            # The stamp program is not rendered: it is compared with its one source below.
            if isinstance(item, File) and item.secret is None and item.path != STAMP:
                found[f"{host.name}{item.path}"] = item.content
    return found


def listing(host: HostDesired) -> str:
    return "".join(f"{item.phase:14} {item.kind:12} {item.path}  {described(item)}\n" for item in host.items)


def described(item: Item) -> str:
    if isinstance(item, File):
        secret = f" secret {item.secret.name}" if item.secret else ""
        return f"{item.mode:04o} {item.owner}:{item.group}{secret}"
    if isinstance(item, Certificate):
        usages = "+".join(u for u, on in (("server", item.server), ("client", item.client)) if on)
        names = ",".join((*item.dns_names, *item.ip_addresses)) or "-"
        group = f" O={item.organization}" if item.organization else ""
        return f"by {item.ca} CN={item.common_name}{group} {usages} {names} key {item.key_path} of {item.owner}"
    if isinstance(item, Unit):
        return f"on change {item.on_change}"
    return str(item.want())


@pytest.mark.skipif(not os.environ.get("UPDATE_GOLDEN"), reason="only writes, and only when asked to")
def test_golden_files_are_written_anew_when_asked() -> None:
    wanted = texts()
    for old in sorted(GOLDEN.rglob("*")):
        if old.is_file() and str(old.relative_to(GOLDEN)) not in wanted:
            old.unlink()
    for name, text in wanted.items():
        path = GOLDEN / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


@pytest.mark.parametrize("name", sorted(texts()))
def test_every_rendered_file_is_as_its_golden_copy(name: str) -> None:
    assert texts()[name] == (GOLDEN / name).read_text()


def test_no_golden_copy_is_left_of_what_we_no_longer_make() -> None:
    there = {str(p.relative_to(GOLDEN)) for p in GOLDEN.rglob("*") if p.is_file()}
    assert there == set(texts())
