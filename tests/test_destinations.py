"""The essential threat: a stored key leaves for a place that no holder of admin:secrets approved.

The attacks E2 to E5, E8, E11 and E12 of the security design, each tried on all providers of the catalogue. W holds
livekit:write, S holds admin:secrets too, and a worker resolves: what it is handed goes to the hosts in its settings.
The oracle is the release function, the one way to a plaintext. E1 needs verification, E6 needs restore and import,
E7 needs a worker's HTTP client: they are tested where those are built.
"""

from __future__ import annotations

import itertools
import json
from collections import Counter
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any, TypeVar
from urllib.parse import urlsplit
from uuid import UUID

import httpx
import hypothesis
import psycopg
import pytest
from anyio.from_thread import BlockingPortal, start_blocking_portal
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test
from psycopg.types.json import Jsonb

from tests.conftest import Caller, stored_rows, without_refusals, worker_of
from voxplane.errors import (
    DestinationChange,
    DestinationUnapproved,
    Invalid,
    PermissionDenied,
    PreconditionRequired,
    SecretsNotFound,
    SecretsUnreadable,
    VoxplaneError,
)
from voxplane.provider import AnyProvider, NoSecrets
from voxplane.registry import ProviderRegistry
from voxplane.resolution import ResolvedProviderConfig
from voxplane.schemas import ConfigWrite, OrganizationCreate, SecretsWrite
from voxplane.server.auth import ADMINISTRATOR_SCOPES, Principal, Scope
from voxplane.server.control_plane import ControlPlane, local_administrator
from voxplane.server.settings import Settings

PROVIDERS = "/api/organizations/current/providers"
DENIED = (403, "destination_change_requires_admin_secrets")
Superuser = psycopg.Connection[tuple[object, ...]]
Config = dict[str, Any]

_registry = ProviderRegistry()
_registry.initialize()
ALL = _registry.get_all_providers()
CLOUD = [provider for provider in ALL if provider.hosting == "cloud"]
LOCAL = [provider for provider in ALL if provider.hosting == "local"]
WITH_BASE_URL = [provider for provider in CLOUD if provider.destinations.settings == ("baseUrl",)]


@dataclass(frozen=True)
class Move:
    """Settings that send calls somewhere else, and where that is: written by hand, not computed by what is tested."""

    config: Config
    origins: frozenset[str]


def _move(config: Config, *origins: str) -> Move:
    return Move(config, frozenset(origins))


AZURE_HOME = {"deployment": "home", "endpoint": "https://home.openai.azure.com"}
AZURE_TENANT = {"tenantId": "a77acce5-0000-4000-8000-000000000000"}
VERTEX = {"backend": "vertex", "project": "attacker-project"}
GOOGLE_SIGN_IN = "https://oauth2.googleapis.com:443"
MOVES = {
    "baseUrl": _move({"baseUrl": "https://attacker.example/v1"}, "https://attacker.example:443/v1"),
    "serverUrl": _move({"serverUrl": "wss://attacker.example"}, "https://attacker.example:443"),
    "endpoint": _move(
        AZURE_HOME | {"endpoint": "https://attacker.openai.azure.com"}, "https://attacker.openai.azure.com:443"
    ),
    "clientId": _move(
        AZURE_HOME | AZURE_TENANT | {"clientId": "a77acce5-0000-4000-8000-000000000001"},
        "https://home.openai.azure.com:443",
        "https://login.microsoftonline.com:443",
    ),
    "backend": _move(VERTEX, "https://us-central1-aiplatform.googleapis.com:443", GOOGLE_SIGN_IN),
    "location": _move(
        VERTEX | {"location": "attacker"}, "https://attacker-aiplatform.googleapis.com:443", GOOGLE_SIGN_IN
    ),
}


def moves(provider: AnyProvider) -> list[Move]:
    """One attack for every setting that decides where the provider's calls go; a new setting needs a new one."""
    found = [MOVES[setting] for setting in provider.destinations.settings]
    return [Move(home(provider) | move.config, move.origins) for move in found]


HOME = {"azure-openai": AZURE_HOME, "elevenlabs": {"voiceId": "homeVoice123456"}}
"""Settings that the organization means to have; for most providers the defaults do."""


def home(provider: AnyProvider) -> Config:
    return HOME.get(provider.key, {})


def secrets_of(provider: AnyProvider) -> dict[str, str]:
    """A value for every secret of a provider, all different."""
    return {name: secret(name, f"canary-{provider.key}-{name}") for name in provider.secret_names}


def secret(name: str, word: str) -> str:
    """Make a secret that holds a word: the word itself, or where the vendor has a file for a key, that file."""
    if name != "serviceAccountJson":
        return word
    key = {"type": "service_account", "token_uri": "https://oauth2.googleapis.com/token", "private_key": word}
    return json.dumps(key)


@dataclass(frozen=True)
class Cast:
    """Who plays."""

    plane: ControlPlane
    w: httpx.AsyncClient
    s: httpx.AsyncClient
    worker: Principal

    async def put_config(self, who: httpx.AsyncClient, key: str, config: Config) -> tuple[int, str | None]:
        """Try a change of settings; return its status and, if it is refused, the code."""
        answer = await who.put(f"{PROVIDERS}/{key}/config", json={"config": config})
        return answer.status_code, answer.json().get("code")

    async def store(self, provider: AnyProvider, **more: object) -> httpx.Response:
        """S sets the provider up: settings, and all its secrets."""
        assert (await self.put_config(self.s, provider.key, home(provider)))[0] == 200
        if not provider.default_origins:
            more = {"approvedOrigins": [AZURE_HOME["endpoint"]], **more}
        answer = await self.s.put(f"{PROVIDERS}/{provider.key}/secrets", json={"secrets": secrets_of(provider), **more})
        assert answer.status_code == 200, answer.text
        return answer

    async def resolve(self, key: str) -> ResolvedProviderConfig:
        """Do what a worker does before a call."""
        return await self.plane.workers.release(self.worker, key)

    async def refusal(self, key: str) -> type[Exception] | None:
        """What the worker gets instead of a key; None when it gets one."""
        try:
            resolved = await self.resolve(key)
        except (DestinationUnapproved, SecretsNotFound, SecretsUnreadable) as error:
            return type(error)
        assert resolved.secrets, "neither a key nor a refusal"
        return None

    async def reason(self, key: str) -> str | None:
        """Return why the list says that the provider cannot be used."""
        return (await self.s.get(f"{PROVIDERS}/{key}")).json()["reason"]


