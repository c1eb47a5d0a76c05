"""The operations on what is kept of a person: it is found and erased, or exported."""

from __future__ import annotations

from typing import Any, Final

from ringback.api.auth import Access
from ringback.api.bodies import Body
from ringback.api.routing import Answer, Call, Operation
from ringback.api.tasks import TaskOut, begun
from ringback.services.privacy import ErasureIn, Privacy, SubjectIn

ERASURE_IN: Final = Body(ErasureIn)
SUBJECT_IN: Final = Body(SubjectIn)
# A line of JSON for each thing (https://github.com/ndjson/ndjson-spec).
_LINES: Final = "application/x-ndjson"


class _Handlers:
    def __init__(self, privacy: Privacy) -> None:
        self._privacy = privacy

    async def erase(self, call: Call) -> Answer:
        return begun(await self._privacy.erase(call.who, call.parsed(ERASURE_IN), call.keeping(begun), address=_address(call)))

    async def export(self, call: Call) -> Answer:
        lines = await self._privacy.export(call.who, call.parsed(SUBJECT_IN), address=_address(call))
        return Answer(200, content_type=(b"content-type", _LINES.encode()), parts=lines)


def _address(call: Call) -> str:
    client = call.scope.get("client")
    return client[0] if client else ""


def routes(privacy: Privacy) -> list[Operation]:
    """The operations of this module."""
    h = _Handlers(privacy)
    lines: Any = dict[str, Any]
    return [
        Operation(
            method="POST",
            path="/api/v1/privacy/erase",
            summary="Erase what is kept of a person, or count it",
            handler=h.erase,
            access=Access.ORGANISATION,
            body=ERASURE_IN,
            answers={202: TaskOut},
            refusals=(404,),
        ),
        Operation(
            method="POST",
            path="/api/v1/privacy/export",
            summary="Export what is kept of a person, a line of JSON for each thing",
            handler=h.export,
            access=Access.ORGANISATION,
            body=SUBJECT_IN,
            answers={200: lines},
            refusals=(404,),
            media_type=_LINES,
            streamed=True,
        ),
    ]
