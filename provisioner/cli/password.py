"""Passwords: typed without being shown, or read from stdin. sudo's is asked for once a call and kept in its process."""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import cache

import click

from provisioner.errors import UsageFault

_LONGEST = 1024     # characters; what is longer is no password, but a file


def asker() -> Callable[[], str]:
    """Return who gives the password: asks at the first call, and knows it from then on."""
    return cache(_ask)


def typed(prompt: str, longest: int = -1) -> str:
    """Return what is typed at a terminal and not shown, else the first line of stdin; "" where there is nothing."""
    if sys.stdin.isatty():
        return str(click.prompt(prompt, hide_input=True, err=True, default="", show_default=False))
    return sys.stdin.readline(longest).rstrip("\r\n")


def _ask() -> str:
    given = typed("sudo's password on the hosts", _LONGEST + 1)
    if not given or len(given) > _LONGEST:
        raise UsageFault("--ask-become: no password was given" if not given else
                         f"--ask-become: more than {_LONGEST} characters, which is no password",
                         details=["no host was contacted"],
                         hint="run it at a terminal, or give the password as the first line of stdin")
    return given
