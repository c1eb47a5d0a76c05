"""What does a sink make of its events? The form for its code, which is tried on past events before it is switched on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec

from ringback.dashboard.components import BASE, Badge, Head, Link
from ringback.dashboard.desk import Services
from ringback.dashboard.forms import Wrong, checked, problems_of
from ringback.dashboard.pages.endpoints import shown_url
from ringback.dashboard.trials import ResultView, result_view, written_code
from ringback.dashboard.visits import Change, Moved, Notice, Reply, Route, Shown, Visit
from ringback.dashboard.words import counted
from ringback.errors import InvalidField, NotBuilt, Refused
from ringback.model.streams import Sink, SinkType
from ringback.model.transformations import Transformation
from ringback.services.sink_transformations import SinkTransformationTryIn, SinkTransformIn

_SECTION: Final = "streams"
_TRAIL: Final = (Link("Streams", f"{BASE}/streams"),)
_EFFECTS: Final = (
    "It runs for each batch, and again when that has failed: with the time and the chance of that batch, so that it sends the same again.",
    "What it throws, and what cannot be sent, fails the batch: it is retried, and what comes later waits. With cancel: true, it is let go.",
)
_HINTS: Final[Mapping[SinkType, str]] = {
    SinkType.HTTP: "JavaScript that defines function handler(input), which returns {config: {method, url, headers, format}, data}. "
    "No network, no files, 1 s of CPU time.",
    SinkType.OTEL_TRACING: "JavaScript that defines function handler(input), which returns {config: {serviceName, scope}, spans}. "
    "No network, no files, 1 s of CPU time.",
}
# Where somebody begins who has no code.
_BEGINNINGS: Final[Mapping[SinkType, str]] = {
    SinkType.HTTP: """function handler(input) {
  // input has events (each an eventType and a payload), url and batchId.
  return {
    config: {method: "POST", format: "json"},
    data: input.events.map((event) => ({type: event.eventType, data: event.payload})),
  };
}""",
    SinkType.OTEL_TRACING: """function handler(input) {
  // input has events (each an eventType and a payload), url and batchId.
  return {
    config: {serviceName: "my.service"},
    spans: input.events.map((event) => ({
      name: event.eventType,
      startTime: event.payload.startTime,
      endTime: event.payload.endTime,
      attributes: event.payload,
    })),
  };
}""",
}
# The type of an event that is given to try code on, where the sink wants no type before others.
_TYPE: Final = "example.event"


class SinkTransformationView(msgspec.Struct, frozen=True):
    """The form, with what was written into it, and what came of trying that. `missing` is why nothing can run here, "" when it can."""

    action: str
    effects: Sequence[str]
    hint: str
    missing: str
    kept: bool
    code: str
    payload: str
    problems: Mapping[str, str]
    result: ResultView | None
    cancel: str


def path_of(sink: Sink) -> str:
    """The page of a sink's transformation, below the dashboard."""
    return f"/streams/{sink.stream_id}/sinks/{sink.id}/transformation"


class _Pages:
    def __init__(self, services: Services) -> None:
        self._services = services

    async def ask(self, visit: Visit) -> Reply:
        sink, kept = await self._found(visit)
        return self._form(sink, kept, kept.code or _BEGINNINGS.get(sink.type, _BEGINNINGS[SinkType.HTTP]), "", {})

    async def act(self, visit: Visit) -> Reply:
        act, code, payload = visit.field("act"), written_code(visit), visit.field("payload").strip()
        if act == "remove":
            return await self._set(visit, SinkTransformIn(code=None), "It is gone: events are sent as they are.")
        sink, kept = await self._found(visit)
        try:
            if act == "try":
                return await self._try(visit, sink, kept, code, payload)
            return await self._set(visit, checked(SinkTransformIn, {"code": code}), "Saved. It makes what is sent from now on.")
        except (Wrong, InvalidField) as error:
            return self._form(sink, kept, code, payload, problems_of(error))
        except (NotBuilt, Refused) as error:
            return self._form(sink, kept, code, payload, {"": str(error)})

    async def _try(self, visit: Visit, sink: Sink, kept: Transformation, code: str, payload: str) -> Shown:
        given: dict[str, Any] = {"code": code}
        if payload:
            given["events"] = [{"eventType": sink.event_types[0] if sink.event_types else _TYPE, "payload": payload}]
        wanted = checked(SinkTransformationTryIn, given)
        trial = await self._services.sink_transformations.tried(visit.who, sink.stream_id, sink.id, wanted)
        words = "the event that was given" if payload else counted(trial.events, "event")
        return self._form(sink, kept, code, payload, {}, result_view(trial.judged, code, words))

    async def _set(self, visit: Visit, wanted: SinkTransformIn, words: str) -> Moved:
        stream_id, sink_id = visit.params["stream_id"], visit.params["sink_id"]
        sink = await self._services.sink_transformations.set(visit.who, stream_id, sink_id, wanted)
        return Moved(f"{BASE}/streams", Notice(words), Change("sink.updated", sink.id, detail="transformation"))

    async def _found(self, visit: Visit) -> tuple[Sink, Transformation]:
        stream_id, sink_id = visit.params["stream_id"], visit.params["sink_id"]
        sink = await self._services.sinks.get(visit.who, stream_id, sink_id)
        return sink, await self._services.sink_transformations.get(visit.who, stream_id, sink_id)

    def _form(
        self, sink: Sink, kept: Transformation, code: str, payload: str, problems: Mapping[str, str], result: ResultView | None = None
    ) -> Shown:
        view = SinkTransformationView(
            f"{BASE}{path_of(sink)}",
            _EFFECTS,
            _HINTS.get(sink.type, "This sink is asked for its events, and sends none: its code is not run."),
            self._services.sink_transformations.missing or "",
            kept.enabled,
            code,
            payload,
            problems,
            result,
            f"{BASE}/streams",
        )
        name = sink.uid or (sink.id if sink.target is None else shown_url(sink.target.url))
        badge = Badge("ok", "on") if kept.enabled else Badge("off", "off")
        head = Head("Transformation", f"Of {name}.", _TRAIL, badge=badge)
        return Shown("streams/transformation.html", view, head, 422 if problems else 200)


def routes(services: Services) -> list[Route]:
    """The pages of this module."""
    pages = _Pages(services)
    path = "/streams/{stream_id}/sinks/{sink_id}/transformation"
    return [Route("GET", path, pages.ask, _SECTION), Route("POST", path, pages.act, _SECTION)]