def sent(resolved: ResolvedProviderConfig) -> dict[str, str]:
    """The keys in a worker's hands."""
    return {name: value.get_secret_value() for name, value in resolved.secrets.items()}


def hosts_in(config: Config) -> set[str]:
    """Every host that settings name, found without the code that is tested."""
    return {urlsplit(value).hostname or "" for value in config.values() if isinstance(value, str) and "://" in value}


@pytest.fixture
async def cast(plane: ControlPlane, caller: Caller, administrator: Principal) -> Cast:
    return Cast(
        plane,
        w=await caller("livekit:read", "livekit:write", "admin:tokens"),
        s=await caller("livekit:read", "livekit:write", "admin:secrets"),
        worker=worker_of(administrator.tenant),
    )


def tamper_config(superuser: Superuser, key: str, config: Config) -> None:
    """Write settings past every check."""
    superuser.execute(
        """
        INSERT INTO organization_provider_configs
        SELECT id, %s, %s, 0, true, 100, 1, now(), 'intruder' FROM organizations WHERE slug = 'default'
        ON CONFLICT (organization_id, provider_key) DO UPDATE SET config = excluded.config
        """,
        [key, Jsonb(config)],
    )


def tamper_envelope(superuser: Superuser, path: list[str], value: object) -> None:
    superuser.execute("UPDATE organization_secrets SET secrets = jsonb_set(secrets, %s, %s)", [path, Jsonb(value)])


def test_all_twelve_providers_play() -> None:
    assert len(CLOUD) == 9
    assert len(LOCAL) == 3
    assert all(moves(provider) for provider in ALL)


async def test_a_writer_cannot_move_a_stored_key(cast: Cast, superuser: Superuser) -> None:
    """E2: W changes each setting that decides the host, and waits for the worker to send the key itself."""
    for provider in CLOUD:
        await cast.store(provider)
        before = without_refusals(stored_rows(superuser))
        for move in moves(provider):
            assert await cast.put_config(cast.w, provider.key, move.config) == DENIED, (provider.key, move)
        assert without_refusals(stored_rows(superuser)) == before, provider.key
        resolved = await cast.resolve(provider.key)
        assert sent(resolved) == secrets_of(provider)
        assert not any("attacker" in host for host in hosts_in(resolved.config))
        assert not any("attacker" in origin for origin in resolved.origins)


async def test_deleting_the_settings_first_does_not_help(cast: Cast) -> None:
    """E3: what binds the key is not stored with the settings, so it does not go with them."""
    for provider in CLOUD:
        await cast.store(provider)
        assert (await cast.w.delete(f"{PROVIDERS}/{provider.key}/config")).status_code == 204
        for move in moves(provider):
            assert await cast.put_config(cast.w, provider.key, move.config) == DENIED, (provider.key, move)
        assert await cast.put_config(cast.w, provider.key, home(provider)) == (200, None)
        assert sent(await cast.resolve(provider.key)) == secrets_of(provider)


HOST = "api.openai.com"
UNREADABLE = {
    "baseUrl": [
        f"https://{HOST}@attacker.example/v1",
        f"https://{HOST}:443@attacker.example/v1",
        f"https://:@{HOST}/v1",
        f"https://{HOST}%2f@attacker.example/v1",
        f"https://{HOST}\\@attacker.example/v1",
        f"https://attacker.example\\.{HOST}/v1",
        f"https://attacker.example\\{HOST}/v1",
        f"https://attacker.example#@{HOST}/v1",
        "https://attacker.example/#",
        f"https://attacker.example/?x={HOST}",
        f"https://{HOST}/v1?",
        f"https://{HOST}/v1#",
        f"https://{HOST}/v1/../attacker",
        f"https://{HOST}/v1/./attacker",
        f"https://{HOST}/v1/%2e%2e/attacker",
        f"https://{HOST}/v1%2fattacker",
        f"https://{HOST}/v1//attacker",
        f"https://{HOST}/v1;attacker",
        f"https://{HOST}./v1",
        f"https://{HOST}:/v1",
        f"https://{HOST}:0/v1",
        f"https://{HOST}:65536/v1",
        f"https://{HOST}:4e3/v1",
        f"https:{HOST}/v1",
        f"https:///{HOST}/v1",
        f"//{HOST}/v1",
        f"{HOST}/v1",
        f"http://{HOST}/v1",
        f"ws://{HOST}/v1",
        f"file://{HOST}/v1",
        f" https://{HOST}/v1",
        f"https://{HOST}/v1 ",
        f"https://{HOST}\n.attacker.example/v1",
        f"https://{HOST}/v1\n",
        f"https://{HOST}\t/v1",
        f"https://{HOST}\x7f/v1",
        "https://api\u3002openai\u3002com/v1",
        "https://\u0430pi.openai.com/v1",
        "https://api.openai\u2024com/v1",
        f"https://{HOST}\uff0fattacker.example/v1",
        f"https://{HOST}\uff20attacker.example/v1",
        f"https://{HOST}\u00ad/v1",
        "https://\u24d0ttacker.example/v1",
        "https://[::ffff:203.0.113.1]/v1",
        "https://[fe80::1%25eth0]/v1",
        "https://[api.openai.com]/v1",
        "https://2130706433/v1",
        "https://0x7f.1/v1",
        "https://0177.0.0.1/v1",
        "https://api_openai.com/v1",
        f"https://{'a' * 2048}.example",
        "",
    ],
    "endpoint": [
        "https://attacker.example/.openai.azure.com",
        "https://attacker.example/#.openai.azure.com",
        "https://attacker.example#.openai.azure.com",
        "https://attacker.example?.openai.azure.com",
        "https://attacker.example\\.openai.azure.com",
        "https://home.openai.azure.com@attacker.example",
        "https://attacker@home.openai.azure.com",
        "https://home.openai.azure.com.attacker.example",
        "https://a.attacker.openai.azure.com",
        "https://home.openai.azure.com:444",
        "https://home.openai.azure.com/attacker",
        "https://home.openai.azure.com/..",
        "https://home.openai.azure.com//",
        "https://home.openai.azure.com\n",
        "https://home.openai.azure.com.",
        "https://home.openai\u3002azure.com",
        "https://\u210dome.openai.azure.com",
        "https://home.openai-azure.com",
        "https://openai.azure.com",
        "https://.openai.azure.com",
        "https://-.openai.azure.com",
        "http://home.openai.azure.com",
        "HTTPS://HOME.OPENAI.AZURE.COM",
        "https://attacker.example",
        "",
    ],
    "clientId": ["attacker", "a77acce5-0000-4000-8000-000000000001/..", "a77acce5-0000-4000-8000-000000000001\n", ""],
    "backend": ["attacker", "Gemini", "vertex\n", ""],
    "location": [
        "attacker.example/#",
        "attacker.example/",
        "attacker.example",
        "attacker.example\\",
        "x@attacker",
        "us-central1\n",
        "us%2dcentral1",
        "US-CENTRAL1",
        "us\u2010central1",
        "-attacker",
        "attacker:443",
        "../attacker",
        "?attacker",
        "a" * 52,
        "",
    ],
}


