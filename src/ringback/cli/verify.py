"""`ringback verify`: is this captured request genuine? The same code as the gateway's, for one request in files and flags."""

from __future__ import annotations

import argparse
import json
import math
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from ringback.clock import SECOND_US, SystemClock
from ringback.errors import VerificationError
from ringback.signing.diagnosis import likely_causes
from ringback.signing.encodings import SECRET_ENCODINGS
from ringback.signing.fetched import KeyUnavailable
from ringback.signing.handshake import refuse_question
from ringback.signing.headers import Headers
from ringback.signing.providers import catalogue
from ringback.signing.request import InboundRequest, Secret, Verifier
from ringback.signing.verdict import SIGNATURE_MISMATCH, TIMESTAMP_TOO_OLD, Verdict
from ringback.signing.verify import prepare_provider, prepare_scheme

VALID = 0
REFUSED = 1
# argparse's own code for a wrong command line.
MISUSED = 2


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declare the command."""
    parser = subparsers.add_parser(
        "verify",
        help="check the signature of a captured request",
        description="Check the signature of one captured request. Prints `valid` (exit code 0) or the reason why not (exit code 1).",
    )
    how = parser.add_mutually_exclusive_group(required=True)
    how.add_argument("--provider", metavar="NAME", help="who sent it; `ringback providers` lists the names")
    how.add_argument("--scheme", metavar="SCHEME", help="how it was signed, where a provider has several ways")
    parser.add_argument("--secret", action="append", default=[], metavar="S", help="a secret or public key; several may be given")
    parser.add_argument("--secret-encoding", choices=sorted(SECRET_ENCODINGS), metavar="ENC", help=_encodings_help())
    parser.add_argument("--now", type=_number, metavar="UNIX_SECONDS", help="the time to judge by (default: the clock)")
    parser.add_argument("--tolerance", type=_tolerance, metavar="SECONDS", help="how old or early it may be (default: the scheme's own)")
    parser.add_argument("--method", default="POST", metavar="M", help="the request's method (default: POST)")
    parser.add_argument("--url", default="", metavar="URL", help="the public URL that was called; some schemes sign it")
    parser.add_argument(
        "--header", action="append", default=[], type=_header, metavar="'Name: value'", help="a header; several may be given"
    )
    parser.add_argument("--body-file", required=True, metavar="FILE", help="the body, byte for byte as received (- for standard input)")
    parser.add_argument("--json", action="store_true", help="print a JSON object")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Verify; 0 and `valid`, 1 and the reason code, or 2 when the command line cannot be used."""
    secrets = [Secret(text, args.secret_encoding) for text in args.secret]
    try:
        verifier, request = _prepare(args, secrets, args.tolerance), _request(args)
    except OSError as wrong:
        print(f"ringback verify: {args.body_file} cannot be read: {wrong.strerror}; name the file with the body", file=sys.stderr)
        return MISUSED
    except ValueError as wrong:
        print(f"ringback verify: {wrong}", file=sys.stderr)
        return MISUSED
    now_s = SystemClock().now_us() / SECOND_US if args.now is None else args.now
    try:
        verdict = verifier.verify(request, now_s=now_s)
        refuse_question(catalogue.provider(args.provider).handshakes if args.provider else (), request)
    except VerificationError as refused:
        code = _refuse(args, refused.reason, str(refused), _causes(args, secrets, request, refused.reason))
        _hint(args, refused)
        return code
    except KeyUnavailable as missing:
        return _refuse(args, missing.code, f"{missing}; give it with --secret and --secret-encoding pem where the scheme allows", [])
    _accept(args, verdict)
    return VALID


def _prepare(args: argparse.Namespace, secrets: Sequence[Secret], tolerance_s: float | None) -> Verifier:
    if args.provider is not None:
        return prepare_provider(catalogue.provider(args.provider), secrets, tolerance_s=tolerance_s)
    return prepare_scheme(catalogue.scheme(args.scheme), secrets, tolerance_s=tolerance_s)


def _causes(args: argparse.Namespace, secrets: Sequence[Secret], request: InboundRequest, reason: str) -> list[str]:
    if reason != SIGNATURE_MISMATCH:
        return []
    return likely_causes(lambda changed: _prepare(args, changed, math.inf), secrets, request, now_s=0)


def _hint(args: argparse.Namespace, refused: VerificationError) -> None:
    """What to add to the command line where it asked less than it could: the library's words do not know its flags."""
    if args.json:
        return
    if refused.reason == TIMESTAMP_TOO_OLD and args.now is None:
        print("ringback verify: if it was captured then, judge it by the time of its arrival, with --now UNIX_SECONDS", file=sys.stderr)
    elif not args.url and "URL" in str(refused):
        print("ringback verify: name the URL that was called with --url URL", file=sys.stderr)


def _encodings_help() -> str:
    return f"how the secrets are written (default: as the scheme has them): {', '.join(SECRET_ENCODINGS)}"


def _number(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise argparse.ArgumentTypeError(f"{text!r} is no number of seconds; write 1700000000 or 300")
    return value


def _tolerance(text: str) -> float:
    value = _number(text)
    if value < 0:
        raise argparse.ArgumentTypeError(f"{text!r} is below 0; write how many seconds old or early it may be")
    return value


def _header(text: str) -> tuple[bytes, bytes]:
    name, colon, value = os.fsencode(text).partition(b":")
    if not colon or not name.strip():
        raise argparse.ArgumentTypeError(f"{text!r} is no header; write 'Name: value'")
    return name.strip(), value.strip(b" \t")


def _request(args: argparse.Namespace) -> InboundRequest:
    body = sys.stdin.buffer.read() if args.body_file == "-" else Path(args.body_file).read_bytes()
    return InboundRequest(Headers(args.header), body, os.fsencode(args.method).upper(), os.fsencode(args.url))


def _accept(args: argparse.Namespace, verdict: Verdict) -> None:
    if args.json:
        found = {"scheme": verdict.scheme, "key_index": verdict.key_index}
        print(json.dumps({"valid": True, **found, "message_id": verdict.message_id, "signed_at": verdict.signed_at_s}))
    else:
        print("valid")


def _refuse(args: argparse.Namespace, reason: str, detail: str, causes: list[str]) -> int:
    if args.json:
        print(json.dumps({"valid": False, "reason": reason, "detail": detail, "likely_causes": causes}))
    else:
        print(reason)
        for line in (detail, *(f"it would match if this is so: {cause}" for cause in causes)):
            print(f"ringback verify: {line}", file=sys.stderr)
    return REFUSED
