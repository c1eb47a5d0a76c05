"""How is a message changed on its way to an endpoint? The form for its code, which is tried on a past message before it is switched on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import msgspec

from ringback.dashboard.components import BASE, Badge, Head, Link
from ringback.dashboard.desk import Services
from ringback.dashboard.forms import Wrong, checked, pairs, problems_of
from ringback.dashboard.pages.endpoints import href_of, title_of, trail_of
from ringback.dashboard.trials import ResultView, result_view, written_code
from ringback.dashboard.visits import Change, Moved, Notice, Reply, Route, Shown, Visit
from ringback.errors import InvalidField, NotBuilt, Refused
from ringback.model.transformations import Transformation
from ringback.services.transformations import TransformationPatch, TransformationTrial, TransformationTryIn

_SECTION: Final = "endpoints"
_EFFECTS: Final = (
    "It runs for each attempt, resends and replays too, and what it returns is signed and sent. The message itself stays as it is.",
    "What it throws is a failed attempt that is made again; so is a result that cannot be sent. With webhook.cancel = true, nothing is.",
)
# Where somebody begins who has no code.
_BEGINNING: Final = """function handler(webhook) {
  // webhook has method, url, headers, payload, eventType, channels and variables.
  webhook.payload.text = "Something happened: " + webhook.eventType;
  return webhook;
}"""


class TransformationView(msgspec.Struct, frozen=True):
    """The form, with what was written into it, and what came of trying that. `missing` is why nothing can run here, "" when it can."""

    action: str
    effects: Sequence[str]
    missing: str
    enabled: bool
    kept: bool
    code: str
    variables: str
    msg_id: str
    problems: Mapping[str, str]
    result: ResultView | None
    cancel: str


def result_of(trial: TransformationTrial, app_id: str, code: str) -> ResultView:
    """What came of a trial, for its page."""
    message = None
    if trial.message_id is not None:
        message = Link(trial.event_type, f"{BASE}/apps/{app_id}/messages/{trial.message_id}")
    return result_view(trial.judged, code, "", message)


def variables_text(variables: Mapping[str, str] | None) -> str:
    """Variables as the form has them."""
    return "\n".join(f"{name} = {value}" for name, value in (variables or {}).items())


def variables_of(text: str) -> dict[str, str] | None:
    """The variables in a form. Raises Wrong."""
    try:
        return pairs(text, "=") or None
    except Wrong as error:
        raise Wrong({"variables": error.problems[""]}) from None


class _Pages:
    def __init__(self, services: Services) -> None:
        self._services = services

    async def ask(self, visit: Visit) -> Reply:
        kept = await self._services.transformations.get(visit.who, visit.params["app_id"], visit.params["endpoint_id"])
        values = {"code": kept.code or _BEGINNING, "variables": variables_text(kept.variables), "msgId": ""}
        return await self._form(visit, kept, values, {})

    async def act(self, visit: Visit) -> Reply:
        act = visit.field("act")
        if act == "remove":
            return await self._patch(
                visit, TransformationPatch(code=None, variables=None, enabled=False), "It is gone: messages are sent as they came."
            )
        if act == "disable":
            return await self._patch(visit, TransformationPatch(enabled=False), "It is off: messages are sent as they came.")
        values = {
            "code": written_code(visit),
            "variables": visit.field("variables"),
            "msgId": visit.field("msgId").strip(),
        }
        kept = await self._services.transformations.get(visit.who, visit.params["app_id"], visit.params["endpoint_id"])
        try:
            variables = variables_of(values["variables"])
            if act == "try":
                return await self._try(visit, kept, values, variables)
            enabled = kept.enabled or act == "enable"
            change = checked(TransformationPatch, {"code": values["code"], "variables": variables, "enabled": enabled})
            words = (
                "Saved. It changes what is sent from now on."
                if enabled
                else "Saved. It is off, and changes nothing until it is switched on."
            )
            return await self._patch(visit, change, words)
        except (Wrong, InvalidField) as error:
            return await self._form(visit, kept, values, problems_of(error))
        except (NotBuilt, Refused) as error:
            return await self._form(visit, kept, values, {"": str(error)})

    async def _try(self, visit: Visit, kept: Transformation, values: Mapping[str, str], variables: Mapping[str, str] | None) -> Shown:
        wanted = checked(TransformationTryIn, {"code": values["code"], "variables": variables or {}, "msgId": values["msgId"] or None})
        app_id, endpoint_id = visit.params["app_id"], visit.params["endpoint_id"]
        trial = await self._services.transformations.tried(visit.who, app_id, endpoint_id, wanted)
        return await self._form(visit, kept, values, {}, result_of(trial, app_id, values["code"]))

    async def _patch(self, visit: Visit, change: TransformationPatch, words: str) -> Moved:
        app_id, endpoint_id = visit.params["app_id"], visit.params["endpoint_id"]
        await self._services.transformations.patch(visit.who, app_id, endpoint_id, change)
        endpoint = await self._services.endpoints.get(visit.who, app_id, endpoint_id)
        return Moved(href_of(endpoint), Notice(words), Change("endpoint.updated", endpoint.id, endpoint.app_id, "transformation"))

    async def _form(
        self, visit: Visit, kept: Transformation, values: Mapping[str, str], problems: Mapping[str, str], result: ResultView | None = None
    ) -> Shown:
        app_id = visit.params["app_id"]
        application = (await self._services.directory.find(visit.who.org_id, app_id)).application
        endpoint = await self._services.endpoints.get(visit.who, app_id, visit.params["endpoint_id"])
        here = href_of(endpoint)
        view = TransformationView(
            f"{here}/transformation",
            _EFFECTS,
            self._services.transformations.missing or "",
            kept.enabled,
            kept.code is not None,
            values["code"],
            values["variables"],
            values["msgId"],
            problems,
            result,
            here,
        )
        badge = Badge("ok", "on") if kept.enabled else Badge("off", "off")
        head = Head("Transformation", f"Of {title_of(endpoint)}.", trail_of(application, Link(title_of(endpoint), here)), badge=badge)
        return Shown("endpoints/transformation.html", view, head, 422 if problems else 200, application)


def routes(services: Services) -> list[Route]:
    """The pages of this module."""
    pages = _Pages(services)
    path = "/apps/{app_id}/endpoints/{endpoint_id}/transformation"
    return [Route("GET", path, pages.ask, _SECTION), Route("POST", path, pages.act, _SECTION)]
