from __future__ import annotations

import base64
import hashlib
import hmac
import json
from typing import Any

import pytest

from ringback.api import authentication, portal
from ringback.api.app import Settings, build
from ringback.errors import OperatorError
from ringback.model.applications import Capability
from ringback.services.jwts import Jwts
from ringback.services.portal import Portal
from ringback.services.tokens import DEFAULT_ORG_ID
from tests.api.conftest import TOKEN
from tests.api.history import History

SECRET = "the shared secret of both servers"
OTHER_ORG = "org_" + "A" * 27
FORBIDDEN = {"code": "insufficient access", "detail": "This token may not do that; use an org token"}
INVALID = {"code": "authentication_failed", "detail": "Invalid token"}


def opened(api: Any) -> Any:
    more = [
        *authentication.routes(Portal(api.store, api.tokens), api.services.applications, lambda token: f"http://x/portal/#key={token}"),
        *portal.routes(Portal(api.store, api.tokens), ("https://app.example",)),
    ]
    api.app = build(api.services, api.reader, Settings(), more=more)
    api.app_id = api.made("/app", {"name": "Shop", "uid": "shop"})["id"]
    return api


@pytest.fixture
def doors(api: Any) -> Any:
    return opened(api)


@pytest.fixture
def signed(api: Any) -> Any:
    api.tokens._jwts = Jwts(SECRET, "HS256", bytes)
    return opened(api)


def entered(api: Any, body: Any = None, app: str = "shop") -> str:
    response = api.post(f"/auth/app-portal-access/{app}", body or {})
    assert response.status_code == 200, response.text
    answer = response.json()
    assert answer["url"] == f"http://x/portal/#key={answer['token']}"
    return str(answer["token"])


def part(value: Any) -> str:
    return base64.urlsafe_b64encode(value if isinstance(value, bytes) else json.dumps(value).encode()).rstrip(b"=").decode()


def jwt(claims: Any, *, alg: str = "HS256", secret: str = SECRET, digest: Any = hashlib.sha256) -> str:
    content = f"{part({'typ': 'JWT', 'alg': alg})}.{part(claims)}"
    return f"{content}.{part(hmac.digest(secret.encode(), content.encode(), digest))}"


def test_a_portal_token_reaches_its_own_application_alone(doors: Any) -> None:
    doors.made("/app", {"name": "Other", "uid": "other"})
    token = entered(doors)
    assert token.startswith("appsk_")
    assert doors.get("/app/shop", token=token).json()["id"] == doors.app_id
    assert doors.get("/app/other", token=token).status_code == 404
    assert doors.get("/app", token=token).json() == FORBIDDEN
    assert doors.get("/auth/whoami", token=token).json() == {
        "envId": DEFAULT_ORG_ID,
        "appId": doors.app_id,
        "streamAppId": None,
        "permissionSource": "RegionalAuthToken",
        "sessionId": None,
        "capabilities": [
            "ViewBase", "ViewEndpointSecret", "ManageEndpointSecret", "ManageTransformations", "CreateAttempts", "ManageEndpoint",
        ],
    }  # fmt: skip
    assert doors.get("/auth/whoami").json()["appId"] is None


def test_the_old_path_makes_the_same_kind_of_token(doors: Any) -> None:
    response = doors.post("/auth/dashboard-access/shop")
    assert response.status_code == 200
    assert doors.get("/app/shop", token=response.json()["token"]).status_code == 200


def test_an_unknown_application_is_made_on_the_way(doors: Any) -> None:
    assert doors.post("/auth/app-portal-access/new", {}).json() == {"code": "not_found", "detail": "Entity not found"}
    missing = doors.post("/auth/app-portal-access/new", {"application": {"name": "New"}})
    assert missing.json()["detail"][0]["type"] == "application_uid_missing"
    mismatch = doors.post("/auth/app-portal-access/new", {"application": {"name": "New", "uid": "newer"}})
    assert mismatch.json()["detail"][0]["type"] == "application_uid_mismatch"
    token = entered(doors, {"application": {"name": "New", "uid": "new"}}, "new")
    assert doors.get("/app/new", token=token).json()["name"] == "New"


