"""The table of verbs: help, completion and the unknown-verb hint read it, so none of them imports a verb's module."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches
from importlib.util import find_spec
from typing import NamedTuple


class Verb(NamedTuple):
    """One verb: where its command stands (`module:object`) and its line in the help."""

    name: str
    target: str
    help: str


SECTIONS: dict[str, tuple[Verb, ...]] = {
    "Start": (
        Verb("init", "provisioner.cli.init:init", "Write a first cluster.yaml from the machines' addresses."),
        Verb("validate", "provisioner.cli.validate:validate", "Read the inventory and list every fault in it."),
        Verb("schema", "provisioner.cli.schema:schema", "Print the JSON schema of cluster.yaml."),
        Verb("trust", "provisioner.cli.trust:trust", "Show the hosts' SSH keys and pin them."),
        Verb("check", "provisioner.cli.check:check", "Check that the machines are fit; change nothing."),
        Verb("plan", "provisioner.cli.plan:plan", "Show what `up` would change on each host."),
        Verb("up", "provisioner.cli.up:up", "Make the cluster what the inventory says."),
        Verb("drift", "provisioner.cli.drift:drift", "Show what changed on the hosts since the last `up`."),
        Verb("status", "provisioner.cli.status:status", "Ask every host and the API how they are."),
        Verb("ready", "provisioner.cli.ready:ready", "Wait until the cluster is healthy."),
        Verb("kubeconfig", "provisioner.cli.kubeconfig:kubeconfig", "Fetch the credentials for kubectl."),
        Verb("compile", "provisioner.cli.compile:compile_", "Write every file of every host into a directory."),
        Verb("version", "provisioner.cli.version:version", "Print versions."),
        Verb("help", "provisioner.cli.help:help_", "Explain a verb."),
        Verb("completion", "provisioner.cli.completion:completion", "Print the completion script for a shell."),
    ),
    "Day 2": (
        Verb("upgrade", "provisioner.cli.upgrade:upgrade", "Bring the cluster to another version of Kubernetes."),
        Verb("doctor", "provisioner.cli.doctor:doctor", "Say what ails the cluster, and what to type."),
        Verb("serve", "provisioner.cli.serve:serve", "Show all of this on a page, to this machine alone."),
        Verb("certs", "provisioner.cli.certs:certs", "Look after certificates."),
        Verb("node", "provisioner.cli.node:node", "Drain hosts, take them out, or replace one."),
        Verb("etcd", "provisioner.cli.etcd:etcd", "Look after etcd's members and their data."),
        Verb("registry", "provisioner.cli.registry:registry", "Keep the logins of registries."),
        Verb("logs", "provisioner.cli.logs:logs", "Show what a service on a host wrote."),
        Verb("reset", "provisioner.cli.reset:reset", "Take everything of ours off hosts."),
        Verb("probe", "provisioner.cli.probe:probe", "Measure from the hosts whether the cluster serves."),
    ),
    "Runs": (
        Verb("runs", "provisioner.cli.runs:runs", "Look at what earlier runs did."),
        Verb("rollback", "provisioner.cli.rollback:rollback", "Put back on a host what a run changed there."),
        Verb("unlock", "provisioner.cli.unlock:unlock", "Take the lock from a run that is over."),
        Verb("resume", "provisioner.cli.resume:resume", "Go on with a run that was stopped or killed."),
        Verb("retry", "provisioner.cli.retry:retry", "Make one host's changes."),
    ),
    "Lab and supply": (
        Verb("lab", "provisioner.cli.lab:lab", "Local nodes to try everything on."),
        Verb("artifacts", "provisioner.cli.artifacts:artifacts", "Build, pin and check what the hosts run."),
    ),
}

# What other tools call it. A word leads to the first of its verbs that exists.
ALIASES: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(("apply", "create", "install", "deploy", "bootstrap", "converge", "sync", "start"), ("up",)),
    **dict.fromkeys(("destroy", "delete", "down", "uninstall", "teardown", "purge"), ("reset",)),
    **dict.fromkeys(("diff", "dry-run", "preview", "what-if"), ("plan",)),
    **dict.fromkeys(("undo", "revert", "back", "restore-previous"), ("rollback",)),
    **dict.fromkeys(("lint", "verify"), ("validate",)),
    **dict.fromkeys(("preflight", "ping", "test"), ("check",)),
    **dict.fromkeys(("health", "info", "get", "show", "nodes"), ("status",)),
    **dict.fromkeys(("diagnose", "troubleshoot", "debug"), ("doctor",)),
    **dict.fromkeys(("wait",), ("ready",)),
    **dict.fromkeys(("config", "credentials", "get-config"), ("kubeconfig",)),
    **dict.fromkeys(("render", "template", "generate"), ("compile",)),
    **dict.fromkeys(("build", "download", "fetch"), ("artifacts",)),
    **dict.fromkeys(("log", "journal", "journalctl", "tail"), ("logs",)),
    **dict.fromkeys(("cert", "certificate", "certificates", "pki"), ("certs",)),
    **dict.fromkeys(("continue", "recover"), ("resume",)),
    **dict.fromkeys(("history",), ("runs",)),
    **dict.fromkeys(("adopt", "enrol", "enroll"), ("trust",)),
}


# What people look for and there is not yet, with what does it meanwhile.
NOT_YET: dict[str, str] = {
    "operators": "`operators:` counts when the secrets are made",
}


def existing_verbs() -> dict[str, Verb]:
    """Return the verbs whose module is there; the others have not come yet and are absent everywhere."""
    return {verb.name: verb for verbs in SECTIONS.values() for verb in verbs if _is_there(verb)}


def suggest(word: str, known: Iterable[str]) -> str:
    """Return the verb that `word` most likely means: another tool's name for it, else the closest spelling, else ''."""
    names = list(known)
    for name in ALIASES.get(word.lower(), ()):
        if name in names:
            return name
    close = get_close_matches(word.lower(), names, n=1, cutoff=0.6)
    return close[0] if close else ""


def _is_there(verb: Verb) -> bool:
    return find_spec(verb.target.partition(":")[0]) is not None
