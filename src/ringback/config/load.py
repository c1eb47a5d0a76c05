"""Where do the settings come from? Defaults, then a TOML file, then the environment, then flags: the later wins.

Everything is read and checked at once, so that an operator sees all mistakes in one go. A name that nobody knows is a mistake too: a
misspelt setting that is silently ignored is found in production.
"""

from __future__ import annotations

import difflib
import re
import tomllib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec

from ringback.config.settings import Declared, Settings, Written, declared_settings
from ringback.errors import OperatorError
from ringback.model.settings import Origin

_OURS = "RINGBACK_"
_REFERENCE_SERVER = "SVIX_"
_CONFIG_VARIABLE = "RINGBACK_CONFIG"
# Ours but no settings: the test suite's own switches, and what Kubernetes sets in every pod beside a service called `ringback`.
_NOT_SETTINGS = re.compile(r"RINGBACK_(TEST_.*|SERVICE_HOST|SERVICE_PORT.*|PORT|PORT_\d+_.*)")
# The one setting whose value is tables, and what stands in it for a variable of the environment.
_SOURCES = "sources"
# Once traces are exported, variables that are standard for that count for these settings.
_TRACES = "otel_endpoint"
_STANDARD: Mapping[str, str] = {
    "OTEL_EXPORTER_OTLP_HEADERS": "otel_headers",
    "OTEL_SERVICE_NAME": "otel_service_name",
    "OTEL_TRACES_SAMPLER_ARG": "otel_sample_ratio",
}
_VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")
# How the settings that have a flag are called on the command line.
FLAGS: Mapping[str, str] = {"listen_address": "--listen", "database_url": "--database"}


class SettingsError(OperatorError):
    """Settings that cannot be used; `problems` has a sentence for each, with its source, its value and what is allowed."""

    def __init__(self, *problems: str) -> None:
        head = "This setting is wrong:" if len(problems) == 1 else f"These {len(problems)} settings are wrong:"
        super().__init__("\n  ".join((head, *problems)))
        self.problems = problems


class _Given(msgspec.Struct, frozen=True):
    """A text that somebody wrote for a setting, and where; `name` is the setting's or one of its aliases."""

    name: str
    text: str
    source: str
    origin: Origin


def load_settings(
    overrides: Mapping[str, str], environ: Mapping[str, str], config_path: str | None, *, defaults: Mapping[str, str] | None = None
) -> Settings:
    """The settings of this server. Reads one file at most; raises SettingsError that lists every problem.

    `overrides` are flags by the setting's name; `config_path` is `--config`, without which `RINGBACK_CONFIG` names the file, if any.
    `defaults` take the place of the declared ones.
    """
    problems: list[str] = []
    known = declared_settings()
    given = [_Given(name, text, f"default of {name}", Origin.PROGRAM) for name, text in (defaults or {}).items()]
    path = config_path or environ.get(_CONFIG_VARIABLE)
    if path:
        given += _from_file(path, known, problems)
    given += _from_environment(environ, known, problems)
    if any(one.name == _TRACES for one in given):
        # Before all others: what is written for the setting itself wins.
        given[:0] = [_Given(name, environ[v], v, Origin.ENVIRONMENT) for v, name in _STANDARD.items() if environ.get(v)]
    given += [_Given(name, text, FLAGS.get(name, name), Origin.FLAG) for name, text in overrides.items()]
    chosen = _parse(known, given, problems)
    if _SOURCES in chosen:
        chosen[_SOURCES] = _filled(chosen[_SOURCES], environ, problems)
    if problems:
        raise SettingsError(*problems)
    settings = Settings(**chosen, written=_written(known, given))
    contradictions = tuple(_contradictions(settings))
    if contradictions:
        raise SettingsError(*contradictions)
    return settings


def _parse(known: tuple[Declared, ...], given: list[_Given], problems: list[str]) -> dict[str, Any]:
    """Values by setting. A later entry replaces an earlier one, and only what is used must be right."""
    chosen: dict[str, Any] = {}
    for declared in known:
        entry = _used(declared, given)
        if entry is None:
            continue
        try:
            chosen[declared.name] = declared.kind.parse(_meant(declared, entry))
        except ValueError as problem:
            shown = "****" if declared.kind.secret else repr(entry.text)
            stop = "" if str(problem).endswith("?") else "."
            problems.append(f"{entry.source} = {shown} {problem}{stop} Allowed: {declared.kind.allowed}.")
    return chosen


def _used(declared: Declared, given: list[_Given]) -> _Given | None:
    """What counts for a setting: the last thing that somebody wrote."""
    return next((g for g in reversed(given) if g.name == declared.name or g.name in declared.aliases), None)


def _meant(declared: Declared, entry: _Given) -> str:
    """A text as the setting itself would be written."""
    text = entry.text.strip()
    translate = declared.aliases.get(entry.name)
    return translate(text) if translate else text


