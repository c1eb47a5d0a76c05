"""What may be set? Every setting, declared once: name, kind, default and meaning. `docs/reference/settings.md` is made from this.

Names, defaults and aliases that an official client or the reference server's users rely on come from the HTTP contract; they are kept even
where another name would be nicer.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Any, TypeVar, cast

from ringback.config import values
from ringback.config.values import HostPort, Kind, Network, Secret
from ringback.model.settings import Origin
from ringback.policy.proxies import Exceptions, ProxyAddress

T = TypeVar("T")

# `whitelabel_headers` was a switch; its two positions are two of our three styles.
_WHITELABEL: Mapping[str, Callable[[str], str]] = {
    "whitelabel_headers": lambda text: "standard" if values.flag().parse(text) else "svix",
}


@dataclasses.dataclass(frozen=True, slots=True)
class Declared:
    """What is known of a setting besides its value: how it is written, its default as text ("" = unset), its meaning, its other names."""

    name: str
    kind: Kind[Any]
    default: str
    meaning: str
    aliases: Mapping[str, Callable[[str], str]]


@dataclasses.dataclass(frozen=True, slots=True)
class Written:
    """What somebody wrote for a setting ("" of a secret), and where: the kind of place, and the place itself."""

    text: str
    origin: Origin
    where: str


def _same(text: str) -> str:
    return text


def setting(
    default: str,
    kind: Kind[T],
    meaning: str,
    *,
    alias: str = "",
    translated: Mapping[str, Callable[[str], str]] | None = None,
) -> T:
    """Declare a setting that always has a value. `translated` are other names whose values are written differently."""
    aliases = translated if translated is not None else {alias: _same} if alias else {}
    metadata = {"kind": kind, "default": default, "meaning": meaning, "aliases": aliases}
    return dataclasses.field(default=kind.parse(default), metadata=metadata, repr=not kind.secret)


def optional(kind: Kind[T], meaning: str) -> T | None:
    """Declare a setting that may be left out (None)."""
    metadata = {"kind": kind, "default": "", "meaning": meaning, "aliases": {}}
    return cast("T | None", dataclasses.field(default=None, metadata=metadata, repr=not kind.secret))


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """The settings of one server, checked. Build it with `load_settings`; tests may name fields directly."""

    listen_address: HostPort = setting("127.0.0.1:8071", values.host_port(), "Where the server listens for HTTP.")
    public_url: str | None = optional(
        values.web_url("http", "https"),
        "The URL under which the outside reaches this server. It stands in what is handed out: links to the portal, URLs of sources, texts "
        "of auto-config. Left out, it is what the request was sent to, if that comes from this machine or a trusted proxy says so, and "
        "else the address that the server listens on.",
    )
    trusted_proxies: tuple[Network, ...] = setting(
        "",
        values.subnets(),
        "Proxies whose `X-Forwarded-*` headers are believed: on where requests come from, and under which name and scheme they came.",
    )
    forwarded_header: str = setting(
        "x-forwarded",
        values.choice("x-forwarded", "forwarded"),
        "Which headers those proxies write: `X-Forwarded-For`, `-Proto` and `-Host`, or `Forwarded` (RFC 7239). The other kind is never "
        "believed: a proxy passes on what it does not write itself.",
    )
    proxy_protocol: bool = setting(
        "false",
        values.flag(),
        "Connections of those proxies begin with a PROXY header (version 1 or 2), which says who called them; without one they are closed. "
        "Other connections have none.",
    )
    database_url: str = setting(
        "sqlite:///ringback.db",
        values.database(),
        "Where everything is kept. Three slashes begin a path relative to the working directory, four an absolute one.",
    )
    search: bool = setting(
        "true",
        values.flag(),
        "Index messages for searches, in a file beside the database (its name and `.search`). Off: it is removed, and searches refused.",
    )
    search_size_max: int = setting(
        "8GiB",
        values.size("16MiB", "1024GiB"),
        "How large the index of searches may become; beyond that the oldest messages leave it, and are found no more by what they say.",
    )
    main_secret: Secret | None = optional(
        values.secret(16),
        "Encrypts endpoint secrets at rest. Left out, a key file made at first start beside the database (mode 0600) serves; "
        "back that file up with the database.",
    )
    token: Secret | None = optional(
        values.secret(8), "An org token to accept from the first start on. Left out, one is made at first start and printed once."
    )
    jwt_secret: Secret | None = optional(
        values.signing_key(8),
        "The key of the reference server's JWTs: the secret text, or for RS and EdDSA a key in PEM. Left out, JWTs are refused.",
    )
    jwt_algorithm: str = setting(
        "HS256", values.choice("HS256", "HS384", "HS512", "RS256", "RS384", "RS512", "EdDSA"), "How those JWTs are signed."
    )
    portal_frame_ancestors: tuple[str, ...] = setting(
        "", values.origins(), "Origins whose pages may show the portal in a frame (`https://app.example.com`). Empty: none."
    )
    bins: str = setting(
        "auto",
        values.choice("auto", "true", "false"),
        "Request bins at `/in/…` with their viewer, and the relay that `svix listen` speaks to. Anybody may write to them without a token. "
        "`auto` = only where this server listens on loopback and has no `public_url` but a loopback one; otherwise set it to `true`.",
    )
    receive_rate: int | None = optional(
        values.count(1, 1_000_000),
        "Requests a second that all sources of one organisation may take in together; more are answered 429, and other organisations "
        "notice nothing. Left out, there is no such limit. `ringback organisation limit` sets another one for a single organisation.",
    )
    sources: tuple[dict[str, Any], ...] = setting(
        "",
        values.tables(),
        "Sources of webhooks that are made, or changed, at the start: the fields of the API, each with its `uid`, and `app`, the uid of "
        "the application (made when it is not there; left out, the source is one of the ingest API). A text that is `${NAME}` is taken "
        "from that variable of the environment. Such sources are changed here and not through the API; one that is taken out stays, and "
        "is the API's from then on.",
    )
    metrics_access: str = setting(
        "local",
        values.choice("local", "token", "open"),
        "Who may read `/metrics`: `local` = clients on loopback that no proxy speaks for, and org tokens; `token` = org tokens only; "
        "`open` = everybody.",
    )
    max_body_bytes: int = setting("2MiB", values.size("1KiB", "25MiB"), "The largest request body; a larger one is answered 413, unread.")
    body_memory_max: int = setting(
        "128MiB",
        values.size("2MiB", "64GiB"),
        "The most memory that request bodies being read may take in total; beyond it, requests are answered 503.",
    )
    idempotency_ttl: timedelta = setting(
        "12h", values.duration("1m", "90d"), "How long the answer to an `idempotency-key` is kept and repeated."
    )
    idempotency_wait: timedelta = setting(
        "5s", values.duration("0s", "30s"), "How long a second request with the same key waits for the first before it is answered 503."
    )
    idempotency_lease: timedelta = setting(
        "30s",
        values.duration("1s", "10m"),
        "After how long a key whose request never ended may be used again. This version needs no such time: with one process, the "
        "mark of a running request ends with the request, or with the process.",
    )
    payload_validation: str = setting(
        "off",
        values.choice("off", "warn", "reject"),
        "What becomes of a published payload that does not fit the newest schema of its event type, where the event type does not say "
        "(`payloadValidation`): `off` = nothing is compared, `warn` = it is accepted, counted and logged, `reject` = it is answered 422.",
    )
    default_signature_type: str = setting(
        "hmac256",
        values.choice("hmac256", "ed25519"),
        "The kind of secret a new endpoint gets: `hmac256` signs `v1`, `ed25519` signs `v1a`.",
    )
    header_style: str = setting(
        "standard",
        values.choice("standard", "svix", "both"),
        "The names of the signature headers: `webhook-*`, `svix-*` or both.",
        translated=_WHITELABEL,
    )
    request_timeout: timedelta = setting(
        "30s",
        values.duration("1s", "30s"),
        "The time limit of an attempt, from DNS to the response headers.",
        alias="worker_request_timeout",
    )
    response_body_max: int = setting("20000", values.size("0B", "1MiB"), "How much of a response body is read and kept with the attempt.")
    response_body_time: timedelta = setting(
        "5s", values.duration("0s", "30s"), "How long a response body may take after its headers; the outcome is decided before."
    )
    retry_schedule: tuple[timedelta, ...] = setting(
        "5,300,1800,7200,18000,36000,50400,72000,72000",
        values.schedule("30d"),
        "The waits after each failed attempt; each is lengthened by up to a fifth at random, never shortened.",
    )
    retry_after_max: timedelta = setting("3600s", values.duration("0s", "7d"), "The longest `Retry-After` that is obeyed.")
    overload_min_delay: timedelta = setting(
        "60s", values.duration("0s", "1d"), "The shortest wait after a timeout, or a 429 without `Retry-After`."
    )
    endpoint_failure_disable_after: timedelta = setting(
        "120h",
        values.duration("1m", "365d"),
        "An endpoint whose messages have been running out of attempts for longer, without a success in between, is disabled; as is one "
        "whose circuit breaker has been open for longer.",
    )
    breaker_failure_ratio: float = setting(
        "0",
        values.ratio(),
        "The share of an endpoint's attempts within `breaker_window` whose failure opens its circuit breaker: then nothing is sent to it "
        "for `breaker_rest`, what waits costs no attempt, and one attempt decides how it goes on. Retries, else a second late at the "
        "most, may be late by as much. 0: there is none.",
    )
    breaker_min_attempts: int = setting(
        "20", values.count(1, 1_000_000), "How many attempts of an endpoint within `breaker_window` it takes to open its circuit breaker."
    )
    breaker_window: timedelta = setting(
        "60s", values.duration("1s", "1d"), "How far back the attempts of an endpoint count for its circuit breaker, to within a sixth."
    )
    breaker_rest: timedelta = setting(
        "30s",
        values.duration("1s", "1h"),
        "How long a circuit breaker stays open. Each time the attempt after that fails, it is twice as long, up to eight times.",
    )
    endpoint_https_only: bool = setting("false", values.flag(), "Refuse endpoints whose URL is not `https://`.")
    whitelist_subnets: tuple[Network, ...] = setting(
        "", values.subnets(), "Private networks that deliveries may reach all the same. Empty: public addresses only."
    )
    proxy_addr: ProxyAddress | None = optional(
        values.proxy(),
        "A proxy that deliveries go through: HTTP (by CONNECT, to `http://` endpoints too) or SOCKS5. Names are resolved and addresses "
        "checked here all the same, and the proxy is told an address that was checked.",
    )
    noproxy: Exceptions = setting("", values.exceptions(), "What deliveries reach directly although `proxy_addr` is set.")
    proxy_resolves: bool = setting(
        "false",
        values.flag(),
        "Tell the proxy names instead of checked addresses, for proxies that filter by name. Then nothing here checks where a name leads: "
        "the proxy must refuse private addresses itself.",
    )
    max_in_flight: int = setting(
        "2048", values.count(1, 65_536), "The most attempts on the wire at once; fewer where the process may open few files (`ulimit -n`)."
    )
    endpoint_concurrency: int = setting(
        "64", values.count(1, 4_096), "The most attempts on the wire to one endpoint; a struggling one gets fewer by itself."
    )
    transformation_workers: int = setting(
        "2",
        values.count(0, 64),
        "The most processes that run the JavaScript of transformations; they are started when one is first needed. Of several, one is kept "
        "for code that has shown to be quick. 0: none runs here, and none can be enabled.",
    )
    transformation_timeout: timedelta = setting(
        "1s",
        values.duration("100ms", "30s"),
        "How much CPU time a transformation may take; then it is stopped, and the attempt has failed.",
    )
    history_retention: timedelta = setting(
        "90d", values.duration("1m", "3650d"), "How long messages and their attempts are kept once nothing of them is left to do."
    )
    min_free_disk: int = setting(
        "256MiB", values.size("0B", "1024GiB"), "Below so much free disk, new messages are answered 503 while deliveries go on."
    )
    spool_path: str = setting(
        "",
        values.directory(),
        "A directory for events of providers that the database cannot take because its disk is full or fails: they are kept, "
        "acknowledged, and brought in when it can be written again. It should be on another volume. Empty: they are answered 503 then.",
    )
    spool_max_bytes: int = setting(
        "256MiB", values.size("64KiB", "1024GiB"), "How much the spool may hold; beyond it, providers are answered 503 again."
    )
    drain_timeout: timedelta = setting(
        "8s",
        values.duration("0s", "10m"),
        "How long SIGTERM waits for requests and attempts in flight; what is cut then is repeated later.",
    )
    otel_endpoint: str | None = optional(
        values.web_url("http", "https"),
        "A collector of OpenTelemetry that traces go to by OTLP/HTTP, such as `http://localhost:4318` (`/v1/traces` is added). Left out, "
        "no traces are made. Needs the extra `ringback[opentelemetry]`. The address is the operator's: addresses that deliveries may not "
        "reach are no matter here.",
    )
    otel_headers: tuple[tuple[str, str], ...] = setting(
        "",
        values.header_list(),
        "Headers for the collector. Left out while `otel_endpoint` is set, `OTEL_EXPORTER_OTLP_HEADERS` counts.",
    )
    otel_service_name: str | None = optional(
        values.word(),
        "The name of this server in traces. Left out while `otel_endpoint` is set, `OTEL_SERVICE_NAME` counts, then `ringback`.",
    )
    otel_sample_ratio: float = setting(
        "1",
        values.ratio(),
        "How many of the traces that begin here are recorded. Publishers decide for their own, by the flag of their `traceparent`. Left "
        "out while `otel_endpoint` is set, `OTEL_TRACES_SAMPLER_ARG` counts.",
    )
    uvloop: bool = setting("true", values.flag(), "Use uvloop where it is installed; false = asyncio's own event loop.")
    log_level: str = setting("info", values.choice("debug", "info", "warning", "error"), "The least severe log line that is written.")
    log_format: str = setting(
        "auto", values.choice("auto", "human", "json"), "`auto` = human on a terminal, one JSON object per line otherwise."
    )
    # No setting: which of those above were written by somebody, and where.
    written: Mapping[str, Written] = dataclasses.field(default_factory=dict, compare=False, repr=False)


def declared_settings() -> tuple[Declared, ...]:
    """Every setting, in the order of declaration."""
    return tuple(Declared(name=field.name, **field.metadata) for field in dataclasses.fields(Settings) if field.metadata)
