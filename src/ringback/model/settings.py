"""What is this server set to? One setting as it is in force, for those who run it."""

from __future__ import annotations

import enum

import msgspec


class Origin(enum.StrEnum):
    """Where the value of a setting came from; the later ones win."""

    DEFAULT = "default"
    FILE = "file"
    ENVIRONMENT = "environment"
    FLAG = "flag"
    # Neither was it written anywhere, nor is it the declared default: a command that starts a server chose it.
    PROGRAM = "program"


class SettingInForce(msgspec.Struct, frozen=True):
    """One setting: its value as text ("" = not set, or empty), where that was written ("" = nowhere), its default and its meaning.

    Of a secret neither value nor default is known here: `given` alone says whether there is one.
    """

    name: str
    value: str
    given: bool
    secret: bool
    origin: Origin
    where: str
    default: str
    meaning: str
    allowed: str
