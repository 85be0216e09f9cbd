"""A `sudo` that asks as the real one does without a terminal: reads a line of stdin, byte by byte, and counts tries."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from pathlib import Path

_SCRIPT = """#!{python} -IS
import os, sys
there = {directory!r}
def note(name, text):
    with open(os.path.join(there, name), 'a') as file:
        file.write(text + '\\n')
def line():
    read = b''
    while (byte := os.read(0, 1)) not in (b'', b'\\n'):
        read += byte
    return read if byte or read else None
note('calls', repr(sys.argv[1:]) + repr(sorted(os.environ.items())))
words, prompt, asks = sys.argv[1:], '[sudo] password for you: ', True
while words and words[0].startswith('-'):
    flag = words.pop(0)
    if flag == '--':
        break
    asks = asks and flag != '-n'
    if flag in ('-p', '-u'):
        value = words.pop(0)
        prompt = value if flag == '-p' else prompt
password = open(os.path.join(there, 'password'), 'rb').read()
if password:
    if not asks:
        sys.exit('sudo: a password is required')
    for attempt in range(3):
        print(end=prompt, file=sys.stderr, flush=True)
        given = line()
        if given is None:
            print('sudo: no password was provided', file=sys.stderr)
            sys.exit(f'sudo: {{attempt}} incorrect password attempt')
        note('tries', given.decode(errors='replace'))
        if given == password:
            break
        print('Sorry, try again.', file=sys.stderr)
    else:
        sys.exit('sudo: 3 incorrect password attempts')
os.execvp(words[0], words)
"""


@dataclass(frozen=True)
class Sudo:
    """Where it lies, and what it was asked."""

    directory: Path

    @classmethod
    def in_dir(cls, directory: Path, password: str = "") -> Sudo:
        """Write one that asks for `password`, or asks nobody."""
        directory.mkdir(parents=True, exist_ok=True)
        (directory / "password").write_text(password)
        program = directory / "sudo"
        program.write_text(_SCRIPT.format(python=sys.executable, directory=str(directory)))
        program.chmod(0o755)
        return cls(directory)

    @property
    def option(self) -> str:
        """Return sshd's option under which its logins find this one."""
        return f"SetEnv PATH={self.directory}:{os.environ['PATH']}"

    @property
    def tries(self) -> list[str]:
        """Return the passwords that it was given."""
        return self._lines("tries")

    @property
    def calls(self) -> str:
        """Return its arguments and environments, of all calls."""
        return "\n".join(self._lines("calls"))

    def _lines(self, name: str) -> list[str]:
        file = self.directory / name
        return file.read_text().splitlines() if file.exists() else []
