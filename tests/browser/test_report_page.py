"""The page of a run in Debian's Chromium: what is seen in the light and in the dark, narrow and wide, and on paper."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from provisioner.report.html import report_html
from provisioner.report.story import story_of
from tests.unit.report.stories import ATTACK, recorded, small

CHROMIUM = shutil.which("chromium")
pytestmark = [pytest.mark.timeout(240),
              pytest.mark.skipif(CHROMIUM is None, reason="no Chromium; scripts/install --dev installs it")]
FLAGS = ("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-dev-shm-usage",
         "--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-extensions",
         "--host-resolver-rules=MAP * ~NOTFOUND", "--enable-logging=stderr", "--allow-file-access-from-files")
DARK, LIGHT = "--blink-settings=preferredColorScheme=0", "--blink-settings=preferredColorScheme=1"
# Measures the page in frames of their own, one narrow and one wide: in the page no script may run.
MEASURE = """<!doctype html><body>
<iframe src="page.html" width="400" height="900"></iframe><iframe src="page.html" width="1280" height="900"></iframe>
<script>
onload = () => { document.body.dataset.seen = JSON.stringify([...document.querySelectorAll("iframe")].map(frame => {
  const page = frame.contentDocument, style = frame.contentWindow.getComputedStyle(page.body);
  const seen = (words) => [...page.querySelectorAll(words)].filter(e => e.getBoundingClientRect().width > 0).length;
  return {
    title: page.title, width: page.documentElement.clientWidth, needs: page.documentElement.scrollWidth,
    ink: style.color, paper: style.backgroundColor, bars: seen(".lane rect"), labels: seen(".lane text"),
    curves: seen(".curve polyline"), left: [...page.querySelectorAll(".chart > svg")]
      .map(e => Math.round(e.getBoundingClientRect().left))};
}))};</script>"""


class Browser:
    """Opens pages of a directory, each time as a browser that was never used before."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.page = directory / "page.html"
        self.log = directory / "net.json"

    def run(self, file: Path, *flags: str) -> subprocess.CompletedProcess[str]:
        """Open a file; the whole of what Chromium says is in the failure when it does not end well."""
        home = self.directory / "home"
        shutil.rmtree(home, ignore_errors=True)
        home.mkdir()
        done = subprocess.run(
            [str(CHROMIUM), *FLAGS, f"--user-data-dir={home / 'data'}", f"--log-net-log={self.log}", *flags,
             file.as_uri()],
            capture_output=True, text=True, timeout=200, check=False, cwd=self.directory,
            env={"HOME": str(home), "PATH": os.environ["PATH"], "DBUS_SESSION_BUS_ADDRESS": "disabled:"})
        assert done.returncode == 0, done.stderr
        return done

    def dom(self, *flags: str) -> subprocess.CompletedProcess[str]:
        return self.run(self.page, "--dump-dom", *flags)

    def seen(self, *flags: str) -> dict[int, dict[str, Any]]:
        """Return what is seen of the page in a frame so wide, by its width."""
        frame = self.directory / "frame.html"
        frame.write_text(MEASURE, encoding="utf-8")
        dom = self.run(frame, "--dump-dom", "--window-size=1320,2000", *flags).stdout
        found = re.search(r'data-seen="([^"]*)"', dom)
        assert found, dom[-2000:]
        narrow, wide = json.loads(found[1].replace("&quot;", '"'))
        return {400: narrow, 1280: wide}

    def requests(self) -> list[str]:
        """Return what the last call asked the network for; what Chromium asks its maker for is its own (and vain)."""
        log = json.loads(self.log.read_text(encoding="utf-8"))
        kind = log["constants"]["logEventTypes"]["URL_REQUEST_START_JOB"]
        asked = [urlsplit(e["params"]["url"]) for e in log["events"]
                 if e["type"] == kind and e.get("params", {}).get("url")]
        return [url.geturl() for url in asked if url.scheme in ("http", "https", "ws", "wss", "ftp")
                and not (url.hostname or "").endswith(("google.com", "googleapis.com", "gvt1.com"))]


