"""The operating systems of hosts in memory: which boot each is in, what apt would bring, and what becomes of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from provisioner.model.os_state import OsState


@dataclass
class Systems:
    """What each host waits for; `log` has (`packages`, host, what apt was asked for), (`marks`, host, what of apt-mark)
    and (`reboot`, host)."""

    states: dict[str, OsState] = field(default_factory=dict)
    log: list[tuple[str, ...]] = field(default_factory=list)
    asks: set[str] = field(default_factory=set)         # hosts whose new packages ask for a reboot
    stuck: set[str] = field(default_factory=set)        # hosts that never come back from one

    def of(self, host: str) -> OsState:
        """Return what a host waits for; nothing is known of one but its boot."""
        return self.states.setdefault(host, OsState(boot=f"boot-1-of-{host}"))

    def ran(self, host: str, argv: Sequence[str]) -> bool:
        """Do what systemd-run was asked for; say whether the host was rebooted."""
        now = self.of(host)
        if list(argv[-2:]) == ["systemctl", "reboot"]:
            self.log.append(("reboot", host))
            if host not in self.stuck:
                number = int(now.boot.split("-")[1]) + 1
                self.states[host] = replace(now, boot=f"boot-{number}-of-{host}", required=False, by=())
            return host not in self.stuck
        if "install" in argv:
            names = list(argv[list(argv).index("install") + 1:])
            self.log.append(("packages", host, *names))
            self.states[host] = replace(now, newer=(), required=host in self.asks)
        if "apt-mark" in argv:
            self.log.append(("marks", host, *list(argv)[list(argv).index("apt-mark") + 1:]))
        return False
