"""A finding as documents tell it: what `Finding.to_json` returns, for programs that read it."""

from __future__ import annotations

from pydantic import Field

from provisioner.model.finding import Severity
from provisioner.model.printed_document import DocumentPart


class FindingDocument(DocumentPart):
    """One thing that was found; what `check`, `doctor`, `status` and `certs` tell has this form."""

    check: str = Field(description="The question that was asked; `--explain NAME` of `check` or `doctor` tells more of "
                                   "it")
    host: str = Field(description="Name of the host; empty for the cluster as a whole")
    severity: Severity = Field(description="error: a run refuses, a cluster is unhealthy; warning: neither, and told; "
                                           "unseen: nobody could tell")
    saw: str = Field(description="What was observed; of `unseen` why nothing was")
    expected: str = Field(description="What it should be")
    cure: str = Field(description="How to make it so: a command for that system, where there is one")
    code: str = Field(description="Stable name of the answer: the question's, one of its several, or that of a fault")
    retry: bool = Field(description="It may pass by itself: worth another look")