def _written(known: tuple[Declared, ...], given: list[_Given]) -> dict[str, Written]:
    """What was written for each setting, once all of it is known to be right; texts of secrets are not kept."""
    used = ((declared, _used(declared, given)) for declared in known)
    return {
        declared.name: Written("" if declared.kind.secret else _meant(declared, entry), entry.origin, entry.source)
        for declared, entry in used
        if entry is not None
    }


def _from_file(path: str, known: tuple[Declared, ...], problems: list[str]) -> Iterator[_Given]:
    try:
        text = Path(path).read_text("utf-8")
        table = tomllib.loads(text)
    except OSError as error:
        problems.append(f"{path} cannot be read: {error.strerror}. Name a TOML file with --config or {_CONFIG_VARIABLE}.")
        return
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        problems.append(f"{path} is not valid TOML: {error}.")
        return
    names = [name for declared in known for name in (declared.name, *declared.aliases)]
    for key, value in table.items():
        source = f"{path}{_line_of(key, text)}: {key}"
        if key not in names:
            problems.append(f"{source} is not a setting.{_did_you_mean(key, names)}")
        elif (written := _tables(value) if key == _SOURCES else _as_text(value)) is None:
            problems.append(f"{source} is a {type(value).__name__}; write a string, a number, true or false, or a list of these.")
        else:
            yield _Given(key, written, source, Origin.FILE)


def _tables(value: object) -> str | None:
    """Tables as the JSON that their variable would hold."""
    if isinstance(value, str):
        return value
    return msgspec.json.encode(value).decode() if isinstance(value, list) and all(isinstance(item, dict) for item in value) else None


def _filled(value: Any, environ: Mapping[str, str], problems: list[str]) -> Any:
    """A value with what stands as `${NAME}` in it taken from the environment."""
    if isinstance(value, dict):
        return {key: _filled(item, environ, problems) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(_filled(item, environ, problems) for item in value)
    match = _VARIABLE.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        return value
    if not environ.get(match[1]):
        problems.append(f"{_SOURCES} names the variable {match[1]}, which is not set. Set it, or write the value itself.")
    return environ.get(match[1], "")


def _line_of(key: str, text: str) -> str:
    """` line 3`, or nothing when the key is written in an unusual way."""
    pattern = re.compile(rf"\s*\[?[\"']?{re.escape(key)}[\"']?\s*[=\].]")
    number = next((number for number, line in enumerate(text.splitlines(), 1) if pattern.match(line)), None)
    return f" line {number}" if number else ""


def _as_text(value: object) -> str | None:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float | str):
        return str(value)
    if isinstance(value, list):
        items = [_as_text(item) for item in value]
        return None if None in items else ",".join(item for item in items if item)
    return None


def _from_environment(environ: Mapping[str, str], known: tuple[Declared, ...], problems: list[str]) -> Iterator[_Given]:
    names = [name for declared in known for name in (*declared.aliases, declared.name)]
    # The reference server's names first, ours after them: of two that are set, ours wins.
    for prefix in (_REFERENCE_SERVER, _OURS):
        for name in names:
            variable = prefix + name.upper()
            # An empty variable is how compose files and unit files leave one out.
            if environ.get(variable):
                yield _Given(name, environ[variable], variable, Origin.ENVIRONMENT)
    ours = [_as_variable(name) for name in names]
    for variable in sorted(environ):
        if not variable.startswith(_OURS) or variable in ours or variable == _CONFIG_VARIABLE or _NOT_SETTINGS.fullmatch(variable):
            continue
        problems.append(f"{variable} is not a setting.{_did_you_mean(variable.removeprefix(_OURS).lower(), names, _as_variable)}")


def _as_variable(name: str) -> str:
    return _OURS + name.upper()


def _did_you_mean(name: str, names: list[str], written: Callable[[str], str] = str) -> str:
    # The flags are shorter than their settings (--listen, --database), and whoever knows one tries its name here.
    longer = [known for known in names if known.startswith(f"{name}_")]
    near = longer[:1] if len(longer) == 1 else difflib.get_close_matches(name, names, n=1)
    return f" Did you mean {written(near[0])}?" if near else " docs/reference/settings.md lists all of them."


def _contradictions(settings: Settings) -> Iterator[str]:
    """What each setting allows but their sum does not."""
    if settings.body_memory_max < settings.max_body_bytes:
        yield (
            f"body_memory_max ({settings.body_memory_max} bytes) is below max_body_bytes ({settings.max_body_bytes}): "
            "no body of the allowed size could be read. Raise the one or lower the other."
        )
    if settings.proxy_protocol and not settings.trusted_proxies:
        yield "proxy_protocol is on, and trusted_proxies names nobody who may send such a header. Name the proxies, or switch it off."
    if settings.endpoint_concurrency > settings.max_in_flight:
        yield (
            f"endpoint_concurrency ({settings.endpoint_concurrency}) is above max_in_flight ({settings.max_in_flight}): "
            "one endpoint could take every slot. Lower it, or raise max_in_flight."
        )
