"""The traps of the providers' schemes, one test each; and what holds for every row of the catalogue."""

from __future__ import annotations

import hashlib
import hmac
import json
from base64 import b64encode, urlsafe_b64encode

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ringback.errors import VerificationError
from ringback.signing.fetched import KeyRef, KeyUnavailable
from ringback.signing.headers import Headers
from ringback.signing.providers.catalogue import PROVIDERS, SCHEMES, provider, scheme
from ringback.signing.providers.twilio import spellings
from ringback.signing.request import InboundRequest, Secret, Verifier
from ringback.signing.secret import generate_secret, shown
from ringback.signing.verdict import REASONS, Verdict
from ringback.signing.verify import prepare_provider, prepare_scheme

NOW_S = 1_700_000_000
BODY = b'{"id":"evt_1"}'


def mac(key: bytes, content: bytes, algorithm: str = "sha256") -> bytes:
    return hmac.digest(key, content, algorithm)


def post(headers: dict[str, str], body: bytes = BODY, url: bytes = b"https://example.com/hook", method: bytes = b"POST") -> InboundRequest:
    return InboundRequest(Headers.of(headers), body, method, url)


def verify(name: str, secret: str, request: InboundRequest, *, now_s: float = NOW_S, tolerance_s: float | None = None) -> Verdict:
    return prepare_provider(provider(name), [Secret(secret)], tolerance_s=tolerance_s).verify(request, now_s=now_s)


def reason(name: str, secret: str, request: InboundRequest, *, now_s: float = NOW_S, tolerance_s: float | None = None) -> str:
    with pytest.raises(VerificationError) as refused:
        verify(name, secret, request, now_s=now_s, tolerance_s=tolerance_s)
    return refused.value.reason


def test_a_whsec_secret_is_verbatim_for_stripe_and_base64_for_standard_webhooks() -> None:
    secret = "whsec_" + b64encode(b"k" * 24).decode()
    stripe = post({"Stripe-Signature": f"t={NOW_S},v1={mac(secret.encode(), b'%d.' % NOW_S + BODY).hex()}"})
    assert verify("stripe", secret, stripe)
    signature = b64encode(mac(b"k" * 24, b"msg_1.%d." % NOW_S + BODY)).decode()
    assert verify("clerk", secret, post({"svix-id": "msg_1", "svix-timestamp": str(NOW_S), "svix-signature": f"v1,{signature}"}))


def test_polar_signs_with_its_secret_as_it_is() -> None:
    signature = b64encode(mac(b"polar_whs_abc", b"msg_1.%d." % NOW_S + BODY)).decode()
    headers = {"webhook-id": "msg_1", "webhook-timestamp": str(NOW_S), "webhook-signature": f"v1,{signature}"}
    assert verify("polar", "polar_whs_abc", post(headers))


def test_airtable_decodes_its_secret_and_adyen_reads_it_as_hex() -> None:
    airtable = post({"X-Airtable-Content-MAC": "hmac-sha256=" + mac(b"airtable", BODY).hex()})
    assert verify("airtable", b64encode(b"airtable").decode(), airtable)
    adyen = post({"HmacSignature": b64encode(mac(b"adyen", BODY)).decode()})
    assert verify("adyen", b"adyen".hex(), adyen).scheme == "adyen-payload"


@pytest.mark.parametrize(("name", "header"), [("typeform", "Typeform-Signature"), ("x-twitter", "x-twitter-webhooks-signature")])
def test_a_prefix_that_looks_like_hex_may_stand_before_base64(name: str, header: str) -> None:
    assert verify(name, "secret", post({header: "sha256=" + b64encode(mac(b"secret", BODY)).decode()}))
    assert reason(name, "secret", post({header: "sha256=" + mac(b"secret", BODY).hex()})) == "signature_mismatch"


