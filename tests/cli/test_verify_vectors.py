"""Every known answer through `ringback verify` itself: by scheme and by provider, as it came and tampered with."""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import subprocess
import sys
from base64 import b64decode
from pathlib import Path
from typing import Any

import pytest

from ringback.cli.main import main
from ringback.signing.providers.catalogue import PROVIDERS

ROOT = Path(__file__).parents[2]
VECTORS: list[dict[str, Any]] = json.loads((ROOT / "tests/vectors/providers.json").read_text())["vectors"]
ROWS = {name: row for row in PROVIDERS.values() for name in row.scheme_names}
# What the vectors leave to us; see tests/unit/signing/test_vectors.py.
DECISIONS = {"twilio-special-chars-query-raw-apostrophe": None, "stripe-future": "timestamp_in_future"}
# Weaker schemes, which choosing the provider does not accept: they must be asked for by name.
BY_NAME_ONLY = {
    "github-sha1": "missing_header",
    "hubspot-v1": "missing_header",
    "hubspot-v2": "missing_header",
    "rfc9421": "no_supported_scheme",
    "rfc9530-content-digest": "usage",
}


def ids(vector: dict[str, Any]) -> str:
    return str(vector["id"])


def pairs_of(vector: dict[str, Any]) -> list[tuple[str, str]]:
    given = vector["headers"]
    return [tuple(pair) for pair in (given.items() if isinstance(given, dict) else given)]


def words_of(vector: dict[str, Any], how: list[str], body_file: Path | str, headers: list[tuple[str, str]] | None = None) -> list[str]:
    given = vector["secret"]
    words = ["verify", *how]
    for secret in given if isinstance(given, list) else [given] if given is not None else []:
        words += ["--secret", secret]
    words += ["--secret-encoding", vector["secret_encoding"], "--method", vector["method"], "--now", str(vector.get("now", 1_700_000_000))]
    words += ["--url", vector["url"]] if vector["url"] else []
    words += ["--tolerance", str(vector["tolerance_s"])] if "tolerance_s" in vector else []
    for name, value in pairs_of(vector) if headers is None else headers:
        words += ["--header", f"{name}: {value}"]
    return [*words, "--body-file", str(body_file)]


def run(words: list[str], capsys: pytest.CaptureFixture[str]) -> tuple[int, str]:
    """The exit code and the word that the command prints."""
    try:
        code = main(words)
    except SystemExit as ended:
        code = int(str(ended.code))
    return code, capsys.readouterr().out.strip()


def expected_of(vector: dict[str, Any]) -> tuple[int, str]:
    reason = DECISIONS[vector["id"]] if vector["expected"] is None else None if vector["expected"] else vector["expected_reason"]
    return (0, "valid") if reason is None else (1, reason)


@pytest.fixture
def body_file(tmp_path: Path) -> Path:
    return tmp_path / "body"


