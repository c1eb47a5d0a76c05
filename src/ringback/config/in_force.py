"""How is this server set? Every declared setting with its value as text and where that came from; secrets stay what they are."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from ringback.config.settings import Declared, Settings, Written, declared_settings
from ringback.model.settings import Origin, SettingInForce


def settings_in_force(settings: Settings) -> list[SettingInForce]:
    """All of them, in the order of declaration."""
    return [_in_force(settings, declared) for declared in declared_settings()]


def _in_force(settings: Settings, declared: Declared) -> SettingInForce:
    written = settings.written.get(declared.name, Written("", Origin.DEFAULT, ""))
    value = getattr(settings, declared.name)
    origin, where = written.origin, written.where
    if declared.kind.secret:
        # Without a value it is None, or a list with nothing in it.
        text, given = "", value is not None and value != ()
        origin = Origin.PROGRAM if given and origin is Origin.DEFAULT else origin
    else:
        text = written.text if origin is not Origin.DEFAULT else declared.default
        # What a command changed after it was read is told as it is, not as it was written.
        if not _means(declared, text, value):
            text, origin, where = as_text(value), Origin.PROGRAM, ""
        given = text != ""
    return SettingInForce(
        declared.name, text, given, declared.kind.secret, origin, where, declared.default, declared.meaning, declared.kind.allowed
    )


def _means(declared: Declared, text: str, value: Any) -> bool:
    if value is None:
        return text == ""
    try:
        return bool(declared.kind.parse(text) == value)
    except ValueError:
        return False


def as_text(value: Any) -> str:
    """A value as somebody could have written it."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, timedelta):
        return f"{value.total_seconds():g}s"
    if isinstance(value, Sequence) and not isinstance(value, str):
        return ",".join(map(as_text, value))
    return str(value)