@pytest.mark.drill
async def test_no_address_that_can_be_read_in_two_ways_is_taken_from_anybody(cast: Cast, superuser: Superuser) -> None:
    """E4: user names, fragments, backslashes, other alphabets and odd numbers, into every setting of an address."""
    for provider in CLOUD:
        await cast.store(provider)
        before = without_refusals(stored_rows(superuser))
        for setting in provider.destinations.settings:
            for text in UNREADABLE[setting]:
                config = home(provider) | MOVES[setting].config | {setting: text}
                for who in (cast.w, cast.s):
                    assert await cast.put_config(who, provider.key, config) == (422, "invalid"), (provider.key, text)
        assert without_refusals(stored_rows(superuser)) == before, provider.key
        assert sent(await cast.resolve(provider.key)) == secrets_of(provider)


async def test_no_address_that_can_be_read_in_two_ways_is_approved(cast: Cast) -> None:
    openai = _registry.get_provider_by_key("openai")
    for url in UNREADABLE["baseUrl"]:
        body = {"secrets": secrets_of(openai), "approvedOrigins": ["https://gateway.example", url]}
        answer = await cast.s.put(f"{PROVIDERS}/openai/secrets", json=body)
        assert answer.status_code == 422, url
        assert {error["pointer"] for error in answer.json()["errors"]} == {"/approvedOrigins/1"}
        assert "attacker" not in answer.text
    assert await cast.refusal("openai") is SecretsNotFound


async def test_a_cloud_key_cannot_be_pointed_at_the_workers_own_machine(cast: Cast) -> None:
    for provider in WITH_BASE_URL:
        for host in ("127.0.0.1", "127.9.9.9", "localhost", "[::1]"):
            config = {**home(provider), "baseUrl": f"https://{host}/v1"}
            assert await cast.put_config(cast.s, provider.key, config) == (422, "invalid"), (provider.key, host)


@pytest.mark.drill
async def test_a_place_that_looks_like_an_approved_one_is_another_place(cast: Cast, superuser: Superuser) -> None:
    """E4, E12: the same host with another port, path or label is refused to W, and gets no key when S sets it."""
    for provider in WITH_BASE_URL:
        await cast.store(provider)
        (own,) = provider.default_origins
        near = [
            f"https://{own.host}.attacker.example{own.path}",
            f"https://attacker.{own.host}{own.path}",
            f"https://{own.host.removeprefix('api.')}{own.path}",
            f"https://{own.host}:444{own.path}",
            f"https://{own.host}{own.path}/attacker",
            f"https://{own.host}{own.path}attacker" if own.path else f"https://{own.host}/v1",
            f"https://{own.host}{own.path.rpartition('/')[0]}" if own.path else f"https://{own.host}/~attacker",
            f"wss://{own.host}:8443{own.path}",
            f"https://xn--{own.host}{own.path}",
        ]
        for url in near:
            config = {**home(provider), "baseUrl": url}
            before = without_refusals(stored_rows(superuser))
            assert await cast.put_config(cast.w, provider.key, config) == DENIED, url
            assert without_refusals(stored_rows(superuser)) == before
            assert await cast.put_config(cast.s, provider.key, config) == (200, None), url
            assert await cast.refusal(provider.key) is DestinationUnapproved, url
            assert await cast.put_config(cast.s, provider.key, home(provider)) == (200, None)
        same = [f"https://{own.host.upper()}:443{own.path}/", f"wss://{own.host}{own.path}"]
        for url in same:
            assert await cast.put_config(cast.w, provider.key, {**home(provider), "baseUrl": url}) == (200, None), url
            assert sent(await cast.resolve(provider.key)) == secrets_of(provider)


