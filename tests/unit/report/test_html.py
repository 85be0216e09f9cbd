"""The page of a run: complete, self-contained, and safe whatever hosts and programs call themselves."""

from __future__ import annotations

import base64
import hashlib
import os
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from provisioner.report import html
from provisioner.report.html import report_html, seconds_text
from provisioner.report.story import story_of
from tests.unit.report.stories import ATTACK, RECORDED, recorded, small, told

ROOT = Path(__file__).resolve().parents[3]
VOID = {"meta", "br", "link", "img", "input", "hr"}


class Page(HTMLParser):
    """The elements of a page with their attributes, and its text; unclosed and misplaced ends are kept as faults."""

    def __init__(self, source: str) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.text: list[str] = []
        self.faults: list[str] = []
        self._open: list[str] = []
        self.feed(source)
        self.close()
        self.faults += [f"{tag} is never closed" for tag in self._open]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {k: v or "" for k, v in attrs}))
        if tag not in VOID:
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if not self._open or self._open.pop() != tag:
            self.faults.append(f"</{tag}> closes something else")

    def handle_data(self, data: str) -> None:
        self.text.append(data)

    def attributes(self, name: str) -> list[str]:
        return [attrs[name] for _, attrs in self.elements if name in attrs]


def page(evil: str = "") -> Page:
    return Page(report_html(story_of("r", small(evil))))


@pytest.mark.parametrize("file", RECORDED, ids=lambda path: path.stem)
def test_a_page_is_whole_html_for_every_beginning_of_a_run(file: Path) -> None:
    events = told(file)
    for length in range(0, len(events) + 1, 3):
        assert Page(report_html(story_of("r", events[:length]))).faults == []


def test_equal_stories_give_equal_pages() -> None:
    assert report_html(story_of("r", small())) == report_html(story_of("r", small()))


def test_nothing_runs_and_nothing_is_loaded() -> None:
    seen = page()
    loads = {"script", "link", "img", "iframe", "object", "embed", "form", "base"}
    assert not {tag for tag, _ in seen.elements} & loads
    names = {name for _, attrs in seen.elements for name in attrs}
    assert not {n for n in names if n.startswith("on")} and not names & {"src", "srcset", "style", "action"}
    assert all(href.startswith("#") for href in seen.attributes("href"))
    assert "url(" not in report_html(story_of("r", small())) and "@import" not in report_html(story_of("r", small()))


def test_the_policy_allows_this_page_s_own_style_and_nothing_else() -> None:
    text = report_html(story_of("r", small()))
    style = re.search(r"<style>(.*?)</style>", text, re.DOTALL)
    assert style is not None
    digest = base64.b64encode(hashlib.sha256(style[1].encode()).digest()).decode()
    (policy,) = [attrs["content"] for _, attrs in Page(text).elements
                 if attrs.get("http-equiv") == "Content-Security-Policy"]
    assert policy == f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"


def test_whatever_a_host_or_a_program_says_stays_text() -> None:
    plain, evil = page(), page(ATTACK)
    assert [tag for tag, _ in evil.elements] == [tag for tag, _ in plain.elements]
    assert [sorted(attrs) for _, attrs in evil.elements] == [sorted(attrs) for _, attrs in plain.elements]
    assert evil.faults == []
    words = "".join(evil.text)
    assert words.count("document.title='owned'") > 20 and "{{ 7 * 7 }}" in words, "it is all there, as text"


def test_every_host_has_a_row_with_its_turns_and_the_same_in_words() -> None:
    words = [label for label in page().attributes("aria-label") if ": " in label]
    assert words[0] == "phases: etcd: ok, 6.0 s; node: failed, 3.0 s"
    assert words[1] == "cp1: etcd: ok, 2.0 s; gate of etcd: ok, 1.5 s"
    assert words[2] == "w1: node: failed, 2.0 s: applying: no; gate of node: failed, 0.8 s: w1: gate: not so"


def test_what_ended_it_what_helps_and_what_was_not_started_are_told() -> None:
    words = " ".join(" ".join(page().text).split())
    for text in ("w1: applying: no", "a detail", "kubewright logs w1 kubelet", "step-failed", "Not started: verify",
                 "1 of 6 attempts failed", "vip from w1", "one etcd cluster", "HAProxy does not answer",
                 "ConfigMap kube-system/x", "/etc/x", "+a: 2", "-a: 1", "stale"):
        assert text in words, text


def test_what_was_not_started_is_told_once_also_where_the_screen_said_it_among_the_details() -> None:
    events = small()
    events[-1]["data"]["error"]["details"] = ["not started: verify", "what was done stays done"]
    words = "".join(Page(report_html(story_of("r", events))).text).lower()
    assert words.count("not started: verify") == 1 and "what was done stays done" in words


