"""The report of `check` as a document: what `check -o json` prints, for programs that read it."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field


class _Part(BaseModel):
    """A part of the document that has no other fields."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class FindingDocument(_Part):
    """One finding of one host."""

    check: str = Field(description="Name of the check; `check --explain NAME` tells more of it")
    host: str = Field(description="Name of the host; empty for the cluster as a whole")
    severity: Literal["error", "warning", "unseen"] = Field(
        description="error: a run refuses; warning: a run tells it; unseen: nobody could tell")
    saw: str = Field(description="What was observed; of `unseen` why nothing was")
    expected: str = Field(description="What it should be")
    cure: str = Field(description="How to make it so: a command for that system, where there is one")
    code: str = Field(description="Stable name of the answer: the check's, or that of a fault")
    retry: bool = Field(description="It may pass by itself: worth another look")


class CheckedDocument(_Part):
    """One check, with what came of it over all hosts."""

    name: str = Field(description="Stable name")
    doc: str = Field(description="What it asks for, in a few words")
    result: Literal["ok", "warning", "error", "unseen", "skipped", "-"] = Field(
        description="The worst of all hosts; `-` where nobody could be asked")
    asked: int = Field(description="Hosts that answered it")


class CheckDocument(_Part):
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
    schema = CheckDocument.model_json_schema(mode="serialization")
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "kubewright check"} | schema
