"""A systemd of one file: enough of systemctl and systemd-run for the applier's tests, its state in one directory.

Units live in units.json, calls in log; starting a unit runs the real stamp program, as ExecStartPre would.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

HOME = Path(os.environ["FAKE_SYSTEMD"])
ROOT = os.environ["FAKE_ROOT"]
DEFAULT = {"LoadState": "loaded", "ActiveState": "inactive", "SubState": "dead", "UnitFileState": "disabled",
           "NRestarts": "0", "InvocationID": "", "NeedDaemonReload": "no"}


def load() -> dict:
    path = HOME / "units.json"
    return json.loads(path.read_text()) if path.exists() else {}


def save(units: dict) -> None:
    (HOME / "units.json").write_text(json.dumps(units))


def running(unit: str) -> bool:
    try:
        pid = int((HOME / f"{unit}.pid").read_text())
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (OSError, ValueError):
        return False


def properties(units: dict, name: str) -> dict:
    if name.startswith("kubewright-step-"):
        return DEFAULT | {"ActiveState": "active" if running(name) else "inactive"}
    if name in units:
        return DEFAULT | units[name]
    there = Path(f"{ROOT}/etc/systemd/system/{name}").exists()
    return DEFAULT | ({} if there else {"LoadState": "not-found", "UnitFileState": ""})


def start(units: dict, name: str) -> None:
    subprocess.run(["sh", os.environ["FAKE_STAMP"], name], env={**os.environ, "STAMP_ROOT": ROOT}, check=False)
    count = int(units.get("#starts", 0)) + 1
    units["#starts"] = count
    units[name] = properties(units, name) | {"LoadState": "loaded", "ActiveState": "active", "SubState": "running",
                                             "InvocationID": f"{count:032x}"}


def systemctl(argv: list) -> int:
    verb = next(word for word in argv if not word.startswith("-"))
    names = argv[argv.index("--") + 1:] if "--" in argv else []
    units = load()
    if verb == "show":
        wanted = next(a for a in argv if a.startswith("--property=")).partition("=")[2].split(",")
        blocks = []
        for name in names:
            seen = properties(units, name)
            blocks.append("\n".join(f"{key}={seen[key]}" for key in wanted if key in seen))
        print("\n\n".join(blocks))
        return 0
    with (HOME / "log").open("a") as log:
        log.write(" ".join([verb, *names]) + "\n")
    if verb in ("restart", "reload-or-restart") and names:
        if properties(units, names[0])["LoadState"] == "not-found":
            print(f"Unit {names[0]} not found.", file=sys.stderr)
            return 5
        start(units, names[0])
    elif verb == "reset-failed":
        units[names[0]] = properties(units, names[0]) | {"NRestarts": "0"}
    elif verb == "stop":
        units[names[0]] = properties(units, names[0]) | {"ActiveState": "inactive", "SubState": "dead", "Job": "0"}
    elif verb in ("enable", "disable"):
        change = {"UnitFileState": verb + "d"} | ({"ActiveState": "inactive"} if "--now" in argv else {})
        units[names[0]] = properties(units, names[0]) | change
    save(units)
    return 0


def systemd_run(argv: list) -> int:
    unit = next(a for a in argv if a.startswith("--unit=")).partition("=")[2]
    if running(unit):
        print(f"Unit {unit} already exists.", file=sys.stderr)
        return 1
    (HOME / f"{unit}.argv").write_text(json.dumps(argv))
    with (HOME / f"{unit}.err").open("a") as errors:
        child = subprocess.Popen(argv[argv.index("--") + 1:], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                                 stderr=errors, start_new_session=True)
    (HOME / f"{unit}.pid").write_text(str(child.pid))
    return 0


if __name__ == "__main__":
    raise SystemExit({"systemctl": systemctl, "systemd-run": systemd_run}[sys.argv[1]](sys.argv[2:]))