def test_one_header_name_is_sha256_at_bitbucket_and_sha1_at_intercom() -> None:
    strong, weak = "sha256=" + mac(b"s", BODY).hex(), "sha1=" + mac(b"s", BODY, "sha1").hex()
    assert verify("bitbucket", "s", post({"X-Hub-Signature": strong}))
    assert reason("bitbucket", "s", post({"X-Hub-Signature": weak})) == "malformed_header"
    assert verify("intercom", "s", post({"X-Hub-Signature": weak}))


def test_a_weaker_signature_beside_or_instead_of_the_strong_one_is_not_looked_at() -> None:
    weak = {"X-Hub-Signature": "sha1=" + mac(b"s", BODY, "sha1").hex()}
    assert reason("github", "s", post(weak)) == "missing_header"
    assert reason("github", "s", post(weak | {"X-Hub-Signature-256": "sha256=" + "0" * 64})) == "signature_mismatch"
    old = {"X-HubSpot-Signature": hashlib.sha256(b"s" + BODY).hexdigest()}
    assert reason("hubspot", "s", post(old)) == "missing_header"
    assert prepare_scheme(scheme("hubspot-v1"), [Secret("s")]).verify(post(old), now_s=NOW_S)


def test_stripe_v0_and_circleci_v2_are_no_signatures() -> None:
    v1 = mac(b"s", b"%d." % NOW_S + BODY).hex()
    assert reason("stripe", "s", post({"Stripe-Signature": f"t={NOW_S},v0={v1}"})) == "no_supported_scheme"
    assert reason("circleci", "s", post({"circleci-signature": "v2=" + mac(b"s", BODY).hex()})) == "no_supported_scheme"


def test_paddle_separates_with_semicolons_and_workos_with_a_comma_and_a_blank() -> None:
    h1 = mac(b"s", b"%d:" % NOW_S + BODY).hex()
    assert verify("paddle", "s", post({"Paddle-Signature": f"ts={NOW_S};h1={h1}"}))
    assert reason("paddle", "s", post({"Paddle-Signature": f"ts={NOW_S},h1={h1}"})) in ("malformed_header", "no_supported_scheme")
    v1 = mac(b"s", b"%d000." % NOW_S + BODY).hex()
    assert verify("workos", "s", post({"WorkOS-Signature": f"t={NOW_S}000, v1={v1}"})).signed_at_s == NOW_S


@pytest.mark.parametrize("offset_s", [-301, -300, 300, 301])
def test_milliseconds_are_milliseconds(offset_s: int) -> None:
    at_ms = NOW_S * 1000
    request = post({"Revolut-Signature": "v1=" + mac(b"s", b"v1.%d." % at_ms + BODY).hex(), "Revolut-Request-Timestamp": str(at_ms)})
    if abs(offset_s) <= 300:
        assert verify("revolut", "s", request, now_s=NOW_S + offset_s)
    else:
        expected = "timestamp_too_old" if offset_s > 0 else "timestamp_in_future"
        assert reason("revolut", "s", request, now_s=NOW_S + offset_s) == expected


def test_nanoseconds_in_a_date_are_read() -> None:
    at = "2023-11-14T22:13:20.634234626Z"
    signature = "sha256=" + mac(b"secret-secret", b"id-1" + at.encode() + BODY).hex()
    headers = {
        "Twitch-Eventsub-Message-Id": "id-1",
        "Twitch-Eventsub-Message-Timestamp": at,
        "Twitch-Eventsub-Message-Signature": signature,
    }
    verdict = verify("twitch", "secret-secret", post(headers))
    assert verdict.message_id == "id-1"
    assert verdict.signed_at_s == pytest.approx(NOW_S + 0.634234)
    assert reason("twitch", "secret-secret", post(headers), now_s=NOW_S + 602) == "timestamp_too_old"