async def test_another_customers_path_on_an_approved_gateway_is_another_place(cast: Cast, superuser: Superuser) -> None:
    """E12: a gateway serves its customers side by side, so the host alone says nothing."""
    ours, theirs = (
        "https://gateway.example/v1/ours",
        ["https://gateway.example/v1/theirs", "https://gateway.example/v1"],
    )
    for provider in WITH_BASE_URL:
        await cast.store(provider, approvedOrigins=[ours])
        assert await cast.put_config(cast.w, provider.key, {**home(provider), "baseUrl": ours}) == (200, None)
        for url in [*theirs, "https://gateway.example", f"{ours}/deeper", "https://gateway.example/v1/Ours"]:
            assert await cast.put_config(cast.w, provider.key, {**home(provider), "baseUrl": url}) == DENIED, url
            tamper_config(superuser, provider.key, {**home(provider), "baseUrl": url})
            assert await cast.refusal(provider.key) is DestinationUnapproved, url
            tamper_config(superuser, provider.key, {**home(provider), "baseUrl": ours})
        assert sent(await cast.resolve(provider.key)) == secrets_of(provider)


async def test_nobody_but_an_admin_of_secrets_sends_the_conversation_elsewhere(
    cast: Cast, superuser: Superuser
) -> None:
    """E5 and E11, for all twelve: no key is stored yet, or there never is one, and W points the provider elsewhere."""
    for provider in ALL:
        before = without_refusals(stored_rows(superuser))
        for move in moves(provider):
            assert await cast.put_config(cast.w, provider.key, move.config) == DENIED, (provider.key, move)
        if provider.hosting == "local":
            elsewhere = {provider.destinations.settings[0]: "http://127.0.0.1:9"}
            assert await cast.put_config(cast.w, provider.key, elsewhere) == DENIED, provider.key
        assert without_refusals(stored_rows(superuser)) == before, provider.key


async def test_a_local_provider_has_no_secret_path(cast: Cast) -> None:
    for provider in LOCAL:
        assert provider.secrets is NoSecrets
        assert provider.secret_names == ()
        for name in ("apiKey", "token", provider.destinations.settings[0]):
            body = {"secrets": {name: "canary"}, "approvedOrigins": ["https://attacker.example"]}
            answer = await cast.s.put(f"{PROVIDERS}/{provider.key}/secrets", json=body)
            assert (answer.status_code, answer.json()["code"]) == (422, "invalid"), provider.key
            assert "canary" not in answer.text
        assert sent(await cast.resolve(provider.key)) == {}


async def test_a_local_provider_on_an_unapproved_server_is_refused_until_it_is_approved(cast: Cast) -> None:
    for provider in LOCAL:
        config = {provider.destinations.settings[0]: "http://127.0.0.1:9"}
        assert await cast.put_config(cast.s, provider.key, config) == (200, None)
        await cast.s.put(f"{PROVIDERS}/{provider.key}/config", json={"isEnabled": True})
        assert await cast.reason(provider.key) == "destination_unapproved"
        assert await cast.refusal(provider.key) is DestinationUnapproved, provider.key
        body = {"approvedOrigins": ["http://127.0.0.1:9"]}
        assert (await cast.s.put(f"{PROVIDERS}/{provider.key}/secrets", json=body)).status_code == 200
        assert await cast.reason(provider.key) is None
        assert (await cast.resolve(provider.key)).origins == ("http://127.0.0.1:9",)


async def test_a_key_is_not_bound_to_what_the_settings_say_when_it_is_entered(cast: Cast, superuser: Superuser) -> None:
    """E5: the settings were moved before S pastes the key, by S in error or past every check."""
    for provider in CLOUD:
        for move in moves(provider):
            if provider.default_origins:
                assert await cast.put_config(cast.s, provider.key, move.config) == (200, None)
            else:
                tamper_config(superuser, provider.key, move.config)
            await cast.s.put(f"{PROVIDERS}/{provider.key}/config", json={"isEnabled": True})
            body: dict[str, object] = {"secrets": secrets_of(provider)}
            url = f"{PROVIDERS}/{provider.key}/secrets"
            answer = await cast.s.put(url, json=body)
            if not provider.default_origins:
                assert [error["pointer"] for error in answer.json()["errors"]] == ["/approvedOrigins"]
                answer = await cast.s.put(url, json=body | {"approvedOrigins": [AZURE_HOME["endpoint"]]})
            shown = answer.json()
            assert (answer.status_code, shown["reason"]) == (200, "destination_unapproved"), provider.key
            assert not set(move.origins) <= set(shown["approvedOrigins"])
            assert await cast.refusal(provider.key) is DestinationUnapproved, (provider.key, move)
            assert (await cast.s.delete(url)).status_code == 204


async def test_an_intruder_in_the_database_gets_no_key_sent_to_him(cast: Cast, superuser: Superuser) -> None:
    """E8: the settings, the approved origins and the envelope are edited past every check."""
    for provider in CLOUD:
        await cast.store(provider)
        for move in moves(provider):
            tamper_config(superuser, provider.key, move.config)
            assert await cast.refusal(provider.key) is DestinationUnapproved, (provider.key, move)
            saved = superuser.execute("SELECT secrets FROM organization_secrets").fetchone()
            assert saved is not None
            stored: Any = saved[0]
            origins = stored[provider.key]["origins"]
            for forged in (sorted({*origins, *move.origins}), sorted(move.origins), [*move.origins, *origins]):
                tamper_envelope(superuser, [provider.key, "origins"], forged)
                assert await cast.refusal(provider.key) is SecretsUnreadable, (provider.key, forged)
            tamper_envelope(superuser, [provider.key], stored[provider.key])
        tamper_config(superuser, provider.key, home(provider))
        assert sent(await cast.resolve(provider.key)) == secrets_of(provider)


