"""`ringback providers`: whose webhooks can be verified, and what is known about each provider? Also makes docs/reference/providers.md."""

from __future__ import annotations

import argparse
import json
import sys
from typing import Any

from ringback.signing.provider import Provider
from ringback.signing.providers.catalogue import PROVIDERS, provider
from ringback.signing.providers.setup import example, failures_of, source_of

# argparse's own code for a wrong command line.
MISUSED = 2
# What a person reads about a provider, in this order, with the label that it has in lists and in the documentation.
_FACTS = (
    ("header", "Header"),
    ("signed", "Signed"),
    ("secret", "Secret"),
    ("several", "Several signatures"),
    ("handshake", "Handshake"),
    ("answer", "Expected answer"),
    ("reply", "Is answered"),
    ("retries", "Retries"),
    ("redelivery", "Counts its deliveries at"),
    ("changing", "Changes with each delivery"),
    ("also_sent", "Also sends"),
    ("user_agent", "User-Agent"),
    ("addresses", "Sends from"),
    ("note", "Note"),
    ("unconfirmed", "Not confirmed"),
    ("source", "Source"),
)
_INTRODUCTION = """# Providers

Whose webhooks Ringback can verify, and how they sign. This page is made by `ringback providers --markdown`; a test keeps it so.

Confidence: **high** means that the provider's own documentation or package was read, **medium** that one good secondary source was,
**low** that there was only a lead. What stands under "not confirmed" was not: check it before you rely on it.
Choosing a provider accepts the names under "schemes"; those under "only by name" are older or weaker and must be asked for.

What to paste where: POST the body under "make a source" to `/api/v1/app/APP/source` with the provider's own secret in it, and paste the
`ingestUrl` of the answer (or its `routeUrl`) where the provider asks for the URL of a webhook.
[How to receive webhooks](../how-to/receive-webhooks.md) goes through it step by step. Every failure has its reason in the quarantine.

Limits: a request may have 2 MiB (`maxBodyBytes`, up to 25 MiB), 100 headers and 64 KiB of head; an event that is sent again within
76 hours is a duplicate (`deduplication`).
"""


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declare the command."""
    parser = subparsers.add_parser(
        "providers",
        help="list the providers whose webhooks can be verified",
        description="List the providers whose webhooks can be verified, with what they sign, and how sure that is.",
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help="only these")
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="print a JSON array")
    form.add_argument("--markdown", action="store_true", help="print the page of the documentation")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Print the catalogue, or what it has under some names: 0, or 2 when there is nothing under one of them."""
    try:
        found = [provider(name) for name in args.names] or PROVIDERS.values()
    except ValueError as unknown:
        print(f"ringback providers: {unknown}", file=sys.stderr)
        return MISUSED
    rows = [facts(row) for row in found]
    if args.json:
        print(json.dumps(rows, indent=2, ensure_ascii=False))
    elif args.markdown:
        print(markdown(), end="")
    else:
        print("\n\n".join(_block(row) for row in rows))
    return 0


def facts(row: Provider) -> dict[str, Any]:
    """One provider as plain values."""
    return {
        "id": row.id,
        "name": row.name,
        "confidence": row.confidence,
        "scheme_names": list(row.scheme_names),
        "schemes": [scheme.name for scheme in row.schemes],
        "only_by_name": [scheme.name for scheme in row.by_name_only],
        "tolerance_s": row.schemes[0].tolerance_s,
        "header": row.header,
        "signed": row.signed,
        "secret": row.secret,
        "several": row.several,
        "also_sent": row.also_sent,
        "user_agent": row.user_agent,
        "addresses": row.addresses,
        "event_id": list(row.event_id),
        "event_id_with": list(row.event_id_with),
        "event_type": list(row.event_type),
        "batch": row.batch,
        "batch_type": row.batch_type,
        "changing": list(row.changing),
        "redelivery": list(row.redelivery),
        "handshake": list(row.handshakes),
        "answer": row.answer,
        "reply": "" if row.reply is None else f"{row.reply[0]} {row.reply[1] or 'without a body'}",
        "retries": row.retries,
        "note": row.note,
        "unconfirmed": list(row.unconfirmed),
        "source_example": source_of(row),
        "failures": failures_of(row),
        "source": row.source,
    }


def markdown() -> str:
    """The page docs/reference/providers.md."""
    return _INTRODUCTION + "".join(_section(facts(row)) for row in sorted(PROVIDERS.values(), key=lambda row: row.id))


def _text(value: object) -> str:
    return ", ".join(value) if isinstance(value, list) else str(value)


def _block(row: dict[str, Any]) -> str:
    lines = [f"{row['id']}  ({row['name']}; confidence {row['confidence']})", f"  schemes: {_text(row['scheme_names'])}"]
    lines += [f"  {label.lower()}: {_text(row[key])}" for key, label in _FACTS if row[key]]
    return "\n".join(lines)


def _per_item(row: dict[str, Any]) -> str:
    of = f" in `{row['batch_type']}`" if row["batch_type"] else ""
    return f", per item of `{row['batch']}`{of}" if row["batch"] else ""


def _section(row: dict[str, Any]) -> str:
    lines = [f"\n## {row['name']}\n", f"- Name: `{row['id']}`, confidence **{row['confidence']}**"]
    named = f"; only by name: {_code(row['only_by_name'])}" if row["only_by_name"] else ""
    lines.append(f"- Schemes: {_code(row['schemes'])}{named}")
    if row["tolerance_s"] is not None:
        lines.append(f"- Tolerance: {row['tolerance_s']:.0f} s")
    if row["event_id"]:
        also = f", together with {_code(row['event_id_with'])}" if row["event_id_with"] else ""
        lines.append(f"- Event id: {_code(row['event_id'])}{also}" + _per_item(row))
    if row["event_type"]:
        lines.append(f"- Event type: {_code(row['event_type'])}")
    lines += [f"- {label}: {_escaped(_text(row[key]))}" for key, label in _FACTS if row[key]]
    lines.append(f"- Make a source: `{example(PROVIDERS[row['id']])}`")
    if row["failures"]:
        lines += ["- Common failures:", *(f"  - {failure}" for failure in row["failures"])]
    return "\n".join(lines) + "\n"


def _code(values: list[str]) -> str:
    return ", ".join(f"`{value}`" for value in values)


def _escaped(text: str) -> str:
    # Templates such as <unix> and {t} must not be taken for markup.
    return text.replace("<", "\\<").replace("*", "\\*").replace("\n", "\\n")