def test_a_time_that_is_not_signed_is_not_believed() -> None:
    shopify = {"X-Shopify-Hmac-Sha256": b64encode(mac(b"s", BODY)).decode(), "X-Shopify-Triggered-At": "1999-01-01T00:00:00Z"}
    assert verify("shopify", "s", post(shopify), tolerance_s=60).signed_at_s is None
    body = b'{"webhookTimestamp": %d}' % (NOW_S * 1000)
    linear = {"linear-signature": mac(b"s", body).hex(), "linear-timestamp": "1"}
    assert verify("linear", "s", post(linear, body)).signed_at_s == NOW_S
    assert reason("linear", "s", post(linear, body), now_s=NOW_S + 61) == "timestamp_too_old"


def test_an_empty_time_does_not_let_its_digits_move_into_the_body() -> None:
    signature = mac(b"s", b"%d000" % NOW_S + BODY).hex()
    good = post({"x-timestamp": f"{NOW_S}000", "x-signature": signature})
    moved = post({"x-timestamp": "", "x-signature": signature}, b"%d000" % NOW_S + BODY)
    assert verify("airwallex", "s", good, tolerance_s=300)
    assert reason("airwallex", "s", moved, tolerance_s=300) == "malformed_header"


def test_a_secret_said_to_be_plain_text_is_still_used_as_its_scheme_wants() -> None:
    request = post({"X-Hmac-Signature": "hmac-sha256-hex=" + mac("se\u0301cret".encode(), BODY).hex()})
    assert prepare_provider(provider("easypost"), [Secret("sécret", "utf8")]).verify(request, now_s=NOW_S)


def test_the_time_is_judged_only_after_the_signature() -> None:
    assert reason("slack", "s", post({"X-Slack-Request-Timestamp": "1", "X-Slack-Signature": "v0=" + "0" * 64})) == "signature_mismatch"


@pytest.mark.parametrize("names", [("X-Shopify-Hmac-Sha256",), ("shopify-hmac-sha256",)])
def test_shopify_has_two_families_of_headers(names: tuple[str, ...]) -> None:
    assert verify("shopify", "s", post(dict.fromkeys(names, b64encode(mac(b"s", BODY)).decode())))


def test_gitlab_signs_or_sends_a_token_and_the_signature_counts_when_it_is_there() -> None:
    secret = "whsec_" + b64encode(b"k" * 32).decode()
    signed = {"webhook-id": "m", "webhook-timestamp": str(NOW_S)}
    good = "v1," + b64encode(mac(b"k" * 32, b"m.%d." % NOW_S + BODY)).decode()
    assert verify("gitlab", secret, post(signed | {"webhook-signature": good})).scheme == "gitlab-signing-token"
    assert verify("gitlab", "a plain token", post({"X-Gitlab-Token": "a plain token"})).scheme == "gitlab-token"
    both = signed | {"webhook-signature": "v1,AAAA", "X-Gitlab-Token": secret}
    assert reason("gitlab", secret, post(both)) == "signature_mismatch"


def test_secrets_of_a_provider_with_two_schemes_keep_their_numbers() -> None:
    secrets = [Secret("a plain token"), Secret("whsec_" + b64encode(b"k" * 32).decode())]
    verifier = prepare_provider(provider("gitlab"), secrets)
    headers = {"webhook-id": "m", "webhook-timestamp": str(NOW_S)}
    headers["webhook-signature"] = "v1," + b64encode(mac(b"k" * 32, b"m.%d." % NOW_S + BODY)).decode()
    assert verifier.verify(post(headers), now_s=NOW_S).key_index == 1


def test_an_ed25519_public_key_checks_standard_webhooks_and_pins_the_version() -> None:
    public = Secret(shown(generate_secret("ed25519", lambda n: bytes(n))))
    with pytest.raises(ValueError, match="public keys"):
        prepare_scheme(scheme("standard-webhooks-v1a"), [Secret("whsec_" + b64encode(bytes(24)).decode())])
    with pytest.raises(ValueError, match="shared secrets"):
        prepare_scheme(scheme("standard-webhooks-v1"), [public])
    assert prepare_provider(provider("standard-webhooks"), [public])


