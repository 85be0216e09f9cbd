"""A full disk under an etcd member: the kernel refuses its writes with ENOSPC.

The node's disk is this machine's, so it cannot be filled. The member's data moves to a tmpfs just larger than itself,
without the pages that it has to spare, and a file takes the rest: the next page that etcd writes anew is refused. Its
data goes back when the block ends, for a member must never come back with what it had earlier.
"""

from __future__ import annotations

import secrets
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager

from provisioner.compile.etcd import DATA_DIR
from tests.lab.conftest import Lab, until

SMALL = "/run/small-disk"
ROOM = 256      # MiB beside what the member has: it asks for two more files of its log at once

MOVE = f"""set -eu
systemctl stop etcd
mkdir -p {SMALL}
mount -t tmpfs -o mode=0700,size=$(( $(du -sm {DATA_DIR} | cut -f1) + {ROOM} ))m tmpfs {SMALL}
chown --reference={DATA_DIR} {SMALL}
cp -a --sparse=always {DATA_DIR}/. {SMALL}/
etcdutl defrag --data-dir {SMALL}
chown -R --reference={DATA_DIR} {SMALL}
mount --bind {SMALL} {DATA_DIR}
systemctl start etcd
"""
FILL = f"""dd if=/dev/zero of={SMALL}/filler bs=4k 2>&1 | grep -q 'No space left'
test "$(df --output=avail {SMALL} | tail -1)" -eq 0
"""
BACK = f"""set -eu
systemctl stop etcd
umount {DATA_DIR}
rm -rf {SMALL}/filler {DATA_DIR}/member
cp -a {SMALL}/member {DATA_DIR}/
umount {SMALL}
systemctl start --no-block etcd
"""


@contextmanager
def on_a_small_disk(lab: Lab, host: str) -> Iterator[None]:
    """Have the member's data on a small disk inside the block; it is stopped for a moment at both ends."""
    lab.on(host, "sh", "-c", MOVE)
    try:
        yield
    finally:
        lab.on(host, "sh", "-c", BACK)


@contextmanager
def full(lab: Lab, host: str) -> Iterator[None]:
    """Have the small disk full inside the block: it begins when the member has ended for it."""
    large = lab.directory / "large"
    large.write_bytes(secrets.token_bytes(900_000))
    since = f"@{time.time():.0f}"
    lab.on(host, "sh", "-c", FILL)
    try:
        # More than fits into the page that it writes now. An answer may not come: who is asked may be who ends.
        for _ in range(3):
            call = lab.kubectl_call("create", "configmap", f"large-{secrets.token_hex(4)}", f"--from-file={large}",
                                    "--request-timeout=3s")
            subprocess.run(call, capture_output=True, timeout=20, check=False)
        until(lambda: "no space left on device" in lab.on(host, "journalctl", "-u", "etcd", "--since", since), 10,
              f"the member of {host} has no space")
        yield
    finally:
        lab.on(host, "rm", "-f", f"{SMALL}/filler")
        large.unlink()