def test_what_a_portal_token_may_not_say(doors: Any) -> None:
    wrong = {"expiry": 1, "capabilities": ["Everything"], "sessionId": "a b", "featureFlags": ["a", "a"]}
    response = doors.post("/auth/app-portal-access/shop", wrong)
    assert response.status_code == 422
    assert [(problem["loc"], problem["msg"]) for problem in response.json()["detail"]] == [
        (["body", "capabilities", "[0]"], f"'Everything' is not one of {', '.join(Capability)}"),
        (["body", "featureFlags", "[1]"], "'a' stands in the list twice; give it once"),
        (["body", "expiry"], "Expected `int` >= 3600"),
        (["body", "sessionId"], "'a b' is no session id; use 1 to 64 letters, digits, '@', '_' and '-'"),
    ]
    response = doors.post("/auth/app/shop/expire-all", {"expiry": -1})
    assert response.json() == {"detail": [{"loc": ["body", "expiry"], "msg": "Expected `int` >= 0", "type": "value_error"}]}
    assert doors.post("/auth/app/nobody/expire-all", {}).status_code == 404


@pytest.mark.parametrize(
    ("capabilities", "allowed"),
    [
        (["ViewBase"], set()),
        (["ViewEndpointSecret"], {"see secret"}),
        (["ManageEndpointSecret"], {"see secret", "rotate"}),
        (["ManageEndpoint"], {"see secret", "rotate", "create", "patch", "headers"}),
        (["CreateAttempts"], {"resend"}),
        (None, {"see secret", "rotate", "create", "patch", "headers", "resend"}),
    ],
)
def test_a_capability_allows_what_the_contract_says(api: Any, capabilities: Any, allowed: set[str]) -> None:
    history = History(api)
    token = api.run(api.store.write(lambda tx: api.tokens.grant(tx, DEFAULT_ORG_ID, _grant(history.app_id, capabilities))))[1]
    message = history.message()
    one = "/app/shop/endpoint/first"
    done = {
        "see secret": api.get(one + "/secret", token=token),
        "rotate": api.post(one + "/secret/rotate", {}, token=token),
        "create": api.post("/app/shop/endpoint", {"url": "https://new.example"}, token=token),
        "patch": api.patch(one, {"description": "x"}, token=token),
        "headers": api.put(one + "/headers", {"headers": {}}, token=token),
        "resend": api.post(f"/app/shop/msg/{message.id}/endpoint/first/resend", token=token),
    }
    assert {name for name, response in done.items() if response.status_code < 300} == allowed
    assert {response.status_code for name, response in done.items() if name not in allowed} <= {403}
    assert api.get(one, token=token).status_code == 200


def _grant(app_id: str, capabilities: Any) -> Any:
    from ringback.model.applications import Capability
    from ringback.services.tokens import Grant

    return Grant(app_id, None if capabilities is None else tuple(map(Capability, capabilities)))


def test_read_only_is_the_old_word_for_viewing(doors: Any) -> None:
    token = entered(doors, {"readOnly": True})
    response = doors.post("/app/shop/endpoint", {"url": "https://new.example"}, token=token)
    assert response.json() == {
        "code": "insufficient access",
        "detail": "This token may not do that: it lacks the capability ManageEndpoint",
    }


def test_event_types_behind_a_flag_are_seen_with_the_flag(doors: Any) -> None:
    for name, flags in (("open", None), ("beta.one", ["beta"]), ("alpha.one", ["alpha", "beta2"])):
        doors.made("/event-type", {"name": name, "description": "x", "featureFlags": flags})

    def seen(token: str) -> list[str]:
        return [item["name"] for item in doors.get("/event-type", token=token).json()["data"]]

    assert seen(TOKEN) == ["alpha.one", "beta.one", "open"]
    assert seen(entered(doors)) == ["open"]
    beta = entered(doors, {"featureFlags": ["beta"]})
    assert seen(beta) == ["beta.one", "open"]
    assert doors.get("/event-type/beta.one", token=beta).status_code == 200
    assert doors.get("/event-type/alpha.one", token=beta).json() == {"code": "not_found", "detail": "Entity not found"}


def test_logging_out_ends_one_token_at_once(doors: Any) -> None:
    token, other = entered(doors), entered(doors)
    assert doors.post("/auth/logout", token=token).status_code == 204
    assert doors.get("/app/shop", token=token).json() == INVALID
    assert doors.get("/app/shop", token=other).status_code == 200
    assert doors.post("/auth/logout").json() == {
        "code": "insufficient access",
        "detail": "An org token cannot log out; revoke it with `ringback token revoke`",
    }


