"""What does the form of a source hold, and what does it ask for? Pure: values of a form to those of the API, and back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec

from ringback.dashboard.components import Choice
from ringback.dashboard.forms import Wrong, lines, pairs
from ringback.model.sources import DEFAULT_BODY_BYTES, DEFAULT_DEADLINE_S, CannedAnswer, Source
from ringback.policy.sources import CRON, CUSTOM, GENERIC, provider_of
from ringback.signing.encodings import SECRET_ENCODINGS
from ringback.signing.providers.setup import signs_url, source_of

# The fields of the form, besides the type.
FIELDS: Final = (
    "name",
    "app",
    "uid",
    "route",
    "secret",
    "encoding",
    "verify",
    "scheme",
    "publicUrl",
    "verifyToken",
    "publicKey",
    "topics",
    "awaitHandshake",
    "toleranceS",
    "allowedIps",
    "requiredHeaders",
    "rateLimit",
    "maxBodyBytes",
    "eventTypes",
    "orderingKeyAt",
    "orderingVersionAt",
    "schema",
    "schemaMode",
    "processedBy",
    "deadlineS",
    "silenceMin",
    "retentionHours",
    "sensitiveFields",
    "answerStatus",
    "answerType",
    "answerBody",
    "metadata",
    "schedule",
    "payload",
    "contentType",
)
_VERIFY: Final = (
    ("signature", "and refuse what does not match"),
    ("observe", "and take all in: mark what would be refused"),
    ("none", "not at all"),
)
_SCHEMA_MODES: Final = (("observe", "mark what does not fit"), ("quarantine", "keep it in quarantine"), ("reject", "answer 422"))
# Ways to read the text of a secret, in words.
_ENCODINGS: Final[Mapping[str, str]] = {
    "utf8": "as plain text",
    "nfkd_utf8": "as plain text, normalised (NFKD)",
    "hex": "as hexadecimal",
    "base64": "as base64",
    "whsec_base64": "as base64 after whsec_",
    "whsec_or_utf8": "as base64 after whsec_, else as plain text",
    "sha1_of_utf8": "as plain text, of which the SHA-1 signs",
    "standard": "as Standard Webhooks has it",
    "whpk_base64": "as a public key after whpk_",
    "hex_ed25519_public_key": "as an ed25519 public key in hexadecimal",
    "base64_ed25519_public_key": "as an ed25519 public key in base64",
    "spki_base64_p256": "as a P-256 public key in base64 (SPKI)",
    "spki_base64": "as a public key in base64 (SPKI)",
    "pem": "as PEM",
}
# What the form of a new custom source begins with.
_SCHEME: Final = """{
  "type": "signed",
  "headers": ["x-signature"],
  "content": "{body}",
  "algorithm": "hmac-sha256",
  "encoding": "hex"
}"""
# Where a problem of a field is shown that is called otherwise in the form.
_SHOWN_AT: Final[Mapping[str, str]] = {
    "secrets": "secret",
    "silenceS": "silenceMin",
    "silence_s": "silenceMin",
    "answer": "answerBody",
    "schema_mode": "schemaMode",
    "public_url": "publicUrl",
    "allowed_ips": "allowedIps",
    "required_headers": "requiredHeaders",
    "event_types": "eventTypes",
    "ordering_key_at": "orderingKeyAt",
    "ordering_version_at": "orderingVersionAt",
    "processed_by": "processedBy",
    "content_type": "contentType",
    "sensitive_fields": "sensitiveFields",
    "retention_hours": "retentionHours",
}
_MINUTE_S: Final = 60


class Needs(msgspec.Struct, frozen=True):
    """Which fields the form of a type shows at its top: what this provider cannot do without."""

    secret: bool
    secret_hint: str
    url: bool
    verify_token: bool
    public_key: bool
    topics: bool
    waits: bool
    scheme: bool
    schedule: bool = False


def needs_of(source_type: str) -> Needs:
    """What a type of source needs."""
    row = provider_of(source_type)
    if row is None:
        custom = source_type == CUSTOM
        return Needs(custom, "As the sender shows it.", False, False, False, False, False, custom, source_type == CRON)
    wanted = source_of(row)
    return Needs(
        secret="secrets" in wanted,
        secret_hint=row.secret or "As the provider shows it.",
        url="publicUrl" in wanted or signs_url(row),
        verify_token="verifyToken" in wanted,
        public_key="publicKey" in wanted,
        topics="topics" in wanted,
        waits="awaitHandshake" in wanted,
        scheme=False,
    )


def new_values(source_type: str) -> dict[str, str]:
    """What the form of a new source begins with."""
    needs = needs_of(source_type)
    row = provider_of(source_type)
    values = dict.fromkeys(FIELDS, "")
    unsigned = source_type in (CRON, GENERIC) or (row is not None and source_of(row).get("verify") == "none")
    return values | {
        "name": "" if row is None else row.name.partition(" (")[0],
        "verify": "none" if unsigned else "signature",
        "schemaMode": "observe",
        "awaitHandshake": "on" if needs.waits else "",
        "scheme": _SCHEME if needs.scheme else "",
        "maxBodyBytes": str(DEFAULT_BODY_BYTES),
        "deadlineS": f"{DEFAULT_DEADLINE_S:g}",
    }


def values_of(source: Source) -> dict[str, str]:
    """What the form holds for a source; its secrets are not in it."""
    v, r = source.verification, source.rules
    return dict.fromkeys(FIELDS, "") | {
        "name": source.name,
        "app": "" if source.ingest else source.app_id,
        "uid": source.uid or "",
        "route": source.route or "",
        "verify": v.verify,
        "scheme": v.scheme if isinstance(v.scheme, str) else "" if v.scheme is None else _pretty(v.scheme),
        "publicUrl": v.url or "",
        "verifyToken": v.verify_token,
        "publicKey": v.public_key,
        "topics": "\n".join(v.topics),
        "awaitHandshake": "on" if v.awaiting_secret else "",
        "toleranceS": "" if v.tolerance_s is None else f"{v.tolerance_s:g}",
        "allowedIps": "\n".join(r.allowed_ips),
        "requiredHeaders": "\n".join(f"{name}: {value}" for name, value in r.required_headers.items()),
        "rateLimit": "" if r.rate is None else str(r.rate),
        "maxBodyBytes": str(r.max_body_bytes),
        "eventTypes": "\n".join(r.event_types or ()),
        "orderingKeyAt": "\n".join(r.ordering_key_at),
        "orderingVersionAt": "\n".join(r.ordering_version_at),
        "schema": "" if r.schema is None else _pretty(r.schema),
        "schemaMode": r.schema_mode,
        "processedBy": r.processed_by or "",
        "deadlineS": f"{r.deadline_s:g}",
        "silenceMin": "" if r.silence_s is None else f"{r.silence_s / _MINUTE_S:g}",
        "retentionHours": "" if r.retention_s is None else str(r.retention_s // 3_600),
        "sensitiveFields": "\n".join(r.sensitive_fields),
        "answerStatus": "" if r.answer is None else str(r.answer.status),
        "answerType": "" if r.answer is None else r.answer.content_type,
        "answerBody": "" if r.answer is None else r.answer.body,
        "metadata": "\n".join(f"{name}: {value}" for name, value in source.metadata.items()),
        **_scheduled(source),
    }


def _scheduled(source: Source) -> dict[str, str]:
    cron = source.cron
    return {} if cron is None else {"schedule": cron.schedule, "payload": cron.payload, "contentType": cron.content_type}


def _answering(answer: CannedAnswer) -> dict[str, Any]:
    return {
        "status": answer.status,
        "body": answer.body,
        "contentType": answer.content_type,
        "headers": answer.headers,
        "template": answer.template,
        "signature": None if answer.signature is None else msgspec.structs.asdict(answer.signature),
    }


def wanted_of(source: Source) -> dict[str, Any]:
    """A source as the API takes it, but for its secrets: left out, they stay."""
    v, r = source.verification, source.rules
    deduplication = r.deduplication
    return {
        "name": source.name,
        "type": source.type,
        "uid": source.uid,
        "route": source.route,
        "disabled": source.disabled,
        "metadata": source.metadata,
        "verify": v.verify,
        "scheme": v.scheme if v.scheme is None or isinstance(v.scheme, str) else msgspec.to_builtins(v.scheme),
        "toleranceS": v.tolerance_s,
        "publicUrl": v.url,
        "verifyToken": v.verify_token,
        "publicKey": v.public_key,
        "topics": v.topics,
        "allowedOrigins": v.allowed_origins,
        "handshakes": v.handshakes,
        "awaitHandshake": v.awaiting_secret,
        "methods": r.methods,
        "allowedIps": r.allowed_ips,
        "requiredHeaders": r.required_headers,
        "maxBodyBytes": r.max_body_bytes,
        "eventTypes": r.event_types,
        "eventTypeAt": r.event_type_at,
        "redeliveryAt": r.redelivery_at,
        "orderingKeyAt": r.ordering_key_at,
        "orderingVersionAt": r.ordering_version_at,
        "schema": r.schema,
        "schemaMode": r.schema_mode,
        "rateLimit": r.rate,
        "answer": None if r.answer is None else _answering(r.answer),
        "deduplication": {
            "by": deduplication.by,
            "windowS": deduplication.window_s,
            "onFailed": deduplication.on_failed,
            "without": deduplication.without,
        },
        "splitBatches": r.split,
        "processedBy": r.processed_by,
        "deadlineS": r.deadline_s,
        "silenceS": r.silence_s,
        "secretBy": v.secret_by,
        "allowedIpsFrom": r.allowed_ips_from,
        "allowedIpsUnknown": r.allowed_ips_unknown,
        "clientCertificate": r.client_certificate,
        "retentionHours": None if r.retention_s is None else r.retention_s // 3_600,
        "sensitiveFields": list(r.sensitive_fields),
        **_scheduled(source),
    }


def asked_of(values: Mapping[str, str]) -> dict[str, Any]:
    """What a form asks for, under the names of the API, but for type and secrets. Raises Wrong."""
    problems: dict[str, str] = {}

    def read(name: str, how: Any) -> Any:
        try:
            return how(values[name].strip())
        except Wrong as error:
            problems[name] = error.problems[""]
            return None

    asked = {
        "name": values["name"].strip(),
        "uid": values["uid"].strip() or None,
        "route": values["route"].strip().strip("/") or None,
        "verify": values["verify"] or "signature",
        "scheme": read("scheme", _scheme),
        "publicUrl": values["publicUrl"].strip() or None,
        "verifyToken": values["verifyToken"].strip(),
        "publicKey": values["publicKey"].strip(),
        "topics": lines(values["topics"]),
        "awaitHandshake": bool(values["awaitHandshake"]),
        "toleranceS": values["toleranceS"].strip() or None,
        "allowedIps": lines(values["allowedIps"]),
        "requiredHeaders": read("requiredHeaders", lambda text: pairs(text, ":")),
        "rateLimit": values["rateLimit"].strip() or None,
        "maxBodyBytes": values["maxBodyBytes"].strip() or DEFAULT_BODY_BYTES,
        "eventTypes": lines(values["eventTypes"]) or None,
        "orderingKeyAt": lines(values["orderingKeyAt"]),
        "orderingVersionAt": lines(values["orderingVersionAt"]),
        "schema": read("schema", _json),
        "schemaMode": values["schemaMode"] or "observe",
        "processedBy": values["processedBy"].strip() or None,
        "deadlineS": values["deadlineS"].strip() or DEFAULT_DEADLINE_S,
        "silenceS": read("silenceMin", _minutes),
        "retentionHours": values["retentionHours"].strip() or None,
        "sensitiveFields": lines(values["sensitiveFields"]),
        "metadata": read("metadata", lambda text: pairs(text, ":")),
        "answer": _answer(values),
        "schedule": values["schedule"].strip() or None,
        # A form writes all ends of lines as CR LF.
        "payload": values["payload"].replace("\r\n", "\n") or None,
        "contentType": values["contentType"].strip() or None,
    }
    if problems:
        raise Wrong(problems)
    return asked


def _answer(values: Mapping[str, str]) -> dict[str, Any] | None:
    status, kind, body = values["answerStatus"].strip(), values["answerType"].strip(), values["answerBody"]
    if not (status or kind or body.strip()):
        return None
    return {"status": status or 200, "contentType": kind or "application/json", "body": body}


def _scheme(text: str) -> Any:
    return _json(text) if text.startswith("{") else text or None


def _json(text: str) -> Any:
    if not text:
        return None
    try:
        return msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError) as error:
        raise Wrong({"": f"this is no JSON: {error}"}) from None


def _minutes(text: str) -> int | None:
    if not text:
        return None
    try:
        return round(float(text) * _MINUTE_S)
    except (ValueError, OverflowError):
        raise Wrong({"": "write a number of minutes"}) from None


def shown_at(problems: Mapping[str, str]) -> dict[str, str]:
    """Problems by the fields of the form; what has none stands above all."""
    found: dict[str, str] = {}
    for name, text in problems.items():
        place = _SHOWN_AT.get(name, name)
        place = place if place in FIELDS else ""
        found[place] = f"{found[place]}; {text}" if place in found else text
    return found


def verify_choices(chosen: str) -> list[Choice]:
    """How requests may be verified."""
    return [Choice(value, label, value == chosen) for value, label in _VERIFY]


def schema_choices(chosen: str) -> list[Choice]:
    """What becomes of what does not fit the schema."""
    return [Choice(value, label, value == chosen) for value, label in _SCHEMA_MODES]


def encoding_choices(chosen: str) -> list[Choice]:
    """How the text of a secret may be read."""
    named = [Choice(name, _ENCODINGS.get(name, name), name == chosen) for name in SECRET_ENCODINGS]
    return [Choice("", "as the provider shows it", not chosen), *named]


def advanced(values: Mapping[str, str], base: Mapping[str, str], problems: Mapping[str, str], shown: Sequence[str]) -> bool:
    """Is there anything in the folded part of the form that somebody must see?"""
    return any(values[name] != base[name] for name in FIELDS if name not in shown) or any(name not in shown for name in problems if name)


def _pretty(value: Any) -> str:
    return msgspec.json.format(msgspec.json.encode(value), indent=2).decode()
