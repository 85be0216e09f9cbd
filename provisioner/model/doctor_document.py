"""The document of `doctor -o json`: its form, and the schema that says it to programs."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from provisioner.model.finding_document import FindingDocument
from provisioner.model.printed_document import DocumentPart, published


class ToldDocument(FindingDocument):
    """A finding as doctor tells it."""

    urgency: Literal["now", "at risk", "soon", "tidy"] = Field(description="How soon somebody meets it")
    means: str = Field(description="What it means for users now")
    also: tuple[FindingDocument, ...] = Field(description="What follows from it, and is not told for itself")


class DoctorDocument(DocumentPart):
    """One look at a cluster that runs."""

    schema_version: Literal[1] = Field(description="Version of this document's form")
    cluster: str = Field(description="Name of the cluster")
    healthy: bool = Field(description="Nothing is wrong, and everything that can be looked at was; exit code 0")
    kubernetes: str = Field(description="Version by the inventory")
    api: str = Field(description="Where the API is reached")
    vip_holder: str = Field(description="Hosts that have the VIP; - where the cluster has none, ? where none was seen")
    etcd: str = Field(description="How many members answer, and how many may fail, in words")
    api_servers_in_service: int = Field(description="API servers that every HAProxy sends to")
    api_servers: int = Field(description="API servers by the inventory")
    certificates_days: int | None = Field(description="Days until the first certificate ends; null where none was seen")
    findings: tuple[ToldDocument, ...] = Field(description="Most urgent first")
    not_looked_at: tuple[FindingDocument, ...] = Field(
        description="What can never be seen there; it makes no cluster unhealthy")
    seconds: float = Field(description="How long the look took")


def doctor_schema() -> dict[str, Any]:
    """Return the JSON schema of the document."""
    return published(DoctorDocument, "kubewright doctor")
