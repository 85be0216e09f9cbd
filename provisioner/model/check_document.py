"""The report of `check` as a document: what `check -o json` prints, for programs that read it."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from provisioner.model.finding_document import FindingDocument
from provisioner.model.printed_document import DocumentPart, published


class CheckedDocument(DocumentPart):
    """One check, with what came of it over all hosts."""

    name: str = Field(description="Stable name")
    doc: str = Field(description="What it asks for, in a few words")
    result: Literal["ok", "warning", "error", "unseen", "skipped", "-"] = Field(
        description="The worst of all hosts; `-` where nobody could be asked")
    asked: int = Field(description="Hosts that answered it")


class CheckDocument(DocumentPart):
    """The report as a whole."""

    schema_version: Literal[1] = Field(description="Version of this document's format")
    cluster: str = Field(description="Name of the cluster")
    fit: bool = Field(description="No finding is an error")
    hosts: int = Field(description="Hosts of the inventory")
    checks: tuple[CheckedDocument, ...] = Field(description="Every check, in the order of the table")
    findings: tuple[FindingDocument, ...] = Field(description="Every finding, check by check")
    tried: dict[str, Any] | None = Field(default=None, description="What hosts tried between them; null: nobody did")


def check_schema() -> dict[str, Any]:
    """Return the JSON schema of the document."""
    return published(CheckDocument, "kubewright check")
