"""What the documents name exists: verbs and their options, scripts, files, links; generated pages are the code's."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from provisioner.cli.context import Context
from provisioner.cli.main import PROG, cli
from provisioner.cli.verbs import existing_verbs

ROOT = Path(__file__).resolve().parents[2]
GENERATED = {"cli.md", "errors.md", "checks.md", "ports.md"}
PAGES = [*(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "SECURITY.md")),
         *sorted((ROOT / "docs").rglob("*.md"))]
WRITTEN = [page for page in PAGES if page.name not in GENERATED]
# What the reader makes, and what a run makes: named in the documents, not in the repository.
NOT_COMMITTED = ("inventories/mine", "build/site", ".kubewright", ".venv")

FENCE = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
SPAN = re.compile(r"`([^`]+)`")
LINK = re.compile(r"\]\(([^)\s]+)\)")
COMMAND = re.compile(r"(?:^|[\s/(])kubewright((?:\s+-[io]\s+\S+|\s+-v)*)\s+([a-z][a-z-]+)(.*)")
SCRIPT = re.compile(r"(?:\./)?scripts/([a-z-]+)")
TOP = sorted(p.name for p in ROOT.iterdir() if p.is_dir() and not p.name.startswith("."))
PLACE = re.compile(rf"(?<![\w/.~])((?:\.ci|{'|'.join(TOP)})/[\w./-]*)")


def ids(page: Path) -> str:
    return str(page.relative_to(ROOT))


def code(page: Path) -> Iterator[str]:
    """Yield every command line or name that the page sets as code; lines of what a command printed are left out."""
    text = page.read_text(encoding="utf-8")
    for language, block in FENCE.findall(text):
        lines = block.replace("\\\n", " ").splitlines()
        yield from (line for line in lines if language != "text" or line.startswith("$ "))
    yield from (span.replace("\n", " ") for span in SPAN.findall(FENCE.sub("", text)))


def commands(page: Path) -> Iterator[tuple[str, list[str]]]:
    """Yield each call of ours in the page's code: the verb, and the words behind it up to `--`."""
    for line in code(page):
        for part in re.split(r"&&|\|", line.partition(" #")[0]):
            found = COMMAND.search(part)
            if found:
                words = shlex.split(found[3].rstrip(".,"))
                yield found[2], words[:words.index("--")] if "--" in words else words


def faults(verb: str, words: list[str]) -> list[str]:
    """Return what is wrong with a call: no such verb, no such verb inside it, no such option."""
    context = click.Context(cli, info_name=PROG, obj=Context())
    command = cli.get_command(context, verb)
    if command is None:
        return [f"there is no verb {verb}"]
    while isinstance(command, click.Group) and words and not (command.invoke_without_command and words[0][0] == "-"):
        inner = command.get_command(context, words[0])
        if inner is None:
            return [f"{verb} has no {words[0]}"]
        verb, command, words = f"{verb} {words[0]}", inner, words[1:]
    options = {opt for param in (*command.params, *cli.params) for opt in param.opts} | {"--help"}
    return [f"{verb} has no option {w}" for w in words if w.startswith("--") and w.partition("=")[0] not in options]


