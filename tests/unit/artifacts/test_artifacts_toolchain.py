"""A machine that has no Go, or another, gets the pinned one from a Go proxy: the pinned bytes or none."""

from __future__ import annotations

import base64
import hashlib
import subprocess
import threading
import zipfile
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from provisioner.artifacts import goproxy, toolchain
from provisioner.artifacts.cache import Cache
from provisioner.artifacts.catalogue import Catalogue, machine_arch
from provisioner.artifacts.toolchain import Toolchain, digest
from provisioner.errors import PreflightRefused

VERSION = f"v0.0.1-go1.26.8.linux-{machine_arch()}"
FILES = {"bin/go": "#!/bin/sh\necho go1.26.8\n", "pkg/tool/linux/compile": "#!/bin/sh\n", "src/_go.mod": "module std\n",
         "src/fmt/print.go": "package fmt\n"}


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        """Tests say what went wrong themselves."""


@pytest.fixture
def proxy(tmp_path: Path) -> Iterator[str]:
    """A Go proxy with a small toolchain, on loopback."""
    pack(archive(tmp_path), FILES)
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(tmp_path / "proxy"))) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join(10)


@pytest.fixture(autouse=True)
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """No Go on the PATH, and settings of nobody."""
    (tmp_path / "bin").mkdir()
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    for name in ("GOPROXY", "GOENV", "http_proxy", "HTTP_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path / "bin"


def archive(tmp_path: Path) -> Path:
    return tmp_path / "proxy" / "golang.org" / "toolchain" / "@v" / f"{VERSION}.zip"


def pack(path: Path, files: dict[str, str]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w") as packed:
        for name, text in files.items():
            packed.writestr(f"golang.org/toolchain@{VERSION}/{name}", text)


def pinned(cache: Path, *, sums: bool = True) -> Toolchain:
    found = digest((f"golang.org/toolchain@{VERSION}/{name}", hashlib.sha256(text.encode()).hexdigest())
                   for name, text in FILES.items())
    tool = {"name": "tool", "default": "1", "versions": ["1"], "go": {"modules": [], "binaries": {"tool": "x"}}}
    return Toolchain(Catalogue.model_validate({
        "toolchain": "go1.26.8", "toolchain_sums": {machine_arch(): found} if sums else {},
        "components": {"tool": tool}}), Cache(cache))


def nothing(message: str) -> None:
    """Hear what is told and forget it."""


def test_the_digest_is_the_one_of_gos_checksum_database() -> None:
    text = b"module golang.org/toolchain\n"
    assert digest([("go.mod", hashlib.sha256(text).hexdigest())]) == "h1:8wlg68NqwW7eMnI1aABk/C2pDYXj8mrMY4TyRfiLeS0="


def test_a_machine_without_go_gets_the_pinned_one_once(
        proxy: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GOPROXY", proxy)
    go = pinned(tmp_path / "cache").go(nothing)
    assert go == tmp_path / "cache" / "toolchains" / f"go1.26.8.linux-{machine_arch()}" / "bin" / "go"
    assert subprocess.run([go], text=True, capture_output=True, check=True).stdout == "go1.26.8\n"
    assert (go.parents[1] / "src" / "go.mod").read_text() == "module std\n"
    assert (go.parents[1] / "pkg" / "tool" / "linux" / "compile").stat().st_mode & 0o111
    assert not (go.parents[1] / "src" / "fmt" / "print.go").stat().st_mode & 0o111
    monkeypatch.setenv("GOPROXY", "off")
    assert pinned(tmp_path / "cache").go(nothing) == go


def test_a_kept_toolchain_that_was_changed_is_fetched_anew(
        proxy: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GOPROXY", proxy)
    go = pinned(tmp_path / "cache").go(nothing)
    go.write_text("#!/bin/sh\necho another\n")
    (go.parents[1] / "src" / "added.go").write_text("package std\n")
    pinned(tmp_path / "cache").go(nothing)
    assert go.read_text() == FILES["bin/go"] and not (go.parents[1] / "src" / "added.go").exists()


@pytest.mark.parametrize("change", [{"bin/go": "#!/bin/sh\necho mine\n"}, {"../outside": "x"}, {"src/more.go": "x"}])
def test_other_bytes_than_the_pinned_are_not_unpacked(
        change: dict[str, str], proxy: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pack(archive(tmp_path), FILES | change)
    monkeypatch.setenv("GOPROXY", proxy)
    with pytest.raises(PreflightRefused, match="its bytes are not the pinned ones"):
        pinned(tmp_path / "cache").go(nothing)
    assert [p for p in (tmp_path / "cache").rglob("*") if p.is_file() and p.parent.name != "locks"] == []


def test_what_is_no_zip_is_refused(proxy: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    archive(tmp_path).write_text("<html>please log in</html>")
    monkeypatch.setenv("GOPROXY", proxy)
    with pytest.raises(PreflightRefused, match="what came is no zip file"):
        pinned(tmp_path / "cache").go(nothing)


def test_a_zip_that_is_damaged_within_is_refused(proxy: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with zipfile.ZipFile(archive(tmp_path), "w", zipfile.ZIP_DEFLATED) as packed:
        packed.writestr(f"golang.org/toolchain@{VERSION}/bin/go", "#!/bin/sh\n" * 100)
        begins = 30 + len(packed.filelist[0].filename)
    whole = bytearray(archive(tmp_path).read_bytes())
    whole[begins] = 0xFF            # no such kind of block
    archive(tmp_path).write_bytes(whole)
    monkeypatch.setenv("GOPROXY", proxy)
    with pytest.raises(PreflightRefused, match="what came is no zip file"):
        pinned(tmp_path / "cache").go(nothing)


def test_a_full_disk_is_told_as_that_and_not_as_a_proxys_fault(
        proxy: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "zip").symlink_to("/dev/full")
    with pytest.raises(PreflightRefused, match="No space left on device") as refusal:
        goproxy.fetch_module("golang.org/toolchain", VERSION, tmp_path / "zip", nothing, proxy)
    assert refusal.value.code == "disk-full"


@pytest.mark.parametrize("text", ["#!/bin/sh\nexec sleep 60\n", "#!/no/such/shell\n"], ids=["hangs", "broken"])
def test_a_go_of_this_machine_that_says_nothing_is_left_alone(
        text: str, machine: Path, proxy: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (machine / "go").write_text(text)
    (machine / "go").chmod(0o755)
    monkeypatch.setenv("PATH", f"{machine}:/bin:/usr/bin")
    monkeypatch.setenv("GOPROXY", proxy)
    monkeypatch.setattr(toolchain, "_ASKED", 0.2)
    assert pinned(tmp_path / "cache").go(nothing) != machine / "go"


@pytest.mark.parametrize(("says", "taken"), [("go1.26.8", True), ("go1.25.1", False)])
def test_this_machines_go_is_used_only_where_it_is_the_pinned_one(
        says: str, taken: bool, machine: Path, proxy: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (machine / "go").write_text(f"#!/bin/sh\necho {says}\n")
    (machine / "go").chmod(0o755)
    monkeypatch.setenv("GOPROXY", proxy)
    assert (pinned(tmp_path / "cache").go(nothing) == machine / "go") is taken


def test_without_a_digest_for_this_machine_nothing_is_fetched(tmp_path: Path) -> None:
    with pytest.raises(PreflightRefused, match=rf"go1\.26\.8 is pinned, and not for {machine_arch()}") as refusal:
        pinned(tmp_path / "cache", sums=False).go(nothing)
    assert refusal.value.hint == "install go1.26.8 and put it first in PATH"


def test_the_proxies_are_found_as_go_finds_them(tmp_path: Path) -> None:
    file = tmp_path / "go" / "env"
    assert goproxy.setting({"XDG_CONFIG_HOME": str(tmp_path)}) == "https://proxy.golang.org,direct"
    file.parent.mkdir()
    file.write_text("GOFLAGS=-x\nGOPROXY=https://goproxy.example.org\n")
    assert goproxy.setting({"XDG_CONFIG_HOME": str(tmp_path)}) == "https://goproxy.example.org"
    assert goproxy.setting({"GOENV": str(file)}) == "https://goproxy.example.org"
    assert goproxy.setting({"GOENV": str(file), "GOPROXY": "off"}) == "off"


@pytest.mark.parametrize(("text", "expected"), [
    ("https://a.example,direct", [("https://a.example", False), ("direct", False)]),
    ("https://a.example/|https://b.example", [("https://a.example", True), ("https://b.example", False)]),
    (" https://a.example , ,off", [("https://a.example", False), ("off", False)]),
])
def test_a_list_of_proxies_is_read_with_what_lets_the_next_be_asked(
        text: str, expected: list[tuple[str, bool]]) -> None:
    assert list(goproxy.proxies(text)) == expected


@pytest.mark.parametrize(("setting", "saw"), [
    ("off,{proxy}", ["off: GOPROXY forbids it"]),
    ("{proxy}/none,direct", ["{proxy}/none: answered 404", "direct: a toolchain comes from a proxy only"]),
    ("ftp://a.example,{proxy}", ["ftp://a.example: is no https, http or file address"]),
    ("file:///no/such/place", ["file:///no/such/place: No such file or directory"]),
    ("http://me:secret@127.0.0.1:1,direct", ["http://127.0.0.1:1: Connection refused"]),
])
def test_where_no_proxy_gives_it_each_is_named_with_its_answer_and_without_its_password(
        setting: str, saw: list[str], proxy: str, tmp_path: Path) -> None:
    with pytest.raises(PreflightRefused, match="no proxy of GOPROXY gives it") as refusal:
        goproxy.fetch_module("golang.org/toolchain", VERSION, tmp_path / "zip", nothing, setting.format(proxy=proxy))
    assert list(refusal.value.details) == [line.format(proxy=proxy) for line in saw]


@pytest.mark.parametrize("setting", [
    "{proxy}/none,{proxy}", "http://127.0.0.1:1|{proxy}", "file:///no/such/place,{proxy}", "direct,{proxy}"])
def test_the_next_proxy_is_asked_where_one_lacks_the_module_or_the_setting_allows_any_fault(
        setting: str, proxy: str, tmp_path: Path) -> None:
    goproxy.fetch_module("golang.org/toolchain", VERSION, tmp_path / "zip", nothing, setting.format(proxy=proxy))
    assert (tmp_path / "zip").read_bytes() == archive(tmp_path).read_bytes()


def test_a_name_and_password_in_the_address_are_told_to_a_proxy_that_asks(
        proxy: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told, get = [], Quiet.do_GET

    def asks(self: Quiet) -> None:
        told.append(self.headers.get("Authorization"))
        if told[-1]:
            return get(self)
        self.send_response(401)
        self.send_header("WWW-Authenticate", "Basic realm=modules")
        self.send_header("Content-Length", "0")
        self.end_headers()

    monkeypatch.setattr(Quiet, "do_GET", asks)
    goproxy.fetch_module("golang.org/toolchain", VERSION, tmp_path / "zip", nothing,
                         proxy.replace("//", "//me:se%2Fcret@"))
    assert told == [None, "Basic " + base64.b64encode(b"me:se/cret").decode()]


def test_an_answer_that_ends_early_is_refused(proxy: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Quiet, "copyfile", lambda self, source, output: output.write(source.read(20)))
    with pytest.raises(PreflightRefused) as refusal:
        goproxy.fetch_module("golang.org/toolchain", VERSION, tmp_path / "zip", nothing, proxy)
    assert refusal.value.details[0].startswith(f"{proxy}: ")