@pytest.mark.parametrize("vector", VECTORS, ids=ids)
def test_by_scheme(vector: dict[str, Any], body_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    body_file.write_bytes(b64decode(vector["body_b64"]))
    assert run(words_of(vector, ["--scheme", vector["scheme"]], body_file), capsys) == expected_of(vector)


@pytest.mark.parametrize("vector", VECTORS, ids=ids)
def test_by_provider_which_accepts_no_weaker_scheme(vector: dict[str, Any], body_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    body_file.write_bytes(b64decode(vector["body_b64"]))
    code, said = run(words_of(vector, ["--provider", ROWS[vector["scheme"]].id], body_file), capsys)
    weaker = BY_NAME_ONLY.get(vector["scheme"])
    if weaker is None:
        assert (code, said) == expected_of(vector)
    elif weaker == "usage":
        assert (code, said) == (2, "")
    else:
        assert (code, said) == (1, weaker)


# Nothing of the body is signed there, or the given fields of it alone.
BODY_IS_FREE = ("adyen-standard", "rfc9421")
SIGNED = [vector for vector in VECTORS if expected_of(vector)[0] == 0 and vector["secret"] is not None]


@pytest.mark.parametrize("vector", [vector for vector in SIGNED if vector["scheme"] not in BODY_IS_FREE], ids=ids)
def test_with_one_byte_more_or_another_byte_in_the_body(
    vector: dict[str, Any], body_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    body = b64decode(vector["body_b64"])
    for changed in (body + b"x", bytes([body[0] ^ 1]) + body[1:] if body else b"\0"):
        body_file.write_bytes(changed)
        code, said = run(words_of(vector, ["--scheme", vector["scheme"]], body_file), capsys)
        assert code == 1 and said in ("signature_mismatch", "body_hash_mismatch", "malformed_header", "missing_body_hash", "missing_header")


@pytest.mark.parametrize("vector", [vector for vector in SIGNED if vector["headers"]], ids=ids)
def test_with_a_header_that_came_twice_and_with_none(vector: dict[str, Any], body_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    body_file.write_bytes(b64decode(vector["body_b64"]))
    how, headers = ["--scheme", vector["scheme"]], pairs_of(vector)
    assert run(words_of(vector, how, body_file, [*headers, *headers]), capsys) == (1, "malformed_header")
    if vector["scheme"] != "adyen-standard":
        assert run(words_of(vector, how, body_file, []), capsys) == (1, "missing_header")


@pytest.mark.parametrize(
    "vector", [vector for vector in SIGNED if isinstance(vector["secret"], str) and vector["secret_encoding"] == "utf8"], ids=ids
)
def test_with_another_secret(vector: dict[str, Any], body_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    body_file.write_bytes(b64decode(vector["body_b64"]))
    changed = {**vector, "secret": "other" if vector["scheme"] != "easypost" else "other secret"}
    assert run(words_of(changed, ["--scheme", vector["scheme"]], body_file), capsys) == (1, "signature_mismatch")
    # Beside the right one it does no harm.
    both = {**vector, "secret": ["other", vector["secret"]]}
    assert run(words_of(both, ["--scheme", vector["scheme"]], body_file), capsys) == (0, "valid")


GITHUB = next(vector for vector in VECTORS if vector["id"] == "github-docs-hello")


def test_json_holds_the_same_word(body_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for vector in VECTORS:
        body_file.write_bytes(b64decode(vector["body_b64"]))
        code, said = run([*words_of(vector, ["--scheme", vector["scheme"]], body_file), "--json"], capsys)
        found = json.loads(said)
        assert (code, "valid" if found["valid"] else found["reason"]) == expected_of(vector), vector["id"]


# -- odd shells


@pytest.mark.parametrize(
    "header",
    [
        "X-Hub-Signature-256:{}",
        "X-Hub-Signature-256:   {}  ",
        "x-HUB-signature-256: {}",
        "X-Hub-Signature-256 : {}",
        "X-Hub-Signature-256:\t{}",
    ],
)
def test_a_header_may_be_written_in_any_way(header: str, body_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    body_file.write_bytes(b64decode(GITHUB["body_b64"]))
    words = words_of(GITHUB, ["--provider", "github"], body_file, [])
    ((_, value),) = pairs_of(GITHUB)
    others = [
        "--header",
        "X-Url: https://example.com:8080/a:b",
        "--header",
        "X-Empty:",
        "--header",
        "X-Date: Mon, 01 Jan 2024 10:00:00 GMT",
    ]
    assert run([*words, "--header", header.format(value), *others], capsys) == (0, "valid")


def test_an_empty_signature_header_is_no_signature(body_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    body_file.write_bytes(b64decode(GITHUB["body_b64"]))
    words = words_of(GITHUB, ["--provider", "github"], body_file, [])
    assert run([*words, "--header", "X-Hub-Signature-256:"], capsys) == (1, "malformed_header")
    assert run([*words, "--header", ": value"], capsys) == (2, "")
    assert run([*words, "--header", "no colon"], capsys) == (2, "")


def test_a_secret_may_begin_with_a_dash_or_hold_anything(body_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    body_file.write_bytes(b"\xff\xfe\x00 not UTF-8\r\n")
    for secret in ("-dash", "-", "a=b", "a b", "é€", "$HOME `id`", "'\"", "%s", "-----BEGIN KEY-----\nx\n", "@file"):
        signature = hmac.new(secret.encode(), body_file.read_bytes(), hashlib.sha256).hexdigest()
        words = ["verify", "--provider", "github", "--secret", secret, "--body-file", str(body_file)]
        assert run([*words, "--header", f"X-Hub-Signature-256: sha256={signature}"], capsys) == (0, "valid"), secret
    assert run(["verify", "--provider", "github", "--body-file", str(body_file), "--secret", "--json"], capsys) == (2, "")


@pytest.mark.parametrize("name", ["github-docs-hello", "sendgrid-no-crlf", "generic-hmac-sha1-empty-body"])
def test_the_body_comes_from_standard_input_byte_for_byte(name: str) -> None:
    vector = next(vector for vector in VECTORS if vector["id"] == name)
    words = [sys.executable, "-m", "ringback.cli.main", *words_of(vector, ["--scheme", vector["scheme"]], "-")]
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
    done = subprocess.run(words, input=b64decode(vector["body_b64"]), capture_output=True, timeout=60, env=environment)
    assert (done.returncode, done.stdout.decode().strip()) == expected_of(vector), done.stderr


def test_arguments_that_are_no_text_are_taken_as_bytes(tmp_path: Path) -> None:
    """A shell in another locale hands on bytes that are no UTF-8."""
    body = tmp_path / "body"
    body.write_bytes(b"\x80\x81")
    signature = hmac.new(b"s", body.read_bytes(), hashlib.sha256).hexdigest()
    words = [sys.executable.encode(), b"-m", b"ringback.cli.main", b"verify", b"--provider", b"github", b"--secret", b"s"]
    words += [b"--header", b"X-Latin: \xe9\xff", b"--header", f"X-Hub-Signature-256: sha256={signature}".encode()]
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src"), "LC_ALL": "C"}
    done = subprocess.run([*words, b"--body-file", os.fsencode(body)], capture_output=True, timeout=60, env=environment)
    assert (done.returncode, done.stdout) == (0, b"valid\n"), done.stderr


@pytest.mark.parametrize("missing", ["/nonexistent/body", "/", ""])
def test_a_body_that_cannot_be_read_is_wrong_usage(missing: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["verify", "--provider", "github", "--secret", "s", "--body-file", missing], capsys) == (2, "")


def test_a_stranger_learns_the_usage_and_never_sees_a_traceback(body_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    body_file.write_bytes(b"{}")
    for words in (
        ["verify"],
        ["verify", "--provider", "github"],
        ["verify", "--provider", "", "--secret", "s", "--body-file", str(body_file)],
        ["verify", "--scheme", "nothing", "--secret", "s", "--body-file", str(body_file)],
        ["verify", "--scheme", "github-sha256", "--secret", "s", "--body-file", str(body_file), "--now", "nan"],
        ["verify", "--scheme", "github-sha256", "--secret", "s", "--body-file", str(body_file), "--tolerance", "inf"],
        ["verify", "--scheme", "github-sha256", "--secret", "\ud800", "--body-file", str(body_file)],
    ):
        assert run(words, capsys) == (2, ""), words
