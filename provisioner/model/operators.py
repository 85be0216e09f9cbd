"""Who may administer a cluster: the persons behind the `operators:` keys, and the name that the API knows each by."""

from __future__ import annotations

import base64
import re
from collections import Counter
from collections.abc import Sequence

from provisioner.model.syntax import fingerprint

PREFIX = "operator:"
# A certificate's common name has 64 characters.
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@+-]{0,53}")


def key_of(line: str) -> str:
    """Return an SSH public key without its comment: type and base64."""
    return " ".join(line.split()[:2])


def user_names(operators: Sequence[str]) -> dict[str, str]:
    """Return each key (without its comment) with its person's name for the API: `operator:` and the key's comment.

    Where the comment is no plain name, or two keys have the same, the key's SHA256 fingerprint stands there: two people
    are never one user.
    """
    comments = {key_of(line): line.partition(key_of(line))[2].strip() for line in operators}
    used = Counter(comments.values())
    return {key: PREFIX + (comment if used[comment] == 1 and _NAME.fullmatch(comment) else _digest(key))
            for key, comment in comments.items()}


def _digest(key: str) -> str:
    return fingerprint(base64.b64decode(key.split()[1]))
