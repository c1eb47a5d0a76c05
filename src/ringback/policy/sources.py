"""How does a source prove its requests, and which of its settings contradict each other? Rules for what an owner may ask for."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Final
from urllib.parse import unquote_plus

from ringback.model.reconciliation import HEADER
from ringback.model.sources import DEFAULT_BODY_BYTES, CannedAnswer, Cron, OwnScheme, Rules, Source, SourceSecret, Verification
from ringback.policy import masking
from ringback.policy.addresses import parse_networks
from ringback.policy.json_instances import QuickLook
from ringback.policy.sources_answers import needs_answerer
from ringback.policy.sources_answers import problems as made_answer_problems
from ringback.policy.validation import Problem, is_sensitive, url
from ringback.signing.handshake import GRANTED_RATE, HANDSHAKES, Knowledge
from ringback.signing.headers import Headers
from ringback.signing.http_signatures import ContentDigest
from ringback.signing.jwt import Jwt
from ringback.signing.places import first_text
from ringback.signing.provider import Provider
from ringback.signing.providers import catalogue
from ringback.signing.providers.ingest import INGEST_TYPES
from ringback.signing.request import InboundRequest, Scheme, Secret, Verifier
from ringback.signing.scheme import Signed
from ringback.signing.senders import BySender
from ringback.signing.standard_scheme import StandardScheme
from ringback.signing.tokens import Token, Unsigned
from ringback.signing.verify import prepare_provider, prepare_scheme

# Types without a row in the catalogue: the owner describes the scheme, or says that there is none.
CUSTOM: Final = "custom"
GENERIC: Final = "generic-webhook"
# The type whose sources send by themselves; nobody calls them.
CRON: Final = "cron"
# Ingest types whose secret may be left out: then they are accepted unsigned (contract, 12).
OPTIONAL_SECRET: Final = frozenset({"github", "hubspot", "docusign", "easypost", "segment"})
# The largest body that any provider is known to send: GitHub's.
MAX_BODY_BYTES: Final = 25 * 1024 * 1024
# The longest retries that are known: what is forgotten sooner may come twice.
MIN_WINDOW_S: Final = 75 * 3_600
# A month; each event costs some 100 bytes for as long.
MAX_WINDOW_S: Final = 31 * 86_400
# Each secret may cost a signature check for each request.
MAX_SECRETS: Final = 10
# Later than every secret's end.
_NEVER_US: Final = 1 << 62
_METHODS: Final = frozenset({"POST", "PUT", "PATCH", "GET", "DELETE"})
# One segment below a root that nothing else of the server uses, so that no route can hide a page or an API.
_ROUTE: Final = re.compile(r"(webhooks|hooks)/[A-Za-z0-9_-][A-Za-z0-9_.-]{0,59}")
_PLACE: Final = re.compile(r"(header|json|form):.+|body")
_TOKEN: Final = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_TOKEN_IN_PATH: Final = re.compile(r"(/source/[^/]*/in/)[^/]*")
# Query parameters that mostly hold credentials: `access_token` of CloudEvents, `hub.verify_token`, API keys, passwords.
_SECRET_NAME: Final = re.compile(r"token|key|secret|auth|pass", re.IGNORECASE)
# And those that prove something, or are to be proven: signatures, codes and challenges.
_PROVING_NAME: Final = re.compile(r"sig|code|challenge|hash|hmac", re.IGNORECASE)
_ORIGIN: Final = re.compile(r"[a-z]*://[^/?]*", re.IGNORECASE)
# Headers of an answer that frame it, or that the server writes itself.
_NOT_ANSWERED: Final = frozenset(
    {
        "connection",
        "content-length",
        "content-type",
        "date",
        "keep-alive",
        "server",
        "set-cookie",
        "trailer",
        "transfer-encoding",
        "upgrade",
    }
)
# Headers that carry credentials meant for us, whatever the scheme.
_CREDENTIALS: Final = frozenset({"authorization", "proxy-authorization", "cookie"})
# They concern one connection (RFC 9110, 7.6.1), or are made anew for each delivery.
_NOT_PASSED: Final = frozenset(
    {
        "connection", "keep-alive", "proxy-connection", "te", "trailer", "transfer-encoding", "upgrade", "expect", "host", "content-length",
        "content-type", HEADER.decode(),
    }
)  # fmt: skip


def provider_of(source_type: str) -> Provider | None:
    """The row of the catalogue that a source of this type follows; None for those that have none."""
    return catalogue.PROVIDERS.get(source_type) or INGEST_TYPES.get(source_type)


def known_types() -> list[str]:
    """All types that a source may have."""
    return sorted({CUSTOM, CRON, GENERIC, *catalogue.PROVIDERS, *INGEST_TYPES})


def source_type(value: str) -> Sequence[Problem]:
    """The rule for types of sources."""
    return () if is_known(value) else [((), catalogue.unknown_type(value, known_types()))]


def is_known(source_type: str) -> bool:
    """Is this a type that a source may have?"""
    return source_type in (CUSTOM, CRON, GENERIC) or provider_of(source_type) is not None


def active(secrets: Sequence[SourceSecret], now_us: int) -> tuple[SourceSecret, ...]:
    """The secrets that hold at `now_us`."""
    return tuple(secret for secret in secrets if secret.expires_at is None or secret.expires_at > now_us)


def next_end(source: Source, now_us: int) -> int:
    """When the next of the source's secrets ends, microseconds since 1970; far in the future when none does."""
    ends = [secret.expires_at for secret in source.verification.secrets if secret.expires_at is not None and secret.expires_at > now_us]
    return min(ends, default=_NEVER_US)