def test_all_tokens_of_an_application_end_together_or_those_of_some_sessions(doors: Any) -> None:
    a, b, other = entered(doors, {"sessionId": "a"}), entered(doors, {"sessionId": "b@x"}), entered(doors)
    assert doors.post("/auth/app/shop/expire-all", {"sessionIds": ["b@x"]}).status_code == 204
    assert [doors.get("/app/shop", token=token).status_code for token in (a, b, other)] == [200, 401, 200]
    assert doors.post("/auth/app/shop/expire-all", {"expiry": 3600}).status_code == 204
    assert [doors.get("/app/shop", token=token).status_code for token in (a, other)] == [200, 200]
    assert doors.post("/auth/app/shop/expire-all").status_code == 204
    assert [doors.get("/app/shop", token=token).status_code for token in (a, other)] == [401, 401]
    assert doors.get("/app/shop").status_code == 200


def test_the_tokens_of_a_deleted_application_are_dead(doors: Any) -> None:
    token = entered(doors)
    assert doors.get("/app/shop", token=token).status_code == 200
    assert doors.delete("/app/shop").status_code == 204
    assert doors.get("/app/shop", token=token).json() == INVALID


def test_a_repeated_request_gets_the_same_token(doors: Any) -> None:
    key = {"idempotency-key": "one"}
    first = doors.post("/auth/app-portal-access/shop", {}, headers=key).json()
    assert doors.post("/auth/app-portal-access/shop", {}, headers=key).json() == first
    assert doors.post("/auth/app-portal-access/shop", {}).json() != first


def test_signed_tokens_of_the_reference_server_are_believed(signed: Any) -> None:
    org = jwt({"sub": DEFAULT_ORG_ID, "iat": 1, "iss": "svix-server"})
    assert signed.get("/app/shop", token=org).json()["id"] == signed.app_id
    assert signed.get("/auth/whoami", token=org).json()["permissionSource"] == "SvixJwt"
    portal_token = jwt({"org": DEFAULT_ORG_ID, "sub": signed.app_id, "feature_flags": ["beta"]})
    signed.made("/event-type", {"name": "beta.one", "description": "x", "featureFlags": ["beta"]})
    assert [item["name"] for item in signed.get("/event-type", token=portal_token).json()["data"]] == ["beta.one"]
    assert signed.get("/app/shop", token=portal_token).status_code == 200
    assert signed.get("/app", token=portal_token).json() == FORBIDDEN


def test_a_signed_token_may_hold_to_the_end_of_time_and_be_logged_out(signed: Any) -> None:
    token = jwt({"org": DEFAULT_ORG_ID, "sub": signed.app_id, "exp": 1e300, "iat": -1e300})
    assert signed.get("/app/shop", token=token).status_code == 200
    assert signed.post("/auth/logout", token=token).status_code == 204
    assert signed.get("/app/shop", token=token).json() == INVALID


def test_an_organisation_appears_when_it_first_calls_and_sees_its_own_alone(signed: Any) -> None:
    token = jwt({"sub": OTHER_ORG})
    assert signed.get("/app/shop", token=token).status_code == 404
    assert signed.post("/app", {"name": "Theirs", "uid": "shop"}, token=token).status_code == 201
    assert signed.get("/app/shop", token=token).json()["name"] == "Theirs"
    assert signed.get("/app/shop").json()["name"] == "Shop"
    assert signed.get(f"/app/{signed.app_id}", token=jwt({"org": OTHER_ORG, "sub": signed.app_id})).json() == INVALID


@pytest.mark.parametrize(
    "token",
    [
        jwt({"sub": DEFAULT_ORG_ID}, secret="another"),
        jwt({"sub": DEFAULT_ORG_ID}, alg="HS512", digest=hashlib.sha512),
        jwt({"sub": DEFAULT_ORG_ID}, alg="none"),
        f"{part({'alg': 'none'})}.{part({'sub': DEFAULT_ORG_ID})}.",
        jwt({"sub": DEFAULT_ORG_ID, "exp": 1_500_000_000}),
        jwt({"sub": DEFAULT_ORG_ID, "nbf": 5_000_000_000}),
        jwt({"sub": DEFAULT_ORG_ID, "exp": "soon"}),
        jwt({"sub": DEFAULT_ORG_ID, "exp": 10**400}),
        jwt({"sub": DEFAULT_ORG_ID, "iat": -(10**400)}),
        "eyJ.eyJ.x",
    ],
)
def test_a_token_that_is_not_signed_so_is_nobody(signed: Any, token: str) -> None:
    """Source: https://www.rfc-editor.org/rfc/rfc8725#section-2.1."""
    assert signed.get("/app/shop", token=token).json() == INVALID


