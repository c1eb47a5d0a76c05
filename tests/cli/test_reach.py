"""What all commands have in common that ask a server as its owner."""

from __future__ import annotations

import pytest

from ringback.cli.main import main


@pytest.mark.parametrize(
    "words",
    [
        ["reconcile", "stripe"],
        ["renew", "calendar"],
        ["erase", "--subject", "jo@example.com"],
        ["listen", "http://localhost:3000", "--app", "a"],
        ["trigger", "stripe", "--source", "s", "--secret", "whsec_x"],
    ],
    ids=lambda words: words[0],
)
@pytest.mark.parametrize("url", ["http://hooks.example.com", "http://10.0.0.7:8071"])
def test_no_token_leaves_this_machine_for_all_to_read(words: list[str], url: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*words, "--token", "sk", "--url", url]) == 2
    assert f"the token would go to {url} for everybody on the way to read; use https://" in capsys.readouterr().err
