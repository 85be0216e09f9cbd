"""What SELinux's policy is told where a system comes with it: a module of rules, loaded by a unit of its own.

A module and no booleans: it has one name, is there or not, and whatever it allowed ends with it.
"""

from __future__ import annotations

from collections.abc import Iterator

from provisioner.compile.context import HostContext
from provisioner.compile.load_balancer import IS_A_HOST, VIP_CHECK
from provisioner.compile.parts import directories, rendered, service
from provisioner.model.desired import Item

UNIT = "kubewright-selinux.service"
MODULE = "kubewright"               # as `semodule --list` has it: the file's name
DIRECTORY = "/etc/kubewright/selinux"
POLICY = f"{DIRECTORY}/{MODULE}.cil"
PROGRAM = "/opt/kubewright/bin/load-policy"
LABELLED = "/opt/kubewright"


def items(ctx: HostContext) -> Iterator[Item]:
    """Return the rules of a host, before anything of ours runs that they are for."""
    if not ctx.is_used or not ctx.system.places.selinux:
        return
    scripts = (VIP_CHECK, IS_A_HOST) if ctx.holds_vip else ()
    yield from directories([DIRECTORY], "runtime")
    yield rendered(POLICY, "runtime", component="selinux", scripts=scripts)
    yield rendered(PROGRAM, "runtime", component="selinux", mode=0o755, module=MODULE, policy=POLICY,
                   directory=LABELLED)
    # A restart would take the rules away for as long as a policy takes to be built.
    yield from service(UNIT, "runtime", [POLICY, PROGRAM], component="selinux", program=PROGRAM, on_change="reload")
