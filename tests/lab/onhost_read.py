"""Runs on a lab node as `python3 -c`: reads what the benchmark's rows ask for, once. Standard library only.

In (first argument, JSON): globs of paths, names of programs, files. Out (JSON): mode and owner by path, command lines
by program, texts by file.
"""

import grp
import json
import pwd
import stat
import sys
from pathlib import Path


def owner_and_mode(path: Path) -> list[str]:
    found = path.lstat()
    owner = f"{pwd.getpwuid(found.st_uid).pw_name}:{grp.getgrgid(found.st_gid).gr_name}"
    return [f"{stat.S_IMODE(found.st_mode):o}", owner]


def command_line(program: str) -> list[str] | None:
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = path.read_bytes().decode(errors="surrogateescape").split("\0")
        except (FileNotFoundError, ProcessLookupError):
            continue        # it ended meanwhile
        if Path(words[0]).name == program:
            return words[1:]
    return None


asked = json.loads(sys.argv[1])
json.dump({
    "paths": {str(p): owner_and_mode(p) for g in asked["globs"] for p in Path("/").glob(g.lstrip("/"))},
    "processes": {name: command_line(name) for name in asked["programs"]},
    "texts": {name: Path(name).read_text() for name in asked["files"] if Path(name).exists()},
}, sys.stdout)
