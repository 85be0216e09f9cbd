"""What dnf and rpm say."""

from __future__ import annotations

from provisioner.model.words.row import Row

_SOURCES = "on {host}: dnf repolist --all; dnf makecache"

ROWS = (
    Row("dnf-unlocatable", r"Unable to find a match: (?P<packages>.+)", "no package source has {packages}",
        ("a source is off or was not set up (on RHEL itself: subscription-manager register; AppStream has HAProxy, "
         "keepalived and runc)", "a source does not answer and was passed over", "the system is none that we know"),
        _SOURCES),
    Row("dnf-no-source", r"There are no enabled repositories in", "the host has no package source",
        ("it is not registered (RHEL)", "its sources are all off"),
        "on {host}: dnf repolist --all; on RHEL itself: subscription-manager register"),
    Row("dnf-dns", r"Curl error \(6\): .*Could not resolve host: (?P<name>[^\]\s]+)",
        "the host cannot resolve the name of its package source, {name}",
        ("its DNS server does not answer", "it has no way out: it should use a mirror inside", "the name is wrong"),
        "on {host}: cat /etc/resolv.conf; getent hosts {name}"),
    Row("dnf-unreachable", r"Curl error \((7|28)\): .*? for (?P<url>\S+)",
        "the host does not reach its package source {url}",
        ("the source is down", "a firewall, or a proxy that dnf was not told of", "it has no way out"),
        "on {host}: grep -i proxy /etc/dnf/dnf.conf; curl -sSI {url}"),
    Row("dnf-refused", r"Status code: (?P<code>\d+) for (?P<url>\S+)", "the package source answers {code} for {url}",
        ("403 on RHEL: the subscription does not have it, or has ended", "404: this release went to an archive, or the "
         "mirror is behind"), "on {host}: dnf clean metadata && dnf makecache"),
    Row("dnf-unsigned", r"Package (?P<package>\S+) is not signed",
        "{package} is not signed, and dnf takes signed packages only",
        ("its source is somebody's own",), "on {host}: grep -H gpgcheck /etc/dnf/dnf.conf /etc/yum.repos.d/*.repo"),
    Row("dnf-conflict", r"package (?P<package>\S+) conflicts with (?P<other>.+?) provided by",
        "{package} excludes {other}, and one of them is there",
        ("a package of another source brings the same program",),
        "on {host}: dnf install PACKAGE, which names both; what goes for it is yours to say (--allowerasing)"),
    Row("dnf-needs", r"nothing provides (?P<what>.+?) needed by (?P<package>\S+)",
        "{package} needs {what}, which no package source has",
        ("a source is missing or off", "it is of another release of the system"), _SOURCES),
)
