"""The command: options, the table of verbs, and the one place that turns outcomes into exit codes."""

from __future__ import annotations

from provisioner import begin

# isort: split

import io
import os
import signal
import stat
import sys
from collections.abc import Sequence
from contextlib import suppress
from importlib import import_module
from types import FrameType
from typing import Any, NoReturn

import click
from click.shell_completion import CompletionItem, shell_complete

from provisioner import swift_end
from provisioner.cli import bug
from provisioner.cli.context import Context
from provisioner.cli.failure import failure_document, failure_text
from provisioner.cli.streams import to_nothing
from provisioner.cli.verbs import NOT_YET, SECTIONS, existing_verbs, suggest
from provisioner.errors import Interrupted, KubewrightError, UsageFault, of_full_disk

PROG = "kubewright"
COMPLETE_VAR = "_KUBEWRIGHT_COMPLETE"


class Verbs(click.Group):
    """A group that imports a verb's module only when that verb is called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the verbs that exist, in the order of the table."""
        return list(existing_verbs())

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import one verb, and let it take the common options after its name too."""
        verb = existing_verbs().get(cmd_name)
        if verb is None:
            return None
        module, _, name = verb.target.partition(":")
        command: click.Command = getattr(import_module(module), name)
        _accept_common_options(command)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the verb; for an unknown one say which was probably meant."""
        if args and args[0] not in existing_verbs():
            meant = "" if args[0] in NOT_YET else suggest(args[0], existing_verbs())
            raise UsageFault(
                f"there is no verb `{args[0]}`" + (f"; did you mean `{meant}`?" if meant else "")
                + (f" yet; {NOT_YET[args[0]]}" if args[0] in NOT_YET else ""),
                hint=f"{PROG} {meant} --help" if meant else f"{PROG} --help",
            )
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the verbs by section from the table; importing ten modules for one line each would cost seconds."""
        there = existing_verbs()
        for section, verbs in SECTIONS.items():
            rows = [(verb.name, verb.help) for verb in verbs if verb.name in there]
            if rows:
                with formatter.section(section):
                    formatter.write_dl(rows)

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """Complete verbs from the table too."""
        verbs = [CompletionItem(verb.name, help=verb.help) for verb in existing_verbs().values()
                 if verb.name.startswith(incomplete)]
        return verbs + click.Command.shell_complete(self, ctx, incomplete)


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command line and return its exit code; only a bug of ours leaves as an exception."""
    _open_closed_streams()
    _force_utf8()
    signal.signal(signal.SIGTERM, _interrupt)
    if signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:   # under nohup it is
        signal.signal(signal.SIGHUP, _hang_up)
    if COMPLETE_VAR in os.environ:
        return shell_complete(cli, {"obj": Context()}, PROG, COMPLETE_VAR, os.environ[COMPLETE_VAR])
    words = list(sys.argv[1:] if argv is None else argv)
    context = Context(words=words)
    sys.excepthook = bug.reporter(context)
    try:
        with cli.make_context(PROG, list(words), obj=context) as ctx:
            code = cli.invoke(ctx)
    except click.exceptions.Exit as done:
        code = done.exit_code
    except KubewrightError as err:
        code = _tell(context, err)
    except click.UsageError as err:
        code = _tell(context, _usage_fault(err))
    except click.ClickException as err:
        code = _tell(context, UsageFault(err.format_message()))
    except (KeyboardInterrupt, click.Abort):
        code = _tell(context, Interrupted("Stopped."))
    except BrokenPipeError:
        code = _reader_left()
    except OSError as err:
        full = of_full_disk(err, UsageFault)
        if full is None:
            raise
        code = _tell(context, full)
        _leave_what_is_full()
    except RuntimeError as err:     # a second Ctrl-C met Python while it took back a lock that the first had left
        if not isinstance(err.__context__, KeyboardInterrupt):
            raise
        code = _tell(context, Interrupted("Stopped."))
    return code if isinstance(code, int) else 0


def _tell(context: Context, err: KubewrightError) -> int:
    with suppress(OSError):     # who has left needs no words, and a full disk takes none
        click.echo(failure_text(err, context.pasted), err=True)
        if context.wants_json and not context.answered:
            context.print_json(failure_document(err, context.pasted))
    return err.exit_code


def _usage_fault(err: click.UsageError) -> UsageFault:
    message = err.format_message()
    path = err.ctx.command_path if err.ctx else PROG
    if isinstance(err, click.exceptions.NoArgsIsHelpError):
        return UsageFault("no verb given", details=message.splitlines(), hint=f"{path} --help")
    return UsageFault(message[:1].lower() + message[1:].rstrip("."), hint=f"{path} --help")


def _interrupt(signum: int, frame: FrameType | None) -> None:
    """Treat a polite end (SIGTERM) as Ctrl-C: the same safe stop, the same exit code."""
    if signal.getsignal(signal.SIGINT) == begin.leave:
        begin.leave(signum, frame)
    raise KeyboardInterrupt