def make_verifier(source_type: str, verification: Verification, now_us: int) -> Verifier | None:
    """What verifies the source's requests; None when it believes everybody. Raises ValueError when it cannot: then it must not start."""
    if verification.verify == "none":
        return None
    secrets = [Secret(secret.text, secret.encoding) for secret in active(verification.secrets, now_us)]
    schemes = schemes_of(source_type, verification)
    if any(isinstance(scheme, Unsigned) for scheme in schemes):
        raise ValueError(f"requests of {source_type} prove nothing; set verify to none if you accept that")
    untimed = next((scheme.unproven for scheme in schemes if isinstance(scheme, Signed) and scheme.unproven), None)
    if untimed is not None:
        raise ValueError(untimed)
    if verification.scheme is not None:
        return by_sender(verification, now_us, lambda some: prepare_scheme(schemes[0], some, tolerance_s=verification.tolerance_s))
    row = provider_of(source_type)
    if row is None:
        raise ValueError("a source of this type needs a scheme, or verify none")
    if not secrets and verification.awaiting_secret:
        return Unsigned(name=source_type, why="the provider has not sent its secret yet").prepare((), None)
    return by_sender(verification, now_us, lambda some: prepare_provider(row, some, tolerance_s=verification.tolerance_s))


def by_sender(verification: Verification, now_us: int, prepare: Callable[[Sequence[Secret]], Verifier]) -> Verifier:
    """What `prepare` makes of the active secrets; of those of each sender, where several share the URL. Raises ValueError."""
    secrets = active(verification.secrets, now_us)
    if not verification.secret_by:
        if any(secret.sender is not None for secret in secrets):
            raise ValueError("a secret has a sender; set secretBy to the place where requests name theirs")
        return prepare([Secret(secret.text, secret.encoding) for secret in secrets])
    if not secrets or not all(secret.sender for secret in secrets):
        raise ValueError("with secretBy, each secret needs its sender")
    return BySender(verification.secret_by, [(s.sender or "", Secret(s.text, s.encoding)) for s in secrets], prepare)


def schemes_of(source_type: str, verification: Verification) -> tuple[Scheme, ...]:
    """The schemes by which a request may prove itself. Raises ValueError for an unknown name."""
    scheme: str | OwnScheme | None = verification.scheme
    if isinstance(scheme, str):
        return (catalogue.scheme(scheme),)
    if scheme is not None:
        return (scheme,)
    row = provider_of(source_type)
    return () if row is None else row.schemes


def answer_of(source: Source) -> CannedAnswer | None:
    """What a believed request is answered: as its owner says, or as its provider wants it; None: 200 and `{}`.

    Ingest sources answer `{}` whatever their type (contract, 12).
    """
    row = provider_of(source.type)
    if source.rules.answer is not None or source.ingest or row is None or row.reply is None:
        return source.rules.answer
    return CannedAnswer(*row.reply)


