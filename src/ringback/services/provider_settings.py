"""What may an owner say of a provider's API? Rules for credentials, places and parameters, the same for all that asks providers."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence, Set
from typing import Final

import msgspec
from msgspec import UnsetType

from ringback.policy.access_tokens import Granted, Granting, needs_client_secret
from ringback.policy.addresses import is_this_machine
from ringback.policy.urls import UrlParts
from ringback.policy.validation import Problem, Rule

# Secrets as settings name them, and as owners write them.
_WRITTEN: Final = {"credential": "credential", "client_secret": "clientSecret"}
# Longer than any credential of a provider.
MAX_CREDENTIAL: Final = 4_096
MAX_PARAMETERS: Final = 20


def credential_rule(subject: str) -> Rule:
    """The rule for credentials; the problem calls it `subject` and does not repeat it."""

    def rule(value: str) -> Sequence[Problem]:
        if not value.isascii() or not value.isprintable():
            return [((), f"{subject} holds a line break or another character that no header can carry; paste it alone")]
        return ()

    return rule


def place_problem(parts: UrlParts) -> str | None:
    """What is wrong with a place that a credential would go to; None = nothing."""
    if "?" in parts.target or parts.userinfo:
        return "the URL has a query or a password; give the place of the API alone"
    if not is_safe(parts):
        return "the URL must start with https://, or the credential could be read on its way; http:// is for this machine alone"
    return None


def place_problems(places: Iterable[tuple[tuple[str, ...], Callable[[], UrlParts]]]) -> list[Problem]:
    """What is wrong with places that a credential would go to, each where its owner wrote it."""
    problems: list[Problem] = []
    for where, place in places:
        try:
            problem = place_problem(place())
        except ValueError as error:
            problem = str(error)
        if problem is not None:
            problems.append((where, problem))
    return problems


def kept_secrets(
    row: Granting, credential: str | UnsetType, client_secret: str | UnsetType, former: Granted | None, *, moved: bool
) -> tuple[dict[str, str], list[Problem]]:
    """The secrets from now on that the row needs, by name: those given, or those of the former settings; and what is wrong with that.

    `moved`: they would go to another place than the former ones. Then they must be given again, or whoever may change the settings could
    have them sent to himself.
    """
    given = {"credential": credential, **({"client_secret": client_secret} if needs_client_secret(row) else {})}
    secrets, problems = dict[str, str](), list[Problem]()
    known = {} if former is None else msgspec.structs.asdict(former)
    for name, said in given.items():
        if not isinstance(said, UnsetType):
            secrets[name] = said
        elif not known.get(name):
            problems.append(((_WRITTEN[name],), "it is missing: with what the provider's API is asked"))
        elif moved:
            problems.append(((_WRITTEN[name],), "give it again: it would go to another place than it was given for"))
        else:
            secrets[name] = known[name]
    return secrets, problems


def is_safe(parts: UrlParts) -> bool:
    """Can nobody read or change on its way what goes there and comes from there?"""
    return parts.tls or is_this_machine(parts.host)


def missing_parameters(needed: Set[str], given: Mapping[str, str], meanings: Mapping[str, str]) -> list[Problem]:
    """A problem for each parameter that is needed and not given, with what it means."""
    missing = [(name, meanings.get(name, "")) for name in sorted(needed - set(given))]
    return [(("parameters", name), f"the parameter is missing{': ' + meaning if meaning else ''}") for name, meaning in missing]
