"""How fast is a load tool that others know? autocannon, from npm; each of its requests is made anew, and signed, as a program would."""

from __future__ import annotations

import json
import pathlib
import subprocess
import typing

from benchmarks.server import ROOT

HOME: typing.Final = ROOT / "benchmarks" / "javascript"
# What to do for its rows where it is not there.
HOW_TO_INSTALL: typing.Final = "autocannon is not installed: npm ci --prefix benchmarks/javascript (needs Node.js 20 or newer)"

Kind = typing.Literal["message", "payload", "stripe"]


def installed() -> bool:
    """Is it there?"""
    return pathlib.Path(HOME, "node_modules", "autocannon").is_dir()


def published(url: str, token: str, *, seconds: float) -> dict[str, typing.Any]:
    """Publish messages; see `load`."""
    return load(url, "message", seconds=seconds, secret=token)


def load(url: str, kind: Kind, *, seconds: float, secret: str = "") -> dict[str, typing.Any]:
    """Send requests on 64 connections in a closed loop; what happened, as `benchmarks.load` tells it.

    `secret` is the token of who publishes a `message`, and what a `stripe` event is signed with. Raises RuntimeError when nothing was
    accepted.
    """
    done = subprocess.run(
        ["node", str(HOME / "load.mjs"), url, str(seconds), kind, secret],
        capture_output=True,
        text=True,
        check=False,
        stdin=subprocess.DEVNULL,
    )
    if done.returncode != 0:
        raise RuntimeError(f"autocannon failed on {url}: {done.stderr[-2000:]}")
    figures: dict[str, typing.Any] = json.loads(done.stdout)
    if not figures["accepted"]:
        raise RuntimeError(f"nothing was accepted by {url}: {figures['statuses']}")
    return figures