def handshakes_of(source: Source) -> tuple[str, ...]:
    """The names of the questions that the source answers."""
    row = provider_of(source.type)
    return (*(() if row is None else row.handshakes), *source.verification.handshakes)


def needs_url(source: Source) -> bool:
    """Might its requests be judged by the URL that was called? False only where that is certain."""
    verification = source.verification
    if handshakes_of(source) or verification.awaiting_secret or needs_answerer(answer_of(source)):
        return True
    return verification.verify != "none" and not all(_ignores_url(scheme) for scheme in schemes_of(source.type, verification))


def _ignores_url(scheme: Scheme) -> bool:
    if isinstance(scheme, Signed):
        return not any(field in scheme.content for field in ("{url}", "{decoded_url}", "{path}"))
    return isinstance(scheme, StandardScheme)


def dropped_headers(source: Source) -> frozenset[bytes]:
    """Headers that are not passed on to endpoints: those of the connection, and credentials that prove the sender to us."""
    return frozenset(name.encode() for name in credentials(source) | _NOT_PASSED)


def credentials(source: Source) -> frozenset[str]:
    """Headers, in lower case, that hold a secret itself rather than something signed with it."""
    places = [place for scheme in schemes_of(source.type, source.verification) if isinstance(scheme, Token) for place in scheme.places]
    return _CREDENTIALS.union(place.removeprefix("header:").lower() for place in places if place.startswith("header:"))


def queried(source: Source) -> frozenset[str]:
    """Names of parameters of the query that hold what proves a sender to the source, and could be sent again by whoever sees it."""
    schemes = schemes_of(source.type, source.verification)
    places = [place for scheme in schemes if isinstance(scheme, Token) for place in scheme.places]
    places += [scheme.place for scheme in schemes if isinstance(scheme, Jwt)]
    return frozenset(place.removeprefix("query:") for place in places if place.startswith("query:"))


def shown_headers(source: Source, headers: Sequence[tuple[bytes, bytes]]) -> list[tuple[str, str]]:
    """The headers of a request as a person may see them: credentials masked."""
    secret = credentials(source)
    decoded = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in headers]
    return [(name, "***" if name in secret or is_sensitive(name) else value) for name, value in decoded]


def shown_url(source: Source, url: bytes) -> str:
    """The URL of a request as a person may see it: without the token of the path, and without what may be a credential in the query."""
    path, question, query = url.decode("latin-1").partition("?")
    path = _TOKEN_IN_PATH.sub(r"\1***", path)
    named = queried(source)
    return path + question + _masked(query, lambda name: name in named or _SECRET_NAME.search(name) is not None)


def _masked(query: str, secret: Callable[[str], bool]) -> str:
    shown = []
    for part in query.split("&"):
        name, equals, _ = part.partition("=")
        shown.append(f"{name}=***" if equals and secret(unquote_plus(name)) else part)
    return "&".join(shown)


def shown_target(source: Source, url: bytes) -> str:
    """What was called, for a list that is looked through: path and query of `shown_url`, without any proof either."""
    path, question, query = _ORIGIN.sub("", shown_url(source, url), count=1).partition("?")
    return path + question + _masked(query, lambda name: _PROVING_NAME.search(name) is not None)


def knowledge(source: Source, now_us: int, shared_rate: int | None = None, asked_for: Sequence[str] = ()) -> Knowledge:
    """What the source knows when a provider asks who it is.

    `shared_rate` is what all sources of its organisation may take in a second, `asked_for` are the topics that its hubs were asked for.
    """
    verification = source.verification
    rate = min((rate for rate in (source.rules.rate, shared_rate) if rate is not None), default=None)
    return Knowledge(
        secrets=tuple(secret.text for secret in active(verification.secrets, now_us)),
        verify_token=verification.verify_token,
        public_key=verification.public_key,
        awaiting_secret=verification.awaiting_secret,
        topics=(*verification.topics, *asked_for),
        allowed_origins=verification.allowed_origins,
        # No more is granted than what is kept.
        granted_rate=GRANTED_RATE if rate is None else rate * 60,
    )


