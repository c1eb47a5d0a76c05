"""Can this list of a provider be asked for, and compared with what came? What is wrong with a listing of an owner's own. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Final

import msgspec

from ringback.model.reconciliation import Listing
from ringback.model.sources import Source
from ringback.policy.asking import FRAMING, are_headers, is_path, names_in
from ringback.policy.sources import provider_of
from ringback.policy.validation import Problem

# Bytes of an owner's own listing, as JSON: the rows have some hundred.
_MAX_LISTING: Final = 16_384
# Answers to the credential, and to too many requests.
_NEVER_LOST: Final = frozenset({401, 403, 429})
# Names in a path, and headers of an event, which cost a look each into every item of a page: providers' have a few.
_MAX_NAMES: Final = 20
# What the engine itself knows, and what is secret.
_KNOWN: Final = frozenset({"since", "until", "since_at", "until_at", "id"})
_SECRETS: Final = frozenset({"credential", "basic", "client_secret", "access_token"})


def parameters_of(listing: Listing) -> set[str]:
    """The parameters that the owner must give for a listing."""
    return {name for text in _texts(listing) for name in names_in(text)} - _KNOWN - _SECRETS


def _texts(listing: Listing) -> Iterator[str]:
    """All texts that parameters may be put into."""
    yield from (listing.base, listing.path, listing.items, listing.detail, listing.redeliver, listing.token_url)
    for fields in (listing.headers, listing.auth, listing.query, listing.token_form):
        yield from fields.values()
    yield from (text for text in listing.event_headers.values() if not text.startswith("json:"))
    yield from _texts_in(listing.body)
    if listing.start is not None:
        yield listing.start.path
        yield from listing.start.query.values()
        yield from _texts_in(listing.start.body)


def _texts_in(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list):
        for inner in value.values() if isinstance(value, dict) else value:
            yield from _texts_in(inner)


def listing_problems(listing: Listing) -> list[Problem]:
    """What is wrong with a listing of an owner's own: where in it, and what."""
    problems: list[Problem] = []

    def check(where: str, is_right: Callable[[Any], bool], text: str) -> None:
        if not is_right(getattr(listing, where)):
            problems.append(((msgspec.structs.fields(Listing)[Listing.__struct_fields__.index(where)].encode_name,), text))

    check("path", lambda path: is_path(path), "a path begins with '/' and holds no blanks, '?' or '#'; put parameters into the query")
    for where in ("detail", "redeliver"):
        check(where, lambda path: not path or (is_path(path) and "{id}" in path), "a path begins with '/' and holds {id}")
    check("detail", lambda path: not path or bool(listing.item_id and listing.detail_payload), "give itemId and detailPayload with it")
    check("redeliver", lambda path: not path or bool(listing.item_id), "give itemId with it")
    wanted = ("{access_token}",) if listing.token_url else ("{credential}", "{basic}")
    check("auth", lambda auth: any(name in text for text in auth.values() for name in wanted), f"no header holds {' or '.join(wanted)}")
    check("next", _is_next, "use link, url:PATH, cursor:PARAMETER:PATH, last:PARAMETER:PATH, or leave it out for a single page")
    for field in ("auth", "headers", "event_headers"):
        check(field, are_headers, "names of headers are letters, digits, '-' and '_'; values are one line of ASCII")
    for field in ("auth", "headers"):
        check(field, lambda given: not FRAMING & {name.lower() for name in given}, f"{', '.join(sorted(FRAMING))} cannot be set")
    check("items", lambda path: "[]" in path, "the path has no [], which stands for each item of a list")
    for field in ("items", "item_id", "payload", "time", "headers_at", "next", "more", "position", "detail_payload"):
        check(field, _is_short, f"a path has at most {_MAX_NAMES} names")
    few = f"there are at most {_MAX_NAMES} of them, and as many names in a path"
    check("event_headers", lambda fields: len(fields) <= _MAX_NAMES and all(map(_is_short, fields.values())), few)
    for field in ("path", "query", "body", "start", "headers", "detail", "redeliver", "items"):
        # Elsewhere it would be written into logs on its way.
        check(field, _is_without_secret, "the credential goes into the headers of auth, and into tokenForm, alone")
    if listing.token_url:
        is_asked = any("{credential}" in text for text in listing.token_form.values())
        check("token_form", lambda form: is_asked, "no field holds {credential}")
    problems += _change_problems(listing)
    if len(msgspec.json.encode(listing)) > _MAX_LISTING:
        problems.append(((), f"the listing has more than {_MAX_LISTING} bytes as JSON"))
    return problems


