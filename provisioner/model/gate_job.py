"""The manifest of a gate that is a Job in the cluster: read, or what keeps it from being one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

Body = dict[str, Any]


def manifest(file: Path) -> Body:
    """Return the one Job of a file; ValueError says why it is none."""
    try:
        documents = [one for one in yaml.safe_load_all(file.read_text(encoding="utf-8")) if one]
    except OSError as fault:
        raise ValueError(fault.strerror) from None
    except (yaml.YAMLError, UnicodeDecodeError):
        raise ValueError("is no YAML") from None
    if len(documents) != 1 or not isinstance(documents[0], dict) or documents[0].get("kind") != "Job":
        raise ValueError("is not one Job")
    body: Body = documents[0]
    try:
        name, containers = body["metadata"]["name"], body["spec"]["template"]["spec"]["containers"]
    except (KeyError, TypeError):       # not there, or a text where a mapping is to be
        name, containers = "", ()
    if not (name and containers and isinstance(containers, list) and all(isinstance(one, dict) for one in containers)):
        raise ValueError("the Job has no name or no containers")
    return body
