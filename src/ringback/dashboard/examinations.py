"""What did the doctor find? An examination as pages show it: the steps of the check, where it stopped, and what would explain it. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import msgspec

from ringback.clock import SECOND_US
from ringback.dashboard.components import BASE, Badge, Kind
from ringback.dashboard.pages.endpoints import shown_url
from ringback.dashboard.words import count, counted, utc
from ringback.services.doctor import Elsewhere, Findings
from ringback.signing.examination import BODY, FORM, HEADER, SECRET, SIGNATURE, STEPS, TIME, Content

_NAMES: Final[Mapping[str, str]] = {
    SECRET: "Secret",
    HEADER: "Signature header",
    FORM: "Its form",
    SIGNATURE: "Signature",
    BODY: "Body",
    TIME: "Time",
}
# What a passed step says.
_PASSED: Final[Mapping[str, str]] = {
    SECRET: "It can be read.",
    HEADER: "It is there.",
    FORM: "It looks as it must.",
    SIGNATURE: "It was made with this secret over these bytes.",
    BODY: "It is the one that was signed.",
    TIME: "It is in time.",
}
# A header with more than this is cut: nobody compares so much by eye.
_VALUE_MAX: Final = 400


class StepView(msgspec.Struct, frozen=True):
    """One step of the check."""

    name: str
    kind: Kind
    word: str
    says: str


class ElsewhereView(msgspec.Struct, frozen=True):
    """Somebody else whose secret made the signature."""

    text: str
    name: str
    href: str


class ExaminationView(msgspec.Struct, frozen=True):
    """An examination. `expected` is shown only to somebody who gave the secret himself."""

    badge: Badge
    sentence: str
    steps: Sequence[StepView]
    causes: Sequence[str]
    elsewhere: Sequence[ElsewhereView]
    headers: Sequence[tuple[str, str]]
    content: str
    content_sha256: str
    content_begins: str
    expected: str


def examination_view(findings: Findings, now_us: int, *, public: bool) -> ExaminationView:
    """What was found. `public`: the secret that was tried first is the asker's own, so that what it makes may be shown."""
    found = findings.examination
    return ExaminationView(
        Badge("ok", "valid") if found.verdict is not None else Badge("dead", "not valid"),
        _sentence(findings, now_us),
        _steps(findings, now_us),
        list(found.causes),
        [_elsewhere(one) for one in findings.elsewhere],
        [(name, _values(values)) for name, values in found.headers],
        "" if found.content is None else f"{count(found.content.size)} bytes",
        "" if found.content is None else found.content.sha256,
        _begins(found.content),
        found.expected if public else "",
    )


def _sentence(findings: Findings, now_us: int) -> str:
    found = findings.examination
    if found.verdict is not None:
        which = "" if findings.tried == 1 else f" with secret {found.verdict.key_index + 1} of {findings.tried}"
        when = "" if found.signed_at_s is None else f", at {utc(int(found.signed_at_s * SECOND_US))}"
        return f"The signature holds: {findings.signer} signed these bytes{which}{when}."
    if found.stopped == TIME:
        return f"The signature itself holds; only its time does not: {found.detail}."
    if found.causes:
        return f"The signature would match if this is so: {found.causes[0]}."
    if findings.elsewhere:
        return "The signature was made with a secret that belongs elsewhere."
    return f"{found.detail[:1].upper()}{found.detail[1:].rstrip('.')}."


def _steps(findings: Findings, now_us: int) -> list[StepView]:
    found = findings.examination
    stopped = STEPS.index(found.stopped) if found.stopped else len(STEPS)
    steps = []
    for at, name in enumerate(STEPS):
        if name == TIME and found.signed_at_s is None and found.stopped != TIME and found.verdict is not None:
            steps.append(StepView(_NAMES[name], "off", "not signed", "The scheme signs no time."))
        elif (name == BODY and at > stopped) or at > stopped:
            steps.append(StepView(_NAMES[name], "off", "not reached", ""))
        elif at == stopped:
            steps.append(StepView(_NAMES[name], "dead", "stops here", f"{found.detail[:1].upper()}{found.detail[1:].rstrip('.')}."))
        else:
            steps.append(StepView(_NAMES[name], "ok", "passes", _passed(name, findings)))
    return steps


def _passed(name: str, findings: Findings) -> str:
    found = findings.examination
    if name == SECRET:
        return f"{counted(findings.tried, 'secret')} tried." if findings.tried else "None is needed."
    if name == TIME and found.signed_at_s is not None:
        return f"Signed {utc(int(found.signed_at_s * SECOND_US))}."
    return _PASSED[name]


def _values(values: Sequence[str]) -> str:
    if not values:
        return "not there"
    text = " | ".join(values)
    return text if len(text) <= _VALUE_MAX else f"{text[:_VALUE_MAX]}… ({count(len(text))} characters)"


def _begins(content: Content | None) -> str:
    if content is None:
        return ""
    text = content.begins.decode("utf-8", "backslashreplace")
    text = "".join(c if c.isprintable() or c == "\n" else f"\\x{ord(c):02x}" for c in text)
    return text + ("…" if content.size > len(content.begins) else "")


def _elsewhere(one: Elsewhere) -> ElsewhereView:
    if one.kind == "source":
        text = (
            "It was made with a secret of this source that holds no more" if one.ended else "It was made with the secret of another source"
        )
        return ElsewhereView(text, one.name, f"{BASE}/sources/{one.id}")
    text = (
        "It was made with a secret of this endpoint that signs no more" if one.ended else "It was made with the secret of another endpoint"
    )
    return ElsewhereView(text, shown_url(one.name), f"{BASE}/apps/{one.app_id}/endpoints/{one.id}")
