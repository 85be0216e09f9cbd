"""Signatures by operators' SSH keys, made and checked by ssh-keygen -Y: whoever may read the secrets may sign."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path

from provisioner.errors import PreflightRefused, RefusedForSafety

NAMESPACE = "kubewright-bundle"     # a signature for something else is none for a bundle
SIGNER = "operator"
_TIMEOUT = 120.0                    # a person may have to type a passphrase, or touch a key


def sign(file: Path, keys: Iterable[Path], operators: Sequence[str]) -> Path:
    """Write `FILE.sig` with the first of the private keys that an operator has, and return it.

    PreflightRefused where none of them is an operator's: nobody would believe that signature.
    """
    signature = file.with_name(f"{file.name}.sig")
    saw = []
    for key in keys:
        if not key.is_file():
            saw.append(f"{key}: there is no such file")
            continue
        signature.unlink(missing_ok=True)
        done = _keygen(["-Y", "sign", "-q", "-f", str(key), "-n", NAMESPACE, str(file)])
        if done.returncode:
            saw.append(f"{key}: {_last(done.stderr)}")
        elif not _believed(file, signature, operators):
            saw.append(f"{key}: belongs to none of the inventory's operators")
        else:
            return signature
    signature.unlink(missing_ok=True)
    raise PreflightRefused("this machine: sign the bundle: no key of an operator is here", details=saw,
                           code="bundle-key", hint="kubewright artifacts bundle --identity FILE")


def check(file: Path, signature: Path, operators: Sequence[str], what: str) -> None:
    """Refuse a file that no operator of the inventory has signed."""
    if not _believed(file, signature, operators):
        raise RefusedForSafety(f"{what}: checking its signature: no operator of this inventory has signed it",
                               details=["nothing of it was taken, and no host was contacted"], code="bundle-signature",
                               hint="kubewright artifacts bundle --out FILE")


def _believed(file: Path, signature: Path, operators: Sequence[str]) -> bool:
    with tempfile.TemporaryDirectory(prefix="kubewright-signers-") as scratch:
        allowed = Path(scratch) / "allowed_signers"
        allowed.write_text("".join(f'{SIGNER} namespaces="{NAMESPACE}" {key}\n' for key in operators), encoding="utf-8")
        done = _keygen(["-Y", "verify", "-f", str(allowed), "-I", SIGNER, "-n", NAMESPACE, "-s", str(signature)],
                       file.read_bytes())
    return done.returncode == 0


def _keygen(arguments: Sequence[str], data: bytes | None = None) -> subprocess.CompletedProcess[bytes]:
    program = shutil.which("ssh-keygen")
    if program is None:
        raise PreflightRefused("this machine: signatures: there is no ssh-keygen", code="bundle-key",
                               hint="sudo apt-get install -y openssh-client")
    try:
        return subprocess.run([program, *arguments], input=data or b"", capture_output=True, timeout=_TIMEOUT,
                              check=False)
    except subprocess.TimeoutExpired:
        return subprocess.CompletedProcess(arguments, 1, b"", f"no answer in {_TIMEOUT:.0f} s".encode())


def _last(text: bytes) -> str:
    lines = text.decode(errors="replace").strip().splitlines()
    return lines[-1] if lines else "ssh-keygen says nothing"