def anchors(page: Path) -> set[str]:
    """Return the anchors of a page's headings, as they are made from their text."""
    heads = re.findall(r"^#+ (.+)$", FENCE.sub("", page.read_text(encoding="utf-8")), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", head.lower()).replace(" ", "-") for head in heads}


@pytest.mark.parametrize("page", PAGES, ids=ids)
def test_every_verb_and_option_that_a_document_names_exists(page: Path) -> None:
    assert [fault for verb, words in commands(page) for fault in faults(verb, words)] == []


def test_the_search_for_commands_finds_them_and_their_faults() -> None:
    found = [call for page in WRITTEN for call in commands(page)]
    assert len(found) > 40
    assert set(existing_verbs()) - {verb for verb, _ in found} <= {"completion", "version"}, "a verb no document shows"
    assert faults("migrate", []) and faults("lab", ["destroy"]) and faults("up", ["--nothing", "F"])
    assert faults("lab", ["fault", "flood"]) and faults("lab", ["fault", "cut", "--port"])
    assert not faults("lab", ["reset", "--yes", "w1"]) and not faults("ready", ["--timeout", "60"])


@pytest.mark.parametrize("page", WRITTEN, ids=ids)
def test_every_script_that_a_document_names_can_be_run(page: Path) -> None:
    named = {name for line in code(page) for name in SCRIPT.findall(line)}
    assert [name for name in sorted(named) if not os.access(ROOT / "scripts" / name, os.X_OK)] == []


def places(page: Path) -> set[str]:
    """Return the paths of the repository that the page names; NAME and DIR stand for the reader's own."""
    named = {place.rstrip(".") for line in code(page) for place in PLACE.findall(line)}
    return {p for p in named if not any(part in p for part in NOT_COMMITTED) and not re.search("NAME|DIR", p)}


@pytest.mark.parametrize("page", WRITTEN, ids=ids)
def test_every_path_that_a_document_names_exists(page: Path) -> None:
    assert [place for place in sorted(places(page)) if not (ROOT / place).exists()] == []


def test_the_search_for_paths_finds_them() -> None:
    found = set().union(*map(places, WRITTEN))
    assert {"provisioner/artifacts/catalogue.yaml", "tests/golden/lab/cp1.items", "inventories/example"} <= found
    assert len(found) > 40


@pytest.mark.parametrize("page", PAGES, ids=ids)
def test_every_link_leads_somewhere(page: Path) -> None:
    broken = []
    for target in LINK.findall(FENCE.sub("", page.read_text(encoding="utf-8"))):
        if target.startswith("https://"):
            continue
        name, _, anchor = target.partition("#")
        file = page.parent / name if name else page
        if not file.exists() or (anchor and anchor not in anchors(file)):
            broken.append(target)
    assert broken == []


def test_every_page_is_reached_from_the_readme() -> None:
    seen, waiting = set(), [ROOT / "README.md"]
    while waiting:
        page = waiting.pop()
        if page in seen or page.suffix != ".md":
            continue
        seen.add(page)
        links = (t.partition("#")[0] for t in LINK.findall(page.read_text(encoding="utf-8")) if "://" not in t)
        waiting += [(page.parent / link).resolve() for link in links if link]
    assert {str(p.relative_to(ROOT)) for p in set(PAGES) - seen} == set()


def test_every_place_on_a_host_is_in_the_table_of_files() -> None:
    table = (ROOT / "docs" / "reference" / "files-on-a-host.md").read_text(encoding="utf-8")
    rows = [row for row in re.findall(r"^\| `(/[^`]+)`", table, re.MULTILINE)]
    items = [line.split()[2] for host in ("cp1", "w1")
             for line in (ROOT / "tests" / "golden" / "lab" / f"{host}.items").read_text(encoding="utf-8").splitlines()]
    paths = {item for item in items if item.startswith("/")}
    assert len(paths) > 80
    # A directory above a row (/etc/cni above /etc/cni/net.d/) needs no row of its own.
    known = [p for p in paths if any(p == row or f"{p}/".startswith(row) or row.startswith(f"{p}/") for row in rows)]
    assert paths - set(known) == set()


def test_the_seconds_in_the_readme_are_those_of_the_committed_benchmark() -> None:
    section = (ROOT / "README.md").read_text(encoding="utf-8").partition("\n## Figures\n")[2].partition("\n## ")[0]
    written = [float(number) for number in re.findall(r"^\| .* \| ([\d.]+) \|$", section, re.MULTILINE)]
    median = json.loads((ROOT / "benchmarks" / "results" / "up.json").read_text(encoding="utf-8"))["median"]
    assert written == [round(median[name], 1) for name in ("up", "second_up", "plan", "status")]


def test_generated_pages_are_up_to_date() -> None:
    done = subprocess.run([sys.executable, str(ROOT / "scripts" / "reference"), "--check"], cwd=ROOT, timeout=60,
                          capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    page = (ROOT / "docs" / "reference" / "cli.md").read_text(encoding="utf-8")
    assert [verb for verb in existing_verbs() if f"\n## kubewright {verb}\n" not in page] == []
