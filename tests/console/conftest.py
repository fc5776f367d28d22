"""The console as a person meets it: Chromium, the real service on a port of its own, PostgreSQL."""

from __future__ import annotations

import functools
import os
import subprocess
from collections.abc import AsyncGenerator, Callable, Generator, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, ExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
from anyio.from_thread import BlockingPortal, start_blocking_portal
from playwright.sync_api import Browser, BrowserContext, Page, Request, sync_playwright

from tests.conftest import token_for
from tests.console.reference import PROVIDER as REFERENCE
from tests.served import served
from tests.vendors.secure import HOSTS, Asked, Reply, SecureVendor
from voxplane import registry
from voxplane.server.auth import ADMINISTRATOR_SCOPES
from voxplane.server.control_plane import ControlPlane
from voxplane.server.settings import Settings

ROOT = Path(__file__).parents[2]
PROVIDERS = "/api/organizations/current/providers"


def pytest_itemcollected(item: pytest.Item) -> None:
    """Leave coverage to the tests of the API, which this drives through a browser."""
    item.add_marker("drill")


@functools.cache
def chromium() -> str:
    command = ["sh", str(ROOT / "tools" / "browser.sh")]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """One browser for a file. Not for the run: while it is up, its loop would be in the way of async tests."""
    # Chromium's sandbox refuses to run as root.
    flags = ["--disable-gpu", *(["--no-sandbox"] if os.geteuid() == 0 else [])]
    with sync_playwright() as playwright:
        launched = playwright.chromium.launch(executable_path=chromium(), args=flags)
        yield launched
        launched.close()


@dataclass(frozen=True)
class Service:
    """A control plane that is served, in a thread of its own."""

    address: str
    plane: ControlPlane
    portal: BlockingPortal
    admin: httpx.Client
    """A client with all scopes of the default organization's administrator."""

    def token(self, *scopes: str, organization: str = "default") -> str:
        """Create an access token; without scopes, an administrator's."""
        create = functools.partial(token_for, organization=organization)
        return self.portal.call(create, self.plane, *(scopes or ADMINISTRATOR_SCOPES))

    def provider(self, key: str) -> dict[str, Any]:
        """Return one provider as the organization has it."""
        return self.admin.get(f"{PROVIDERS}/{key}").raise_for_status().json()

    def configure(self, key: str, **change: object) -> dict[str, Any]:
        """Change one provider as somebody else would, over the API."""
        return self.admin.put(f"{PROVIDERS}/{key}/config", json=change).raise_for_status().json()

    def store_key(self, key: str, value: str = "sk-test-0123456789") -> dict[str, Any]:
        """Store one provider's API key over the API."""
        body = {"secrets": {"apiKey": value}}
        return self.admin.put(f"{PROVIDERS}/{key}/secrets", json=body).raise_for_status().json()


@asynccontextmanager
async def _running(settings: Settings) -> AsyncGenerator[tuple[ControlPlane, str]]:
    async with ControlPlane.open(settings) as plane, served(plane) as address:
        yield plane, address


@pytest.fixture
def reference(monkeypatch: pytest.MonkeyPatch) -> None:
    """Install the provider that has every kind of setting, as a package would; before the service is made."""
    monkeypatch.setattr(registry, "_installed", lambda: [REFERENCE])


@contextmanager
def serving(running: AbstractAsyncContextManager[tuple[ControlPlane, str]]) -> Generator[Service]:
    """Run the service for as long as the context lasts."""
    with start_blocking_portal() as portal, portal.wrap_async_context_manager(running) as (plane, address):
        token = portal.call(token_for, plane, *ADMINISTRATOR_SCOPES)
        with httpx.Client(base_url=address, headers={"Authorization": f"Bearer {token}"}) as admin:
            yield Service(address, plane, portal, admin)


@asynccontextmanager
async def with_vendors(
    settings: Settings, answer: Callable[[Asked], Reply], *, hosts: Sequence[str] = HOSTS, **own: object
) -> AsyncGenerator[tuple[ControlPlane, str]]:
    """Run the service where the vendors are on loopback and answer so."""
    async with SecureVendor(answer, hosts=hosts) as vendor:
        reaching = {
            "vendor_networks": "127.0.0.0/8",
            "vendor_ca_file": vendor.ca_file,
            "vendor_timeout_seconds": 30,
        }
        known = Settings.model_validate(settings.model_dump() | reaching | own)
        async with ControlPlane.open(known, resolve=vendor.resolve) as plane, served(plane) as address:
            yield plane, address


@pytest.fixture
def service(settings: Settings) -> Iterator[Service]:
    with serving(_running(settings)) as running:
        yield running


@dataclass
class Watch:
    """All that must not happen in any test: messages on the console, errors, requests to anywhere else."""

    origin: str
    expected: list[str] = field(default_factory=list[str])
    """Words of messages that a test brings about on purpose, as the browser reports failed requests."""
    complaints: list[str] = field(default_factory=list[str])
    requests: list[Request] = field(default_factory=list[Request])

    def follow(self, context: BrowserContext) -> None:
        """Listen to everything that a browser does."""
        context.on("console", lambda message: self._complain(f"{message.type}: {message.text}"))
        context.on("weberror", lambda error: self._complain(f"error: {error.error}"))
        context.on("request", self._requested)

    def _complain(self, text: str) -> None:
        if not any(words in text for words in self.expected):
            self.complaints.append(text)

    def _requested(self, request: Request) -> None:
        self.requests.append(request)
        url = urlsplit(request.url)
        if url.scheme in {"http", "https"} and f"{url.scheme}://{url.netloc}" != self.origin:
            self._complain(f"request to {url.netloc}")

    def sent(self, method: str, path: str = "") -> list[Request]:
        """Return the requests of one method whose path ends so."""
        return [each for each in self.requests if each.method == method and urlsplit(each.url).path.endswith(path)]


@pytest.fixture
def watch(service: Service) -> Iterator[Watch]:
    watching = Watch(service.address)
    yield watching
    assert watching.complaints == []


OpenConsole = Callable[..., Page]


@pytest.fixture
def open_console(browser: Browser, service: Service, watch: Watch) -> Iterator[OpenConsole]:
    """Open the console in a browser of its own, signed in; `scopes` make another role than the administrator's."""
    with ExitStack() as opened:

        def open_at(
            path: str = "/providers",
            *,
            scopes: tuple[str, ...] = (),
            token: str | None = None,
            signed_in: bool = True,
            wait: bool = True,
            **options: Any,
        ) -> Page:
            context = browser.new_context(base_url=service.address, **options)
            opened.callback(context.close)
            context.set_default_timeout(10_000)
            watch.follow(context)
            if signed_in:
                value = token or service.token(*scopes)
                # Once for a tab, whose name outlives a reload: after signing out it stays signed out.
                once = f"window.name = 'signed in'; sessionStorage.setItem('voxplane.token', '{value}')"
                context.add_init_script(f"if (location.protocol === 'http:' && !window.name) {{ {once} }}")
            page = context.new_page()
            page.goto(path)
            if signed_in and wait:
                page.wait_for_selector("[data-provider]")
            return page

        yield open_at


@pytest.fixture
def page(open_console: OpenConsole) -> Page:
    """The overview, as the organization's administrator."""
    return open_console()
