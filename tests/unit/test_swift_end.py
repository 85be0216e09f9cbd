"""A script that ends swiftly ends as it would by itself, but for what dies with the process anyway."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from provisioner import swift_end

KEPT = """
import atexit, sys
class Kept:
    def __del__(self):
        print("taken apart", flush=True)
kept = Kept()
kept.itself = kept
atexit.register(lambda: print("registered"))
print("arguments", *sys.argv[1:])
"""


def run(tmp_path: Path, text: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    script = tmp_path / "script"
    script.write_text(text)
    return subprocess.run([sys.executable, "-P", swift_end.__file__, str(script), *arguments], capture_output=True,
                          text=True, timeout=60, check=False)


def test_what_it_says_and_what_was_registered_for_the_end_is_done_and_nothing_taken_apart(tmp_path: Path) -> None:
    done = run(tmp_path, KEPT, "one", "two")
    assert (done.returncode, done.stdout, done.stderr) == (0, "arguments one two\nregistered\n", "")


@pytest.mark.parametrize(("end", "code", "said"), [
    ("sys.exit()", 0, ""), ("sys.exit(4)", 4, ""), ("sys.exit('refused')", 1, "refused\n")])
def test_its_exit_status_is_the_scripts(tmp_path: Path, end: str, code: int, said: str) -> None:
    done = run(tmp_path, f"import sys\n{end}\n")
    assert (done.returncode, done.stderr) == (code, said)


def test_an_exception_is_told_and_is_a_failure(tmp_path: Path) -> None:
    done = run(tmp_path, "raise ValueError('of the script')\n")
    assert done.returncode == 1 and "ValueError: of the script" in done.stderr


def test_modules_that_lie_beside_it_are_not_found_by_the_script(tmp_path: Path) -> None:
    assert "No module named 'leash'" in run(tmp_path, "import leash\n").stderr