async def test_an_envelope_opens_for_no_other_provider(cast: Cast, superuser: Superuser) -> None:
    """E8: an envelope that allows a gateway is put in the place of one that does not, and the other way round."""
    gateway = "https://gateway.example/v1/ours"
    for provider in CLOUD:
        await cast.store(provider)
    for provider in WITH_BASE_URL:
        await cast.store(provider, approvedOrigins=[gateway])
        row = superuser.execute("SELECT secrets FROM organization_secrets").fetchone()
        assert row is not None
        stored: Any = row[0]
        for other in CLOUD:
            if other is not provider:
                tamper_envelope(superuser, [other.key], stored[provider.key] | {"sv": stored[other.key]["sv"]})
                assert await cast.refusal(other.key) is not None, (provider.key, other.key)
                tamper_envelope(superuser, [other.key], stored[other.key])


async def test_an_envelope_opens_for_no_other_organization(
    cast: Cast, superuser: Superuser, plane: ControlPlane
) -> None:
    """E8: the intruder has an organization of his own, whose worker he is, and moves envelopes and keys into it."""
    operator = local_administrator(None, "test")
    theirs = (await plane.access.create_organization(operator, OrganizationCreate(slug="attacker", name="A"))).id
    for provider in CLOUD:
        await cast.store(provider)
    superuser.execute("INSERT INTO organization_secrets SELECT %s, secrets, now() FROM organization_secrets", [theirs])
    superuser.execute(
        "UPDATE organizations SET secret_versions = o.secret_versions FROM organizations o WHERE o.slug = 'default'"
    )
    for key, config in HOME.items():
        superuser.execute(
            "INSERT INTO organization_provider_configs VALUES (%s, %s, %s, 0, true, 1, 1, now(), 'intruder')",
            [theirs, key, Jsonb(config)],
        )
    await _opens_nothing(plane, theirs)
    superuser.execute(
        """
        INSERT INTO organization_data_keys (organization_id, version, wrapped, kek_id, purpose)
        SELECT %s, version, wrapped, kek_id, purpose FROM organization_data_keys
        """,
        [theirs],
    )
    await _opens_nothing(plane, theirs)


async def _opens_nothing(plane: ControlPlane, organization_id: UUID) -> None:
    for provider in CLOUD:
        with pytest.raises(SecretsUnreadable):
            await plane.workers.release(worker_of(organization_id), provider.key)


async def test_a_withdrawn_approval_does_not_come_back_with_an_older_envelope(cast: Cast, superuser: Superuser) -> None:
    """E8: the row is rolled back to when the attacker's gateway was approved; S then enters a new key or a label."""
    openai = _registry.get_provider_by_key("openai")
    await cast.store(openai, approvedOrigins=["https://attacker.example/v1"])
    superuser.execute("CREATE TABLE loot AS SELECT secrets FROM organization_secrets")
    await cast.store(openai, approvedOrigins=["https://api.openai.com/v1"])
    superuser.execute("UPDATE organization_secrets SET secrets = loot.secrets FROM loot")
    superuser.execute("DROP TABLE loot")
    tamper_config(superuser, "openai", {"baseUrl": "https://attacker.example/v1"})
    assert await cast.refusal("openai") is SecretsUnreadable
    assert await cast.reason("openai") == "undecryptable"
    for body in (
        {"secrets": {"apiKey": "canary-fresh"}},
        {"label": "x"},
        {"secrets": {"apiKey": "canary-openai-apiKey"}},
    ):
        answer = await cast.s.put(f"{PROVIDERS}/openai/secrets", json=body)
        assert (answer.status_code, answer.json()["code"]) == (500, "secrets_unreadable"), body
        assert await cast.refusal("openai") is SecretsUnreadable
    assert (await cast.s.delete(f"{PROVIDERS}/openai/secrets")).status_code == 204
    body = {"secrets": {"apiKey": "canary-fresh"}}
    assert (await cast.s.put(f"{PROVIDERS}/openai/secrets", json=body)).status_code == 200
    assert await cast.refusal("openai") is DestinationUnapproved


async def test_the_key_that_openai_tts_shares_is_bound_to_openais_origins(cast: Cast, superuser: Superuser) -> None:
    openai = _registry.get_provider_by_key("openai")
    await cast.store(openai)
    for move in moves(_registry.get_provider_by_key("openai-tts")):
        assert await cast.put_config(cast.w, "openai-tts", move.config) == DENIED
        tamper_config(superuser, "openai-tts", move.config)
        assert await cast.refusal("openai-tts") is DestinationUnapproved
    tamper_config(superuser, "openai-tts", {})
    assert sent(await cast.resolve("openai-tts")) == secrets_of(openai)
    # An approval given to openai-tts is for its own key, not for the one that it borrows.
    approval = {"approvedOrigins": ["https://attacker.example/v1"]}
    assert (await cast.s.put(f"{PROVIDERS}/openai-tts/secrets", json=approval)).status_code == 200
    assert await cast.put_config(cast.w, "openai-tts", {"baseUrl": "https://attacker.example/v1"}) == (200, None)
    assert await cast.refusal("openai-tts") is SecretsNotFound


async def test_what_is_approved_may_be_set_by_a_writer_and_gets_the_key(cast: Cast) -> None:
    for provider in CLOUD:
        for move in moves(provider):
            await cast.store(provider, approvedOrigins=sorted(move.origins))
            assert await cast.put_config(cast.w, provider.key, move.config) == (200, None), (provider.key, move)
            resolved = await cast.resolve(provider.key)
            assert sent(resolved) == secrets_of(provider)
            assert set(resolved.origins) == move.origins
            # What was named replaced the vendor's own origin: a gateway's key is not sent to the vendor.
            if provider.default_origins:
                assert await cast.put_config(cast.w, provider.key, home(provider)) == (200, None)
                assert await cast.refusal(provider.key) is DestinationUnapproved, provider.key
            assert (await cast.s.delete(f"{PROVIDERS}/{provider.key}/secrets")).status_code == 204


