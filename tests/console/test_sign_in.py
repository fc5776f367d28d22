"""Signing in, signing in again in mid-work, and signing out."""

from __future__ import annotations

import socket
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from urllib.parse import urlsplit

import httpx
import pytest
from anyio.from_thread import start_blocking_portal
from playwright.sync_api import Browser, Page, expect

from tests.console.conftest import PROVIDERS, OpenConsole, Service, Watch
from tests.identity_provider import IdentityProvider
from tests.served import served
from voxplane.schemas import OrganizationCreate
from voxplane.server.control_plane import ControlPlane, local_administrator
from voxplane.server.settings import Settings

OTHER_KEY = "gsk_0123456789canary"


@pytest.fixture
def other(service: Service) -> str:
    """A second organization, where Groq has a key and a label of its own."""
    new = OrganizationCreate(slug="other", name="Other organization")
    service.portal.call(service.plane.access.create_organization, local_administrator(None, "test"), new)
    token = service.token(organization="other")
    with httpx.Client(base_url=service.address, headers={"Authorization": f"Bearer {token}"}) as client:
        body = {"secrets": {"apiKey": OTHER_KEY}, "label": "Other's key"}
        client.put(f"{PROVIDERS}/groq/secrets", json=body).raise_for_status()
    return token


def sign_in(page: Page, token: str) -> None:
    page.get_by_label("Access token").fill(token)
    page.get_by_role("button", name="Sign in").click()


def revoke(service: Service, token: str) -> None:
    """Make a token one that is no longer known."""
    token_id = token.split("_")[1]
    service.admin.delete(f"/api/organizations/current/tokens/{token_id}").raise_for_status()


def test_a_token_that_is_not_known_is_refused_in_words(open_console: OpenConsole, watch: Watch) -> None:
    watch.expected.append("401 (Unauthorized)")
    page = open_console(signed_in=False)
    sign_in(page, "vxp_nobody")
    expect(page.get_by_role("alert")).to_contain_text("This token is not known.")
    expect(page.get_by_label("Access token")).to_have_attribute("aria-invalid", "true")


def test_a_pasted_token_signs_in_and_is_gone_with_a_reload_unless_it_was_to_be_kept(
    open_console: OpenConsole, service: Service
) -> None:
    token = service.token()
    page = open_console("/providers/groq/credentials", signed_in=False)
    sign_in(page, token)
    expect(page.get_by_role("dialog", name="Groq")).to_be_visible()
    assert page.evaluate("Object.entries(sessionStorage).concat(Object.entries(localStorage))") == []
    page.reload()
    page.get_by_label("Keep me signed in in this tab").check()
    sign_in(page, token)
    expect(page.get_by_role("dialog", name="Groq")).to_be_visible()
    page.reload()
    expect(page.get_by_role("dialog", name="Groq")).to_be_visible()
    assert page.evaluate("Object.entries(localStorage)") == []


def test_the_printed_link_signs_in_once(open_console: OpenConsole, service: Service, watch: Watch) -> None:
    watch.expected.append("401 (Unauthorized)")
    code = service.portal.call(service.plane.sign_in_code)
    assert code is not None
    page = open_console(f"/signin#{code}", signed_in=False)
    page.wait_for_selector("[data-provider]")
    assert code not in page.url
    again = open_console(f"/signin#{code}", signed_in=False)
    expect(again.get_by_role("alert")).to_contain_text("This link was used before or is too old.")
    assert code not in again.url
    # Pasted into the tab that is at the page already, for which the browser loads nothing.
    fresh = service.portal.call(service.plane.sign_in_code)
    again.evaluate("(code) => { location.hash = code }", fresh)
    again.wait_for_selector("[data-provider]")
    assert str(fresh) not in again.url


def test_check_56_one_organization_never_shows_what_was_anothers(
    open_console: OpenConsole, service: Service, other: str
) -> None:
    service.store_key("openai")
    page = open_console("/providers/openai/credentials")
    expect(page.locator("[data-secret=apiKey] [data-set=true]")).to_be_visible()
    page.get_by_role("button", name="Close OpenAI").click()
    page.get_by_role("button", name="Sign out").click()
    expect(page.get_by_role("heading", name="Sign in")).to_be_visible()
    assert page.url == f"{service.address}/signin"
    sign_in(page, other)
    expect(page.get_by_text("Other organization")).to_be_visible()
    expect(page.get_by_text("Default organization")).to_have_count(0)
    expect(page.locator("[data-provider=openai] [data-status]")).to_have_attribute("data-status", "secrets_missing")
    # And what happens in the new one is followed: the stream is its own, too.
    expect(page.get_by_text("Live", exact=True)).to_be_visible()
    with httpx.Client(base_url=service.address, headers={"Authorization": f"Bearer {other}"}) as client:
        client.put(f"{PROVIDERS}/groq/config", json={"isEnabled": True}).raise_for_status()
    expect(page.get_by_role("switch", name="Groq on")).to_be_checked()
    page.get_by_role("button", name="Sign out").click()
    sign_in(page, service.token())
    expect(page.get_by_text("Default organization")).to_be_visible()
    page.get_by_role("link", name="Groq", exact=True).click()
    page.get_by_role("tab", name="Credentials").click()
    expect(page.locator("[data-secret=apiKey] [data-set=false]")).to_be_visible()
    expect(page.get_by_text("Other's key")).to_have_count(0)


