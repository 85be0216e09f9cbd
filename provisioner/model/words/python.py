"""What is said where Python, which everything of ours on a host needs, is not as it should be."""

from __future__ import annotations

from provisioner.model.words.row import Row

ROWS = (
    Row("python-missing", r"python3\W*: (command not found|not found|No such file)|env: \W*python3\W*: No such file",
        "there is no python3 on the host", ("a minimal image", "it was removed"),
        "on {host}: apt-get install -y python3", code="no-python"),
    Row("python-old", r"too old: (?P<version>Python [\d.]+)", "{version} is too old; 3.9 is needed",
        ("the system is older than what we support",), "install a newer operating system on {host}"),
    Row("python-incomplete", r"(ModuleNotFoundError|ImportError): (?P<what>.*)|Fatal Python error|init_fs_encoding",
        "its Python is not whole: {what}", ("only python3-minimal is installed", "a PYTHONPATH or -HOME misleads it"),
        "on {host}: apt-get install -y python3"),
)