def test_easypost_normalises_its_secret() -> None:
    assert verify("easypost", "sécret", post({"X-Hmac-Signature": "hmac-sha256-hex=" + mac("se\u0301cret".encode(), BODY).hex()}))


def test_tebex_signs_the_hash_and_solidgate_base64_of_hex() -> None:
    assert verify("tebex", "s", post({"X-Signature": mac(b"s", hashlib.sha256(BODY).hexdigest().encode()).hex()}))
    signature = b64encode(mac(b"s", b"api_pk" + BODY + b"api_pk", "sha512").hex().encode()).decode()
    assert verify("solidgate", "s", post({"merchant": "api_pk", "signature": signature}))


def test_sanity_signs_in_base64url_without_padding() -> None:
    signature = urlsafe_b64encode(mac(b"s", b"%d000." % NOW_S + BODY)).decode().rstrip("=")
    assert verify("sanity", "s", post({"sanity-webhook-signature": f"t={NOW_S}000,v1={signature}"}))


def test_docusign_and_hookdeck_send_one_header_per_key() -> None:
    good, other = b64encode(mac(b"new", BODY)).decode(), b64encode(mac(b"x", BODY)).decode()
    assert verify("docusign", "new", post({"X-DocuSign-Signature-1": other, "X-DocuSign-Signature-2": good}))
    assert verify("hookdeck", "new", post({"x-hookdeck-signature": other, "x-hookdeck-signature-2": good}))
    assert reason("docusign", "new", post({})) == "missing_header"


def test_walmart_signs_method_path_time_and_hash_under_a_header_with_a_dot() -> None:
    content = b"POST\n/hook?a=1\n%d\n%b" % (NOW_S, hashlib.sha256(BODY).hexdigest().encode())
    headers = {"WM_SEC.TIMESTAMP": str(NOW_S), "WM_SEC.SIGNATURE": b64encode(mac(b"s", content)).decode()}
    assert verify("walmart", "s", post(headers, url=b"https://example.com/hook?a=1"))


def test_hubspot_v3_decodes_some_characters_of_the_url() -> None:
    content = b"POSThttps://example.com/hook?a=b@c%20d" + BODY + b"%d000" % NOW_S
    headers = {"X-HubSpot-Request-Timestamp": f"{NOW_S}000", "X-HubSpot-Signature-v3": b64encode(mac(b"s", content)).decode()}
    assert verify("hubspot", "s", post(headers, url=b"https://example.com/hook?a=b%40c%20d"))


def test_trello_and_square_sign_the_url_and_need_to_know_it() -> None:
    url = b"https://example.com/hook"
    assert verify("trello", "s", post({"x-trello-webhook": b64encode(mac(b"s", BODY + url, "sha1")).decode()}, url=url))
    assert reason("square", "s", post({"x-square-hmacsha256-signature": "x"}, url=b"")) == "malformed_header"


def test_mailgun_signs_time_and_token_in_json_or_form() -> None:
    signature = mac(b"s", b"%dtoken" % NOW_S).hex()
    body = json.dumps({"signature": {"timestamp": str(NOW_S), "token": "token", "signature": signature}, "event-data": {}}).encode()
    assert verify("mailgun", "s", post({}, body)).message_id == "token"
    form = f"timestamp={NOW_S}&token=token&signature={signature}".encode()
    assert verify("mailgun", "s", post({}, form)).signed_at_s == NOW_S
    assert reason("mailgun", "s", post({}, form), now_s=NOW_S + 11, tolerance_s=10) == "timestamp_too_old"
    assert reason("mailgun", "s", post({}, form + b"&token=other")) == "malformed_header"
    shifted = f"timestamp={str(NOW_S)[:-1]}&token={str(NOW_S)[-1]}token&signature={signature}".encode()
    # Refused without a limit on its age too: the token would be another one.
    assert reason("mailgun", "s", post({}, shifted)) == "malformed_header"


