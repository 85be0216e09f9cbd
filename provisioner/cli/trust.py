"""`trust`: show the hosts' SSH keys, and pin them once a person has said that they are the right ones."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace as replaced
from pathlib import Path
from typing import TYPE_CHECKING

import click

from provisioner.cli import complete
from provisioner.cli.consent import agreed
from provisioner.cli.context import Context
from provisioner.errors import KubewrightError, RefusedForSafety, Unreachable, UsageFault

if TYPE_CHECKING:
    from provisioner.orchestrate.look.trust import Shown
    from provisioner.transport.target import Target

_WORDS = {"pinned": "is pinned already", "new": "not pinned yet", "changed": "NOT the key that is pinned"}


@click.command()
@click.argument("hosts", nargs=-1, metavar="[HOST]...", shell_complete=complete.hosts)
@click.option("--known-hosts", "also", default=None, metavar="FILE", type=click.Path(dir_okay=False, path_type=Path),
              help="A known_hosts file that knows the machines: keys that it names, and those with a certificate of "
                   "its @cert-authority, are pinned without asking; one that differs is refused.")
@click.option("--replace", is_flag=True, help="Also pin keys that differ from the pinned ones.")
@click.option("--yes", is_flag=True, help="Pin without asking.")
@click.pass_obj
def trust(context: Context, hosts: tuple[str, ...], also: Path | None, replace: bool, yes: bool) -> int:
    """Show the SSH key of every host (or those named), and pin the new ones after a yes; exit 15 after a no.

    Compare the fingerprints with what each machine's own console prints for /etc/ssh/ssh_host_*.pub (ssh-keygen -lf).
    """
    if also is not None and not also.is_file():
        raise UsageFault(f"--known-hosts {also}: there is no such file", hint="ls ~/.ssh/known_hosts")
    context.enter_lab()
    from provisioner.orchestrate.look.trust import jump_hosts, machines
    from provisioner.transport.target import targets_of

    targets = _chosen(targets_of(replaced(context.inventory, ask_become=None)), hosts)      # nobody becomes root
    file = context.inventory.known_hosts_path
    enrol = _Enrolment(context, file, replace=replace, yes=yes)
    enrol.take(jump_hosts(targets, context.waiting, also))
    enrol.take(machines(targets, context.waiting, also))
    return enrol.end()


def _chosen(targets: Mapping[str, Target], hosts: Sequence[str]) -> Mapping[str, Target]:
    unknown = [host for host in hosts if host not in targets]
    if unknown:
        raise UsageFault(f"the inventory has no host {', '.join(unknown)}", details=[f"hosts: {' '.join(targets)}"],
                         hint="kubewright trust --help")
    return {name: target for name, target in targets.items() if name in hosts} if hosts else targets


class _Enrolment:
    """The keys of one call: shown, judged, agreed on, pinned; what did not answer is told at the end."""

    def __init__(self, context: Context, file: Path, *, replace: bool, yes: bool) -> None:
        self._context = context
        self._file = file
        self._replace = replace
        self._yes = yes
        self._shown: list[Shown] = []
        self._faults: dict[str, KubewrightError] = {}
        self._pinned: list[Shown] = []
        self._warned: set[str] = set()

    def take(self, outcomes: Iterable[Shown | KubewrightError]) -> None:
        """Show the keys and pin the new ones, or refuse; nothing of a round is pinned when one key has changed."""
        shown = []
        for outcome in outcomes:
            if isinstance(outcome, KubewrightError):
                self._faults[str(getattr(outcome, "host", len(self._faults)))] = outcome
            else:
                shown.append(outcome)
        self._shown += shown
        self._print(shown)
        self._warn_of_clones()
        changed = [s for s in shown if s.state == "changed"]
        if changed and not self._replace:
            self._document()
            raise _key_changed(changed)
        new = [s for s in shown if s.state != "pinned"]
        vouched = [s for s in new if s.by and s.state == "new"]
        unknown = [s for s in new if s not in vouched]
        self._pin(vouched)
        if unknown and self._agreed(unknown):
            self._pin(unknown)

    def _pin(self, keys: Sequence[Shown]) -> None:
        from provisioner.orchestrate.look.trust import pin

        if keys:
            pin(self._file, keys)
            self._pinned += keys

    def end(self) -> int:
        """Say what was pinned, and return the exit code: 15 where somebody said no.

        Hosts that did not answer are an error although the others are pinned.
        """
        self._document()
        if self._pinned:
            click.echo(f"Pinned {len(self._pinned)} keys in {_short(self._file)}.", err=True)
        elif all(s.state == "pinned" for s in self._shown) and not self._faults:
            click.echo(f"All {len(self._shown)} keys are pinned in {_short(self._file)}.", err=True)
        else:
            click.echo("Nothing was pinned.", err=True)
        if self._faults:
            from provisioner.transport.pool import raise_all

            raise_all({**dict.fromkeys((s.host for s in self._shown), None), **self._faults})
        left = [s for s in self._shown if s.state != "pinned" and s not in self._pinned]
        return RefusedForSafety.exit_code if left else 0

    def _agreed(self, new: Sequence[Shown]) -> bool:
        try:
            return agreed(self._context, "Are these the keys of your machines?",
                          f"{', '.join(s.host for s in new)}: pinning keys", yes=self._yes,
                          may_ask=not self._context.wants_json, first="compare the fingerprints, then: ")
        except RefusedForSafety:
            self._document()
            raise

    def _warn_of_clones(self) -> None:
        """Say which places show one and the same key: clones of one machine, or one machine under several names."""
        by_key: dict[str, dict[str, str]] = {}
        for s in self._shown:
            by_key.setdefault(s.key.fingerprint, {})[s.place] = s.host
        for fingerprint, places in by_key.items():
            hosts = ", ".join(places.values())
            if len(places) > 1 and hosts not in self._warned:
                self._warned.add(hosts)
                click.echo(f"warning: {hosts} show the same key {fingerprint}: copies of one machine? On all but one: "
                           "rm /etc/ssh/ssh_host_*; ssh-keygen -A; systemctl restart ssh", err=True)

    def _print(self, shown: Sequence[Shown]) -> None:
        if self._context.wants_json or not shown:
            return
        widths = [max(len(text) for text in column)
                  for column in zip(*((s.host, s.place, s.key.type) for s in shown), strict=True)]
        for s in shown:
            cells = (s.host, s.place, s.key.type)
            left = "  ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True))
            words = _WORDS[s.state] if not s.by else (
                f"vouched for by {s.by}" if s.state == "new" else f"NOT the key that {s.by} names")
            doubt = f" ({s.doubt})" if s.doubt and s.state == "new" else ""
            click.echo(f"{left}  {s.key.fingerprint}  {words}{doubt}")

    def _document(self) -> None:
        if self._context.wants_json:
            done = {s.host for s in self._pinned}
            self._context.print_json({
                "known_hosts": str(self._file),
                "keys": [{**s.to_json(), "pinned_now": s.host in done} for s in self._shown],
                "unreachable": {host: fault.message for host, fault in self._faults.items()}})


def _key_changed(changed: Sequence[Shown]) -> Unreachable:
    others = {s.by for s in changed if s.by}
    return Unreachable(
        f"{', '.join(s.host for s in changed)}: comparing host keys: not the key that "
        + (f"{others.pop()} names" if all(s.by for s in changed) else "is pinned"),
        details=[*(f"{s.host}: {'named' if s.by else 'pinned'} {', '.join(k.fingerprint for k in s.before)}, now "
                   f"{s.key.fingerprint}" for s in changed), "nothing was pinned"],
        hint=f"reinstalled on purpose? `kubewright trust {' '.join(s.host for s in changed)} --replace`. "
             "Otherwise stop here: someone may be in between.",
        code="host-key-changed")


def _short(file: Path) -> str:
    here = Path.cwd()
    return str(file.relative_to(here)) if file.is_relative_to(here) else str(file)
