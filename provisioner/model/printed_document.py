"""What the documents of `-o json` are made of: parts that are frozen and strict, and a published JSON schema."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict


class DocumentPart(BaseModel):
    """A frozen part of a document that refuses what it does not know."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


def published(document: type[DocumentPart], title: str) -> dict[str, Any]:
    """Return the JSON schema of a document, as docs/reference has it."""
    schema = document.model_json_schema(mode="serialization")
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": title} | schema
