"""`ringback replay`: what it refuses before it asks a server. What it does is in tests/acceptance/test_replay.py."""

from __future__ import annotations

from pathlib import Path

import pytest

from ringback.cli.main import main

HERE = "http://localhost:3000/webhooks"
APP = ["--app", "a", "--token", "sk"]
SINCE = ["--since", "1h"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["localhost:3000", *APP, *SINCE], "write it like http://localhost:3000/webhooks"),
        ([HERE, *SINCE], "say whose messages"),
        ([HERE, *APP, "--message", "m", "--tag", "vip"], "go with --since"),
        ([HERE, *APP, *SINCE], "no server runs on"),
        ([HERE, *APP, *SINCE, "--url", "http://hooks.example.com"], "use https://, or a server on this machine"),
    ],
)
def test_a_command_line_that_cannot_be_used_is_told_in_words(
    words: list[str], said: str, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("RINGBACK_TOKEN", raising=False)
    monkeypatch.chdir(tmp_path)
    assert main(["replay", *words]) == 2
    assert said in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([HERE, *APP], "one of the arguments --since --message is required"),
        ([HERE, *APP, *SINCE, "--message", "m"], "not allowed with argument --since"),
        ([HERE, *APP, *SINCE, "--limit", "0"], "'0' is no number of messages; use 1 or more"),
        ([HERE, *APP, *SINCE, "--speed", "fast"], "'fast' is no speed; 1 is as it was, 10 ten times as fast"),
        ([HERE, *APP, *SINCE, "--speed", "0"], "'0' is no speed"),
    ],
)
def test_options_that_cannot_be_understood_are_told_in_words(words: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["replay", *words])
    assert ended.value.code == 2
    assert said in capsys.readouterr().err
