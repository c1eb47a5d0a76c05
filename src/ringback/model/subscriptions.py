"""When does the provider stop calling? Subscriptions that end unless they are renewed, and how far that is."""

from __future__ import annotations

from typing import Literal, TypeAlias

import msgspec

from ringback.model.reconciliation import Confidence

Method: TypeAlias = Literal["POST", "PUT", "PATCH", "GET"]


class Renewal(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, rename="camel", forbid_unknown_fields=True):
    """How a provider's subscription is renewed: one request, whose answer may say until when it lives now.

    `base`, `path`, `headers` and `body` may hold `{NAME}` for a parameter that the owner gives, and `{period_s}`, `{expires_at}` (RFC
    3339), `{expires_s}`, `{expires_ms}` for how long it shall live, `{url}` for the source's own URL, `{unique}` for a new id. `auth` holds
    `{credential}`, `{basic}` (`credential:` in base64), or `{access_token}`.

    With `token_url` an access token is asked for first, with the form `token_form`, whose values may hold `{credential}` and
    `{client_secret}`. `expires_at` is the path of the end in the answer (RFC 3339, or seconds or milliseconds since 1970), "" = it lives
    for the period that was asked for. `period_s` is that, unless the owner says otherwise.

    `form` is a body as a form, in place of `body`: its values may hold the same, and `{credential}`. `confirmed`: the answer says nothing,
    and the provider asks the source's URL whether that is so, and says there for how long (WebSub); `hub.topic` of the form is what for.
    Such a one without a `base`, and without the owner's, is asked at the hub that the topic names.
    """

    name: str = "custom"
    base: str
    path: str
    method: Method = "POST"
    auth: dict[str, str]
    headers: dict[str, str] = {}
    body: str = ""
    form: dict[str, str] = {}
    content_type: str = "application/json"
    token_url: str = ""
    token_form: dict[str, str] = {}
    expires_at: str = ""
    confirmed: bool = False
    period_s: int = 86_400
    parameters: dict[str, str] = {}
    confidence: Confidence = "low"
    note: str = ""
    source: str = ""


class Subscription(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """How a source's subscription is renewed. `renewal` is a row of the catalogue by its name, or one of the owner's own.

    `base_url` and `token_url` stand in for the provider's own.
    """

    renewal: str | Renewal
    credential: str
    client_secret: str = ""
    period_s: int
    base_url: str | None = None
    token_url: str | None = None
    parameters: dict[str, str] = {}
    paused: bool = False


class Progress(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """How a subscription stands. `expires_at` is when it ends, as far as anybody knows (0 = nobody does).

    `failures` are those in a row, the last one for `cause` (a word) and `detail` (a sentence) at `failed_at`; `told_failing` and
    `told_ended` say that its owner was told of them. `asked_for` is the topic that a hub was asked for last; until it confirms that,
    `asked_until` is until when it is to live, and `asked_at`, while that is waited for, when it was asked. `hub` is that hub where the
    topic named it. Times are microseconds since 1970.
    """

    expires_at: int = 0
    renewed_at: int | None = None
    renewals: int = 0
    failures: int = 0
    cause: str = ""
    detail: str = ""
    failed_at: int | None = None
    told_failing: bool = False
    told_ended: bool = False
    asked_at: int | None = None
    hub: str = ""
    asked_for: str = ""
    asked_until: int = 0


class SubscriptionStanding(msgspec.Struct, frozen=True):
    """A subscription as it is kept: `version` changes with its settings, `next_at` is None while it is paused.

    `topic` is the one of several that its source is subscribed to; "" where there is one subscription.
    """

    source_id: str
    topic: str
    settings: Subscription
    progress: Progress
    next_at: int | None
    version: int
    updated_at: int
