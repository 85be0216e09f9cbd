"""All hosts in memory, and the ways to look at them and to change them: in the place of SSH, Ansible and etcd's API.

Starting etcd makes a member, keepalived on the first host the VIP.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

import pytest

from provisioner.applier import lock_record
from provisioner.compile.etcd import BOOTSTRAPPED
from provisioner.converge import login, runner
from provisioner.converge.results import HostResult
from provisioner.errors import KubewrightError, RefusedForSafety, Unreachable
from provisioner.model.artifact import ArtifactLock
from provisioner.model.desired import Artifact, Item, KernelModule, Package, Socket, SwapOff, Sysctl, Unit, User
from provisioner.model.etcd import Alarm, EtcdReads, EtcdStatus, MemberSeen
from provisioner.model.examination import Examination, Inside, UnitLife
from provisioner.model.facts import Facts, Interface
from provisioner.model.file_system import FileSystem
from provisioner.model.generations import Kept
from provisioner.model.inspection import Inspection
from provisioner.model.observed import ABSENT, HostObserved, ObservedItem, Owner
from provisioner.model.os_state import OsState
from provisioner.operate import etcd, haproxy
from provisioner.operate.etcd import EtcdFault
from provisioner.orchestrate.phases import stage
from provisioner.orchestrate.plan import owner, pairs
from provisioner.orchestrate.turn.reboot import BOOT_ID
from provisioner.parallel import Waiting, ask_all
from provisioner.transport.hosts import Hosts, OneHost, Take
from provisioner.transport.sharing import Progress, Talk
from provisioner.transport.target import Target
from tests.fakes.etcd_membership import Joins
from tests.fakes.haproxy import FakeBalancer
from tests.fakes.host import FakeHost
from tests.fakes.network import FakeNetwork
from tests.fakes.one_host import FakeOne
from tests.fakes.sharing import Peers
from tests.fakes.systems import Systems

T = TypeVar("T")
GIB = 1024**3
SOCKETS = Path("/nowhere/sockets")       # where Ansible's logins would stay
PACKAGE_FILES = {"haproxy": "/etc/haproxy/haproxy.cfg"}


def made_by(argv: Sequence[str]) -> list[Item]:
    """Return what a command of prepare.yml makes so."""
    match argv:
        case ["useradd", *_, name]:
            return [User(path=name, phase="prepare")]
        case ["modprobe", "-a", *modules]:
            return [KernelModule(path=module, phase="prepare") for module in modules]
        case ["sysctl", "-w", *settings]:
            return [Sysctl(path=key, phase="prepare", value=value)
                    for key, _, value in (setting.partition("=") for setting in settings)]
        case ["swapoff", "-a"]:
            return [SwapOff(path="swap", phase="prepare")]
    assert argv[:2] == ["systemctl", "mask"], argv
    return []


@dataclass(repr=False)
class FakeHosts(Hosts):
    """All hosts, asked one after the other; a test may say what they answer to `probe`, `ask` and the like.

    `log` has what was done to them: (`apply`, step, hosts), (`prepare`, ...), (`store`, host, n).
    """

    hosts: dict[str, FakeHost]
    lock: ArtifactLock
    log: list[tuple[Any, ...]] = field(default_factory=list)
    probed: list[tuple[str, list[str]]] = field(default_factory=list)
    results: dict[str, HostResult] = field(default_factory=dict)    # what Ansible says of a host instead
    systems: Systems = field(default_factory=Systems)
    broken: dict[str, str] = field(default_factory=dict)            # (host: ) name of a probe -> why not
    leader: str = "cp1"
    alarms: list[Alarm] = field(default_factory=list)               # that etcd's members have raised
    size: int = 4_100_000                                           # bytes of every member's data
    vip: str = "10.77.0.10"                                         # the first host on which keepalived runs has it
    holders: set[str] = field(default_factory=set)                  # who has the VIP beside the first host
    silent: set[str] = field(default_factory=set)                   # whose etcd member does not answer
    listed: dict[str, MemberSeen | None] = field(default_factory=dict)  # as what a member is known instead; None: not
    joins: Joins = field(default_factory=Joins)     # what is asked of etcd's membership
    lag: dict[str, int] = field(default_factory=dict)               # by how much a member's raft index is behind
    balancers: dict[str, FakeBalancer] = field(default_factory=dict)
    mute: set[str] = field(default_factory=set)                     # whose HAProxy does not answer
    now: float = 1000.0                                             # every host's boot clock
    inspections: dict[str, Inspection] = field(default_factory=dict)
    examinations: dict[str, Examination] = field(default_factory=dict)      # what is answered instead
    poison: str = ""                                                # no unit stays up that has read this text
    waiting: Waiting | None = None
    peers: Peers = field(default_factory=Peers)     # while artifacts are spread
    network: FakeNetwork = field(default_factory=FakeNetwork)       # between the hosts

    def __post_init__(self) -> None:
        self.balancers = {h: FakeBalancer(self.serves) for h in self.hosts}

    def address(self, host: str) -> str:
        """Return the address of a host that is not its loopback's."""
        return self.hosts[host].facts.interfaces[1].addresses[0].partition("/")[0]

    def serves(self, host: str) -> bool:
        """Say whether the host's API server is well, as a health check finds it."""
        return (self.hosts[host].states.get(("unit", "kube-apiserver.service"), "").startswith("active ")
                and f"{host}: kube-apiserver /readyz" not in self.broken)

    def install(self, patch: pytest.MonkeyPatch) -> None:
        """Put these hosts in the place of Ansible, the artifact cache and etcd's API."""
        patch.setattr(runner, "apply", self.apply)
        patch.setattr(runner, "prepare", self.prepare)
        patch.setattr(login, "prove", lambda target, *, kept=None: 0.0)
        patch.setattr(runner, "control_dir", lambda: SOCKETS)
        patch.setattr(pairs, "BRIEF", pairs.Budget(0.0, 0.0, 5.0))
        patch.setattr(stage, "fetch", lambda lock, *, emit: {a.sha256: Path(a.name) for a in lock.artifacts})
        patch.setattr(etcd, "status", self.etcd_status)
        patch.setattr(etcd, "move_leader", self.move_leader)
        patch.setattr(etcd, "reads", self.etcd_reads)
        self.joins.install(self, patch)
        patch.setattr(etcd, "alarms", lambda access, *, timeout=3.0: tuple(self.alarms))

    def on(self, host: str, *, patient: bool = True) -> FakeOne:
        return FakeOne(self, host)

    def map(self, fn: Callable[[OneHost], T], hosts: Iterable[str], *, patient: bool = True,
            ) -> dict[str, T | KubewrightError]:
        outcomes: dict[str, T | KubewrightError] = {}
        for host in hosts:
            try:
                outcomes[host] = fn(self.on(host))
            except KubewrightError as fault:
                outcomes[host] = fault
        return outcomes

    def together(self, fn: Callable[[OneHost], T], hosts: Iterable[str]) -> dict[str, T | KubewrightError]:
        def outcome(host: str) -> T | KubewrightError:
            try:
                return fn(self.on(host))
            except KubewrightError as fault:
                return fault
            except OSError as cut:      # whoever sends gave it up
                return KubewrightError(f"{host}: {cut}")

        names = list(hosts)
        return ask_all(outcome, names, workers=len(names), name="fake")

    def also_reach(self, targets: Mapping[str, Target]) -> None:
        """Reach them as all others."""

    def standing(self, hosts: Iterable[str]) -> list[str]:
        return list(hosts)

    def close(self) -> None:
        """Close nothing."""

    def forward(self, one: OneHost, port: int) -> None:
        """Let everything through."""

    def seen(self, name: str, items: Sequence[Item]) -> HostObserved:
        """Return what a host is, by the applier's own states."""
        host = self.hosts[name]
        if host.down:
            raise Unreachable(f"{name}: connecting: no route")
        states = {(i.kind, i.path): self._socket(name, i) if isinstance(i, Socket) else host.observe(i) for i in items}
        return HostObserved(name, self.facts(host), states, epoch=host.epoch, owner=host.owner)

    def forget(self, one: OneHost) -> None:
        """Let a host forget us."""
        host = self.hosts[one.name]
        if host.down:
            raise Unreachable(f"{host.name}: connecting: no route")
        self.log.append(("forget", one.name))
        for known in (host.owned, host.kept, host.notes):
            known.clear()
        host.record, host.epoch, host.owner, host.steps = {}, 0, None, []
        host.states.pop(("file", BOOTSTRAPPED), None)

    def lock_record(self, one: OneHost, request: Mapping[str, Any]) -> dict[str, Any]:
        """Do with the record what the applier does, on a clock that stands still."""
        host = self.hosts[one.name]
        if host.down:
            raise Unreachable(f"{host.name}: connecting: no route")
        made = None if request["do"] == "read" else lock_record.after(host.record, request, "boot", self.now)
        host.record = host.record if made is None else made
        told = {**host.record, "age": lock_record.age(host.record, "boot", self.now)} if host.record else {}
        return {"done": made is not None or request["do"] == "read", "record": told, "busy": "", "epoch": host.epoch}

    def fence(self, one: OneHost, epoch: int, *, owner: Owner | None = None,
              instead_of: Owner | None = None) -> int:
        host = self.hosts[one.name]
        if owner is not None and host.owner not in (None, owner, instead_of):
            raise RefusedForSafety(f"{host.name}: taking it for this cluster: it belongs to another",
                                   code="foreign-host")
        host.owner = owner or host.owner
        host.epoch = max(host.epoch, epoch)
        return host.epoch

    def _socket(self, host: str, item: Socket) -> ObservedItem:
        runs = self.hosts[host].states.get(("unit", haproxy.UNIT), ABSENT) != ABSENT and host not in self.mute
        extra = {"text": self.balancers[host].answer(item.line)} if runs else {}
        return ObservedItem(item.kind, item.path, "answers" if runs else ABSENT, extra)

    def ask(self, one: OneHost, path: str, lines: Sequence[str], *, span: float = 0.0,
            again: Sequence[str] | None = None, until: Sequence[str] = ()) -> list[list[str]]:
        """Answer as the host's HAProxy; what is set there stands in the log: (`haproxy`, host, server, state)."""
        if one.name in self.mute:
            raise KubewrightError(f"{one.name}: applier socket: exit 1: applier: Connection refused")
        for words in (line.split() for line in lines if line.startswith("set ")):
            self.log.append(("haproxy", one.name, words[2].partition("/")[2], words[4]))
        return self.balancers[one.name].rounds(lines, lines if again is None else again, until, 2 if span else 1)

    def _holder(self) -> str:
        """Return the host that keepalived gives the VIP: the first on which it runs."""
        return next((name for name, one in self.hosts.items()
                     if one.states.get(("unit", "keepalived.service"), "").startswith("active")), "")

    def facts(self, host: FakeHost) -> Facts:
        up = host.states.get(("unit", "keepalived.service"), "").startswith("active")
        if not (up and (host.name == self._holder() or host.name in self.holders)):
            return host.facts
        return replace(host.facts, interfaces=(*host.facts.interfaces, Interface("vip0", (f"{self.vip}/32",), 1500)))

    def probe(self, one: OneHost, probes: Sequence[Mapping[str, Any]], deadline: float) -> dict[str, Any]:
        host = self.hosts[one.name]
        self.probed.append((host.name, [p["name"] for p in probes]))
        results = []
        for asked in probes:
            reason = self.broken.get(f"{host.name}: {asked['name']}", "") or self.broken.get(asked["name"], "")
            if asked["name"] == "etcd /readyz" and not reason:
                reason = self._member_waits(host.name)
            if asked["kind"] == "unit" and not reason:
                unit = Unit(path=asked["unit"], phase="prepare", inputs=tuple(host.inputs(asked)))
                state = host.observe(unit).state
                held = state == "active enabled current" if asked.get("current") else state.startswith("active ")
                reason = "" if held else f"is {state}"
                if self.poison and any(self.poison in str(host.extras.get(("file", p), {})) for p in unit.inputs):
                    reason = "activating (auto-restart): exited 2 times, it does not stay up"
            results.append({"name": asked["name"], "ok": not reason, "reason": reason})
        ok = all(r["ok"] for r in results)
        return {"ok": ok, "hopeless": not ok, "seconds": 0.1, "results": results}

    def examined(self, name: str, question: Mapping[str, Any]) -> Examination:
        """Answer as a host that is well, but for its units that do not run."""
        states = self.hosts[name].states
        lives = [UnitLife(unit, active=states.get(("unit", unit), "inactive").split()[0])
                 for unit in question["units"]]
        return Examination(
            units=tuple(replace(one, sub="running" if one.runs else "dead") for one in lives),
            disks=(FileSystem(("/", "/var"), 100 * GIB, 40 * GIB, 60 * GIB, 1_000_000, 900_000),),
            inside=Inside(2, 2) if "inside" in question else None, now=self.facts(self.hosts[name]).epoch)

    def _member_waits(self, host: str) -> str:
        """Say why a member is not ready: it is down, or has no majority behind it."""
        members = [h for h, one in self.hosts.items() if ("unit", "etcd.service") in one.states]
        serving = [h for h in members if self.hosts[h].states["unit", "etcd.service"].startswith("act")
                   and h not in self.silent]
        return "" if host in serving and len(serving) > len(members) // 2 else "connection refused"

    def kept(self, one: OneHost, steps: str = "") -> list[Kept]:
        host = self.hosts[one.name]
        return [Kept.of_answer(row | {"now": host.states.get(key, ABSENT)} | (
            {"was_text": row["extra"].get("text", ""), "now_text": host.extras.get(key, {}).get("text", "")}
            if key[0] == "file" and " hmac:" not in row["was"] else {}))
            for key, row in host.kept.items() if row["step"].startswith(steps)]

    def journal(self, one: OneHost, request: Mapping[str, Any], take: Take) -> dict[str, Any]:
        """Say two lines as the unit, and between them one as systemd."""
        for number, process in enumerate((request["unit"].removesuffix(".service"), "systemd", "that")):
            take({"__REALTIME_TIMESTAMP": "1", "SYSLOG_IDENTIFIER": process, "MESSAGE": f"{process} line {number}"})
        return {"ended": True}

    def os_state(self, one: OneHost, *, refresh: bool) -> OsState:
        if self.hosts[one.name].down:
            raise Unreachable(f"{one.name}: connecting: no answer (timeout)", code="timeout")
        return self.systems.of(one.name)

    def _ran(self, host: str, change: Mapping[str, Any]) -> None:
        """Let systemd-run run what it was asked for; all units are started anew by a boot."""
        states = self.hosts[host].states
        runs = change["kind"] == "program" and change["path"].endswith("/systemd-run")
        if runs and self.systems.ran(host, change["argv"]):
            states |= {key: "active enabled current" for key in states if key[0] == "unit"}

    def content(self, one: OneHost, path: str) -> bytes:
        if path == BOOT_ID:
            return self.systems.of(one.name).boot.encode()
        extras = self.hosts[one.name].extras
        for kind in ("file", "certificate"):
            if (kind, path) in extras:
                return str(next(iter(extras[kind, path].values()))).encode()
        if ("key", path) in self.hosts[one.name].states:
            return f"KEY {path} of {one.name}".encode()
        raise KubewrightError(f"{one.name}: reading {path}: not there")

    def steps(self, one: OneHost, run: str) -> dict[str, Any]:
        host = self.hosts[one.name]
        if host.down:
            raise Unreachable(f"{host.name}: connecting: no answer (timeout)", code="timeout")
        return {"steps": [s for s in host.steps if s["step"].startswith(f"{run}.")], "running": list(host.running)}

    def notes(self, one: OneHost) -> dict[str, Any]:
        host = self.hosts[one.name]
        if host.down:
            raise Unreachable(f"{host.name}: connecting: no answer (timeout)", code="timeout")
        return dict(host.notes)

    def note(self, one: OneHost, run: str, acts: Sequence[Mapping[str, Any]]) -> None:
        self.hosts[one.name].notes.setdefault(run, []).extend(dict(act) for act in acts)

    def store(self, one: OneHost, artifacts: Sequence[tuple[Artifact, Path]], progress: Progress | None = None,
              ) -> list[str]:
        self.log.append(("store", one.name, len(artifacts)))
        for item, _ in artifacts:
            self._stored(one.name, item)
            if progress is not None:
                progress(item.size)
        return [i.path for i, _ in artifacts]

    def share(self, one: OneHost, talk: Talk) -> None:
        """Take part in a spreading; what came of it stands in the log as if it had been streamed."""
        if self.hosts[one.name].down:
            raise Unreachable(f"{one.name}: connecting: no route")
        self.log.append(("store", one.name, self.peers.talk(one.name, talk, lambda item: self._stored(one.name, item))))

    def _stored(self, host: str, item: Artifact) -> None:
        self.hosts[host].states["artifact", item.path] = str(item.want())
        self.hosts[host].own(("artifact", item.path), "")

    def apply(self, inventory: object, directory: Path, hosts: Sequence[str], *, run_dir: Path, emit: object,
              ) -> dict[str, HostResult]:
        self.log.append(("apply", directory.name, tuple(hosts)))
        return {h: self.results.get(h) or self._apply(h, json.loads((directory / f"{h}.json").read_text()))
                for h in hosts}

    def hand(self, one: OneHost, request: Mapping[str, Any]) -> dict[str, Any]:
        """Take a bundle without Ansible."""
        if self.hosts[one.name].down:
            raise Unreachable(f"{one.name}: connecting: no route")
        self.log.append(("apply", request["step"].partition(".")[2], (one.name,)))
        result = self.results.get(one.name) or self._apply(one.name, request)
        return {"status": result.status, "changes": list(result.changes), "message": result.message}

    def _apply(self, host: str, request: Mapping[str, Any]) -> HostResult:
        epoch = request["epoch"]
        if epoch is not None and epoch < self.hosts[host].epoch:
            return HostResult(host, "fenced", message=f"epoch {epoch} is over")
        for known in self.hosts[host].steps:        # a step takes effect once: it is answered with what it did then
            if known["step"] == request["step"]:
                return HostResult(host, "done", tuple(known["changes"]))
        stale = [self.hosts[host].is_stale(c) for c in request["changes"]]
        if any(stale):
            rows = [{"kind": c["kind"], "path": c["path"], "result": "stale" if is_stale else "untouched"}
                    for c, is_stale in zip(request["changes"], stale, strict=True)]
            return HostResult(host, "stale", tuple(rows), "not what the plan saw")
        rows = []
        for c in request["changes"]:
            rows.append({"kind": c["kind"], "path": c["path"], "result": self.hosts[host].change(c, request["step"])})
            if rows[-1]["result"] == "stale":
                return HostResult(host, "stale", tuple(rows), "not what the plan saw")
            self._ran(host, c)
        if any(r["path"] == "etcd.service" for r in rows):
            self.hosts[host].states.setdefault((owner.MEMBER.kind, owner.MEMBER.path), "there")
        self.hosts[host].steps.insert(0, {"step": request["step"], "status": "done", "changes": rows, "seconds": 0.1,
                                          "finished": 1_800_000_000, "origin": request["origin"]})
        return HostResult(host, "done", tuple(rows))

    def prepare(self, inventory: object, directory: Path, hosts: Sequence[str], *, run_dir: Path, emit: object,
                cancel: Callable[[], bool], idle: Sequence[str]) -> dict[str, HostResult]:
        self.log.append(("prepare", tuple(hosts)))
        if cancel():
            return {h: HostResult(h, "canceled", message="stopped on request") for h in hosts}
        for name in hosts:
            host, wanted = self.hosts[name], json.loads((directory / f"{name}.prepare.json").read_text())
            assert not any(wanted[name] for name in idle)
            done: list[Item] = [Package(path=p, phase="prepare") for p in wanted["packages"]]
            done += [User(path=u["name"], phase="prepare") for u in wanted["users"]]
            done += [item for command in wanted["commands"] for item in made_by(command["argv"])]
            host.states |= {(i.kind, i.path): str(i.want()) for i in done}
            for path in (PACKAGE_FILES[p] for p in wanted["packages"] if p in PACKAGE_FILES):
                host.states.setdefault(("file", path), "file sha256:of-the-package 0644 root:root")
        return {h: self.results.get(h) or HostResult(h, "done") for h in hosts}

    def etcd_status(self, access: Any, *, timeout: float = 3.0) -> EtcdStatus:
        """Answer for the member whose name FakeAccess.etcd put in the place of its address."""
        host = access.address[0]
        running = [h for h, one in self.hosts.items() if one.states.get(("unit", "etcd.service"), "").startswith("act")]
        if host not in running or host in self.silent:
            raise EtcdFault("etcd: asking a member for its status: connection refused")
        number = {name: i + 1 for i, name in enumerate(self.hosts)}
        there = {h: MemberSeen(number[h], h, (f"https://{self.address(h)}:2380",)) for h, one in self.hosts.items()
                 if ("unit", "etcd.service") in one.states} | self.listed
        for h in running:       # whoever runs has told its name
            there[h] = replace(known, name=h) if (known := there.get(h)) else there[h]
        members = self.joins.now(running) or tuple(m for m in there.values() if m is not None)
        index = 7 - self.lag.get(host, 0)
        return EtcdStatus("3.6.16", self.size, number[self.leader], index, 2, 99, number[host], members)

    def etcd_reads(self, access: Any, *, timeout: float = 3.0) -> EtcdReads:
        """Let a member that answers read its own data always, and what is agreed on where a majority is."""
        host = access.address[0]
        waits = self._member_waits(host)
        return EtcdReads(None if host in self.silent else 100, None if waits else 100, agreed_fault=waits)

    def move_leader(self, access: Any, successor: int, *, timeout: float = 3.0) -> None:
        """Let the member of that number lead; only the leader itself may be asked."""
        if access.address[0] != self.leader:
            raise EtcdFault("etcd: moving the leadership: etcdserver: not leader")
        self.leader = list(self.hosts)[successor - 1]
        self.log.append(("leader", self.leader))