def _change_problems(listing: Listing) -> list[Problem]:
    """What is wrong with a list of changes, and what only such a list may have."""
    problems: list[Problem] = []
    wrong = problems.append
    kind, _, rest = listing.next.partition(":")
    if listing.method == "POST" and kind in ("link", "url"):
        wrong((("method",), "a page that is named by a URL is asked for with GET"))
    if listing.body and listing.method != "POST":
        wrong((("body",), "a body is sent with POST; set method, or put parameters into the query"))
    if listing.start is not None and not is_path(listing.start.path):
        wrong((("start", "path"), "a path begins with '/' and holds no blanks, '?' or '#'; put parameters into the query"))
    if not listing.position:
        for name, given in (("start", listing.start), ("lost", listing.lost), ("thin", listing.thin)):
            if given:
                wrong(((name,), "only a list of changes has it; say with position where an answer holds where to go on"))
        return problems
    if kind not in ("cursor", "url"):
        wrong((("next",), "a list of changes goes on by url:PATH or cursor:PARAMETER:PATH"))
    if kind == "cursor" and rest.partition(":")[2] == listing.position and not listing.more:
        wrong((("more",), "the cursor stands in the last page too; give the path of what says whether there is another page"))
    if listing.newest_first:
        wrong((("newestFirst",), "a list of changes has the oldest first"))
    if listing.redeliver or listing.detail:
        wrong((("position",), "changes are taken as they are listed, without detail and redeliver"))
    if any(not 400 <= status <= 499 or status in _NEVER_LOST for status in listing.lost):
        wrong((("lost",), "these are statuses from 400 to 499, without 401, 403 and 429, which say nothing of a position"))
    return problems


def _is_short(path: str) -> bool:
    return path.count(".") < _MAX_NAMES


def _is_without_secret(given: Any) -> bool:
    texts = _texts_in(msgspec.to_builtins(given))
    return not any(names_in(text) & _SECRETS for text in texts)


def _is_next(text: str) -> bool:
    kind, _, rest = text.partition(":")
    if kind in ("cursor", "last"):
        return all(rest.partition(":")[::2])
    return bool(rest) if kind == "url" else text in ("", "link")


def comparison_problems(source: Source, listing: Listing) -> list[Problem]:
    """Why what this source takes in cannot be compared with what the listing shows: where in the settings, and what."""
    if listing.thin:
        # What is listed never came by a call.
        return []
    row, rules = provider_of(source.type), source.rules
    by = rules.deduplication.by
    if by is None:
        ids = () if row is None else row.event_id[:1]
        places = ids if not ids or row is None else (*ids, *row.event_id_with[:1])
    else:
        places = by
    if not places:
        return [(("listing",), f"events of {source.name} have no id to be compared by; set deduplication.by of the source")]
    if source.verification.secret_by:
        places = (*places, source.verification.secret_by)
    missing = [place for place in places if not _is_listed(place, listing)]
    if missing:
        text = f"events of {source.name} are told apart by {', '.join(missing)}, which {listing.name} does not list"
        return [(("listing",), f"{text}; set deduplication.by of the source to what it lists. {listing.note}".rstrip(". ") + ".")]
    return []


def _is_listed(place: str, listing: Listing) -> bool:
    kind, _, name = place.partition(":")
    return (kind == "json" and not listing.detail) or (
        kind == "header" and bool(listing.headers_at or name.lower() in map(str.lower, listing.event_headers))
    )