def route(value: str) -> Sequence[Problem]:
    """The rule for readable routes."""
    if _ROUTE.fullmatch(value) is None:
        return [((), f"{value!r} is no route for a source; use webhooks/NAME or hooks/NAME, NAME of letters, digits, '-', '_' and '.'")]
    return ()


def methods(values: Sequence[str]) -> Sequence[Problem]:
    """The rule for allowed methods."""
    wrong = [value for value in values if value not in _METHODS]
    if wrong or not values:
        return [((), f"{wrong or 'an empty list'} cannot be allowed; use some of {', '.join(sorted(_METHODS))}")]
    return ()


def networks(values: Sequence[str]) -> Sequence[Problem]:
    """The rule for lists of addresses and subnets."""
    problems: list[Problem] = []
    for index, value in enumerate(values):
        try:
            parse_networks(value)
        except ValueError as error:
            problems.append(((f"[{index}]",), str(error)))
    return problems


def address_lists(values: Sequence[str]) -> Sequence[Problem]:
    """The rule for URLs of lists of addresses; what stands behind `#` is a path in the list."""
    problems: list[Problem] = []
    for index, value in enumerate(values):
        plain = value.partition("#")[0]
        unsafe = [] if plain.startswith("https://") else [((), f"{value!r} is no https:// URL; lists are fetched from nowhere else")]
        problems += [((f"[{index}]",), text) for _, text in (*url(plain), *unsafe)]
    return problems


def handshakes(values: Sequence[str]) -> Sequence[Problem]:
    """The rule for names of handshakes."""
    return [((), f"{value!r} is no handshake; use some of {', '.join(HANDSHAKES)}") for value in values if value not in HANDSHAKES]


def places(values: Sequence[str]) -> Sequence[Problem]:
    """The rule for places in a request."""
    wrong = [value for value in values if _PLACE.fullmatch(value) is None]
    return [((), f"{value!r} is no place; use header:NAME, json:PATH, form:NAME or body") for value in wrong]


def named_places(values: Sequence[str]) -> Sequence[Problem]:
    """The rule for places that hold a text of their own: the whole body is none."""
    wrong = [value for value in values if value == "body" or _PLACE.fullmatch(value) is None]
    return [((), f"{value!r} is no place of a text; use header:NAME, json:PATH or form:NAME") for value in wrong]


def sensitive_fields(values: Sequence[str]) -> Sequence[Problem]:
    """The rule for paths of sensitive fields."""
    return [((f"[{index}]",), text) for index, value in enumerate(values) for text in masking.path_problems(value)]


def hidden_fields(source: Source) -> tuple[str, ...]:
    """The paths of sensitive fields, in an event and in the whole body of a provider that sends several in one: each is shown somewhere.

    Where the body itself holds the secret (Microsoft Graph's `clientState`), that is one of them: who may read events could send them.
    """
    places = [place for scheme in schemes_of(source.type, source.verification) if isinstance(scheme, Token) for place in scheme.places]
    secret = [place.removeprefix("json:") for place in places if place.startswith("json:")]
    fields, row = tuple(dict.fromkeys((*source.rules.sensitive_fields, *secret))), provider_of(source.type)
    batch = "" if row is None or row.batch.startswith("form:") else row.batch.replace("[]", "")
    if not fields or not batch:
        return fields
    inside = [bare.removeprefix(f"{batch}.") for bare in (path.replace("[]", "").removeprefix(".") for path in fields)]
    return tuple(dict.fromkeys((*fields, *inside, *(f"{batch}.{path}" for path in inside))))


def public_url(value: str) -> Sequence[Problem]:
    """The rule for the URL that a provider was given: the query comes with each request."""
    if "?" in value or "#" in value:
        return [((), f"{value!r} has a query or fragment; give the URL without it, each request brings its own query")]
    return url(value)


def required_headers(value: Mapping[str, str]) -> Sequence[Problem]:
    """The rule for headers that must be there: names that a request can have."""
    return [((name,), f"{name!r} is no name of a header; use letters, digits and '-'") for name in value if not _TOKEN.fullmatch(name)]


