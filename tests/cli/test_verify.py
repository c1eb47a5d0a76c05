"""`ringback verify` and `ringback providers`, as processes."""

from __future__ import annotations

import hmac
import json
import os
import subprocess
import sys
from base64 import b64decode, b64encode
from pathlib import Path
from typing import Any

import pytest

from ringback.signing.provider import Provider
from ringback.signing.providers.catalogue import PROVIDERS

ROOT = Path(__file__).parents[2]
VECTORS: list[dict[str, Any]] = json.loads((ROOT / "tests/vectors/providers.json").read_text())["vectors"]


def ringback(*words: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
    return subprocess.run([sys.executable, "-m", "ringback.cli.main", *words], capture_output=True, text=True, timeout=60, env=environment)


def words_of(vector: dict[str, Any], body_file: Path) -> list[str]:
    body_file.write_bytes(b64decode(vector["body_b64"]))
    secrets = vector["secret"] if isinstance(vector["secret"], list) else [vector["secret"]] * (vector["secret"] is not None)
    words = ["verify", "--scheme", vector["scheme"], "--secret-encoding", vector["secret_encoding"], "--method", vector["method"]]
    words += [f"--secret={secret}" for secret in secrets]
    words += [f"--header={name}: {value}" for name, value in vector["headers"].items()]
    words += ["--url", vector["url"]] if vector["url"] else []
    words += ["--now", str(vector.get("now", 1_700_000_000))]
    words += ["--tolerance", str(vector["tolerance_s"])] if "tolerance_s" in vector else []
    return [*words, "--body-file", str(body_file)]


ONE_PER_SCHEME = {vector["scheme"]: vector for vector in VECTORS if vector["expected"] is not None}


@pytest.mark.parametrize("vector", ONE_PER_SCHEME.values(), ids=ONE_PER_SCHEME)
def test_a_captured_request_is_judged_as_its_vector_says(vector: dict[str, Any], tmp_path: Path) -> None:
    done = ringback(*words_of(vector, tmp_path / "body"))
    assert (done.returncode, done.stdout) == ((0, "valid\n") if vector["expected"] else (1, vector["expected_reason"] + "\n")), done.stderr


def test_json_says_what_matched_or_why_not(tmp_path: Path) -> None:
    vector = next(vector for vector in VECTORS if vector["id"] == "octokit-fallback-secret")
    good = ringback(*words_of(vector, tmp_path / "body"), "--json")
    assert json.loads(good.stdout) == {"valid": True, "scheme": "github-sha256", "key_index": 1, "message_id": None, "signed_at": None}
    (tmp_path / "body").write_bytes(b"changed")
    changed = ringback(*words_of(vector, tmp_path / "other")[:-1], str(tmp_path / "body"), "--json")
    assert json.loads(changed.stdout)["reason"] == "signature_mismatch"


@pytest.mark.parametrize(
    "words",
    [
        ["--body-file", "/dev/null"],
        ["--provider", "strype", "--secret", "s", "--body-file", "/dev/null"],
        ["--provider", "stripe", "--scheme", "stripe-v1", "--secret", "s", "--body-file", "/dev/null"],
        ["--provider", "stripe", "--body-file", "/dev/null"],
        ["--provider", "stripe", "--secret", "s"],
        ["--provider", "stripe", "--secret", "s", "--body-file", "/nonexistent"],
        ["--provider", "stripe", "--secret", "s", "--body-file", "/dev/null", "--header", "nonsense"],
        ["--provider", "stripe", "--secret", "s", "--body-file", "/dev/null", "--now", "soon"],
        ["--provider", "stripe", "--secret", "s", "--body-file", "/dev/null", "--tolerance", "-1"],
        ["--provider", "stripe", "--secret", "zz", "--secret-encoding", "hex", "--body-file", "/dev/null"],
        ["--provider", "stripe", "--secret", "s", "--secret-encoding", "rot13", "--body-file", "/dev/null"],
    ],
)
def test_wrong_usage_is_exit_code_2_with_a_message_and_no_traceback(words: list[str]) -> None:
    done = ringback("verify", *words)
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr
    assert "Traceback" not in done.stderr


def test_a_mismatch_comes_with_its_likely_cause(tmp_path: Path) -> None:
    vector = next(vector for vector in VECTORS if vector["id"] == "github-docs-hello-trailing-newline")
    done = ringback(*words_of(vector, tmp_path / "body"))
    assert done.stdout == "signature_mismatch\n"
    assert "a newline was added" in done.stderr
    assert json.loads(ringback(*words_of(vector, tmp_path / "body"), "--json").stdout)["likely_causes"]


def test_hmac_schemes_are_verified_without_the_package_cryptography(tmp_path: Path) -> None:
    vector = next(vector for vector in VECTORS if vector["id"] == "stripe-python-dummy")
    program = "import sys; sys.modules['cryptography'] = None; from ringback.cli.main import main; sys.exit(main(sys.argv[1:]))"
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
    words = [sys.executable, "-c", program, *words_of(vector, tmp_path / "body")]
    done = subprocess.run(words, capture_output=True, text=True, timeout=60, env=environment)
    assert (done.returncode, done.stdout) == (0, "valid\n"), done.stderr


def test_without_now_the_clock_counts(tmp_path: Path) -> None:
    words = words_of(next(vector for vector in VECTORS if vector["id"] == "slack-docs"), tmp_path / "body")
    at = words.index("--now")
    done = ringback(*words[:at], *words[at + 2 :])
    assert (done.returncode, done.stdout) == (1, "timestamp_too_old\n")
    assert "with --now UNIX_SECONDS" in done.stderr


def test_a_scheme_that_signs_the_url_asks_for_it(tmp_path: Path) -> None:
    (tmp_path / "body").write_bytes(b"{}")
    words = [
        "verify",
        "--provider",
        "twilio",
        "--secret",
        "s",
        "--header",
        "X-Twilio-Signature: abc=",
        "--body-file",
        str(tmp_path / "body"),
    ]
    assert "with --url URL" in ringback(*words).stderr
    assert "--url" not in ringback(*words, "--url", "https://example.com/twilio").stderr


def test_what_anybody_could_have_had_signed_by_asking_is_refused_as_a_source_refuses_it(tmp_path: Path) -> None:
    (tmp_path / "body").write_bytes(b"12345")
    signature = b64encode(hmac.digest(b"s", b"12345", "sha256")).decode()
    header = f"x-twitter-webhooks-signature: sha256={signature}"
    done = ringback("verify", "--provider", "x-twitter", "--secret", "s", "--header", header, "--body-file", str(tmp_path / "body"))
    assert (done.returncode, done.stdout) == (1, "signature_mismatch\n") and "by asking" in done.stderr


def test_the_catalogue_is_listed() -> None:
    rows = json.loads(ringback("providers", "--json").stdout)
    renamed = {"by_name_only": "only_by_name", "handshakes": "handshake"}
    assert {renamed.get(name, name) for name in Provider.__struct_fields__} <= set(rows[0])
    assert {row["id"] for row in rows} == set(PROVIDERS)
    assert all(row["scheme_names"] and row["signed"] and row["source"] and row["confidence"] for row in rows)
    assert "stripe-v1" in ringback("providers").stdout


def test_one_provider_can_be_asked_for() -> None:
    done = ringback("providers", "github", "stripe", "--json")
    assert (done.returncode, [row["id"] for row in json.loads(done.stdout)]) == (0, ["github", "stripe"])
    unknown = ringback("providers", "githb")
    assert (unknown.returncode, unknown.stdout) == (2, "") and "did you mean github" in unknown.stderr


def test_the_page_of_the_documentation_is_the_catalogue() -> None:
    page = (ROOT / "docs/reference/providers.md").read_text()
    assert ringback("providers", "--markdown").stdout == page, "run: ringback providers --markdown > docs/reference/providers.md"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--body-file", "/nowhere/body"], "/nowhere/body cannot be read: No such file or directory"),
        (["--body-file", "/"], "/ cannot be read: Is a directory"),
        (["--now", "soon"], "'soon' is no number of seconds"),
        (["--now", "nan"], "'nan' is no number of seconds"),
        (["--tolerance=-1"], "'-1' is below 0"),
    ],
)
def test_a_wrong_word_is_told_in_words(words: list[str], said: str, tmp_path: Path) -> None:
    body = tmp_path / "body"
    body.write_bytes(b"")
    done = ringback("verify", "--provider", "github", "--secret", "s", "--body-file", str(body), *words)
    assert (done.returncode, done.stdout) == (2, "")
    assert said in done.stderr