def test_of_a_run_that_was_killed_the_page_says_so() -> None:
    text = report_html(story_of("r", small()[:6]))
    assert "events stop here: it was killed" in text and "unfinished" in text
    assert "<pre>kubewright resume r</pre>" in text


def test_of_a_run_that_did_not_end_well_the_page_never_says_that_nothing_was_changed() -> None:
    begun = [e for e in small()[:6] if e["type"] != "changed"]      # a step that was begun may have ended on its host
    text = report_html(story_of("r", begun))
    assert "Nothing was changed" not in text and "events tell of no change." in text


def test_a_run_that_ended_well_and_measured_nothing_has_no_empty_parts() -> None:
    events = [e for e in small() if e["type"] not in ("availability", "diagnostic", "changed", "gate")]
    events[-1] = {"v": 1, "type": "run-end", "t": 1010.0, "status": "ok", "seconds": 10.0}
    seen = Page(report_html(story_of("r", events)))
    assert set(seen.attributes("id")) == {"time", "waited", "phases", "changes", "gates"}
    assert "Nothing was changed." in "".join(seen.text)


def test_every_link_has_its_target_and_every_drawing_its_words() -> None:
    seen = page()
    ids = seen.attributes("id")
    assert len(ids) == len(set(ids))
    assert {href.removeprefix("#") for href in seen.attributes("href")} <= set(ids)
    drawings = [attrs for tag, attrs in seen.elements if tag == "svg" and "class" in attrs]
    assert all(attrs.get("aria-hidden") == "true" or (attrs.get("role") == "img" and attrs["aria-label"])
               for attrs in drawings)
    assert all(attrs.get("scope") in ("col", "row") for tag, attrs in seen.elements if tag == "th")
    assert all(attrs.get("tabindex") == "0" for _, attrs in seen.elements if attrs.get("class") == "scroll"), \
        "what scrolls is reached by the keyboard"


def test_the_prober_s_curve_stands_in_the_frame_of_the_run() -> None:
    seen = page()
    (points,) = seen.attributes("points")
    assert points == "300.0,39.5 500.0,38.9 900.0,2.0", "no point where nothing succeeded or was tried"
    marks = [(a["class"], a["x"], a["width"]) for tag, a in seen.elements if tag == "rect" and "x" in a]
    assert marks == [("gap", "320.0", "70.0"), ("down", "400.0", "200.0")]


@pytest.mark.parametrize(("seconds", "words"), [
    (0.04, "0.0 s"), (9.94, "9.9 s"), (12.4, "12 s"), (59.7, "1 min 0 s"), (200.2, "3 min 20 s")])
def test_a_length_of_time_is_told_as_people_read_it(seconds: float, words: str) -> None:
    assert seconds_text(seconds) == words


def luminance(colour: str) -> float:
    digits = colour.lstrip("#")
    digits = "".join(2 * d for d in digits) if len(digits) == 3 else digits
    parts = [int(digits[i:i + 2], 16) / 255 for i in (0, 2, 4)]
    linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize("scheme", ["light", "dark", "print"])
def test_every_text_stands_out_from_its_ground(scheme: str) -> None:
    """At least 4.5 to 1, as WCAG 2 AA wants it."""
    roots = re.findall(r":root \{(.*?)\}", Path(html.__file__).with_name("run.css").read_text(), re.DOTALL)
    colours = dict(re.findall(r"--([\w-]+): (#\w+)", roots[["light", "dark", "print"].index(scheme)]))
    for ink in ("ink", "soft", "link", "good", "warn", "bad"):
        for ground in ("page", "card"):
            high, low = sorted((luminance(colours[ink]), luminance(colours[ground])), reverse=True)
            assert (high + 0.05) / (low + 0.05) >= 4.5, (ink, ground)
    for ground in ("add", "cut"):
        high, low = sorted((luminance(colours["ink"]), luminance(colours[ground])), reverse=True)
        assert (high + 0.05) / (low + 0.05) >= 4.5, ground


def test_the_example_is_the_page_of_the_recorded_rolling_change() -> None:
    """`UPDATE_GOLDEN=1 pytest tests/unit/report/test_html.py` writes it anew."""
    example, text = ROOT / "docs" / "reference" / "example-report.html", report_html(recorded("rolling-change"))
    if os.environ.get("UPDATE_GOLDEN"):
        example.write_text(text, encoding="utf-8")
    assert example.read_text(encoding="utf-8") == text


def test_a_rolling_change_is_seen_as_one_control_plane_after_the_other() -> None:
    turns = {t.host: t for t in recorded("rolling-change").turns if t.phase == "etcd" and not t.gate}
    first, second, third = (turns[host] for host in sorted(turns, key=lambda host: turns[host].began))
    assert first.ended < second.began < second.ended < third.began
