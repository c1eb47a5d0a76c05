"""What do people see of requests to a source that calls some of its fields sensitive?"""

from __future__ import annotations

import asyncio

import msgspec

from ringback.dashboard.examinations import ExaminationView, examination_view
from ringback.model.quarantine import CapturedRequest
from ringback.model.sources import Source
from ringback.policy.masking import masked
from ringback.policy.sources import hidden_fields
from ringback.services.doctor import Findings


def source_examination(source: Source, findings: Findings, now_us: int) -> ExaminationView:
    """What was found; how the signed text begins is a part of the body."""
    view = examination_view(findings, now_us, public=False)
    return msgspec.structs.replace(view, content_begins="") if source.rules.sensitive_fields else view


async def shown_request(source: Source, captured: CapturedRequest) -> CapturedRequest:
    """A request as people see it: without the values of fields that the source calls sensitive."""
    fields = hidden_fields(source)
    if not fields or captured.body is None:
        return captured
    return msgspec.structs.replace(captured, body=await asyncio.to_thread(masked, captured.body, fields))