def test_braintree_takes_the_pair_of_its_key_with_or_without_a_newline() -> None:
    key = hashlib.sha1(b"private").digest()
    for payload in (b"cGF5bG9hZA==", b"cGF5bG9hZA==\n"):
        signature = "x|y&public|" + mac(key, payload, "sha1").hex()
        body = f"bt_signature={signature.replace('&', '%26').replace('|', '%7C')}&bt_payload=cGF5bG9hZA%3D%3D".encode()
        assert verify("braintree", "private", post({}, body))


def test_every_item_of_an_adyen_batch_must_be_signed() -> None:
    def item(psp: str, key: bytes) -> dict[str, object]:
        content = f"{psp}::shop:ref:1000:EUR:AUTHORISATION:true".encode()
        fields = {
            "pspReference": psp,
            "merchantAccountCode": "shop",
            "merchantReference": "ref",
            "eventCode": "AUTHORISATION",
            "success": "true",
        }
        signature = {"hmacSignature": b64encode(mac(key, content)).decode()}
        amount = {"value": 1000, "currency": "EUR"}
        return {"NotificationRequestItem": fields | {"amount": amount, "additionalData": signature}}

    good = json.dumps({"live": "false", "notificationItems": [item("A", b"k"), item("B", b"k")]}).encode()
    bad = json.dumps({"live": "false", "notificationItems": [item("A", b"k"), item("B", b"x")]}).encode()
    assert verify("adyen", b"k".hex(), post({}, good)).scheme == "adyen-standard"
    assert reason("adyen", b"k".hex(), post({}, bad)) == "signature_mismatch"


def test_the_client_state_of_every_graph_notification_must_match() -> None:
    assert verify("ms-graph", "s", post({}, b'{"value":[{"clientState":"s"},{"clientState":"s"}]}'))
    assert reason("ms-graph", "s", post({}, b'{"value":[{"clientState":"s"},{"clientState":"x"}]}')) == "signature_mismatch"
    assert reason("ms-graph", "s", post({}, b'{"value":[]}')) == "missing_header"


def test_twilio_json_cannot_be_passed_off_as_an_empty_form() -> None:
    url = b"https://example.com/hook?bodySHA256=" + hashlib.sha256(BODY).hexdigest().encode()
    signature = b64encode(mac(b"t", url, "sha1")).decode()
    form = {"Content-Type": "application/x-www-form-urlencoded", "X-Twilio-Signature": signature}
    assert verify("twilio", "t", post(form | {"Content-Type": "application/json"}, url=url)).scheme == "twilio-json"
    assert reason("twilio", "t", post(form, b"", url=url)) == "body_hash_mismatch"


@pytest.mark.parametrize(
    ("url", "also"),
    [
        (b"https://h/p?q", b"https://h:443/p?q"),
        (b"http://h/p", b"http://h:80/p"),
        (b"https://h:8443/p?q", b"https://h/p?q"),
        (b"https://u:p@h:8443/p", b"https://u:p@h/p"),
        (b"https://[::1]:8443/p", b"https://[::1]/p"),
        (b"https://[::1]/p", b"https://[::1]:443/p"),
        (b"https://h?q='", b"https://h?q=%27"),
    ],
)
def test_twilio_may_have_written_the_url_otherwise(url: bytes, also: bytes) -> None:
    assert spellings(url)[0] == url
    assert also in spellings(url)


def test_several_secrets_are_tried_and_the_one_that_matched_is_named() -> None:
    secrets = [Secret("new"), Secret("old")]
    request = post({"X-Hub-Signature-256": "sha256=" + mac(b"old", BODY).hex()})
    assert prepare_provider(provider("github"), secrets).verify(request, now_s=NOW_S).key_index == 1


def test_an_unsigned_provider_is_refused_rather_than_believed() -> None:
    assert reason("mollie", "s", post({}, b"id=tr_1")) == "no_supported_scheme"