async def test_a_destination_that_s_set_without_approving_it_gets_no_key(cast: Cast) -> None:
    for provider in CLOUD:
        await cast.store(provider)
        await cast.s.put(f"{PROVIDERS}/{provider.key}/config", json={"isEnabled": True})
        for move in moves(provider):
            assert await cast.put_config(cast.s, provider.key, move.config) == (200, None)
            assert await cast.reason(provider.key) == "destination_unapproved"
            assert await cast.refusal(provider.key) is DestinationUnapproved
            # W may change another setting beside it, and may not go on to a third place.
            if "model" in provider.entry.default_config:
                model = {"model": provider.models[0].name}
                assert await cast.put_config(cast.w, provider.key, move.config | model) == (200, None)
            assert await cast.refusal(provider.key) is DestinationUnapproved


async def test_stored_keys_are_bound_anew_only_by_a_deliberate_act(cast: Cast, superuser: Superuser) -> None:
    for provider in CLOUD:
        etag = (await cast.store(provider)).headers["etag"]
        url = f"{PROVIDERS}/{provider.key}/secrets"
        approvals = {"approvedOrigins": sorted(moves(provider)[0].origins)}
        before = without_refusals(stored_rows(superuser))
        without = await cast.s.put(url, json=approvals, headers={"If-Match": etag})
        assert (without.status_code, without.json()["errors"][0]["pointer"]) == (422, "/rebind")
        unseen = await cast.s.put(url, json=approvals | {"rebind": True})
        assert (unseen.status_code, unseen.json()["code"]) == (428, "precondition_required")
        stale = await cast.s.put(url, json=approvals | {"rebind": True}, headers={"If-Match": f'{etag[:-1]}0"'})
        assert stale.status_code == 412
        assert without_refusals(stored_rows(superuser)) == before
        bound = await cast.s.put(url, json=approvals | {"rebind": True}, headers={"If-Match": etag})
        assert (bound.status_code, set(bound.json()["approvedOrigins"])) == (200, moves(provider)[0].origins)
        assert await cast.put_config(cast.w, provider.key, moves(provider)[0].config) == (200, None)
        assert sent(await cast.resolve(provider.key)) == secrets_of(provider)


async def test_entering_one_secret_does_not_bind_the_others_anew(cast: Cast) -> None:
    """A person who knows one of two secrets may not take the other one along."""
    azure = _registry.get_provider_by_key("azure-openai")
    etag = (await cast.store(azure)).headers["etag"]
    body = {"secrets": {"apiKey": "canary-known"}, "approvedOrigins": ["https://attacker.openai.azure.com"]}
    answer = await cast.s.put(f"{PROVIDERS}/azure-openai/secrets", json=body, headers={"If-Match": etag})
    assert (answer.status_code, answer.json()["errors"][0]["pointer"]) == (422, "/rebind")


async def test_a_writer_neither_approves_nor_makes_a_token_that_could(cast: Cast, superuser: Superuser) -> None:
    for provider in CLOUD:
        await cast.store(provider)
        before = without_refusals(stored_rows(superuser))
        url = f"{PROVIDERS}/{provider.key}/secrets"
        body = {"approvedOrigins": sorted(moves(provider)[0].origins), "rebind": True}
        assert (await cast.w.put(url, json=body, headers={"If-Match": "*"})).status_code == 403
        assert (await cast.w.delete(url)).status_code == 403
        for scope in ("admin:secrets", "worker:resolve"):
            new = {"name": "more", "scopes": [scope]}
            answer = await cast.w.post("/api/organizations/current/tokens", json=new)
            assert (answer.status_code, answer.json()["errors"][0]["code"]) == (422, "scope")
        assert without_refusals(stored_rows(superuser)) == before


async def test_only_a_worker_is_handed_a_key(cast: Cast, administrator: Principal) -> None:
    assert administrator.scopes == ADMINISTRATOR_SCOPES
    for provider in CLOUD:
        await cast.store(provider)
        with pytest.raises(PermissionDenied):
            await cast.plane.workers.release(administrator, provider.key)


@dataclass(frozen=True)
class Place:
    """Somewhere that calls of one provider may go, and the secret that a call there needs. Written by hand."""

    config: Config
    origins: frozenset[str]
    needs: str = "apiKey"


def _place(config: Config, *origins: str, needs: str = "apiKey") -> Place:
    return Place(config, frozenset(origins), needs)


def _azure(name: str) -> Config:
    return {"deployment": "home", "endpoint": f"https://{name}.openai.azure.com"}


_OPENAI = (
    _place({}, "https://api.openai.com:443/v1"),
    _place({"baseUrl": "https://gateway.example/ours"}, "https://gateway.example:443/ours"),
    _place({"baseUrl": "https://gateway.example/theirs"}, "https://gateway.example:443/theirs"),
    _place({"baseUrl": "https://attacker.example/v1"}, "https://attacker.example:443/v1"),
)
PLACES: dict[str, tuple[Place, ...]] = {
    "openai": _OPENAI,
    "openai-tts": _OPENAI,
    "azure-openai": (
        _place(_azure("home"), "https://home.openai.azure.com:443"),
        _place(_azure("attacker"), "https://attacker.openai.azure.com:443"),
        _place(
            _azure("home") | dict.fromkeys(("clientId", "tenantId"), "a77acce5-0000-4000-8000-000000000001"),
            "https://home.openai.azure.com:443",
            "https://login.microsoftonline.com:443",
            needs="clientSecret",
        ),
    ),
    "google": (
        _place({}, "https://generativelanguage.googleapis.com:443"),
        _place(VERTEX, "https://us-central1-aiplatform.googleapis.com:443", GOOGLE_SIGN_IN, needs="serviceAccountJson"),
        _place(
            VERTEX | {"location": "attacker"},
            "https://attacker-aiplatform.googleapis.com:443",
            GOOGLE_SIGN_IN,
            needs="serviceAccountJson",
        ),
    ),
}
DEFAULTS = {"azure-openai": frozenset[str]()} | {
    key: PLACES[key][0].origins for key in ("openai", "openai-tts", "google")
}