def test_check_57_a_token_that_ends_in_mid_work_is_renewed_in_place_and_the_save_completes(
    open_console: OpenConsole, service: Service, watch: Watch, other: str
) -> None:
    watch.expected.append("401 (Unauthorized)")
    token = service.token()
    page = open_console("/providers/groq/credentials", token=token)
    page.get_by_role("button", name="Set API key").click()
    page.get_by_label("New API key").fill("gsk_typed_before_the_token_ended")
    revoke(service, token)
    page.get_by_role("checkbox", name="Check it before saving").uncheck()
    page.get_by_role("button", name="Save API key").click()
    dialog = page.get_by_role("dialog", name="Sign in again")
    expect(dialog).to_be_visible()
    page.keyboard.press("Escape")
    expect(dialog).to_be_visible()
    # Somebody else's token would save this person's key in another organization.
    sign_in(page, other)
    expect(dialog.get_by_role("alert")).to_contain_text("This token is of another organization.")
    sign_in(page, service.token())
    expect(dialog).to_have_count(0)
    expect(page.locator("[data-secret=apiKey] [data-set=true]")).to_be_visible()
    assert service.provider("groq")["secretFields"][0]["isSet"]


def test_check_57_signing_out_instead_saves_nothing(
    open_console: OpenConsole, service: Service, watch: Watch, other: str
) -> None:
    watch.expected.append("401 (Unauthorized)")
    token = service.token()
    page = open_console("/providers/openai/credentials", token=token)
    page.get_by_role("button", name="Set API key").click()
    page.get_by_label("New API key").fill("sk-typed-before-the-token-ended")
    revoke(service, token)
    page.get_by_role("checkbox", name="Check it before saving").uncheck()
    page.get_by_role("button", name="Save API key").click()
    page.get_by_role("dialog", name="Sign in again").get_by_role("button", name="Sign out").click()
    sign_in(page, other)
    expect(page.get_by_text("Other organization")).to_be_visible()
    expect(page.locator("[data-provider=openai] [data-status]")).to_have_attribute("data-status", "secrets_missing")
    assert not service.provider("openai")["secretFields"][0]["isSet"]
    # The one that the server refused, and never again.
    assert len(watch.sent("PUT")) == 1


@asynccontextmanager
async def with_provider(settings: Settings) -> AsyncGenerator[tuple[str, str]]:
    """Serve a console that people sign in to with an identity provider, and yield the addresses of both."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    provider = IdentityProvider(f"http://127.0.0.1:{port}/signin")
    async with (
        provider.running(),
        ControlPlane.open(settings.model_copy(update=provider.settings())) as plane,
        served(plane, port=port) as address,
    ):
        provider.claims["org_id"] = str((await plane.access.find_organization("default")).id)
        provider.claims["scope"] = "livekit:read livekit:write admin:tokens"
        yield address, provider.address


def sign_in_again(page: Page) -> None:
    """Lose the token in mid-work, and sign in at the identity provider again: nothing of the work is lost."""
    ended = page.evaluate("sessionStorage.getItem('voxplane.token')")
    page.goto("/providers/groq/config")
    temperature = page.locator("[data-setting=temperature]").get_by_label("Temperature", exact=True)
    temperature.fill("0.4")
    tokens = f"{urlsplit(page.url)._replace(path='/api/organizations/current/tokens').geturl()}/{ended.split('_')[1]}"
    page.request.delete(tokens, headers={"Authorization": f"Bearer {ended}"})
    page.get_by_role("button", name="Save changes").click()
    dialog = page.get_by_role("dialog", name="Sign in again")
    with page.context.expect_page() as opened:
        dialog.get_by_role("button", name="Sign in with Acme").click()
    window = opened.value
    expect(dialog).to_have_count(0)
    if not window.is_closed():
        window.wait_for_event("close")
    # What was being saved is saved, where it was, and the new token is kept as the one before it was.
    expect(page.locator("[data-setting=temperature] .standing")).to_have_text("Overridden")
    assert urlsplit(page.url).path == "/providers/groq/config"
    assert page.evaluate("sessionStorage.getItem('voxplane.token')") not in {None, ended}
    assert page.evaluate("Object.entries(sessionStorage)") == [
        ["voxplane.token", page.evaluate("sessionStorage.getItem('voxplane.token')")]
    ]


def test_an_identity_provider_signs_in_and_in_mid_work_again_with_nothing_lost(
    browser: Browser, settings: Settings
) -> None:
    with start_blocking_portal() as portal, portal.wrap_async_context_manager(with_provider(settings)) as addresses:
        address, elsewhere = addresses
        watch = Watch(address)
        # The one request to anywhere else, each time: the browser itself is sent to the provider.
        watch.expected.append(f"request to {urlsplit(elsewhere).netloc}")

        def asked() -> int:
            return len([each for each in watch.requests if each.url.startswith(f"{elsewhere}/")])

        with browser.new_context(base_url=address) as context:
            context.set_default_timeout(10_000)
            watch.follow(context)
            back: list[str] = []
            context.on("request", lambda request: back.append(request.url) if "code=" in request.url else None)
            page = context.new_page()
            page.goto("/signin?error=access_denied")
            expect(page.get_by_role("alert")).to_contain_text("did not let you in")
            page.get_by_role("link", name="Sign in with Acme").click()
            page.wait_for_selector("[data-provider]")
            assert page.url == f"{address}/providers"
            assert context.cookies() == []
            assert page.evaluate("Object.entries(localStorage)") == []
            page.reload()
            page.wait_for_selector("[data-provider]")
            assert (watch.complaints, asked()) == ([], 1)
            watch.expected.append("401 (Unauthorized)")
            sign_in_again(page)
            assert asked() == 2
        # The address that the provider sent the browser to is worth nothing in another one.
        with browser.new_context(base_url=address) as context:
            watch.follow(context)
            page = context.new_page()
            page.goto(back[0])
            expect(page.get_by_role("alert")).to_contain_text("begun in another browser")
            assert page.url == f"{address}/signin"
        assert watch.complaints == []
