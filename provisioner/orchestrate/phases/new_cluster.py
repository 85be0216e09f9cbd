"""The files by which a host knows whether its etcd member may be a part of a new cluster, or joins one."""

from __future__ import annotations

from collections.abc import Sequence

from provisioner.compile.etcd import BOOTSTRAP_ENV, BOOTSTRAPPED
from provisioner.model.desired import File
from provisioner.model.observed import ABSENT
from provisioner.model.plan import Change
from provisioner.orchestrate.session.session import Session

NEW = "ETCD_INITIAL_CLUSTER_STATE=new\n"


def is_untold(session: Session, host: str) -> bool:
    """Say whether this host may still say `new`: in a first run, or after one killed while it told the hosts."""
    observed = session.observed[host]
    return (session.the_plan.bootstrap or observed.state("file", BOOTSTRAPPED) == ABSENT
            or observed.state("file", BOOTSTRAP_ENV) != ABSENT)


def begins(session: Session, host: str) -> Change:
    """Return the file that says `new`: in /run, and removed once the gate has passed."""
    return written(session, host, BOOTSTRAP_ENV, NEW, "first start of the cluster")


def over(session: Session, host: str) -> Sequence[Change]:
    """Return the changes after which this host never says `new` again."""
    seen = session.observed[host].state("file", BOOTSTRAP_ENV)     # of a run that was killed
    present = File(path=BOOTSTRAP_ENV, phase="etcd", content=NEW).want() if seen == ABSENT else seen
    forget = Change(host=host, phase="etcd", kind="file", path=BOOTSTRAP_ENV, action="remove",
                    reason="the cluster is up", expect=present, want=ABSENT)
    marker = f"{session.cluster.cluster}\n"
    return (written(session, host, BOOTSTRAPPED, marker, "the cluster is up"), forget)


def written(session: Session, host: str, path: str, content: str, reason: str) -> Change:
    """Return the writing of one of these files."""
    item = File(path=path, phase="etcd", content=content)
    state = session.observed[host].state("file", path)
    return Change(host=host, phase="etcd", kind="file", path=path, action="add" if state == ABSENT else "change",
                  reason=reason, expect=state, want=item.want(), item=item)
