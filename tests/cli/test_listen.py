"""`ringback listen`: what it refuses before it listens. What it does is in tests/acceptance/test_listen.py."""

from __future__ import annotations

from pathlib import Path

import pytest

from ringback.cli.main import main

HERE = "http://localhost:3000/webhooks"
APP = ["--app", "a", "--token", "sk"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["localhost:3000", *APP], "write it like http://localhost:3000/webhooks"),
        ([HERE], "say whose messages"),
        ([HERE, *APP, "--name", "a b"], "use 1 to 100 letters"),
        ([HERE, *APP, "--types", "order.paid,order.made"], "write --types order.paid --types order.made"),
        ([HERE, *APP, "--since", "yesterday"], "such as 10m or 2h"),
        ([HERE, *APP, "--url", "http://hooks.example.com"], "use https://, or a server on this machine"),
        ([HERE, *APP, "--url", "http://10.0.0.7:8071"], "use https://, or a server on this machine"),
        ([HERE, "--app", "a", "--url", "http://127.0.0.1:1"], "an org token is needed"),
        ([HERE, *APP], "no server runs on"),
    ],
)
def test_a_command_line_that_cannot_be_used_is_told_in_words(
    words: list[str], said: str, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("RINGBACK_TOKEN", raising=False)
    monkeypatch.chdir(tmp_path)
    assert main(["listen", *words]) == 2
    assert said in capsys.readouterr().err


def test_a_server_that_is_not_there_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["listen", HERE, *APP, "--url", "http://127.0.0.1:1"]) == 1
    assert "the server did not answer (http://127.0.0.1:1): Connection refused" in capsys.readouterr().err
