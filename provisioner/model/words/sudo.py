"""What sudo says when it will not make us root."""

from __future__ import annotations

from provisioner.model.words.row import Row

_NOPASSWD = ("give it with --ask-become, or on {host}: echo '{user} ALL=(ALL) NOPASSWD:ALL' | "
             "sudo tee /etc/sudoers.d/kubewright")
_MISSING = "log in as root with `become: none`, or install sudo on {host}"
_SOURCES = "on {host}, as root: chown root:root /etc/sudoers && chmod 440 /etc/sudoers"

ROWS = (
    Row("sudo-account", r"sudo: account validation failure|sudo: PAM account management error",
        "PAM does not let the user use sudo", ("the account has expired or is locked", "pam_access or SSSD forbids it"),
        "on {host}, as root: chage -l {user}; faillock --user {user}", code="sudo-refused"),
    Row("sudo-pam", r"sudo: unable to initialize PAM", "sudo cannot use PAM",
        ("/etc/pam.d/sudo is missing or damaged", "the file system of /etc is damaged"),
        "on {host}, as root: apt-get install --reinstall sudo libpam-runtime", code="sudo-broken"),
    Row("sudo-password", r"password is required|terminal is required|no tty present and no askpass program",
        "sudo asks for a password",
        ("no rule with NOPASSWD is for this user", "a later rule takes NOPASSWD away: the last one counts"), _NOPASSWD,
        weak=True),
    Row("sudo-password-wrong", r"incorrect (password|authentication) attempt|Sorry, try again",
        "sudo does not take the password that was given",
        ("it is mistyped", "the user has another password on this host"),
        "give it again; where hosts have different ones: NOPASSWD in their sudoers, or one password for {user}"),
    Row("sudo-tty", r"must have a tty", "sudo insists on a terminal (requiretty)",
        ("`Defaults requiretty` in sudoers",),
        "on {host}: remove `requiretty` from sudoers"),
    Row("sudo-not-in-sudoers", r"not in the sudoers file", "the user may not use sudo",
        ("the user is in no group that sudoers names",),
        "on {host}: add {user} to sudoers, or set `ssh.user` in cluster.yaml", code="sudo-refused"),
    Row("sudo-refused", r"user \S+ is not allowed to", "the user may not run this through sudo",
        ("sudoers names only some commands for this user",),
        "on {host}: allow {user} to run any command through sudo"),
    Row("sudo-missing", r"sudo: command not found|sudo: not found|env: \W*sudo\W*: No such file",
        "there is no sudo on the host", (), _MISSING),
    Row("sudo-setuid", r"must be owned by uid 0 and have the setuid bit set|effective uid is not 0",
        "sudo is no longer allowed to become root",
        ("its setuid bit was taken away (a chmod or copy of /usr)", "its file system is mounted nosuid"),
        "on {host}, as root: chown root:root /usr/bin/sudo && chmod 4755 /usr/bin/sudo", code="sudo-broken"),
    Row("sudo-no-new-privileges", r"\"no new privileges\" flag is set", "sudo may not become root in this session",
        ("sshd runs with NoNewPrivileges, in a container or a hardened unit",),
        "log in as root with `become: none`, or on {host}: systemctl cat ssh", code="sudo-broken"),
    Row("sudo-sources", r"sudo: /etc/sudoers\S* is (world writable|owned by .id \d+)|no valid sudoers sources found",
        "sudo does not trust its own sudoers file", ("owner or mode of /etc/sudoers were changed",), _SOURCES,
        code="sudo-broken"),
    Row("sudo-syntax", r"/etc/sudoers\S*:\d+:\d+: syntax error|parse error in /etc/sudoers",
        "a line of sudoers is no rule", ("it was edited without visudo",), "on {host}, as root: visudo -c",
        weak=True, code="sudo-broken"),
    Row("sudo-resolve", r"sudo: unable to resolve host (?P<name>[\w.-]+)",
        "the host does not know its own name {name}", ("its name was changed and /etc/hosts was not",),
        "on {host}, as root: echo '127.0.1.1 {name}' >> /etc/hosts", weak=True),
)
