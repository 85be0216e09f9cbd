"""A minor of Kubernetes on trial, as `status` and `doctor` tell of it: by the record that hosts have."""

from __future__ import annotations

import time

from provisioner.model.finding import Finding
from provisioner.orchestrate.session.session import Session

_WAYS = "kubewright upgrade --finish    # or back: kubewright upgrade --back"


def stamp(seconds: float) -> str:
    """Return a moment (seconds since 1970) as the record of a trial has it."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))


def line(session: Session) -> str:
    """Return what is on trial and until when; "" where nothing is."""
    trial = session.target.trial
    return f"{trial.words(session.cluster.kubernetes)}: upgrade --finish, or upgrade --back" if trial else ""


def lapsed(session: Session, now: float) -> list[Finding]:
    """Return that a trial is to be decided on, where its time is up."""
    trial = session.target.trial
    if trial is None or not trial.is_over(stamp(now)):
        return []
    return [Finding("trial", "", "warning", f"{trial.words(session.cluster.kubernetes)}: that time is up", _WAYS,
                    expected="a minor on trial is finished or taken back when its time is up")]