@pytest.mark.parametrize(
    ("claims", "detail"),
    [
        ({"sub": "somebody"}, "the claim sub of the token is not an id that begins with org_"),
        ({}, "the claim sub of the token is not an id that begins with org_"),
        ({"org": DEFAULT_ORG_ID, "sub": "x"}, "the claim sub of the token is not an id that begins with app_"),
        ({"org": "x", "sub": "app_" + "A" * 27}, "the claim org of the token is not an id that begins with org_"),
    ],
)
def test_a_genuine_token_about_nobody_is_a_bad_one(signed: Any, claims: Any, detail: str) -> None:
    response = signed.get("/app/shop", token=jwt(claims))
    assert (response.status_code, response.json()) == (400, {"code": "bad token", "detail": detail})


def test_the_secret_itself_is_no_token_and_hears_so(signed: Any) -> None:
    response = signed.get("/app/shop", token=SECRET)
    assert response.json() == {
        "code": "authentication_failed",
        "detail": "Invalid token: this is the signing secret itself; send a token that was signed with it",
    }


def test_without_a_secret_no_signed_token_is_believed(doors: Any) -> None:
    assert doors.get("/app/shop", token=jwt({"sub": DEFAULT_ORG_ID})).json() == INVALID


def test_signed_tokens_can_be_ended_one_by_one_and_all_together(signed: Any) -> None:
    claims = {"org": DEFAULT_ORG_ID, "sub": signed.app_id}
    first, second, later = (jwt({**claims, "iat": iat}) for iat in (1_500_000_000, 1_600_000_000, 4_000_000_000))
    assert signed.post("/auth/logout", token=first).status_code == 204
    assert [signed.get("/app/shop", token=token).status_code for token in (first, second, later)] == [401, 200, 200]
    assert signed.post("/auth/app/shop/expire-all", {"sessionIds": ["x"]}).status_code == 204
    assert signed.get("/app/shop", token=second).status_code == 200
    assert signed.post("/auth/app/shop/expire-all", {"expiry": 3600}).status_code == 204
    assert signed.get("/app/shop", token=second).status_code == 200
    assert signed.post("/auth/app/shop/expire-all").status_code == 204
    assert [signed.get("/app/shop", token=token).status_code for token in (second, later)] == [401, 200]


def test_the_public_half_of_a_key_checks_and_never_serves_as_a_secret() -> None:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

    key = Ed25519PrivateKey.generate()
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    public = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
    content = f"{part({'alg': 'EdDSA'})}.{part({'sub': OTHER_ORG})}"
    token = f"{content}.{part(key.sign(content.encode()))}".encode()
    for pem in (private, public):
        jwts = Jwts(pem, "EdDSA", bytes)
        assert jwts.read(token, 0).org_id == OTHER_ORG
        with pytest.raises(Exception, match="Invalid token"):
            jwts.read(jwt({"sub": OTHER_ORG}, secret=public).encode(), 0)
    with pytest.raises(OperatorError, match="jwt_secret"):
        Jwts("no key at all", "RS256", bytes)
    # Whoever has the public half could sign with it.
    with pytest.raises(OperatorError, match="jwt_secret cannot be used with jwt_algorithm HS256: a key in PEM is no shared secret"):
        Jwts(public, "HS256", bytes)


def test_the_page_runs_its_own_script_alone(doors: Any) -> None:
    import httpx

    async def fetched() -> httpx.Response:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(doors.app), base_url="http://127.0.0.1") as client:
            return await client.get("/portal/")

    response = doors.run(fetched())
    assert response.headers["content-type"] == "text/html; charset=utf-8"
    policy = response.headers["content-security-policy"]
    script = response.text.split("<script>")[1].split("</script>")[0]
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}';" in policy
    assert policy.endswith("frame-ancestors https://app.example")
    assert "unsafe" not in policy and "http://" not in response.text and "innerHTML" not in response.text