def _hang_up(signum: int, frame: FrameType | None) -> None:
    """Stop as at Ctrl-C when the terminal is gone, writing no more to it: each word there would be an error."""
    for descriptor in (1, 2):
        if stat.S_ISCHR(os.fstat(descriptor).st_mode):
            to_nothing(descriptor)
    raise KeyboardInterrupt


def _reader_left() -> int:
    """Stop in silence when the reader of our output has gone (`| head`), as other commands do."""
    for stream in (sys.stdout, sys.stderr):
        to_nothing(stream.fileno())
    return 128 + signal.SIGPIPE


def _leave_what_is_full() -> None:
    """Write no more to a stream whose disk is full: what stands in its buffer would be the next fault."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:
            to_nothing(stream.fileno())


def _open_closed_streams() -> None:
    """Open to nothing what we were started without (`<&-`): else the next file or connection would be stderr."""
    while (opened := os.open(os.devnull, os.O_RDWR)) <= 2:
        os.set_inheritable(opened, True)
    os.close(opened)
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(number, "w" if number else "r", encoding="utf-8", closefd=False))  # noqa: SIM115


def _force_utf8() -> None:
    """Print check marks also where the locale says ASCII."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(encoding="utf-8", errors="replace")


def _path(kind: str) -> Any:
    """Leave it to the shell to complete a path, of a directory or of a file."""
    return lambda ctx, param, incomplete: [CompletionItem(incomplete, type=kind)]


def _common_options() -> list[click.Option]:
    return [
        click.Option(["-i", "--inventory"], metavar="DIR", expose_value=False, callback=_set("directory"),
                     shell_complete=_path("dir"),
                     help="Directory with cluster.yaml. Default: $KUBEWRIGHT_INVENTORY, else the only one in "
                          "inventories/."),
        click.Option(["--identity"], metavar="FILE", expose_value=False, callback=_set("identity"),
                     shell_complete=_path("file"),
                     help="Private key of an operator, to open secrets with. Default: $KUBEWRIGHT_IDENTITY, else "
                          "ssh.key of the inventory and your usual keys."),
        click.Option(["--ask-become"], is_flag=True, expose_value=False, callback=_set("ask_become"),
                     help="Ask for sudo's password on the hosts, once, without showing it; it is kept nowhere. Without "
                          "a terminal it is the first line of stdin."),
        click.Option(["-o", "--output"], type=click.Choice(["text", "json"]), expose_value=False, is_eager=True,
                     callback=_set("output"), help="Form of the result on stdout. Default: text."),
        click.Option(["-v", "--verbose"], is_flag=True, expose_value=False, callback=_set("verbose"),
                     help="Show more of what is done."),
    ]


def _print_version(ctx: click.Context, param: click.Parameter, value: bool) -> None:
    """Do what the verb `version` does, for those who look for an option."""
    verb = cli.get_command(ctx, "version") if value else None
    if verb is not None:
        ctx.invoke(verb)
        ctx.exit()


def _set(name: str) -> Any:
    def callback(ctx: click.Context, param: click.Parameter, value: Any) -> None:
        if value:
            setattr(ctx.find_object(Context), name, value)
    return callback


def _accept_common_options(command: click.Command) -> None:
    """Add the common options that a verb has no option of the same name for, so they may also stand behind it.

    Verbs that hand words on to another program (`lab exec`) keep theirs: `-v` may be meant for that program.
    """
    for inner in command.commands.values() if isinstance(command, click.Group) else ():
        _accept_common_options(inner)
    settings = command.context_settings
    if not settings.get("allow_interspersed_args", True) or settings.get("ignore_unknown_options", False):
        return
    taken = {opt for param in command.params for opt in param.opts}
    for option in _common_options():
        if not taken & set(option.opts):
            option.hidden = True
            command.params.append(option)


cli = Verbs(
    PROG,
    params=[*_common_options(), click.Option(["--version"], is_flag=True, expose_value=False, callback=_print_version,
                                             help="Print versions and exit.")],
    subcommand_metavar="VERB [ARGS]...",
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
    help="Turn machines that answer SSH into a highly available Kubernetes cluster, and keep it healthy.",
    epilog="Exit codes: 0 done, 10 inventory refused, 11 preflight refused, 12 unreachable, 13 not healthy, "
           "14 lock held, 15 refused for safety, 16 plan stale, 64 usage, 130 interrupted.",
)


def run() -> NoReturn:
    """Run the command line as a program of its own, which is over once its work is; who interrupts it waits for none.

    From the first Ctrl-C that has ended the work, the next one ends the program wherever it is.
    """
    try:
        code = main()
    except KeyboardInterrupt:       # a second one, while the first was told
        code = begin.INTERRUPTED
    if code == begin.INTERRUPTED:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, begin.leave)
    swift_end.end(code, wait=code != begin.INTERRUPTED)


if __name__ == "__main__":
    run()