@pytest.fixture
def browser(tmp_path: Path) -> Browser:
    return opened(tmp_path)


@pytest.fixture(scope="module")
def in_the_light(tmp_path_factory: pytest.TempPathFactory) -> dict[int, dict[str, Any]]:
    return opened(tmp_path_factory.mktemp("light")).seen(LIGHT)


def opened(directory: Path) -> Browser:
    one = Browser(directory)
    one.page.write_text(report_html(recorded("rolling-change")), encoding="utf-8")
    return one


def test_the_page_shows_every_host_and_phase_says_nothing_on_the_console_and_asks_nobody(browser: Browser) -> None:
    done = browser.dom()
    # The phases stand above the hosts, and once more above the prober's curves.
    assert len(re.findall(r'<svg class="lane"', done.stdout)) == 2 + 5
    assert "CONSOLE" not in done.stderr
    assert browser.requests() == []


def test_whatever_a_host_calls_itself_nothing_of_it_runs_or_is_loaded(browser: Browser) -> None:
    browser.page.write_text(report_html(story_of("r", small(ATTACK))), encoding="utf-8")
    done = browser.dom()
    assert "<title>lab&lt;script&gt;" in done.stdout, "the title is what the cluster calls itself, and no program's"
    assert not re.search(r"<(script|img)", done.stdout)
    assert "CONSOLE" not in done.stderr


def test_even_a_script_that_somebody_put_into_the_file_does_not_run(browser: Browser) -> None:
    html = browser.page.read_text(encoding="utf-8")
    evil = "<script>document.body.dataset.ran = 1</script><img src='http://192.0.2.1/x' onerror='document.title = 1'>"
    browser.page.write_text(html.replace("<main>", f"<main>{evil}"), encoding="utf-8")
    done = browser.dom()
    assert "data-ran" not in done.stdout and "<title>1</title>" not in done.stdout
    assert "Content Security Policy" in done.stderr
    assert browser.requests() == []


@pytest.mark.parametrize("width", [400, 1280])
def test_the_page_fits_and_its_drawings_stand_in_one_frame(in_the_light: dict[int, Any], width: int) -> None:
    seen = in_the_light[width]
    assert seen["needs"] <= seen["width"], "nothing sticks out to the side"
    assert seen["bars"] >= 13 + 8
    assert (seen["labels"] > 0) == (width > 640), "names in bars only where there is room"
    assert len(set(seen["left"])) == 1


def test_in_the_dark_it_is_dark_and_in_the_light_it_is_light(
        browser: Browser, in_the_light: dict[int, Any]) -> None:
    light, dark = in_the_light[1280], browser.seen(DARK)[1280]
    assert brightness(light["paper"]) > 200 > 100 > brightness(light["ink"])
    assert brightness(dark["ink"]) > 200 > 100 > brightness(dark["paper"])


def test_on_paper_everything_is_open(browser: Browser) -> None:
    html = browser.page.read_text(encoding="utf-8")
    assert pages_of(browser) == pages_of(browser, html.replace("<details>", "<details open>"))
    assert pages_of(browser) > pages_of(browser, re.sub(r"<details>.*?</details>", "", html, flags=re.DOTALL)), \
        "else the pages would not tell"


def pages_of(browser: Browser, html: str | None = None) -> int:
    """Print the page, or `html` in its place, and count the sheets."""
    file, pdf = browser.directory / "print.html", browser.directory / "print.pdf"
    file.write_text(html or browser.page.read_text(encoding="utf-8"), encoding="utf-8")
    browser.run(file, f"--print-to-pdf={pdf}")
    return len(re.findall(rb"/Type\s*/Page\b", pdf.read_bytes()))


def brightness(colour: str) -> float:
    """Return the mean of red, green and blue of `rgb(r, g, b)`, 0 to 255."""
    parts = [float(part) for part in re.findall(r"[\d.]+", colour)[:3]]
    return sum(parts) / 3
