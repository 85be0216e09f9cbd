"""Runs on a lab node as `python3 -c`: attempts what a confined service must not be able to do, from where it stands.

For each unit given: joins the mount namespace of its main process with the same user, groups, capabilities and
no-new-privileges, and tries; what succeeds is undone. Out (JSON): unit -> {"status": what the kernel says of the
process, "tried": {attempt: the error's name, or "done"}}. Standard library only.
"""

import json
import re
import subprocess
import sys
from pathlib import Path

ATTEMPT = r"""
import ctypes, errno, json, os, sys
libc = ctypes.CDLL(None, use_errno=True)
PTRACE_ATTACH, INIT_MODULE, MOUNT_FLAGS = 16, 175, 0

def system(result):
    if result < 0:
        raise OSError(ctypes.get_errno(), "")

def write(path):
    with open(path, "w") as file:
        file.write("x")
    os.unlink(path)

def read(path):
    with open(path, "rb") as file:
        file.read(1)

def mount():
    system(libc.mount(b"none", b"/tmp", b"tmpfs", MOUNT_FLAGS, None))
    system(libc.umount2(b"/tmp", 0))

def make_device():
    os.mknod("/tmp/kubewright-attempt", 0o20600, os.makedev(1, 1))
    os.unlink("/tmp/kubewright-attempt")

def load_module():
    try:
        system(libc.syscall(INIT_MODULE, ctypes.c_char_p(b"x"), 1, ctypes.c_char_p(b"")))
    except OSError as error:
        if error.errno != errno.ENOEXEC:    # what the kernel says of such a module to whom it lets load one
            raise

def rename_host():
    name = os.uname().nodename.encode()
    system(libc.sethostname(name, len(name)))

tries = {
    "write /etc": lambda: write("/etc/kubewright-attempt"),
    "write /usr/local/bin": lambda: write("/usr/local/bin/kubewright-attempt"),
    "write /var/lib": lambda: write("/var/lib/kubewright-attempt"),
    "list /root": lambda: os.listdir("/root/."),
    "read the CA's key": lambda: read("/etc/kubernetes/pki/ca.key"),
    "read another unit's secret": lambda: read("/run/credentials/" + sys.argv[1]),
    "ptrace another process": lambda: system(libc.ptrace(PTRACE_ATTACH, int(sys.argv[2]), 0, 0)),
    "signal another process": lambda: os.kill(int(sys.argv[2]), 0),
    "load a module": load_module,
    "mount": mount,
    "make a device": make_device,
    "set a kernel setting": lambda: os.close(os.open("/proc/sys/kernel/domainname", os.O_WRONLY)),
    "become root": lambda: os.setuid(0),
    "change the host's name": rename_host,
    "write where it may": lambda: write(sys.argv[3] + "/kubewright-attempt"),
}
result = {}
for name, attempt in tries.items():
    try:
        attempt()
        result[name] = "done"
    except OSError as error:
        result[name] = errno.errorcode[error.errno]
print(json.dumps(result))
"""


def status(pid: str) -> dict[str, str]:
    names = "Uid|Gid|Groups|CapBnd|CapEff|CapAmb|NoNewPrivs|Seccomp"
    return dict(re.findall(rf"^({names}):[ \t]*(.*)$", Path(f"/proc/{pid}/status").read_text(), re.M))


def main_pid(unit: str) -> str:
    show = ["systemctl", "show", "--property=MainPID", "--value", unit]
    return subprocess.run(show, capture_output=True, text=True, check=True).stdout.strip()


def attempts(pid: str, seen: dict[str, str], other: str, victim: str, home: str) -> dict[str, str]:
    bounding = "".join(f",+cap_{bit}" for bit in range(41) if int(seen["CapBnd"], 16) >> bit & 1)
    groups = ["--groups", ",".join(seen["Groups"].split())] if seen["Groups"].split() else ["--clear-groups"]
    inside = ["nsenter", "--target", pid, "--mount", "--", "setpriv", *groups, "--regid", seen["Gid"].split()[0],
              "--reuid", seen["Uid"].split()[0], "--inh-caps", "-all", "--bounding-set", "-all" + bounding,
              "--no-new-privs", "python3", "-c", ATTEMPT, other, victim, home]
    tried: dict[str, str] = json.loads(subprocess.run(inside, capture_output=True, text=True, check=True).stdout)
    return tried


# Root's, with all capabilities, and nobody's loss should an attempt on it succeed.
victim = subprocess.Popen(["sleep", "300"])
found = {}
for unit, other, home in json.loads(sys.argv[1]):
    pid = main_pid(unit)
    seen = status(pid)
    found[unit] = {"status": seen, "tried": attempts(pid, seen, other, str(victim.pid), home)}
victim.kill()
victim.wait()
json.dump(found, sys.stdout)
