"""What is a secret by its shape is taken out of a text before it leaves this machine; what stood there is still seen.

Nothing is decrypted to be searched for: what the search needs would then itself be a text with secrets in it. So all
that looks like one goes, whosever it is: a name too much is masked rather than a key too little.
"""

from __future__ import annotations

import re

from provisioner.compile.fields import MASKED

# A word that says that a secret follows, as it stands in YAML, JSON, flags and environments.
_WORDS = (r"(?:pass(?:word|wd|phrase)?|token|secret|private[-_]?key|client-key-data|api[-_]?key|credential|"
          r"encryption[-_]?key)")
# Each with what is kept of it: its first group.
_SHAPES: tuple[re.Pattern[str], ...] = (
    # Keys in PEM, of OpenSSH as well; one that is cut off goes to the end of the text.
    re.compile(r"(-----BEGIN [A-Z0-9 ]*PRIVATE KEY-----).*?(?=-----END [A-Z0-9 ]*PRIVATE KEY-----|\Z)", re.DOTALL),
    # The same in base64, as a kubeconfig and a Secret hold it: `-----BEGIN` begins so, at each place of three bytes.
    re.compile(r"()(?:LS0tLS1CRUdJT|0tLS0tQkVHSU4|tLS0tLUJFR0lO)[A-Za-z0-9+/=\\n]{40,}"),
    re.compile(r"()AGE-SECRET-KEY-1[0-9A-Z]+", re.IGNORECASE),
    re.compile(r"((?:Bearer|Basic)\s+)[A-Za-z0-9._~+/=-]{8,}", re.IGNORECASE),
    re.compile(r"()(?<![\w-])eyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}(?:\.[A-Za-z0-9_-]*)?"),      # a JSON web token
    re.compile(r"(://[^/\s:@]{1,64}:)[^/\s]{1,256}(?=@)"),      # to the last @: a password may hold one
    # A block of YAML: every line that is further in than its key.
    re.compile(rf"^((?P<in>[ \t]*)(?:-[ \t]+)?[\"']?[\w.-]{{0,64}}?{_WORDS}[\w.-]{{0,64}}[\"']?:[ \t]*[|>][^\n]*\n"
               r"(?P=in)[ \t]+)"
               r"[^\n]+(?:\n(?:(?P=in)[ \t]+[^\n]*|[ \t]*(?=\n)))*", re.IGNORECASE | re.MULTILINE),
    # With a blank between: a flag, keepalived's own word, a netrc, a name in capitals as environments have them.
    re.compile(rf"((?:(?<![\w-])--?[\w-]{{0,40}}?{_WORDS}[\w-]{{0,64}}|\bauth_pass|"
               r"\blogin[ \t]+\S{1,256}\s+password)[ \t]+)(?![-|>:=])\S+", re.IGNORECASE),
    re.compile(r"(\b(?:[A-Z0-9]+_){0,6}(?:PASS(?:WORD|WD|PHRASE)?|TOKEN|SECRET|API_?KEY|CREDENTIALS?)[ \t]+)"
               r"(?![|>:=&])\S+"),
    re.compile(rf"({_WORDS}[\w.-]{{0,64}}[\"']?[ \t]*[:=][ \t]*)(?:\"[^\"\n]*\"|'[^'\n]*'|[^\s,;\"'}}\]]+)",
               re.IGNORECASE),
    # 30 bytes and more in base64, whatever it is: capitals, small letters and digits, as no digest and no name has.
    re.compile(r"()(?<![A-Za-z0-9+/=])(?!/)(?=[A-Za-z0-9+/]*[A-Z])(?=[A-Za-z0-9+/]*[a-z])(?=[A-Za-z0-9+/]*[0-9])"
               r"[A-Za-z0-9+/]{40,}={0,2}"),
)
_FILES = re.compile(r"(?:[\w.-]+:)?/(?:etc|var|run|usr|opt|root|home)/[\w./@-]+\Z|true\Z|false\Z|null\Z|\[|\{|"
                    r"[|>][-+0-9]{0,2}\Z")


def redacted(text: str) -> tuple[str, int]:
    """Return a text without what looks like a secret, and how many of these there were.

    A value that only says where a secret is, as a path does, stays.
    """
    count = 0

    def mask(found: re.Match[str]) -> str:
        nonlocal count
        value = found[0][len(found[1]):].strip("\"'")
        if not value or value == MASKED or _FILES.match(value):
            return found[0]
        count += 1
        return f"{found[1]}{MASKED}"

    for shape in _SHAPES:
        text = shape.sub(mask, text)
    return text, count