def answer_headers(value: Mapping[str, str]) -> Sequence[Problem]:
    """The rule for headers of an answer: what a request may have, but none of those that belong to the connection."""
    problems: list[Problem] = []
    for name, content in value.items():
        if not _TOKEN.fullmatch(name) or name.lower() in _NOT_ANSWERED:
            text = f"{name!r} cannot be set; use names of letters, digits and '-', but none of {', '.join(sorted(_NOT_ANSWERED))}"
            problems.append(((name,), text))
        elif not content.isascii() or (content and not content.isprintable()):
            problems.append(((name,), "the value must be a single line of ASCII"))
    return problems


def cron_key(cron: Cron, rules: Rules) -> str | None:
    """What the events of a source that sends by itself are in order with: always the same, as their payload is; None = nothing."""
    request = InboundRequest(Headers(()), cron.payload.encode("utf-8", "surrogatepass"), b"POST", b"")
    return first_text(rules.ordering_key_at, request)


def cron_problems(route_name: str | None, verification: Verification, rules: Rules, cron: Cron) -> list[Problem]:
    """What is wrong with a source that sends by itself."""
    problems: list[Problem] = []
    size = len(cron.payload.encode("utf-8", "surrogatepass"))
    if size > DEFAULT_BODY_BYTES:
        problems.append((("payload",), f"the payload has {size} bytes; at most {DEFAULT_BODY_BYTES} are sent"))
    if route_name is not None:
        problems.append((("route",), f"a source of type {CRON} has no URL, as nobody calls it; leave the route out"))
    if verification.secrets:
        problems.append((("secrets",), f"a source of type {CRON} verifies nothing, as nobody calls it; leave secrets out"))
    if rules.ordering_key_at and cron_key(cron, rules) is None:
        text = f"none of these places holds a text in the payload; a source of type {CRON} has no headers, and sends this payload alone"
        problems.append((("orderingKeyAt",), text))
    if rules.ordering_version_at:
        text = f"a source of type {CRON} sends the same payload each time, so that none is older; leave orderingVersionAt out"
        problems.append((("orderingVersionAt",), text))
    return problems


def _scheme_problems(scheme: Scheme) -> list[Problem]:
    """What an owner's scheme lacks: it would believe nobody, or whoever has seen one request."""
    problems: list[Problem] = []
    if isinstance(scheme, Token) and not scheme.places:
        problems.append((("places",), "name at least one place where the token stands"))
    if isinstance(scheme, Signed):
        if not scheme.headers:
            problems.append((("headers",), "name at least one header that holds the signature"))
        wrong = [name for name in scheme.headers if not _TOKEN.fullmatch(name.removesuffix("*"))]
        problems += [(("headers",), f"{name!r} is no name of a header; use letters, digits and '-'") for name in wrong]
        if "{" not in scheme.content:
            text = f"{scheme.content!r} is the same of every request, and so would be its signature; use fields such as {{body}}"
            problems.append((("content",), text))
    return problems


def contradictions(source_type: str, route_name: str | None, verification: Verification, rules: Rules, now_us: int) -> list[Problem]:
    """What is wrong with a source as a whole: it could not verify, or would believe strangers at a URL that can be guessed."""
    problems: list[Problem] = []
    try:
        make_verifier(source_type, verification, now_us)
    except ValueError as error:
        problems.append((("secrets",) if "secret" in str(error) else ("scheme",), str(error)))
    for scheme in () if isinstance(verification.scheme, str) else schemes_of(source_type, verification):
        if isinstance(scheme, Jwt) and scheme.jwks_url:
            unsafe: list[Problem] = [((), f"{scheme.jwks_url!r} is no https:// URL; keys are fetched from nowhere else")]
            wrong = url(scheme.jwks_url) or ([] if scheme.jwks_url.startswith("https://") else unsafe)
            problems += [(("scheme", "jwksUrl"), text) for _, text in wrong]
        problems += [(("scheme", *where), text) for where, text in _scheme_problems(scheme)]
    if route_name is not None and verification.verify != "signature":
        text = "an unverified source has the unguessable URL alone; give it a scheme and a secret, or leave the route out"
        problems.append((("route",), text))
    elif route_name is not None and proves_no_sender(source_type, verification):
        problems.append((("route",), "the scheme proves nothing of the sender, so that the source has the unguessable URL alone"))
    elif route_name is not None and verification.awaiting_secret:
        text = "whoever calls first could give the source its secret; add the route once the provider has sent it"
        problems.append((("route",), text))
    problems += _rule_problems(rules)
    if rules.answer is not None:
        problems += [(("answer", *where), text) for where, text in _answer_problems(rules.answer, own_secret(verification, now_us))]
        signature = rules.answer.signature
        if signature is not None and not signature.secret and verification.verify != "signature":
            # What strangers have signed so, they could send as an event once signatures count.
            text = "whoever calls would have texts signed with the source's own secret; give the signature another one"
            problems.append((("answer", "signature", "secret"), text))
    problems += sender_problems(verification)
    return problems


