"""The way back on the host: what is kept of each path, and a change that puts it there again."""

from __future__ import annotations

import base64
import os
from typing import Any, Mapping, Optional

from . import generations, states
from .host import Fault, Host

Change = Mapping[str, Any]
RESTORE = "restore"


def kept(host: Host, request: Mapping[str, Any]) -> dict[str, Any]:
    """Tell what each path was before the step that changed it last, for steps whose id begins with `steps`.

    A secret's bytes and digest stay here: its states carry the keyed digest that the plan knows.
    """
    look = states.Look(host)
    prefix = str(request.get("steps", ""))
    return {"kept": [_row(look, record) for record in generations.newest(host)
                     if str(record.get("step", "")).startswith(prefix)]}


def _row(look: states.Look, record: Mapping[str, Any]) -> dict[str, Any]:
    now, seen = look.see(record)
    row = {name: record.get(name, "") for name in ("kind", "path", "step", "saved")}
    row.update({"was": record.get("state", ""), "now": now})
    if record["kind"] == "file" and not record.get("hmac_key"):
        row.update({"was_text": _text_before(look.host, record),
                    "now_text": "" if now == states.ABSENT else seen.get("text")})
    return row


def _text_before(host: Host, record: Mapping[str, Any]) -> Optional[str]:
    """Return the text that is kept, "" for what was not there, None for what is no text to show."""
    if record["state"] == states.ABSENT:
        return ""
    kept_bytes = (generations.find(host, record["path"], record["state"]) or {}).get("blobs", {}).get("")
    if kept_bytes is None or len(kept_bytes) > states.TEXT_LIMIT:
        return None
    try:
        text: str = kept_bytes.decode()
    except UnicodeDecodeError:
        return None
    return text


def resolved(host: Host, change: Change) -> Change:
    """Return a `restore` as the ordinary change that it is, with the bytes that this host kept; others as they are.

    The bytes are still there when the change is made a second time: what it replaces becomes the newest generation, and
    two are kept.
    """
    if change.get("action") != RESTORE:
        return change
    kind, path, want = change.get("kind"), str(change.get("path")), str(change.get("want"))
    record = generations.find(host, path, want)
    if record is None or record.get("kind") != kind:
        raise Fault(f"{kind} {path}: nothing is kept here that is {want!r}")
    made = {"kind": kind, "path": path, "expect": change.get("expect"), "want": states.plain(want),
            "action": "change"}
    made.update({name: record[name] for name in ("hmac_key", "key_path") if name in record})
    if change.get("undo"):
        made["undo"] = True         # it is what was here before us
    if want == states.ABSENT:
        return {**made, "action": "remove"}
    if kind == "symlink":
        return {**made, "target": _still_there(host, path, record["target"])}
    if kind == "file":
        return {**made, "content": _encoded(record, ""), **_owned(record, "mode", "owner")}
    return {**made, "certificate": _encoded(record, ""), "key": _encoded(record, ".key"),
            **_owned(record, "key_mode", "key_owner")}


def _still_there(host: Host, path: str, target: str) -> str:
    if target.startswith("/") and not os.path.exists(host.at(target)):
        raise Fault(f"symlink {path}: {target}, which it pointed to, is not there any more")
    return target


def _encoded(record: Mapping[str, Any], suffix: str) -> str:
    try:
        return base64.b64encode(record["blobs"][suffix]).decode()
    except KeyError:
        raise Fault(f"{record['kind']} {record['path']}: its bytes were not kept") from None


def _owned(record: Mapping[str, Any], mode: str, owner: str) -> dict[str, Any]:
    user, _, group = str(record[owner]).partition(":")
    return {"mode": record[mode], "owner": user, "group": group}
