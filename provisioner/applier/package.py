"""The applier as one file to send: runs on our side, and is not part of what it packs."""

from __future__ import annotations

import functools
import io
import json
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

# An older Python says its version instead of failing somewhere within.
# Reads the zipapp from stdin (its length and a newline first) into a memfd and runs it from there: nothing is left on
# the host. Directories that a user can write to are no source of modules for what runs as root.
BOOTSTRAP = (
    "import os,sys,runpy;"
    "v=sys.version_info;"
    "v<(3,9) and sys.exit('too old: Python %d.%d.%d'%v[:3]);"
    "sys.path[:]=[p for p in sys.path if p];"
    "i=sys.stdin.buffer;"
    "z=i.read(int(i.readline()));"
    "f=os.memfd_create('applier');"
    "open(f,'wb',closefd=False).write(z);"
    "runpy.run_path('/proc/self/fd/%d'%f,run_name='__main__')"
)
_ENTRY = "import sys\nfrom applier.main import main\nsys.exit(main(sys.argv[1:]))\n"
_EPOCH = (1980, 1, 1, 0, 0, 0)


@functools.lru_cache(maxsize=1)
def build_zipapp() -> bytes:
    """Return the applier as a zipapp; the same sources give the same bytes, so its digest is its name on the host."""
    sources = {"__main__.py": _ENTRY.encode()}
    for path in sorted(Path(__file__).parent.glob("*.py")):
        if path.name != Path(__file__).name:
            sources[f"applier/{path.name}"] = path.read_bytes()
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, data in sources.items():
            info = zipfile.ZipInfo(name, _EPOCH)
            info.external_attr = 0o644 << 16
            info.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(info, data)
    return buffer.getvalue()


def argv(command: str) -> list[str]:
    """Return the command that runs `command` of the applier on a host, without sudo.

    -I and -S: no module comes from the environment, the user's directories or the site; it also starts faster.
    """
    return ["python3", "-I", "-S", "-c", BOOTSTRAP, command]


def frame(request: Mapping[str, Any]) -> bytes:
    """Return what goes to stdin: the zipapp's length, the zipapp, the request as one line.

    For `store` the artifacts' bytes follow.
    """
    zipapp = build_zipapp()
    return b"%d\n" % len(zipapp) + zipapp + json.dumps(request).encode() + b"\n"


def answer_of(text: bytes | str) -> dict[str, Any] | None:
    """Return the applier's answer in what a command printed, None where there is none.

    It is the last line: a login script may have printed before it.
    """
    data = text.encode(errors="replace") if isinstance(text, str) else text
    line = data.strip().rpartition(b"\n")[2]
    try:
        answer = json.loads(line[max(0, line.find(b"{")):])
    except ValueError:
        return None
    return answer if isinstance(answer, dict) else None