@pytest.mark.parametrize("name", sorted(PROVIDERS))
def test_every_row_refuses_an_empty_secret_or_none_at_all(name: str) -> None:
    row = PROVIDERS[name]
    if name in ("mollie", "salesforce-outbound", "plaid", "ebay"):
        pytest.skip("has no secret: unsigned, or the key is fetched")
    for secrets in ([], [Secret("")]):
        with pytest.raises(ValueError, match=r"."):
            prepare_provider(row, secrets)


def test_names_are_unique_and_a_wrong_one_gets_a_hint() -> None:
    names = [name for row in PROVIDERS.values() for name in row.scheme_names]
    assert len(names) == len(set(names)) == len(SCHEMES)
    with pytest.raises(ValueError, match="did you mean stripe"):
        provider("strype")
    with pytest.raises(ValueError, match="github-sha256"):
        scheme("github-sha265")


class NoSuchKey:
    """Has every key that is asked for, and none of them is one."""

    def key(self, ref: KeyRef) -> bytes:
        return b"-----BEGIN CERTIFICATE-----\nx" if ref.form != "jwks" else b'{"keys":[]}'


EC_KEY = "MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAE83T4O/n84iotIvIW4mdBgQ/7dAfSmpqIM8kF9mN1flpVKS3GRqe62gw+2fNNRaINXvVpiglSI8eNEc6wEA3F+g=="
PEM = f"-----BEGIN PUBLIC KEY-----\n{EC_KEY[:64]}\n{EC_KEY[64:]}\n-----END PUBLIC KEY-----\n"
USABLE = [
    Secret("whsec_" + b64encode(b"k" * 24).decode()),
    Secret(b"key".hex(), "hex"),
    Secret("key", "utf8"),
    Secret("11" * 32, "hex_ed25519_public_key"),
    Secret(EC_KEY, "spki_base64_p256"),
    Secret(PEM, "pem"),
]


def usable(name: str) -> Verifier | None:
    for secret in USABLE:
        try:
            return prepare_scheme(SCHEMES[name], [secret])
        except ValueError:
            continue
    return None


VERIFIERS = {name: verifier for name in SCHEMES if (verifier := usable(name)) is not None}


def test_nearly_every_scheme_takes_part_in_the_property_test() -> None:
    assert set(SCHEMES) - set(VERIFIERS) <= {"wix", "wechatpay", "google-pubsub-push"}


HEADER_NAMES = sorted(
    {
        name.removesuffix("*").encode()
        for entry in SCHEMES.values()
        for name in (*getattr(entry, "headers", ()), getattr(entry, "timestamp", "").partition(":")[2])
        if name
    }
    | {b"authorization", b"content-type", b"signature", b"signature-input", b"content-digest", b"x-ebay-signature", b"x-twilio-signature"}
    | {b"paypal-transmission-sig", b"paypal-transmission-id", b"paypal-transmission-time", b"paypal-auth-algo", b"paypal-cert-url"}
    | {b"webhook-id", b"webhook-timestamp", b"webhook-signature", b"plaid-verification", b"x-gitlab-token", b"merchant"}
)
INTERESTING = st.sampled_from(
    [
        b"t=1700000000,v1=00",
        b"v1,AAAA",
        b"Bearer a.b.c",
        b"Basic :",
        b"sha256=\xff",
        b"1700000000",
        b"9" * 400,
        b"-1",
        b"\xd9\xa1",
        b'sig=("@method" "@query-param";name="a" "x");created=1;alg="ed25519"',
        b"sig=:AAAA:",
        b"sha-256=:AAAA:",
        b"2023-11-14T22:13:20Z",
        b"0001-01-01T00:00:00+23:59",
        b"https://api.paypal.com/cert",
        b"SHA256withRSA",
        b"eyJhbGciOiJIUzI1NiJ9.e30.AAAA",
        b"eyJhbGciOiJub25lIn0.e30.",
        b64encode(b'{"kid":"a","signature":"\xc3\xa9"}'),
    ]
)
URLS = st.sampled_from([b"", b"https://h/p?q=1", b"x", b"://", b"https://[::1", b"https://h?bodySHA256=a&bodySHA256=b"])
BODIES = st.binary(max_size=80) | st.sampled_from(
    [
        b"[" * 2000,
        b"null",
        b'{"value":1}',
        b'{"signature":[]}',
        b'{"additionalData":{"hmacSignature":"\\ud800"}}',
        b"bt_signature=%7C&bt_payload=",
        b'{"Type":"Notification","Signature":"x","SignatureVersion":"1","SigningCertURL":'
        b'"https://sns.us-east-1.amazonaws.com/SimpleNotificationService-a.pem","Timestamp":"x"}',
        b"a=%ff&a=%fe",
        b"eyJhbGciOiJSUzI1NiJ9.e30.AAAA",
        b'{"webhookTimestamp":1e400}',
        b'{"webhookTimestamp":true}',
    ]
)


