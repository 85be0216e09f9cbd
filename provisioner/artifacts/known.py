"""Write the digests of a Kubernetes and all that goes with it: `python -m provisioner.artifacts.known RELEASE`.

What is not in the cache is built. The file is committed; then every machine knows what these versions come out as, can
pin them in a moment, and refuses other bytes.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from provisioner.artifacts.lockfile import write_lock
from provisioner.artifacts.supply import KNOWN, build_lock, default_versions
from provisioner.model.events import Event

_ARCH = "amd64"         # the one that is built and run here


def main(releases: Sequence[str]) -> int:
    """Build each release and write digests/<release>.lock."""
    for release in releases:
        write_lock(KNOWN / f"{release}.lock", build_lock(default_versions(release, lab=True), [_ARCH], emit=_show))
        print(KNOWN / f"{release}.lock", flush=True)
    return 0


def _show(event: Event) -> None:
    if event.type != "waiting":
        print(f"{event.host}: {event.message}  {event.seconds or 0:.1f} s", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