@dataclass
class Known:
    """What the model knows of one provider."""

    place: Place | None = None
    bound: frozenset[str] | None = None
    """What S approved for the stored secrets; None while nothing is stored."""
    values: dict[str, str] = field(default_factory=dict[str, str])
    is_damaged: bool = False
    """Whether an intruder touched the envelope since S stored it anew."""


T = TypeVar("T")
Call = Callable[..., Coroutine[Any, Any, Any]]
keys = st.sampled_from(sorted(PLACES))
numbers = st.integers(0, 3)
_serial = itertools.count()


class Heist(RuleBasedStateMachine):
    """W, S, a worker and an intruder in the database, in any order; the model keeps what S really approved."""

    def __init__(self, portal: BlockingPortal, plane: ControlPlane, superuser: Superuser, seen: Counter[str]) -> None:
        super().__init__()
        self.portal, self.service, self.superuser, self.seen = portal, plane.providers, superuser, seen
        self.workers = plane.workers
        new = OrganizationCreate(slug=f"heist-{next(_serial)}", name="Heist")
        self.id: UUID = portal.call(plane.access.create_organization, local_administrator(None, "test"), new).id
        self.w = Principal("token:w", "w", "token", self.id, frozenset({Scope.LIVEKIT_WRITE}))
        self.s = Principal("token:s", "s", "token", self.id, frozenset({Scope.LIVEKIT_WRITE, Scope.ADMIN_SECRETS}))
        self.known = {key: Known() for key in PLACES}
        self.kept: list[object] = []
        self.touched = "openai"

    def attempt(self, method: Call, *arguments: object, **more: object) -> type[VoxplaneError] | None:
        """Do something; return the error that refuses it."""

        async def run() -> None:
            await method(*arguments, **more)

        try:
            self.portal.call(run)
        except VoxplaneError as error:
            return type(error)
        return None

    def source(self, key: str) -> str:
        """Return whose secrets a provider uses."""
        return "openai" if key == "openai-tts" and self.known[key].bound is None else key

    def puts(self, who: Principal, key: str, number: int) -> tuple[Place, type[VoxplaneError] | None]:
        """Try to send a provider's calls to one of its places."""
        self.touched = key
        place = PLACES[key][number % len(PLACES[key])]
        write = ConfigWrite(config=place.config, is_enabled=True)
        return place, self.attempt(self.service.upsert_organization_provider_config, who, key, write)

    @rule(key=keys, number=numbers)
    def w_puts_settings(self, key: str, number: int) -> None:
        """W may move calls between the vendor's own place, approved ones, and where they go already."""
        known, source = self.known[key], self.known[self.source(key)]
        here = known.place.origins if known.place else frozenset[str]()
        allowed = DEFAULTS[key] | (source.bound or frozenset[str]()) | here
        place, refused = self.puts(self.w, key, number)
        if not known.is_damaged and not source.is_damaged:
            assert refused is (None if place.origins <= allowed else DestinationChange)
            self.seen["W refused" if refused else "W allowed"] += 1
        if refused is None:
            known.place = place

    @rule(key=keys, number=numbers)
    def s_puts_settings(self, key: str, number: int) -> None:
        """S may move them anywhere, which approves nothing."""
        place, refused = self.puts(self.s, key, number)
        assert refused is None
        self.known[key].place = place

    @rule(key=keys)
    def w_deletes_settings(self, key: str) -> None:
        """Deleting the settings deletes no approval."""
        self.touched = key
        assert self.attempt(self.service.delete_organization_provider_config, self.w, key) is None
        self.known[key].place = None

    @initialize()
    def s_sets_everything_up(self) -> None:
        """Begin with a key of every provider in place."""
        for key, places in PLACES.items():
            self.s_puts_settings(key, 0)
            self.stores(key, {0, 1}, set(), places[0].origins)

    @rule(
        key=keys,
        entered=st.sets(numbers, max_size=2),
        removed=st.sets(numbers, max_size=1),
        number=st.none() | numbers,
        rebind=st.booleans(),
        has_seen=st.booleans(),
    )
    def s_stores_secrets(
        self,
        key: str,
        entered: set[int],
        removed: set[int],
        number: int | None,
        rebind: bool,  # noqa: FBT001 - hypothesis passes it by name
        has_seen: bool,  # noqa: FBT001 - same reason
    ) -> None:
        """What is entered is bound to what is named; what is not entered again moves only when S says so."""
        named = None if number is None else PLACES[key][number % len(PLACES[key])].origins
        self.stores(key, entered, removed, named, rebind=rebind, has_seen=has_seen)

    @rule(key=keys, number=numbers)
    def s_approves_another_place(self, key: str, number: int) -> None:
        """Bind what is stored to one more place, deliberately."""
        more = PLACES[key][number % len(PLACES[key])].origins
        self.stores(key, set(), set(), (self.known[key].bound or frozenset()) | more, rebind=True, has_seen=True)

    def stores(
        self,
        key: str,
        entered: set[int],
        removed: set[int],
        named: frozenset[str] | None,
        *,
        rebind: bool = False,
        has_seen: bool = False,
    ) -> None:
        """Let S store and remove secrets by their number, and follow it in the model."""
        self.touched = key
        known, names = self.known[key], _registry.get_provider_by_key(key).secret_names
        fresh = {name: secret(name, f"canary-{next(_serial)}") for name in {names[n % len(names)] for n in entered}}
        gone = {names[number % len(names)] for number in removed} - set(fresh)
        bound = named if named is not None else known.bound if known.bound is not None else DEFAULTS[key]
        origins = {} if named is None else {"approved_origins": sorted(named)}
        write = SecretsWrite.model_validate({"secrets": {**fresh, **dict.fromkeys(gone)}, "rebind": rebind, **origins})
        etag = self.portal.call(self.service.get_organization_provider, self.s, key).etag if has_seen else None
        refused = self.attempt(self.service.update_provider_secrets, self.s, key, write, if_match=etag)
        if refused is not None:
            assert refused in {Invalid, PreconditionRequired, SecretsUnreadable}
            assert refused is not SecretsUnreadable or known.is_damaged
            return
        kept = set(known.values) - set(fresh) - gone
        if known.bound is not None and kept and not bound <= known.bound:
            assert rebind
            assert has_seen
            self.seen["bound anew"] += 1
        if known.bound is not None or fresh or named is not None:
            known.bound = bound
        known.values = {name: value for name, value in known.values.items() if name in kept} | fresh

    @rule(key=keys)
    def s_removes_secrets(self, key: str) -> None:
        """The approval goes with the secrets."""
        self.touched = key
        refused = self.attempt(self.service.remove_provider_secrets, self.s, key)
        assert refused in {None, SecretsNotFound}
        self.known[key] = Known(self.known[key].place)

    @rule(key=keys, number=numbers)
    def intruder_writes_settings(self, key: str, number: int) -> None:
        """Past every check."""
        self.touched = key
        place = PLACES[key][number % len(PLACES[key])]
        self.superuser.execute(
            """
            INSERT INTO organization_provider_configs VALUES (%s, %s, %s, 0, true, 100, 1, now(), 'intruder')
            ON CONFLICT (organization_id, provider_key) DO UPDATE SET config = excluded.config
            """,
            [self.id, key, Jsonb(place.config)],
        )
        self.known[key].place = place

    @rule(key=keys, number=numbers)
    def intruder_forges_approval(self, key: str, number: int) -> None:
        """Write other origins on the envelope."""
        self.touched = key
        origins = sorted(PLACES[key][number % len(PLACES[key])].origins)
        if self.known[key].bound is not None and frozenset(origins) != self.known[key].bound:
            self.tamper("jsonb_set(secrets, ARRAY[%s, 'origins'], %s)", key, Jsonb(origins))
            self.known[key].is_damaged = True

    @rule(key=keys, other=keys)
    def intruder_moves_an_envelope(self, key: str, other: str) -> None:
        """Put one provider's envelope in the place of another's."""
        self.touched = other
        if key != other and self.known[key].bound is not None and self.known[other].bound is not None:
            self.tamper("jsonb_set(secrets, ARRAY[%s], secrets -> %s)", other, key)
            self.known[other].is_damaged = True

    @rule()
    def intruder_keeps_a_copy(self) -> None:
        """Remember the envelopes as they are."""
        row = self.superuser.execute(
            "SELECT secrets FROM organization_secrets WHERE organization_id = %s", [self.id]
        ).fetchone()
        if row is not None:
            self.kept.append(row[0])

    @rule(number=numbers)
    def intruder_puts_a_copy_back(self, number: int) -> None:
        """Roll envelopes back."""
        if self.kept:
            copy: Any = self.kept[-1 - number % len(self.kept)]
            for key, known in self.known.items():
                # What is stored now stays in the row, so that the model knows which providers have an envelope.
                if known.bound is not None and key in copy:
                    self.tamper("jsonb_set(secrets, ARRAY[%s], %s)", key, Jsonb(copy[key]))
                    known.is_damaged = True

    def tamper(self, expression: str, *arguments: object) -> None:
        """Change the row with the envelopes."""
        self.seen["tampered"] += 1
        statement = f"UPDATE organization_secrets SET secrets = {expression} WHERE organization_id = %s"
        self.superuser.execute(statement.encode(), [*arguments, self.id])

    @invariant()
    def a_worker_sends_keys_only_where_s_approved(self) -> None:
        """Whatever happened: a key in the hands of a worker is the newest, and goes where S said."""
        key = self.touched
        known, owner = self.known[key], self.known[self.source(key)]
        place = known.place or PLACES[key][0]
        try:
            resolved = self.portal.call(self.workers.release, worker_of(self.id), key)
        except (DestinationUnapproved, SecretsNotFound, SecretsUnreadable, Invalid):
            is_complete = known.place is not None or key != "azure-openai"
            is_approved = owner.bound is not None and place.origins <= owner.bound
            assert owner.is_damaged or not (is_complete and is_approved and place.needs in owner.values)
            self.seen["withheld"] += 1
            return
        assert sent(resolved).items() <= owner.values.items()
        assert frozenset(resolved.origins) == place.origins
        assert owner.bound is not None
        assert place.origins <= owner.bound
        self.seen["released"] += 1