@settings(max_examples=1500, deadline=None)
@given(
    name=st.sampled_from(sorted(VERIFIERS)),
    fields=st.lists(st.tuples(st.sampled_from(HEADER_NAMES), INTERESTING | st.binary(max_size=60)), max_size=6),
    body=BODIES,
    method=st.binary(max_size=8),
    url=st.sampled_from([b"", b"https://h/p?q=1", b"x", b"://", b"https://[::1", b"https://h?bodySHA256=a&bodySHA256=b"])
    | st.binary(max_size=40),
)
def test_any_request_gives_a_verdict_or_a_documented_reason(
    name: str, fields: list[tuple[bytes, bytes]], body: bytes, method: bytes, url: bytes
) -> None:
    request = InboundRequest(Headers(fields), body, method, url)
    try:
        verdict = VERIFIERS[name].verify(request, now_s=NOW_S, key_source=NoSuchKey())
    except VerificationError as refused:
        assert refused.reason in REASONS
    else:
        assert isinstance(verdict, Verdict)


@settings(max_examples=25, deadline=None)
@given(
    value=INTERESTING | st.binary(max_size=60),
    body=BODIES,
)
@pytest.mark.parametrize("name", sorted(VERIFIERS))
def test_every_scheme_stays_calm_when_all_its_headers_say_the_same(name: str, value: bytes, body: bytes) -> None:
    request = InboundRequest(Headers([(header, value) for header in HEADER_NAMES]), body, b"POST", b"https://h/p")
    try:
        assert isinstance(VERIFIERS[name].verify(request, now_s=NOW_S, key_source=NoSuchKey()), Verdict)
    except VerificationError as refused:
        assert refused.reason in REASONS


def test_a_key_that_is_not_at_hand_is_our_trouble_and_says_what_to_fetch() -> None:
    headers = {
        "PAYPAL-TRANSMISSION-SIG": "AAAA",
        "PAYPAL-TRANSMISSION-ID": "i",
        "PAYPAL-TRANSMISSION-TIME": "2023-11-14T22:13:20Z",
        "PAYPAL-AUTH-ALGO": "SHA256withRSA",
        "PAYPAL-CERT-URL": "https://api.paypal.com/v1/notifications/certs/CERT-1",
    }
    with pytest.raises(KeyUnavailable) as missing:
        verify("paypal", "WH-1", post(headers))
    assert missing.value.status == 503
    assert missing.value.ref == KeyRef("https://api.paypal.com/v1/notifications/certs/CERT-1", "x509_pem")
    for url in (
        "https://evil.example/c",
        "https://paypal.com.evil.example/c",
        "http://api.paypal.com/c",
        "https://evil.example/?x.paypal.com/c",
    ):
        assert reason("paypal", "WH-1", post(headers | {"PAYPAL-CERT-URL": url})) == "malformed_header"
