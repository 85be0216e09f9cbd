"""The codes of errors, read from the places that raise them, so that the page of errors can miss none."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from provisioner.model.words.table import SUBJECTS

GAP = "…"
TABLES = "model/words"           # its rows that become errors of their own are read as what they are
LOGINS = ("ssh", "sudo", "python")
ALSO = {"HostFault": "Unreachable", "FaultyInventory": "InventoryRefused"}


class Raised(NamedTuple):
    """One place: the code, the error's class, and what it says, with `…` for what differs."""

    code: str
    kind: str
    says: str


def raised(package: Path) -> Iterator[Raised]:
    """Yield every place of the package that gives an error a code of its own."""
    for subject in LOGINS:
        for row in SUBJECTS[subject]:
            yield Raised(row.code or row.name, "Unreachable", re.sub(r"\{\w+\}", GAP, row.says))
    for file in sorted(set(package.rglob("*.py")) - {package / "errors.py"} - set((package / TABLES).rglob("*.py"))):
        tree = ast.parse(file.read_text(encoding="utf-8"))
        constants = {target.id: node.value for node in tree.body if isinstance(node, ast.Assign)
                     for target in node.targets if isinstance(target, ast.Name)}
        classes = _classes(tree)
        for node in ast.walk(tree):
            called = node.func.id if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) else ""
            if isinstance(node, ast.Call) and called:
                yield from _of_call(node, called, constants, classes)
        yield from _own_codes(tree, classes)


def _of_call(call: ast.Call, name: str, constants: Mapping[str, ast.expr], classes: Mapping[str, str],
             ) -> Iterator[Raised]:
    given = next((word.value for word in call.keywords if word.arg == "code"), None)
    code = _text(given, constants) if given is not None else ""
    if not code or GAP in code:
        return
    parts = [_text(arg, constants) for arg in call.args[:3 if name == "HostFault" else 1]]
    kind = classes.get(name, ALSO.get(name, name))
    if kind[:1].isupper() and name != "Finding":      # what is found is no error that ends a command
        yield Raised(code, kind, ": ".join(parts))


def _text(node: ast.expr, constants: Mapping[str, ast.expr]) -> str:
    """Return the text that an expression makes, with a gap for what is not known here; nothing where it is no text."""
    match node:
        case ast.Constant(value=str(text)):
            return text
        case ast.JoinedStr(values=parts):
            return "".join(_text(part, constants) or GAP for part in parts)
        case ast.BinOp(op=ast.Add(), left=left, right=right):
            return (_text(left, constants) or GAP) + (_text(right, constants) or GAP)
        case ast.Name(id=name) if name in constants:
            return _text(constants[name], {})
        case ast.Call(func=ast.Name(id="_text"), args=[inner]):
            return _text(inner, constants)
        case ast.Name() | ast.Attribute() | ast.Subscript() | ast.Call() | ast.FormattedValue() | ast.Lambda():
            return GAP
    return ""


def _classes(tree: ast.Module) -> dict[str, str]:
    """Return the errors that a module derives for itself: name -> whose exit code they have, mostly the base's."""
    return {node.name: node.name if "exit_code" in ast.dump(node) else node.bases[0].id for node in tree.body
            if isinstance(node, ast.ClassDef) and node.bases and isinstance(node.bases[0], ast.Name)}


def _own_codes(tree: ast.Module, classes: Mapping[str, str]) -> Iterator[Raised]:
    for node in tree.body:
        if isinstance(node, ast.ClassDef) and node.name in classes:
            for line in node.body:
                match line:
                    case ast.Assign(targets=[ast.Name(id="code")], value=ast.Constant(value=str(code))):
                        yield Raised(code, node.name, (ast.get_docstring(node) or "").partition("\n")[0])
