"""The site is built without a network, each of its links leads to a place that is there, and it asks nobody else."""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
from functools import cache
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

ROOT = Path(__file__).resolve().parents[2]

pytestmark = [pytest.mark.timeout(600), pytest.mark.skipif(
    importlib.util.find_spec("mkdocs") is None, reason="no mkdocs; scripts/install --dev installs it")]


class Page(HTMLParser):
    """What a page has: its anchors and tables, where it links to, and what a browser fetches to show it."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.ids: set[str] = set()
        self.links: list[str] = []
        self.fetched: list[str] = []
        self.tables = 0
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = {name: value or "" for name, value in attrs}
        self.ids |= {found[name] for name in ("id", "name") if name in found}
        self.tables += tag == "table"
        if tag == "a" and "href" in found:
            self.links.append(found["href"])
        elif tag == "link" and found.get("rel") != "canonical":
            self.fetched.append(found.get("href", ""))
        elif "src" in found:
            self.fetched.append(found["src"])


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("site")
    alone = ["unshare", "--net"] if os.geteuid() == 0 else []       # nothing can be fetched there
    done = subprocess.run([*alone, sys.executable, "scripts/docs", str(out)], cwd=ROOT, timeout=500,
                          capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return out


@cache
def page(file: Path) -> Page:
    return Page(file.read_text(encoding="utf-8"))


def ours(site: Path) -> list[Path]:
    """Return the pages, without the one for addresses that do not exist: it may be shown in any directory."""
    return [file for file in sorted(site.rglob("*.html")) if file.name != "404.html"]


def place(link: str, source: Path) -> tuple[Path, str]:
    split = urlsplit(link)
    target = (source.parent / unquote(split.path)).resolve() if split.path else source
    return target / "index.html" if target.is_dir() else target, unquote(split.fragment)


def test_each_document_is_a_page_with_its_place_in_the_menu(site: Path) -> None:
    documents = [*(ROOT / "docs").rglob("*.md")]
    assert len(documents) > 40
    menu = {place(link, site / "index.html")[0] for link in page(site / "index.html").links if "://" not in link}
    names = {(site / d.relative_to(ROOT)).with_suffix(".html") for d in documents if d.name != "README.md"}
    assert {str(n) for n in names if not n.is_file()} == set()
    assert {str(n) for n in names - menu} == set()


def test_each_link_leads_to_a_page_and_an_anchor_that_are_there(site: Path) -> None:
    broken = []
    for source in ours(site):
        for link in page(source).links:
            if urlsplit(link).scheme:
                continue
            target, anchor = place(link, source)
            if not target.is_file() or (anchor and target.suffix == ".html" and anchor not in page(target).ids):
                broken.append(f"{source.relative_to(site)}: {link}")
    assert broken == []
    assert sum(len(page(source).links) for source in ours(site)) > 2000, "the links were looked at"


def test_each_table_of_a_document_is_one_on_its_page(site: Path) -> None:
    """Other than on the pages of the repository, one that follows a line of text is text."""
    documents = [*(ROOT / "docs").rglob("*.md")]
    meant = {d.relative_to(ROOT): len(re.findall(r"^\|(?:-+\|)+$", d.read_text(encoding="utf-8"), re.MULTILINE))
             for d in documents if d.name != "README.md"}
    shown = {d: page((site / d).with_suffix(".html")).tables for d in meant}
    assert shown == meant and sum(meant.values()) > 80


def test_a_browser_asks_nobody_but_the_site(site: Path) -> None:
    elsewhere = {link for source in ours(site) for link in page(source).fetched if urlsplit(link).netloc}
    assert elsewhere == set()
    styles = [file.read_text(encoding="utf-8") for file in site.rglob("*.css")]
    assert styles and not [text for text in styles if "url(http" in text or "url(//" in text]


def test_a_broken_link_ends_the_build(tmp_path: Path) -> None:
    from mkdocs.commands.build import build
    from mkdocs.config import load_config
    from mkdocs.exceptions import Abort

    (tmp_path / "pages").mkdir()
    (tmp_path / "pages" / "index.md").write_text("# One\n\n[there](index.md#one) [gone](index.md#two)\n")
    with pytest.raises(Abort):
        build(load_config(str(ROOT / "mkdocs.yml"), docs_dir=str(tmp_path / "pages"), site_dir=str(tmp_path / "out")))
