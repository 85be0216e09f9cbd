"""sudo's password for the hosts: asked for once a call, without showing it, and kept in this process alone."""

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


def _ask() -> str:
    if sys.stdin.isatty():
        given = str(click.prompt("sudo's password on the hosts", hide_input=True, err=True, default="",
                                 show_default=False))
    else:
        given = sys.stdin.readline(_LONGEST + 1).rstrip("\r\n")
    if not given or len(given) > _LONGEST:
        raise UsageFault("--ask-become: no password was given" if not given else
                         f"--ask-become: more than {_LONGEST} characters, which is no password",
                         details=["no host was contacted"],
                         hint="run it at a terminal, or give the password as the first line of stdin")
    return given
