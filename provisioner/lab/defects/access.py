"""Defects of the way in, and of who the machine is."""

from __future__ import annotations

from provisioner.lab.defects.defect import Defect, writes

HIDES = "the host tells nothing else as long as it is so"
_RELOAD = "systemctl reload ssh"
_SSHD = "/etc/ssh/sshd_config.d/00-defect.conf"
# What the cures write, so that `undo` takes it away too.
_CURES = tuple(f"/etc/ssh/sshd_config.d/00-0-{name}.conf" for name in ("kubewright", "sessions"))
_KEY = "/etc/ssh/ssh_host_ed25519_key"


def _sshd(name: str, says: str, setting: str, check: str, alone: str = "") -> Defect:
    return Defect(name, says, check, writes(_SSHD, setting, _RELOAD), files=(_SSHD, *_CURES), after=_RELOAD,
                  place="sshd", alone=alone)


ACCESS: tuple[Defect, ...] = (
    Defect("ssh-off", "nobody listens for SSH", "ssh", "systemctl stop ssh", after="systemctl start ssh", alone=HIDES),
    Defect("host-key-changed", "the machine shows another host key than the pinned one", "ssh",
           f"rm {_KEY} && ssh-keygen -q -t ed25519 -N '' -f {_KEY} && systemctl restart ssh",
           files=(_KEY, f"{_KEY}.pub"), after="systemctl restart ssh", alone=HIDES),
    Defect("login-closed", "the login's shell is nologin", "ssh",
           "sed -i 's#^\\(admin:.*\\):[^:]*$#\\1:/usr/sbin/nologin#' /etc/passwd", files=("/etc/passwd",), alone=HIDES),
    Defect("sudo-password", "sudo asks for a password", "sudo",
           "sed -i 's/NOPASSWD: *//' /etc/sudoers.d/90-lab", files=("/etc/sudoers.d/90-lab",), alone=HIDES),
    Defect("python-absent", "there is no python3", "python", "rm /usr/bin/python3", files=("/usr/bin/python3",),
           alone=HIDES),
    Defect("python-incomplete", "Python lacks a module of its own", "python",
           "mv /usr/lib/python3.11/json /usr/lib/python3.11/json-away",
           undo="[ ! -d /usr/lib/python3.11/json-away ] || mv /usr/lib/python3.11/json-away /usr/lib/python3.11/json",
           alone=HIDES),
    Defect("python-module", "Python lacks its module logging", "python-modules",
           "mv /usr/lib/python3.11/logging /usr/lib/python3.11/logging-away",
           undo="[ ! -d /usr/lib/python3.11/logging-away ] || "
                "mv /usr/lib/python3.11/logging-away /usr/lib/python3.11/logging"),
    _sshd("no-forwarding", "sshd forbids forwarding", "AllowTcpForwarding no", "forwarding"),
    _sshd("few-sessions", "sshd allows one session a connection", "MaxSessions 1", "sshd"),
    _sshd("few-logins", "sshd lets one login at a time begin", "MaxStartups 1:100:1", "sshd",
          alone="a login that comes at the wrong moment is refused, and asks nothing"),
    Defect("slow-login", "each login takes 10 s more (PAM)", "ansible",
           "sed -i '1i session required pam_exec.so /bin/sleep 10' /etc/pam.d/sshd", files=("/etc/pam.d/sshd",),
           alone="whatever else is asked of the host takes as long"),
    Defect("hostname-twice", "the host calls itself as another does", "hostname",
           'echo "$PEER" > /etc/hostname; hostname "$PEER"', files=("/etc/hostname",),
           after="hostname -F /etc/hostname"),
    Defect("machine-id-twice", "the host has another's machine-id, as a clone has", "machine-id",
           'echo "$PEER_MACHINE_ID" > /etc/machine-id', files=("/etc/machine-id",)),
    Defect("host-key-twice", "the file of the host's public key is another host's", "host-key",
           f'echo "$PEER_KEY" > {_KEY}.pub', files=(f"{_KEY}.pub",)),
)
