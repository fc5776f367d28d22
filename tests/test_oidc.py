"""Signing in with an identity provider: the way in, and every way that is none. Only the provider is played."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import parse_qs, urlsplit
from uuid import uuid4

import httpx
import pytest

from tests.identity_provider import CLIENT, SECRET, IdentityProvider
from tests.test_jwt import Signer
from tests.test_problem import check_problem
from voxplane.errors import ConfigurationError
from voxplane.schemas import JsonObject
from voxplane.server.app import create_app
from voxplane.server.control_plane import ControlPlane
from voxplane.server.settings import Settings

HERE = "http://127.0.0.1:5005"
OIDC = "/api/sign-in/oidc"


@pytest.fixture
async def provider() -> AsyncGenerator[IdentityProvider]:
    async with IdentityProvider(f"{HERE}/signin").running() as running:
        yield running


@dataclass(frozen=True)
class Office:
    """A service that people sign in to with the provider."""

    plane: ControlPlane
    provider: IdentityProvider
    organization_id: str

    def browser(self) -> httpx.AsyncClient:
        """Return a browser of its own: it keeps cookies, and follows redirects when it is told to."""
        return httpx.AsyncClient(transport=httpx.ASGITransport(create_app(self.plane)), base_url=HERE)

    async def sent_back(self, browser: httpx.AsyncClient) -> dict[str, str]:
        """Begin in a browser, sign in at the provider, and return what the provider sends back."""
        begun = await browser.get(OIDC)
        assert begun.status_code == 303, begun.text
        async with httpx.AsyncClient() as outside:
            signed_in = await outside.get(begun.headers["location"])
        assert signed_in.status_code == 302, signed_in.text
        back = urlsplit(signed_in.headers["location"])
        assert f"{back.scheme}://{back.netloc}{back.path}" == f"{HERE}/signin"
        return {name: values[0] for name, values in parse_qs(back.query).items()}

    async def sign_in(self) -> httpx.Response:
        """Do all of it."""
        async with self.browser() as browser:
            return await browser.post(OIDC, json=await self.sent_back(browser))


@pytest.fixture
async def office(settings: Settings, provider: IdentityProvider, tmp_path: Path) -> AsyncGenerator[Office]:
    secret = tmp_path / "secret"
    secret.write_text(f"{SECRET}\n")
    async with ControlPlane.open(settings.model_copy(update=provider.settings(secret))) as plane:
        organization = await plane.access.find_organization("default")
        provider.claims["org_id"] = str(organization.id)
        yield Office(plane, provider, str(organization.id))


async def test_who_signs_in_gets_a_token_of_a_day_with_what_the_provider_grants(office: Office) -> None:
    async with office.browser() as browser:
        assert (await browser.get("/api/sign-in/methods")).json() == {"oidc": {"name": "Acme"}}
        begun = await browser.get(OIDC)
        asked = parse_qs(urlsplit(begun.headers["location"]).query)
        assert begun.headers["location"].startswith(f"{office.provider.address}/authorize?prompt=login&")
        assert asked["scope"] == ["openid profile"]
        (cookie,) = begun.headers.get_list("set-cookie")
        assert [part in cookie for part in ("HttpOnly", "SameSite=strict", "Max-Age=600", "Path=/")] == [True] * 4
        assert begun.headers["cache-control"] == "no-store"
        # What the provider and the address bar are shown does not hold what redeems a code.
        (_, nonce, verifier) = browser.cookies["voxplane-sign-in"].split(".")
        assert asked["nonce"] == [nonce]
        assert verifier not in begun.headers["location"]
        answer = await browser.post(OIDC, json=await office.sent_back(browser))
        assert (answer.status_code, answer.headers["cache-control"]) == (201, "no-store")
        assert "voxplane-sign-in" not in browser.cookies
        token = answer.json()
        assert token["scopes"] == ["livekit:read", "livekit:write"]
        assert datetime.fromisoformat(token["expiresAt"]) - datetime.now(UTC) <= timedelta(days=1)
        me = (await browser.get("/api/me", headers={"Authorization": f"Bearer {token['value']}"})).json()
        assert (me["name"], me["organization"]["id"]) == ("Console of Ada", office.organization_id)
        # The cookie lets nobody in.
        assert (await browser.get("/api/me")).status_code == 401


CLAIMS: dict[str, tuple[JsonObject, int]] = {
    "for another client": ({"aud": "another"}, 401),
    "for the API": ({"aud": "voxplane-api"}, 401),
    "for others as well": ({"aud": [CLIENT, "another"]}, 401),
    "for others as well, on behalf of one of them": ({"aud": [CLIENT, "another"], "azp": "another"}, 401),
    "of another attempt": ({"nonce": "another"}, 401),
    "of no attempt": ({"nonce": None}, 401),
    "of an attempt that is a list": ({"nonce": ["x"]}, 401),
    "of another issuer": ({"iss": "https://another.example"}, 401),
    "expired": ({"iat": 1_700_000_000, "exp": 1_700_000_300}, 401),
    "without an end": ({"exp": None}, 401),
    "without an organization": ({"org_id": None}, 401),
    "of an organization that is not here": ({"org_id": str(uuid4())}, 403),
    "without scopes": ({"scope": ""}, 403),
    "with a worker's scope alone": ({"scope": "worker:resolve admin:organizations"}, 403),
}


@pytest.mark.parametrize("what", CLAIMS)
async def test_an_id_token_that_is_not_right_lets_nobody_in(office: Office, what: str) -> None:
    claims, status = CLAIMS[what]
    office.provider.claims |= claims
    check_problem(await office.sign_in(), status, "permission_denied" if status == 403 else "unauthenticated")


async def test_a_stranger_and_another_trusted_issuer_cannot_say_who_somebody_is(
    settings: Settings, provider: IdentityProvider
) -> None:
    other = Signer("ES256", kid="two")
    trusted = provider.issuer()
    second = trusted.model_copy(update={"issuer": "https://second.example", "public_key": other.pem.decode()})
    both = {**provider.settings(), "trusted_issuers": (trusted, second)}
    async with ControlPlane.open(settings.model_copy(update=both)) as plane:
        organization = str((await plane.access.find_organization("default")).id)
        office = Office(plane, provider, organization)
        provider.claims["org_id"] = organization
        assert (await office.sign_in()).status_code == 201  # without a secret: a public client
        assert provider.exchanged[-1]["client_id"] == CLIENT
        right, provider.signer = provider.signer, Signer("ES256")
        check_problem(await office.sign_in(), 401, "unauthenticated")
        provider.signer = other
        provider.claims["iss"] = second.issuer
        check_problem(await office.sign_in(), 401, "unauthenticated")
        provider.signer = right


async def test_only_the_browser_that_began_can_finish_and_only_once(office: Office) -> None:
    async with office.browser() as victim, office.browser() as attacker:
        theirs = await office.sent_back(attacker)
        # Somebody else's code in this browser, before and after it began a sign-in of its own; and a code without one.
        check_problem(await victim.post(OIDC, json=theirs), 401, "sign_in_expired")
        mine = await office.sent_back(victim)
        check_problem(await victim.post(OIDC, json=theirs), 401, "sign_in_expired")
        check_problem(await victim.post(OIDC, json={**theirs, "state": mine["state"]}), 401, "sign_in_expired")
        assert [form["code"] for form in office.provider.exchanged] == [theirs["code"]]  # PKCE refused that one
        for cookie in ("", "x", "..", f"{mine['state']}..", f"{mine['state']}.a.b.c"):
            async with office.browser() as stranger:
                headers = {"Cookie": f"voxplane-sign-in={cookie}"}
                check_problem(await stranger.post(OIDC, json=mine, headers=headers), 401, "sign_in_expired")
        kept = {"Cookie": f"voxplane-sign-in={victim.cookies['voxplane-sign-in']}"}
        assert (await victim.post(OIDC, json=mine)).status_code == 201
        check_problem(await victim.post(OIDC, json=mine), 401, "sign_in_expired")
        async with office.browser() as stolen:
            again = await stolen.post(OIDC, json=mine, headers=kept)
        check_problem(again, 401, "sign_in_expired")
        assert mine["code"] not in again.text


async def test_nobody_is_sent_anywhere_but_to_the_provider(office: Office) -> None:
    async with office.browser() as browser:
        for name in ("next", "redirect_uri", "return_to"):
            check_problem(await browser.get(OIDC, params={name: "https://attacker.example"}), 422, "invalid")


METADATA: dict[str, JsonObject] = {
    "another issuer": {"issuer": "https://another.example"},
    "no token endpoint": {"token_endpoint": None},
    "plain http": {"token_endpoint": "http://idp.example/token"},
    "a script": {"authorization_endpoint": "javascript:alert(1)"},
}


@pytest.mark.parametrize("what", METADATA)
async def test_a_provider_that_says_what_it_should_not_is_as_one_that_is_away(office: Office, what: str) -> None:
    office.provider.metadata |= METADATA[what]
    async with office.browser() as browser:
        begun = await browser.get(OIDC)
        assert (begun.status_code, begun.headers["location"]) == (303, "/signin?error=temporarily_unavailable")
        assert browser.cookies == {}


@pytest.mark.parametrize("status", [302, 500])
async def test_a_provider_that_fails_in_the_middle_is_said_to(office: Office, status: int) -> None:
    office.provider.status = status
    check_problem(await office.sign_in(), 503, "unavailable")


async def test_a_secret_goes_in_the_form_where_the_provider_takes_it_nowhere_else(office: Office) -> None:
    office.provider.metadata["token_endpoint_auth_methods_supported"] = ["client_secret_post"]
    assert (await office.sign_in()).status_code == 201
    assert office.provider.exchanged[-1]["client_secret"] == SECRET


async def test_a_sealed_installation_exchanges_nothing(office: Office, tmp_path: Path) -> None:
    lost = office.plane.settings.model_copy(update={"keyring_file": tmp_path / "lost.json"})
    async with ControlPlane.open(lost) as sealed:
        there = replace(office, plane=sealed)
        check_problem(await there.sign_in(), 503, "key_unavailable")
    assert office.provider.exchanged == []


async def test_where_none_is_configured_there_is_none(plane: ControlPlane) -> None:
    transport = httpx.ASGITransport(create_app(plane))
    async with httpx.AsyncClient(transport=transport, base_url=HERE) as browser:
        assert (await browser.get("/api/sign-in/methods")).json() == {"oidc": None}
        check_problem(await browser.get(OIDC), 404, "not_found")
        check_problem(await browser.post(OIDC, json={"code": "x", "state": "y"}), 404, "not_found")


WRONG: dict[str, tuple[Callable[[Path], dict[str, object]], str]] = {
    "no trusted issuer": (lambda _: {"oidc_issuer": "https://another.example"}, "VOXPLANE_TRUSTED_ISSUERS"),
    "no client": (lambda _: {"oidc_client_id": None}, "VOXPLANE_OIDC_CLIENT_ID"),
    "no way back": (lambda _: {"public_url": None}, "VOXPLANE_PUBLIC_URL"),
    "a way back in the open": (lambda _: {"public_url": "http://voxplane.example.com"}, "must begin with https"),
    "a way back that is no address": (lambda _: {"public_url": "voxplane"}, "cannot be read"),
    "no file": (lambda folder: {"oidc_client_secret_file": folder / "none"}, "cannot be read"),
    "an empty file": (lambda folder: {"oidc_client_secret_file": folder / "empty"}, "is empty"),
}


@pytest.mark.parametrize("what", WRONG)
async def test_settings_that_cannot_work_are_refused_at_the_start(
    settings: Settings, provider: IdentityProvider, tmp_path: Path, what: str
) -> None:
    changed, words = WRONG[what]
    (tmp_path / "empty").touch()
    wrong = settings.model_copy(update=provider.settings() | changed(tmp_path))
    with pytest.raises(ConfigurationError, match=words):
        async with ControlPlane.open(wrong):
            pytest.fail("it was opened")


async def test_over_https_no_other_host_can_set_the_cookie(settings: Settings, provider: IdentityProvider) -> None:
    public = {**provider.settings(), "public_url": "https://voxplane.example.com/"}
    async with (
        ControlPlane.open(settings.model_copy(update=public)) as plane,
        Office(plane, provider, "").browser() as browser,
    ):
        (cookie,) = (await browser.get(OIDC)).headers.get_list("set-cookie")
    assert cookie.startswith("__Host-voxplane-sign-in=")
    assert "Secure" in cookie
