"""An Ansible inventory as Ansible itself reads it: INI or YAML, ranges, children, variables of groups."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from provisioner.errors import UsageFault
from provisioner.transport.refusals import readable

WAIT = 60.0             # seconds; it takes one or two


def listing(file: Path) -> Mapping[str, Any]:
    """Return the file's groups and every host's variables; UsageFault for what Ansible does not read as an inventory.

    Nothing is run for it: no script, no plugin of its own, no group_vars beside it, no template, and no host is asked.
    """
    with tempfile.TemporaryDirectory(prefix="kubewright-") as home:
        settings = Path(home) / "ansible.cfg"       # empty, so that nobody's own are read
        settings.touch()
        done = subprocess.run(
            [str(Path(sys.executable).with_name("ansible-inventory")), "-i", str(file.absolute()), "--list"],
            capture_output=True, timeout=WAIT, check=False, cwd=home, stdin=subprocess.DEVNULL, env={
                "PATH": os.environ.get("PATH", os.defpath), "HOME": home, "ANSIBLE_HOME": home, "LC_ALL": "C.UTF-8",
                "ANSIBLE_CONFIG": str(settings), "ANSIBLE_NOCOLOR": "1", "ANSIBLE_INVENTORY_UNPARSED_FAILED": "True",
                "ANSIBLE_INVENTORY_ENABLED": "ansible.builtin.yaml,ansible.builtin.ini", "ANSIBLE_VARS_ENABLED": ""})
    if done.returncode == 0:
        try:
            return dict(json.loads(done.stdout))
        except ValueError:
            pass
    words = readable(done.stderr.decode(errors="replace").replace(str(file.absolute()), file.name))
    raise UsageFault(f"--from {file}: it is no inventory that Ansible reads", code="not-imported",
                     details=[f"ansible-inventory says: {words}", "nothing was written"],
                     hint=f"ansible-inventory -i {file} --list")
