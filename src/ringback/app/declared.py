"""Which sources stand in the settings? They are made or changed at the start, and belong to the file from then on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec

from ringback.api.bodies import Body
from ringback.errors import Conflict, InvalidField, OperatorError
from ringback.model.applications import TokenKind
from ringback.services.applications import ApplicationIn, Applications
from ringback.services.sources import SourceIn, Sources
from ringback.services.tokens import DEFAULT_ORG_ID, Principal

_SOURCE: Final = Body(SourceIn)
_APPLICATION: Final = Body(ApplicationIn)
# What a declared source has besides the fields of the API.
_APP: Final = "app"
# What the API shows as the place where such a source is to be changed.
WHERE: Final = "the settings"
_WHO: Final = Principal(TokenKind.ORG, DEFAULT_ORG_ID, None, "settings")


async def declare(declared: Sequence[Mapping[str, Any]], sources: Sources, applications: Applications) -> None:
    """Have the sources be as they are declared. Raises OperatorError, with the name of the first one that cannot be."""
    names = [str(fields.get("uid")) for fields in declared]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise OperatorError(f"sources: {twice!r} is the uid of two of them; each needs its own")
    ids = [await _declared(fields, name, sources, applications) for fields, name in zip(declared, names, strict=True)]
    await sources.undeclare(frozenset(ids))


async def _declared(fields: Mapping[str, Any], name: str, sources: Sources, applications: Applications) -> str:
    fields = dict(fields)
    app = fields.pop(_APP, None)
    unknown = sorted(fields.keys() - {field.encode_name for field in msgspec.structs.fields(SourceIn)})
    if not fields.get("uid"):
        raise OperatorError("sources: each needs a uid, by which it is known again at the next start")
    if unknown:
        raise OperatorError(f"sources: {name!r} has {', '.join(unknown)}, which is no field of a source; the fields are those of the API")
    try:
        wanted = _SOURCE.parse(msgspec.json.encode(fields))
        if app is not None:
            # An application that is not there yet is made: a file may be all that a new server is given.
            made = _APPLICATION.parse(msgspec.json.encode({"name": app, "uid": app}))
            await applications.create(_WHO, made, get_if_exists=True)
        return (await sources.declare(_WHO, app, wanted, WHERE)).id
    except InvalidField as error:
        problems = "; ".join(f"{'.'.join(problem.loc[1:])}: {problem.msg}" for problem in error.problems)
        raise OperatorError(f"sources: {name!r} cannot be used: {problems}") from None
    except Conflict as error:
        raise OperatorError(f"sources: {name!r} cannot be used: {error}") from None
