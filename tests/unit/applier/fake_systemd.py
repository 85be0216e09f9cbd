"""A systemd of one file: enough of systemctl and systemd-run for the applier's tests, its state in one directory.

Units live in units.json, calls in log; starting a unit runs the real stamp program, as ExecStartPre would.
It is started hundreds of times, so it imports little.
"""

import fcntl
import json
import os
import sys

HOME = os.environ["FAKE_SYSTEMD"]
ROOT = os.environ["FAKE_ROOT"]
DEFAULT = {"LoadState": "loaded", "ActiveState": "inactive", "SubState": "dead", "UnitFileState": "disabled",
           "NRestarts": "0", "InvocationID": "", "NeedDaemonReload": "no"}


def read(path: str) -> str:
    with open(path) as stream:
        return stream.read()


def write(name: str, text: str) -> None:
    with open(f"{HOME}/{name}.{os.getpid()}", "w") as stream:
        stream.write(text)
    os.replace(stream.name, f"{HOME}/{name}")


def load() -> dict:
    try:
        return json.loads(read(f"{HOME}/units.json"))  # type: ignore[no-any-return]
    except FileNotFoundError:
        return {}


def running(unit: str) -> bool:
    try:
        pid = int(read(f"{HOME}/{unit}.pid"))
        return read(f"/proc/{pid}/stat").rpartition(")")[2].split()[0] != "Z"
    except (OSError, ValueError):
        return False


def properties(units: dict, name: str) -> dict:
    if name.startswith("kubewright-step-"):
        return DEFAULT | {"ActiveState": "active" if running(name) else "inactive"}
    if name in units:
        return DEFAULT | units[name]  # type: ignore[no-any-return]
    there = os.path.exists(f"{ROOT}/etc/systemd/system/{name}")
    return DEFAULT | ({} if there else {"LoadState": "not-found", "UnitFileState": ""})


def start(units: dict, name: str) -> None:
    os.spawnvpe(os.P_WAIT, "sh", ["sh", os.environ["FAKE_STAMP"], name], {**os.environ, "STAMP_ROOT": ROOT})
    count = int(units.get("#starts", 0)) + 1
    units["#starts"] = count
    units[name] = properties(units, name) | {"LoadState": "loaded", "ActiveState": "active", "SubState": "running",
                                             "InvocationID": f"{count:032x}"}


def systemctl(argv: list) -> int:
    verb = next(word for word in argv if not word.startswith("-"))
    if verb != "show":
        os.setsid()     # systemd does the work, so it goes on when whoever asked for it is killed with its group
    lock = os.open(f"{HOME}/lock", os.O_RDWR | os.O_CREAT)      # systemd does one thing after the other
    fcntl.flock(lock, fcntl.LOCK_EX)
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
    with open(f"{HOME}/log", "a") as log:
        log.write(" ".join([verb, *names]) + "\n")
    if verb in ("restart", "reload-or-restart") and names:
        if properties(units, names[0])["LoadState"] == "not-found":
            print(f"Unit {names[0]} not found.", file=sys.stderr)
            return 5
        start(units, names[0])
    elif verb == "reset-failed":
        seen = properties(units, names[0])
        state = "inactive" if seen["ActiveState"] == "failed" else seen["ActiveState"]
        units[names[0]] = seen | {"NRestarts": "0", "ActiveState": state}
    elif verb == "stop":
        units[names[0]] = properties(units, names[0]) | {"ActiveState": "inactive", "SubState": "dead", "Job": "0"}
    elif verb in ("enable", "disable"):
        for name in names:
            ended = units.get(name, {}).get("EndsAs", "inactive")      # of ours: how it ends when it is stopped
            change = {"UnitFileState": verb + "d"} | ({"ActiveState": ended} if "--now" in argv else {})
            units[name] = properties(units, name) | change
    write("units.json", json.dumps(units))
    return 0


def systemd_run(argv: list) -> int:
    unit = next(a for a in argv if a.startswith("--unit=")).partition("=")[2]
    if running(unit):
        print(f"Unit {unit} already exists.", file=sys.stderr)
        return 1
    import subprocess

    write(f"{unit}.argv", json.dumps(argv))
    with open(f"{HOME}/{unit}.err", "a") as errors:
        child = subprocess.Popen(argv[argv.index("--") + 1:], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                                 stderr=errors, start_new_session=True)
    write(f"{unit}.pid", str(child.pid))
    return 0


if __name__ == "__main__":
    raise SystemExit({"systemctl": systemctl, "systemd-run": systemd_run}[sys.argv[1]](sys.argv[2:]))