SOME_RUNS = 5


@pytest.mark.drill
@pytest.mark.parametrize(
    "runs",
    [
        pytest.param(SOME_RUNS, id="5 runs"),
        pytest.param(200, id="200 runs", marks=[pytest.mark.deep, pytest.mark.timeout(1200)]),
    ],
)
def test_no_order_of_steps_sends_a_key_where_s_did_not_approve(
    settings: Settings, superuser: Superuser, runs: int
) -> None:
    """X9. An intruder who also rolls back `secret_versions` is left to the audit log, and is not played here."""
    seen: Counter[str] = Counter()
    how = hypothesis.settings(
        max_examples=runs,
        # A few runs by chance need not come to every kind of step, so these are always the same ones.
        derandomize=runs == SOME_RUNS,
        stateful_step_count=50,
        deadline=None,
        database=None,
        suppress_health_check=[hypothesis.HealthCheck.too_slow],
    )
    with (
        start_blocking_portal() as portal,
        portal.wrap_async_context_manager(ControlPlane.open(settings)) as plane,
    ):
        run_state_machine_as_test(
            lambda: Heist(portal, plane, superuser, seen),  # pyright: ignore[reportArgumentType] - its documentation takes any factory
            settings=how,
        )
    assert {"released", "withheld", "tampered"} <= set(seen), "the steps never came to the point"
