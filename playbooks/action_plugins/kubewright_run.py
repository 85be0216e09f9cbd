"""Runs commands on a host as `command` does, without a Python of its own there: a fifth of the processor time."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from typing import Any

from ansible.plugins.action import ActionBase


class ActionModule(ActionBase):
    """`kubewright_run: {argv: [PROGRAM, ...], outlives: false, blame: ""}`; skipped in check mode, read by no shell.

    In place of `argv` may stand `each: [{argv: [PROGRAM, ...], passes: [RC, ...]}, ...]`: all in one call, the first
    that fails ends it; `passes` are exit codes that are as good as 0.

    What writes to a connection that is gone dies of it. With `outlives` it does not: a shell on the host takes what it
    says, all as stdout, and passes it on at its end; the lines in which dpkg, apt and dnf name errors are the message.
    What it may have failed for stands in `blame`, and is told with its own last line.
    """

    _supports_check_mode = True
    _VALID_ARGS = frozenset({"argv", "each", "outlives", "blame"})

    def run(self, tmp: Any = None, task_vars: Any = None) -> dict[str, Any]:
        """Return rc and what the command said, under the names that `command` gives them."""
        result: dict[str, Any] = super().run(tmp, task_vars)
        if self._task.check_mode:
            return result | {"skipped": True, "msg": "not run in check mode"}
        outlives, environment = bool(self._task.args.get("outlives")), self._compute_environment_string()
        words = (commands(self._task.args["each"], environment) if "each" in self._task.args
                 else command(self._task.args["argv"], environment, outlives=outlives))
        # With something to read there is no terminal, whose end would be the command's as well.
        done = self._low_level_execute_command(words, in_data=b"\n")
        result |= {"changed": True, "rc": done["rc"], "failed": done["rc"] != 0}
        for stream in ("stdout", "stderr"):
            text = done[stream].rstrip("\r\n")
            result |= {stream: text, f"{stream}_lines": text.splitlines()}
        blame = self._task.args.get("blame")
        if result["failed"] and blame:
            return result | {"msg": f"{(result['stderr_lines'] or ['no words'])[-1]} ({blame})", "stderr": ""}
        return result | ({"msg": _why(result["stdout_lines"]) if outlives else "non-zero return code"}
                         if result["failed"] else {})


def command(argv: Sequence[object], environment: str = "", *, outlives: bool = False) -> str:
    """Return what the host's shell is given for a command."""
    words = f"{environment} {shlex.join(map(str, argv))}".strip()
    return f"said=$({words} 2>&1); rc=$?; printf '%s\\n' \"$said\"; exit $rc" if outlives else words


def commands(each: Sequence[Mapping[str, Any]], environment: str = "") -> str:
    """Return what the host's shell is given for several commands, of which the first that fails is the last."""
    return "; ".join(_or_end(one["argv"], one["passes"], environment) for one in each)


def _or_end(argv: Sequence[object], passes: Sequence[int], environment: str) -> str:
    """Return a command that ends the shell where it fails, and says then which it was; one that passes says nothing."""
    codes = "|".join(map(str, (0, *passes)))
    failed = shlex.quote(f"{argv[0]}: exit")
    return (f"said=$({command(argv, environment)} 2>&1); rc=$?; case $rc in {codes}) ;; "
            f"*) printf '%s\\n' \"$said\" {failed}\" $rc\" >&2; exit $rc ;; esac")


def _why(lines: list[str]) -> str:
    """Return the lines in which dpkg, apt and dnf name errors, else the last of all."""
    named = [line.strip() for line in lines if line.startswith(("dpkg: error", "E: ", "Error: ", " Problem", "  - "))]
    return "; ".join([line for line in named if line != "Error:"] or lines[-1:]) or "no words"
