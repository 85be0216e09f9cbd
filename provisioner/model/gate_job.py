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
    spec, metadata = body.get("spec"), body.get("metadata")
    pod = spec.get("template", {}).get("spec", {}) if isinstance(spec, dict) else {}
    if not (isinstance(metadata, dict) and metadata.get("name") and pod.get("containers")):
        raise ValueError("the Job has no name or no containers")
    return body