def _told_anyway(rules: Rules) -> list[Problem]:
    """Sensitive fields by which events are named or put in order: names and keys are shown, whatever they hold."""
    used = (*rules.event_type_at, *rules.redelivery_at, *rules.ordering_key_at, *(rules.deduplication.by or ()))
    bare = [place.removeprefix("json:").replace("[]", "") + "." for place in used if place.startswith("json:")]
    text = "is what events are named by or in order by, which is shown; take it from one of the two settings"
    return [
        (("sensitiveFields", f"[{index}]"), f"{path!r} {text}")
        for index, path in enumerate(rules.sensitive_fields)
        if any(place.startswith(path.replace("[]", "").removeprefix(".") + ".") for place in bare)
    ]


def _rule_problems(rules: Rules) -> list[Problem]:
    problems: list[Problem] = []
    if not 1 <= rules.max_body_bytes <= MAX_BODY_BYTES:
        problems.append((("maxBodyBytes",), f"{rules.max_body_bytes} must lie between 1 and {MAX_BODY_BYTES}"))
    problems += [(("deduplication", "by", *where), text) for where, text in places(rules.deduplication.by or ())]
    if rules.ordering_version_at and not rules.ordering_key_at:
        text = "versions are compared of what has the same key; set orderingKeyAt to the place of that as well"
        problems.append((("orderingVersionAt",), text))
    problems += _told_anyway(rules)
    window_s = rules.deduplication.window_s
    if not MIN_WINDOW_S <= window_s <= MAX_WINDOW_S:
        problems.append((("deduplication", "windowS"), f"{window_s} must lie between {MIN_WINDOW_S} and {MAX_WINDOW_S}"))
    if rules.schema is not None:
        try:
            QuickLook(rules.schema)
        except ValueError as error:
            problems.append((("schema",), str(error)))
    return problems


def _answer_problems(answer: CannedAnswer, secret: str) -> list[Problem]:
    problems: list[Problem] = []
    if not 200 <= answer.status <= 299:
        problems.append((("status",), f"{answer.status} is no success; the provider would send the event again"))
    problems += [(("headers", *where), text) for where, text in answer_headers(answer.headers)]
    if answer.signature is not None:
        problems += [(("signature", "header"), text) for _, text in answer_headers({answer.signature.header: ""})]
    return problems + made_answer_problems(answer, secret)


def proves_no_sender(source_type: str, verification: Verification) -> bool:
    """Can anybody make a request that is believed, without a secret?"""
    try:
        schemes = schemes_of(source_type, verification)
    except ValueError:
        return False
    return any(isinstance(scheme, ContentDigest) for scheme in schemes)


def sender_problems(verification: Verification) -> list[Problem]:
    """What is wrong with how a source tells its senders apart."""
    problems: list[Problem] = []
    if verification.secret_by and (_PLACE.fullmatch(verification.secret_by) is None or verification.secret_by == "body"):
        text = f"{verification.secret_by!r} is no place that names a sender; use header:NAME, json:PATH or form:NAME"
        problems.append((("secretBy",), text))
    most = Counter(secret.sender for secret in verification.secrets)
    crowded = [sender for sender, count in most.items() if count > MAX_SECRETS]
    problems += [(("secrets",), f"{sender or 'a source'} has more than {MAX_SECRETS} secrets") for sender in crowded]
    return problems


def own_secret(verification: Verification, now_us: int) -> str:
    """The secret that the source signs with, where it must: the first one that holds."""
    return next((secret.text for secret in active(verification.secrets, now_us)), "")
