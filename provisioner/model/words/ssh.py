"""What SSH says: paramiko in our own connections, OpenSSH in Ansible's, and what logins print instead of obeying.

A row that paramiko's exceptions lead to (transport/faults.py) also knows OpenSSH's words for the same.
"""

from __future__ import annotations

from provisioner.model.words.row import Row

_SEE = "in cluster.yaml set `ssh.user` to a user with a shell, or on {host}: usermod -s /bin/bash {user}"
# sshd takes the first value that it reads; Debian's and Red Hat's begin with these files, in the order of their names.
PERMIT = ("printf 'AllowTcpForwarding local\\nDisableForwarding no\\nPermitOpen any\\n' "
          "> /etc/ssh/sshd_config.d/00-0-kubewright.conf && systemctl reload ssh    # unless a Match block forbids it")
FORBIDS = "sshd forbids forwarding (AllowTcpForwarding/DisableForwarding/PermitOpen)"

ROWS = (
    Row("host-key-changed", r"host key changed(?P<keys> \(pinned [^)]*\))?|REMOTE HOST IDENTIFICATION HAS CHANGED",
        "host key changed{keys}",
        ("the machine was installed anew", "another machine has its address now", "somebody is in between"),
        "reinstalled on purpose? `kubewright trust {host} --replace`. Otherwise stop here: someone may be in between."),
    Row("host-key-revoked", r"host key (?P<print>\S+ )?is revoked in known_hosts \(@revoked\)|REVOKED HOST KEY",
        "host key {print}is revoked in known_hosts (@revoked)", ("somebody knows that machine's old key",),
        "stop here: someone may be in between. A new key of that machine: `kubewright trust {host} --replace`"),
    Row("known-hosts-damaged", r"(?P<all>no key is pinned for it, and .* cannot be read as one)", "{all}",
        ("known_hosts was edited by hand", "two writers were in it at once"),
        "kubewright trust {host}, and take the damaged lines out"),
    Row("host-key-unknown", r"(?P<all>unknown host key .*)", "{all}", (), "kubewright trust {host}"),
    Row("host-key-not-pinned", r"No \S+ host key is known for \S+ and you have requested strict checking",
        "no key of this host is pinned", ("the host was added after `kubewright trust`",
                                          "it is pinned under another name or port"),
        "kubewright trust {host}", code="host-key-unknown"),
    Row("ssh-key-encrypted", r"Private key file is encrypted|Load key .*: incorrect passphrase",
        "the private key has a passphrase, and no agent holds it", (), "ssh-add {key}"),
    Row("ssh-key-open", r"UNPROTECTED PRIVATE KEY FILE|Permissions \d+ for .* are too open|bad permissions",
        "ssh does not use the key {key}: others may read it", (), "chmod 600 {key}", code="ansible-login"),
    Row("ssh-key-format", r"Load key .*(error in libcrypto|invalid format)",
        "ssh cannot read the key {key}", ("it is in a form that this ssh does not know", "the file is cut short"),
        "ssh-keygen -p -f {key}", code="ansible-login"),
    Row("ssh-too-many-keys", r"No existing session|Too many authentication failures",
        "sshd hung up: the agent offered too many keys",
        ("the agent holds more keys than sshd's MaxAuthTries (6)",),
        "set `ssh.key` in cluster.yaml: then only that key is offered (sshd's MaxAuthTries is 6)"),
    Row("ssh-no-key", r"No authentication methods available", "authentication failed: we have no key", (),
        "set `ssh.key` in cluster.yaml, or start an agent that holds the key", code="ssh-auth"),
    Row("ssh-account-expired", r"Your account has expired", "the account of {user} has expired",
        ("it was made with an end (chage -E)",), "on {host}, as root: chage -E -1 {user}", code="login-only-says"),
    Row("ssh-auth", r"\bAuthentication (failed|timeout)|Permission denied \([\w,-]*\)",
        "authentication failed: no key of ours is accepted (`ssh.user` and `ssh.key` say what is tried)",
        ("the public key is not in that user's authorized_keys", "`ssh.user` is another user on this machine",
         "its home or .ssh may be written by others, so sshd ignores the file (StrictModes)"),
        "ssh-copy-id {login}", weak=True),
    Row("ssh-key-missing", r"No such file or directory: '(?P<file>[^']*)'|Identity file (?P<also>\S+) not accessible",
        "no private key file {file}{also}", ("`ssh.key` is relative to another directory",),
        "set `ssh.key` in cluster.yaml to a file that exists"),
    Row("ssh-algorithms", r"(?P<all>Incompatible ssh .*)|Unable to negotiate with .*: (?P<also>no matching .*)",
        "{all}{also}", ("its sshd is hardened, or older than what we offer",),
        "on {host}, allow one of ours beside its own in sshd_config: KexAlgorithms +curve25519-sha256, "
        "Ciphers +aes128-gcm@openssh.com, MACs +hmac-sha2-256-etm@openssh.com"),
    Row("name-resolution", r"Could not resolve hostname|\[Errno -\d\] (Name or service not known|Temporary failure "
        r"in name resolution|No address associated)", "the name does not resolve",
        ("it is misspelt", "this machine asks another DNS than the one that knows it"),
        "in cluster.yaml: a name that this machine knows as hosts.{host}.ssh.host (or in ssh.jump), or an address"),
    Row("ssh-refused", r"connect to host \S+ port \d+: Connection refused|paramiko: .*Errno 111",
        "connection refused", ("sshd does not run there", "it listens on another port (`ssh.port`)",
                               "a firewall there answers with a refusal"),
        "is sshd running there, on that port?", code="refused"),
    Row("ssh-no-route", r"connect to host \S+ port \d+: (No route to host|Network is unreachable)|"
        r"paramiko: .*Errno (113|101)", "no route to the host",
        ("the machine is off or has another address", "this machine is not in its network, nor has a way there"),
        "does one reach it elsewhere than the cluster does? in cluster.yaml: hosts.{host}.ssh.host", code="no-route"),
    Row("ssh-timeout", r"connect to host \S+ port \d+: Connection timed out|Connection timed out during banner",
        "no answer (timeout)", ("the machine is off or hangs", "a firewall on the way drops us"),
        "is the machine up, and does a firewall let us through?", code="timeout"),
    Row("ssh-silent", r"it takes the connection and then says nothing",
        "it takes the connection and then says nothing (timeout)",
        ("the machine hangs (memory, disk)", "something else than sshd listens on that port"),
        "is it sshd that listens there, and does the machine hang?", code="timeout"),
    Row("ssh-handshake-timeout", r"paramiko: Timeout", "no answer (timeout) during the handshake",
        ("the machine is very busy", "a path MTU on the way swallows large packets"), code="timeout"),
    Row("jump-forbidden", r"the jump host's sshd forbids forwarding", f"the jump host's {FORBIDS}", (),
        f"there: {PERMIT}", code="forwarding-forbidden"),
    Row("forwarding-forbidden", r"open failed: administratively prohibited|sshd forbids forwarding", FORBIDS,
        ("sshd is hardened",), f"on {{host}}: {PERMIT}"),
    Row("jump-refused", r"stdio forwarding failed|channel \d+: open failed: connect failed|Connect failed",
        "the jump host could not connect onwards",
        ("sshd does not run on the host", "the jump host has no way to it"), weak=True),
    Row("no-session", r"mux_client_request_session: session request failed|Session open refused by peer",
        "sshd opens none (MaxSessions)", ("sshd's MaxSessions is below what a run opens (8)",),
        "on {host}: set `MaxSessions 10` in sshd_config, at least for this user; systemctl reload ssh"),
    Row("ssh-dropped-early", r"banner|(kex|ssh)_exchange_identification|Exceeded MaxStartups|Not allowed at this time",
        "the connection was dropped before sshd greeted us",
        ("many logins at once (MaxStartups)",
         "fail2ban, hosts.deny or sshd's PerSourcePenalties have shut us out", "sshd cannot start a child "
         "(memory, processes)"),
        "sshd's MaxStartups may be too low for this many logins at once", weak=True, code="ssh-dropped"),
    Row("ssh-dropped", r"paramiko: dropped", "the connection was dropped during the handshake",
        ("a firewall or a proxy on the way ends it", "sshd's child died (memory)")),
    Row("ssh", r"paramiko: (?P<all>.+)", "{all}", weak=True),
    Row("login-other-user", r"log ?in as the user [\"'`]?(?P<other>[a-z_][\w.-]*)", "it wants another user: {other}",
        (), "in cluster.yaml: ssh.user: {other}", code="login-only-says"),
    Row("login-not-now", r"System is going down|System is booting up|Unprivileged users are not permitted to log in",
        "the machine lets only root in now", ("it is shutting down or starting", "somebody left /run/nologin or "
                                              "/etc/nologin"),
        "wait for it, or on {host}, as root: rm -f /run/nologin /etc/nologin", code="login-only-says"),
    Row("login-no-shell", r"not currently available|currently not available|nologin",
        "{user} has no shell there", ("the user is for a service (shell nologin)",), _SEE, code="login-only-says"),
    Row("login-password-expired", r"password (has )?expired|password change required|change your password",
        "the password of {user} has expired", ("a policy of that machine (chage -M)",), "on {host}: passwd {user}",
        code="login-only-says"),
    Row("login-restricted", r"sftp connections? only|interactive git shell|restricted (shell|account)|rbash: ",
        "{user} may not run commands there", ("its sshd or shell is for transfers only",),
        "in cluster.yaml set `ssh.user` to a user who may run commands on {host}", code="login-only-says"),
)
