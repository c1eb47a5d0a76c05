"""Why does a signature not hold? The signature doctor: a request that is pasted, or one of the quarantine, and what it lacks.

Secrets that are pasted are used for the one answer: they are in no address, no page, no log and no store.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Mapping, Sequence
from typing import Final

import msgspec

from ringback.clock import SECOND_US
from ringback.dashboard.components import BASE, Choice, Head, Link, choices
from ringback.dashboard.desk import Services
from ringback.dashboard.examinations import ExaminationView, examination_view
from ringback.dashboard.forms import Wrong
from ringback.dashboard.pages.dead_letters import instant_of
from ringback.dashboard.pages.endpoints import title_of
from ringback.dashboard.sensitive import shown_request
from ringback.dashboard.source_forms import encoding_choices
from ringback.dashboard.visits import Reply, Route, Shown, Visit
from ringback.errors import CallerError, NotFound, Unavailable
from ringback.model.quarantine import CapturedRequest, Quarantined
from ringback.model.sources import Source
from ringback.policy.sources import shown_headers, shown_url
from ringback.services.doctor import Question
from ringback.signing.headers import Headers
from ringback.signing.providers import catalogue
from ringback.signing.request import InboundRequest

_SECTION: Final = "quarantine"
# What a signature of our own deliveries is called in the catalogue.
_STANDARD: Final = "standard-webhooks"
_FORMS: Final = (("text", "as text"), ("base64", "as base64"), ("hex", "as hexadecimal"))
_FIELDS: Final = (
    "signer",
    "source",
    "item",
    "app",
    "endpoint",
    "secrets",
    "encoding",
    "headers",
    "body",
    "form",
    "method",
    "url",
    "when",
    "tolerance",
)
_REQUEST_LINE: Final = re.compile(r"([A-Z]+) (\S+) HTTP/\d(\.\d)?")
_NUMBER: Final = re.compile(r"\d{1,12}(\.\d+)?")
# What stands in the place of a credential (`policy.sources.shown_headers`).
_MASK: Final = b"***"
# More headers than any request has.
_HEADERS_MAX: Final = 200


class DoctorView(msgspec.Struct, frozen=True):
    """The form with what was written into it, but for secrets; and what was found."""

    action: str
    values: Mapping[str, str]
    problems: Mapping[str, str]
    signers: Sequence[Choice]
    schemes: Sequence[Choice]
    forms: Sequence[Choice]
    encodings: Sequence[Choice]
    keeper: str
    keeper_href: str
    found: ExaminationView | None
    trouble: str


def headers_of(text: str) -> tuple[Headers, str, str]:
    """The headers in a text, and method and target where it begins with a request line. Raises Wrong."""
    method = target = ""
    found: list[tuple[str, str]] = []
    for number, line in enumerate(text.splitlines()):
        match = _REQUEST_LINE.fullmatch(line.strip()) if not number else None
        if match is not None:
            method, target = match[1], match[2]
        elif line.strip():
            name, colon, value = line.partition(":")
            if not colon or not name.strip():
                raise Wrong({"headers": f"{line.strip()[:80]!r} holds no ':'; write one Name: value on each line"})
            found.append((name.strip(), value.strip()))
    if len(found) > _HEADERS_MAX:
        raise Wrong({"headers": f"{len(found)} headers; no request has more than {_HEADERS_MAX}"})
    return Headers.of(found), method, target


def body_of(text: str, form: str) -> bytes:
    """The bytes of a body. Browsers send line ends as CR LF, whatever stood there: as text they are taken for LF. Raises Wrong."""
    try:
        if form == "base64":
            return base64.b64decode("".join(text.split()), validate=True)
        if form == "hex":
            return bytes.fromhex(text)
    except (ValueError, binascii.Error) as error:
        raise Wrong({"body": f"this is no {form}: {error}"}) from None
    return text.replace("\r\n", "\n").encode("utf-8", "surrogatepass")


def at_of(text: str, now_us: int) -> int:
    """The time to judge by: now, seconds since 1970, or `2026-11-25T16:44`. Raises Wrong."""
    text = text.strip()
    if not text:
        return now_us
    if _NUMBER.fullmatch(text):
        return int(float(text) * SECOND_US)
    try:
        return instant_of(text) or now_us
    except CallerError as error:
        raise Wrong({"when": str(error)}) from None


def question_of(values: Mapping[str, str], now_us: int) -> Question:
    """What a form asks. Raises Wrong."""
    headers, method, target = headers_of(values["headers"])
    tolerance = values["tolerance"].strip()
    if tolerance and not _NUMBER.fullmatch(tolerance):
        raise Wrong({"tolerance": "write a number of seconds"})
    url = values["url"].strip()
    if not url and target.startswith(("http://", "https://")):
        url = target
    host = headers.all(b"host")
    if not url and target.startswith("/") and host:
        url = f"https://{host[0].decode('latin-1')}{target}"
    if not (values["signer"] or values["source"] or values["endpoint"]):
        raise Wrong({"signer": "choose who should have signed it"})
    return Question(
        request=InboundRequest(
            headers,
            body_of(values["body"], values["form"]),
            (values["method"].strip() or method or "POST").upper().encode("latin-1", "replace"),
            url.encode("utf-8", "surrogatepass"),
        ),
        now_us=at_of(values["when"], now_us),
        signer=values["signer"],
        source=values["source"],
        endpoint=(values["app"], values["endpoint"]) if values["endpoint"] else None,
        secrets=tuple(line.strip("\r") for line in values["secrets"].split("\n") if line.strip()),
        encoding=values["encoding"] or None,
        tolerance_s=float(tolerance) if tolerance else None,
    )


def values_of_item(item: Quarantined, source: Source) -> dict[str, str]:
    """What the form begins with for a request of the quarantine; credentials in its headers and URL are masked."""
    captured = item.request
    body = captured.body or b""
    try:
        text, form = body.decode(), "text"
        if "\r" in text or "\x00" in text:
            raise UnicodeDecodeError("utf-8", body, 0, 1, "a browser would not keep it")
    except UnicodeDecodeError:
        text, form = base64.b64encode(body).decode(), "base64"
    return {
        "source": source.id,
        "item": item.id,
        "headers": "\n".join(f"{name}: {value}" for name, value in shown_headers(source, captured.headers)),
        "body": text,
        "form": form,
        "method": captured.method,
        "url": shown_url(source, captured.url),
        "when": str(item.received_at // SECOND_US),
    }


def unmasked(question: Question, item: Quarantined, source: Source, seen: CapturedRequest) -> Question:
    """The same with the credentials and sensitive fields that were masked in the form (`seen`), as they came."""
    captured = item.request
    came = {name.lower(): value for name, value in captured.headers}
    fields = [(name, came.get(name.lower(), value) if value == _MASK else value) for name, value in question.request.headers]
    request = msgspec.structs.replace(question.request, headers=Headers(fields))
    if request.url.decode("utf-8", "replace") == shown_url(source, captured.url):
        request = msgspec.structs.replace(request, url=captured.url)
    if captured.body is not None and request.body == seen.body:
        request = msgspec.structs.replace(request, body=captured.body)
    return msgspec.structs.replace(question, request=request)


class _Pages:
    def __init__(self, services: Services) -> None:
        self._services = services

    async def form(self, visit: Visit) -> Reply:
        values = dict.fromkeys(_FIELDS, "") | {"form": "text", "signer": visit.text("signer")}
        source_id, item_id = visit.text("source"), visit.text("item")
        values |= {"source": source_id, "app": visit.text("app"), "endpoint": visit.text("endpoint")}
        if source_id and item_id:
            source, item = await self._item(visit, source_id, item_id)
            values |= values_of_item(msgspec.structs.replace(item, request=await shown_request(source, item.request)), source)
        return await self._show(visit, values, {}, None, "")

    async def _item(self, visit: Visit, source_id: str, item_id: str) -> tuple[Source, Quarantined]:
        source = await self._services.source_views.named(visit.who, source_id)
        app = None if source.ingest else source.app_id
        return source, await self._services.quarantine.get(visit.who, app, source.id, item_id)

    async def examine(self, visit: Visit) -> Reply:
        values, hides = {name: visit.field(name) for name in _FIELDS}, False
        try:
            question = question_of(values, visit.now_us)
            if values["source"] and values["item"]:
                source, item = await self._item(visit, values["source"], values["item"])
                seen = await shown_request(source, item.request)
                question, hides = unmasked(question, item, source, seen), seen is not item.request
            findings = await self._services.doctor.ask(visit.who, question)
        except Wrong as error:
            return await self._show(visit, values, error.problems, None, "")
        except (CallerError, Unavailable) as error:
            if isinstance(error, NotFound):
                raise
            return await self._show(visit, values, {}, None, f"{error}.")
        # What a secret that is kept here makes is shown to nobody.
        found = examination_view(findings, visit.now_us, public=findings.kept == 0)
        if hides:
            found = msgspec.structs.replace(found, content_begins="")
        return await self._show(visit, values, {}, found, "")

    async def _show(
        self, visit: Visit, values: dict[str, str], problems: Mapping[str, str], found: ExaminationView | None, trouble: str
    ) -> Shown:
        keeper, href = await self._keeper(visit, values)
        chosen = values["signer"]
        rows = sorted(catalogue.PROVIDERS.values(), key=lambda row: row.name.lower())
        ours = catalogue.PROVIDERS[_STANDARD]
        view = DoctorView(
            f"{BASE}/doctor",
            # Not even to the browser that sent them.
            values | {"secrets": ""},
            problems,
            [
                Choice("", "choose a provider", not chosen),
                Choice(_STANDARD, f"{ours.name}: this server's own deliveries, and many others", chosen == _STANDARD),
                *(Choice(row.id, row.name, row.id == chosen) for row in rows if row.id != _STANDARD),
            ],
            [Choice(name, name, name == chosen) for name in sorted(catalogue.SCHEMES)],
            choices(_FORMS, values["form"] or "text"),
            encoding_choices(values["encoding"]),
            keeper,
            href,
            found,
            trouble,
        )
        sentence = "Says whether the signature of a request holds, and if not, at which step it fails and what would explain it."
        trail = (Link("Quarantine", f"{BASE}/quarantine"),)
        return Shown("doctor/show.html", view, Head("Signature doctor", sentence, trail), 422 if problems else 200)

    async def _keeper(self, visit: Visit, values: Mapping[str, str]) -> tuple[str, str]:
        """Whose secrets are tried that are kept here, and its page."""
        if values["source"]:
            source = await self._services.source_views.named(visit.who, values["source"])
            return f"the source {source.name}", f"{BASE}/sources/{source.id}"
        if values["endpoint"]:
            entry = await self._services.directory.find(visit.who.org_id, values["app"])
            endpoint = await self._services.endpoints.get(visit.who, entry.application.id, values["endpoint"])
            return f"the endpoint {title_of(endpoint)}", f"{BASE}/apps/{endpoint.app_id}/endpoints/{endpoint.id}"
        return "", ""


def routes(services: Services) -> list[Route]:
    """The pages of this module."""
    pages = _Pages(services)
    return [Route("GET", "/doctor", pages.form, _SECTION), Route("POST", "/doctor", pages.examine, _SECTION)]
