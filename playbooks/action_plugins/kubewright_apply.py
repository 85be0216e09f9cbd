"""Hands one host its bundle: pipes the applier and the request over the host's own connection, as root."""

from __future__ import annotations

import json
import shlex
import sys
from pathlib import Path
from typing import Any

from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase

_CHECKOUT = Path(__file__).resolve().parents[2]
if (_CHECKOUT / "provisioner" / "applier").is_dir() and str(_CHECKOUT) not in sys.path:
    sys.path.append(str(_CHECKOUT))  # a checkout that is not installed; an installed kubewright is found first

from provisioner.applier.package import answer_of, argv, frame  # noqa: E402


class ActionModule(ActionBase):
    """`kubewright_apply: {bundles: DIR}`; a host without a bundle in DIR is skipped."""

    _supports_check_mode = True
    _supports_diff = True
    _VALID_ARGS = frozenset({"bundles"})

    def run(self, tmp: Any = None, task_vars: Any = None) -> dict[str, Any]:
        """Return the applier's answer under `kubewright`; nothing of the request gets into the result."""
        result: dict[str, Any] = super().run(tmp, task_vars)
        path = Path(self._task.args["bundles"]) / f"{task_vars['inventory_hostname']}.json"
        try:
            request = json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return result | {"skipped": True, "msg": "no bundle for this host"}
        request["check"] = bool(self._task.check_mode)
        done = self._low_level_execute_command(shlex.join(argv("apply")), in_data=frame(request))
        answer = _answer(done)
        changes = answer.get("changes", [])
        made = [c for c in changes if c.get("result") in ("done", "would")]
        result |= {"kubewright": answer, "changed": bool(made), "failed": answer.get("status") != "done"}
        if result["failed"]:
            result["msg"] = answer.get("message") or f"step {answer.get('step')}: {answer.get('status')}"
        if self._task.diff:
            result["diff"] = [{"prepared": _shown(change)} for change in made]
        return result


def _answer(done: dict[str, Any]) -> dict[str, Any]:
    answer = answer_of(done["stdout"])
    if done["rc"] in (0, 14, 16) and answer is not None:
        return answer
    if done["rc"] in (0, 14, 16):
        raise AnsibleActionFail(f"the answer is not JSON: {done['stdout'][:120]!r}")
    words = (done.get("stderr") or done.get("stdout") or "no words").strip().splitlines()
    raise AnsibleActionFail(f"applier apply: exit {done['rc']}: {words[-1] if words else 'no words'}")


def _shown(change: dict[str, Any]) -> str:
    """Return the unified diff that the applier made in check mode, else one line."""
    detail = str(change.get("detail") or change["result"])
    return detail if "\n" in detail else f"{change['kind']} {change['path']}: {detail}\n"
