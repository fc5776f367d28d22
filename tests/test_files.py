"""Organizations as files: what is exported comes back, a plan is what happens, and no key is ever in either."""

from __future__ import annotations

import io
import itertools
import json
import logging
import sys
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import uuid4

import anyio
import psycopg
import pytest
import structlog
from hypothesis import HealthCheck, example, given
from hypothesis import settings as profile
from hypothesis import strategies as st
from psycopg import sql
from pydantic import SecretStr

from tests.conftest import Template, admin_connection, settings_for, stored_rows, worker_of
from tests.test_docs import DOCS, blocks, environment
from voxplane import cli, organization_file, plain_yaml
from voxplane.errors import (
    ConfigurationError,
    Invalid,
    OrganizationExists,
    RevisionConflict,
)
from voxplane.organization_file import OrganizationFile, ProviderEntry
from voxplane.provider import AnyProvider
from voxplane.registry import ProviderRegistry, installed
from voxplane.schemas import ConfigWrite, OrganizationCreate, SecretsWrite
from voxplane.server import release_preview
from voxplane.server.auth import Principal
from voxplane.server.control_plane import ControlPlane, local_administrator
from voxplane.server.embedded import EmbeddedPostgres
from voxplane.server.organization_files import Apply, OrganizationPlan
from voxplane.server.settings import Settings

KEY = "sk-canary-7f3a9c51e8"
OPERATOR = local_administrator(None, "test")
UNSEEN = "a\x9bb\u202ec\u200bé"
TYPES = {provider.key: provider.type.value for provider in installed().get_all_providers()}
Superuser = psycopg.Connection[tuple[object, ...]]


def file_of(organization: str, **providers: Any) -> OrganizationFile:
    named = {key.replace("_", "-"): entry for key, entry in providers.items()}
    return OrganizationFile.model_validate({"organization": organization, "providers": named})


async def applied(plane: ControlPlane, wanted: Apply) -> OrganizationPlan:
    return await plane.files.apply(OPERATOR, wanted, await plane.files.plan(OPERATOR, wanted))


# YAML


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: &x [1]\nb: *x", "anchors"),
        ("a: 1\na: 2", "second time"),
        ("- !!python/object:os.system x", "tags"),
        ("1: x", "a name is a text"),
        ("a: 1234567890123456789012", "too large"),
        (f"{KEY}: [", "line 1"),
        ("x: " + "[" * 40, "deep"),
        ("\x01", "YAML"),
        ("organization: acme\n" + "#" * organization_file.MAX_DOCUMENT_BYTES, "MiB"),
    ],
)
def test_a_file_holds_plain_values_and_nothing_else(text: str, message: str) -> None:
    with pytest.raises(ConfigurationError) as refused:
        organization_file.read(text)
    assert message in refused.value.message
    assert KEY not in refused.value.message


@pytest.mark.parametrize(
    ("document", "pointer"),
    [
        ({"organization": "No!"}, "/0/organization"),
        ({"organization": "a", "providers": {"openai": {"secrets": {"apiKey": KEY}}}}, "/0/providers/openai/secrets"),
        ({"organization": "a", "providers": {"openai": {"priority": 2000}}}, "/0/providers/openai/priority"),
        (
            {"organization": "a", "providers": {"openai": {"secrets": {"apiKey": KEY, KEY: KEY}, "priority": "x"}}},
            "/0/providers/openai/priority /0/providers/openai/secrets",
        ),
        ({"organization": "a", "providers": {KEY: {"frob": 1}}}, "/0/providers/?"),
        ({"organization": "a", "providers": {"openai": {}, KEY: {"enabled": 1}}}, "/0/providers/?/enabled"),
        ({"organization": "a", "providers": {"openai": None}}, "/0/providers/openai"),
        ([1], "/0"),
    ],
)
def test_a_document_that_is_not_valid_is_pointed_at_and_not_repeated(document: Any, pointer: str) -> None:
    with pytest.raises(Invalid) as refused:
        organization_file.read(json.dumps(document))
    assert " ".join(error.pointer for error in refused.value.errors) == pointer
    assert KEY not in str([vars(OrganizationFile), refused.value.errors])


def test_an_organization_stands_in_a_file_once() -> None:
    with pytest.raises(Invalid) as refused:
        organization_file.read("organization: a\n---\norganization: a\n")
    assert [error.pointer for error in refused.value.errors] == ["/1/organization"]
    with pytest.raises(Invalid) as refused:
        organization_file.read("organization: No\n---\norganization: a\nnmae: x\n")
    assert [error.pointer for error in refused.value.errors] == ["/0/organization", "/1"]


def test_a_file_is_as_long_as_there_are_organizations_and_is_read_a_document_at_a_time() -> None:
    remark = f"# {'x' * 998}\n" * (organization_file.MAX_DOCUMENT_BYTES // 2000)
    text = "---\n".join(f"organization: a{number}\n{remark}" for number in range(4))
    assert len(text) > organization_file.MAX_DOCUMENT_BYTES
    read: list[None] = []
    files = organization_file.read(io.StringIO(text), lambda: read.append(None))
    assert [file.organization for file in files] == ["a0", "a1", "a2", "a3"]
    assert len(read) == 4
    marked = "# all\n%YAML 1.2\n---\norganization: a\n...\n%YAML 1.2\n--- # b\norganization: b\n"
    marked += "---\n---\n--- {organization: c}\n"
    assert [file.organization for file in organization_file.read(marked)] == ["a", "b", "c"]
    with pytest.raises(ConfigurationError, match="at line 5, column"):
        organization_file.read("organization: a\n---\norganization: b\nname: [\n")


TEXTS = (
    st.text(st.characters(codec="utf-8", exclude_categories=["Cs"], exclude_characters="\0"), max_size=12)
    | st.text("a: \n\t\r\x0b\x1c\x7f\x85\x9f\u2028\u2029\u200b\u202e\u2066\ufeff", max_size=12)
    | st.sampled_from(["on", "no", "2024-10-21", "1:30", "010", "1e3", "~", "null", "0x1F", "a: b", "#x", "- x"])
    | st.sampled_from(["two\nlines", "a\n---\nb\n...\nc", "Speak\x85warmly", "true", ""])
)


@given(
    value=st.dictionaries(
        TEXTS,
        st.recursive(
            TEXTS | st.integers(-(10**17), 10**17) | st.booleans() | st.floats(allow_nan=False, allow_infinity=False),
            lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
            max_leaves=5,
        ),
        min_size=1,
        max_size=4,
    )
)
@profile(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_what_is_written_as_yaml_is_read_as_it_was(value: dict[str, Any]) -> None:
    assert plain_yaml.read_all(plain_yaml.written(value)) == [value]
    file = OrganizationFile(organization="a", providers={"openai": ProviderEntry(config=value)})
    other = OrganizationFile(organization="b", name="B")
    files = [file, other]
    assert organization_file.read("---\n".join(organization_file.written(each, TYPES) for each in files)) == files


KEYS = st.tuples(
    st.from_regex(r"[ab1](-{0,3}[ab1]){0,4}", fullmatch=True),  # a slug
    st.from_regex(r"[ab1](-?[ab1]){0,4}", fullmatch=True) | st.sampled_from(sorted(TYPES)),
    st.from_regex(r"[ab][ab1A]{0,4}", fullmatch=True),
)


@given(one=KEYS, other=KEYS)
@example(one=("acme", "azure-openai", "apiKey"), other=("acme-azure", "openai", "apiKey"))
@example(one=("a--b", "openai", "apiKey"), other=("a-b", "openai", "apiKey"))
@example(one=("a--b", "openai", "apiKey"), other=("a", "b-openai", "apiKey"))
@profile(max_examples=300, deadline=None)
def test_no_two_keys_have_one_reference(one: tuple[str, str, str], other: tuple[str, str, str]) -> None:
    references = organization_file.suggested(*one), organization_file.suggested(*other)
    assert (references[0] == references[1]) == (one == other)
    assert organization_file.REFERENCE.fullmatch(references[0])


# Export and apply

CONFIGS: dict[str, list[dict[str, Any]]] = {
    "openai": [{}, {"temperature": 0.3, "model": "gpt-4o-mini"}, {"organization": "org-x", "maxTokens": 7}],
    "deepgram": [{"model": "nova-2", "keywords": ["no", "on:2"]}, {"language": "de", "redact": ["pci"]}],
    "elevenlabs": [{}, {"voiceId": "21m00Tcm4TlvDq8ikWAM", "applyTextNormalization": "on", "language": "no"}],
    "openai-tts": [{"instructions": "Speak warmly.\nWithout haste: please."}],
    "azure-openai": [
        {
            "endpoint": "https://a.openai.azure.com",
            "deployment": "no",
            "apiSurface": "dated",
            "apiVersion": "2024-10-21",
        }
    ],
}
ORGANIZATIONS = st.lists(
    st.dictionaries(
        st.sampled_from(sorted(CONFIGS)), st.tuples(st.integers(0, 5), st.booleans(), st.integers(0, 1000)), max_size=5
    ),
    min_size=1,
    max_size=6,
)


def there_and_back(settings: Settings, postgres: EmbeddedPostgres, template: Template, examples: int) -> None:
    """Export any organizations, apply the file to a database that has none of them, and apply it again."""
    numbers = itertools.count()

    @given(wanted=ORGANIZATIONS)
    @profile(max_examples=examples, deadline=None, suppress_health_check=[HealthCheck.too_slow], database=None)
    def each(wanted: list[dict[str, tuple[int, bool, int]]]) -> None:
        run = next(numbers)
        with empty(postgres, template) as elsewhere, admin_connection(postgres, elsewhere) as superuser:
            there = settings_for(postgres, elsewhere, template.keyring)
            anyio.run(
                exported_and_applied, settings, there, superuser, {f"r{run}-{n}": o for n, o in enumerate(wanted)}
            )

    each()


@contextmanager
def empty(postgres: EmbeddedPostgres, template: Template) -> Generator[str]:
    """A database of another name, as an installation's first start leaves it."""
    name = sql.Identifier("elsewhere")
    with admin_connection(postgres) as connection:
        connection.execute(sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(name, sql.Identifier(template.name)))
        yield "elsewhere"
        connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(name))


async def exported_and_applied(
    here: Settings, there: Settings, superuser: Superuser, wanted: dict[str, dict[str, tuple[int, bool, int]]]
) -> None:
    async with ControlPlane.open(here) as plane, ControlPlane.open(there) as other:
        for slug, chosen in wanted.items():
            new = OrganizationCreate(slug=slug, name="From: here")
            who = local_administrator((await plane.access.create_organization(OPERATOR, new)).id, "test")
            for key, (which, is_enabled, priority) in chosen.items():
                config = CONFIGS[key][which % len(CONFIGS[key])]
                change = ConfigWrite(config=config, is_enabled=is_enabled, priority=priority)
                await plane.providers.upsert_organization_provider_config(who, key, change)
            [file] = organization_file.read(organization_file.written(await plane.files.export(who), TYPES))
            plan = await applied(other, Apply(file))
            assert plan.is_new
            found = local_administrator((await other.access.find_organization(slug)).id, "test")
            assert shown(await other.providers.get_organization_providers(found)) == shown(
                await plane.providers.get_organization_providers(who)
            )
            before = stored_rows(superuser)
            again = await applied(other, Apply(file, prune=True))
            assert (again.changes, again.effects) == ((), ())
            assert stored_rows(superuser) == before


@pytest.mark.parametrize("examples", [4, pytest.param(200, marks=[pytest.mark.deep, pytest.mark.timeout(900)])])
def test_export_then_apply_on_an_empty_database_gives_the_same_and_applying_again_writes_nothing(
    settings: Settings, postgres: EmbeddedPostgres, template: Template, examples: int
) -> None:
    there_and_back(settings, postgres, template, examples)


def shown(found: Any) -> list[tuple[Any, ...]]:
    return [
        (
            each.provider.key,
            each.config,
            each.overrides,
            each.is_enabled,
            each.priority,
            each.usable,
            each.is_configured,
        )
        for each in found.providers
    ]


async def test_a_plan_writes_nothing_says_what_changes_and_is_what_happens(
    plane: ControlPlane, superuser: Superuser, administrator: Principal
) -> None:
    change = ConfigWrite(config={"temperature": 0.9, "maxTokens": 7})
    await plane.providers.upsert_organization_provider_config(administrator, "openai", change)
    before = stored_rows(superuser)
    entry = {"enabled": True, "priority": 300, "config": {"temperature": 0.3}}
    wanted = Apply(
        file_of("default", openai={"config": {"temperature": 0.3}, "secrets": {"apiKey": "env:X"}}, groq=entry),
        {("openai", "apiKey"): SecretStr(KEY)},
        prune=True,
    )
    plan = await plane.files.plan(OPERATOR, wanted)
    assert stored_rows(superuser) == before
    assert [(each.provider, each.what, each.kind, each.before, each.after) for each in plan.changes] == [
        ("deepgram", "enabled", "removed", True, None),
        ("deepgram", "priority", "removed", 100, None),
        ("groq", "config.temperature", "set", None, 0.3),
        ("groq", "enabled", "set", None, True),
        ("groq", "priority", "set", None, 300),
        ("openai", "approvedOrigins", "set", None, ["https://api.openai.com:443/v1"]),
        ("openai", "config.maxTokens", "removed", 7, None),
        ("openai", "config.temperature", "changed", 0.9, 0.3),
        ("openai", "secrets.apiKey", "set", None, None),
        ("piper", "enabled", "removed", True, None),
        ("piper", "priority", "removed", 100, None),
    ]
    effects = {(each.provider, each.what): each.after for each in plan.effects}
    assert effects[("openai", "usable")] is True
    assert effects[("openai", "config.maxTokens")] == 1000
    assert effects[("openai", "answers llm")] == "openai"
    assert effects[("deepgram", "enabled")] is False
    done = await plane.files.apply(OPERATOR, wanted, plan)
    assert done == plan
    assert KEY not in plan.model_dump_json() + json.dumps(stored_rows(superuser), default=str) + repr(wanted)
    released = await plane.workers.release(worker_of(administrator.tenant), "openai")
    assert released.secrets["apiKey"].get_secret_value() == KEY
    found = await plane.access.find_organization("default")
    assert found.revision == 3  # one transaction
    assert KEY not in organization_file.written(await plane.files.export(administrator), TYPES)


async def test_what_moved_on_since_the_plan_is_refused_and_stays(
    plane: ControlPlane, superuser: Superuser, administrator: Principal
) -> None:
    wanted, new = Apply(file_of("default", openai={"priority": 7})), Apply(file_of("acme", openai={"priority": 7}))
    planned, planned_new = [await plane.files.plan(OPERATOR, each) for each in (wanted, new)]
    await plane.providers.upsert_organization_provider_config(administrator, "groq", ConfigWrite(priority=1))
    await plane.access.create_organization(OPERATOR, OrganizationCreate(slug="acme", name="Acme"))
    before = stored_rows(superuser)
    with pytest.raises(RevisionConflict):
        await plane.files.apply(OPERATOR, wanted, planned)
    with pytest.raises(OrganizationExists):
        await plane.files.apply(OPERATOR, new, planned_new)
    gone = planned.model_copy(update={"organization": "gone"})
    with pytest.raises(RevisionConflict):
        await plane.files.apply(OPERATOR, Apply(file_of("gone", openai={"priority": 7})), gone)
    assert stored_rows(superuser) == before


@pytest.mark.parametrize(
    ("providers", "pointers"),
    [
        ({"openai": {"priority": 1}, "groq": {"config": {"temperature": 9}}}, ["/groq/config/temperature"]),
        ({"openai": {"config": {"apiKey": "x"}}}, ["/openai/config"]),
        (
            {
                KEY: {"priority": 1},
                "groq": {"config": {"temprature": 1, "maxTokens": "many"}, "secrets": {KEY: "env:NOPE"}},
                "openai": {"approvedOrigins": ["ftp://x"]},
            },
            ["/?", "/groq/secrets", "/groq/config", "/groq/config/maxTokens", "/openai/approvedOrigins/0"],
        ),
    ],
)
async def test_a_file_that_is_refused_leaves_everything_as_it_was(
    plane: ControlPlane,
    superuser: Superuser,
    providers: dict[str, Any],
    pointers: list[str],
) -> None:
    before = stored_rows(superuser)
    with pytest.raises(Invalid) as refused:
        await plane.files.plan(OPERATOR, Apply(file_of("default", **providers)))
    assert [each.pointer for each in refused.value.errors] == [f"/default{pointer}" for pointer in pointers]
    assert KEY not in str(refused.value.errors)
    assert stored_rows(superuser) == before


async def test_origins_that_were_approved_are_exported_and_come_back(
    plane: ControlPlane, administrator: Principal
) -> None:
    own = "https://llm.acme.example/v1"
    await plane.providers.upsert_organization_provider_config(
        administrator, "openai", ConfigWrite(config={"baseUrl": own})
    )
    secrets = SecretsWrite(secrets={"apiKey": KEY}, approved_origins=[own])
    await plane.providers.update_provider_secrets(administrator, "openai", secrets)
    exported = await plane.files.export(administrator)
    assert exported.providers["openai"].approved_origins == ["https://llm.acme.example:443/v1"]
    assert exported.providers["openai"].secrets == {"apiKey": "env:DEFAULT__OPENAI__API_KEY"}
    assert (await plane.files.plan(OPERATOR, Apply(exported))).changes == ()
    file = exported.model_copy(update={"organization": "acme"})
    assert await plane.files.missing([exported], {"default": {}}) == []
    assert await plane.files.missing([file], {"acme": {}}) == [("acme", "openai", "apiKey")]
    await applied(plane, Apply(file, {("openai", "apiKey"): SecretStr(KEY)}))
    acme = local_administrator((await plane.access.find_organization("acme")).id, "test")
    assert (await plane.providers.get_organization_provider(acme, "openai")).usable


async def test_a_file_gives_its_organization_the_name_that_it_says(
    plane: ControlPlane, superuser: Superuser, administrator: Principal
) -> None:
    exported = await plane.files.export(administrator)
    wanted = Apply(exported.model_copy(update={"name": "Renamed Ltd"}))
    plan = await applied(plane, wanted)
    assert [(each.provider, each.what, each.kind, each.before, each.after) for each in plan.changes] == [
        ("", "name", "changed", "Default organization", "Renamed Ltd")
    ]
    found = await plane.access.find_organization("default")
    assert (found.name, found.revision) == ("Renamed Ltd", 2)
    before = stored_rows(superuser)
    assert (await applied(plane, wanted)).changes == ()
    assert (await applied(plane, Apply(file_of("default")))).changes == ()
    assert stored_rows(superuser) == before
    assert "Renamed" not in json.dumps(before["audit_events"])
    assert (await plane.audit.check()).breaks == ()


async def test_an_organization_that_has_its_id_as_its_slug_keeps_it_in_another_database(plane: ControlPlane) -> None:
    slug = str(uuid4())
    await applied(plane, Apply(file_of(slug)))
    assert str((await plane.access.find_organization(slug)).id) == slug


async def test_pruning_leaves_what_no_export_names(
    settings: Settings, superuser: Superuser, administrator: Principal
) -> None:
    superuser.execute(
        """INSERT INTO providers SELECT 'murmur', type, name, jsonb_set(definition, '{key}', '"murmur"'), 'x', now()
        FROM providers WHERE key = 'piper'"""
    )
    superuser.execute(
        "UPDATE organization_provider_configs SET provider_key = 'murmur' WHERE provider_key = 'deepgram'"
    )
    async with ControlPlane.open(settings) as later:
        exported = await later.files.export(administrator)
        assert set(exported.providers) == {"openai", "piper"}
        assert (await later.files.plan(OPERATOR, Apply(exported, prune=True))).changes == ()
        plan = await later.files.plan(OPERATOR, Apply(file_of("default"), prune=True))
        assert {each.provider for each in plan.changes} == {"openai", "piper"}


async def test_an_override_that_is_no_longer_valid_keeps_nobody_from_the_file(
    plane: ControlPlane, superuser: Superuser, administrator: Principal
) -> None:
    superuser.execute(
        """UPDATE organization_provider_configs SET config = '{"volume": 1}' WHERE provider_key = 'piper'"""
    )
    exported = await plane.files.export(administrator)
    assert (await plane.files.plan(OPERATOR, Apply(exported))).changes == ()
    plan = await applied(plane, Apply(file_of("default", piper={"priority": 7, "config": {"volume": 1}})))
    assert [(each.what, each.after) for each in plan.changes] == [("priority", 7)]
    for other in ({"volume": True}, {"volume": 1, "speed": 1.1}):
        with pytest.raises(Invalid):
            await plane.files.plan(OPERATOR, Apply(file_of("default", piper={"config": other})))


async def test_a_provider_that_lacks_a_setting_is_exported_and_applied_again(
    plane: ControlPlane, superuser: Superuser, administrator: Principal
) -> None:
    for change in (ConfigWrite(is_enabled=True), ConfigWrite(config={}, is_enabled=False)):
        await plane.providers.upsert_organization_provider_config(administrator, "elevenlabs", change)
        exported = (await plane.files.export(administrator)).model_copy(update={"organization": "acme"})
        assert exported.providers["elevenlabs"].config == {}
        await applied(plane, Apply(exported, prune=True))
        before = stored_rows(superuser)
        assert (await applied(plane, Apply(exported, prune=True))).changes == ()
        assert stored_rows(superuser) == before
        await applied(plane, Apply(file_of("acme", elevenlabs={"config": {"voiceId": "21m00Tcm4TlvDq8ikWAM"}})))
    plan = await applied(plane, Apply(exported))
    assert [(each.what, each.kind) for each in plan.changes] == [("config.voiceId", "removed")]
    with pytest.raises(Invalid):
        await plane.files.plan(OPERATOR, Apply(file_of("acme", elevenlabs={"config": {"speed": 1.1}})))


def test_the_file_of_the_page_is_one() -> None:
    [page] = [block.text for block in blocks(DOCS / "files.md") if block.info == "yaml"]
    [file] = organization_file.read(page)
    assert organization_file.written(file, TYPES) == page
    [(key, name, reference)] = organization_file.references(file)
    assert reference == organization_file.suggested(file.organization, key, name)
    assert f"at most {organization_file.MAX_DOCUMENT_BYTES // 1024 // 1024} MiB" in (DOCS / "files.md").read_text()


# A release


async def test_a_release_is_compared_with_the_catalogue_that_serves(
    settings: Settings, plane: ControlPlane, administrator: Principal, superuser: Superuser
) -> None:
    await plane.providers.upsert_organization_provider_config(
        administrator, "openai", ConfigWrite(config={"temperature": 0.3})
    )
    assert [each async for each in release_preview.compare(settings, None)] == []
    entries = [each.entry.model_dump(mode="json", by_alias=True) for each in installed().get_all_providers()]
    for entry in entries:
        if entry["key"] == "openai":
            entry["defaultConfig"] |= {"maxTokens": 500, "temperature": 1.0}
        if entry["key"] == "piper":
            entry["description"] = "As it was."
    murmur = {**entries[0], "key": "murmur"}
    since = json.dumps({"providers": [*entries, murmur]})
    [plan] = [each async for each in release_preview.compare(settings, since)]
    assert [(each.provider, each.what, each.before, each.after) for each in plan.effects] == [
        ("openai", "config.maxTokens", 500, 1000)  # temperature is overridden
    ]
    # A provider that is gone, and settings that are no longer taken.
    superuser.execute(
        "INSERT INTO providers SELECT 'murmur', type, name, definition, 'x' FROM providers WHERE key = 'piper'"
    )
    superuser.execute(
        "UPDATE organization_provider_configs SET provider_key = 'murmur' WHERE provider_key = 'deepgram'"
    )
    superuser.execute(
        """UPDATE organization_provider_configs SET config = '{"volume": 9}' WHERE provider_key = 'piper'"""
    )
    [plan] = [each async for each in release_preview.compare(settings, since)]
    gone = [("murmur", "offered", "removed"), ("openai", "config.maxTokens", "changed")]
    assert [
        (each.provider, each.what, each.kind) for each in plan.effects
    ] == gone  # piper's was not valid before either
    [piper] = [entry for entry in entries if entry["key"] == "piper"]
    piper["configSchema"]["properties"] |= {"volume": {"type": "number", "maximum": 10}, "mood": {"type": "string"}}
    took_more = json.dumps({"providers": [*entries, murmur]})
    for config, is_new in (({"volume": 9}, True), ({"mood": "calm"}, True), ({"tempo": 1}, False)):
        superuser.execute(
            "UPDATE organization_provider_configs SET config = %s WHERE provider_key = 'piper'", [json.dumps(config)]
        )
        [plan] = [each async for each in release_preview.compare(settings, took_more)]
        found = [(each.provider, each.what, each.kind) for each in plan.effects]
        broken = [("piper", "valid", "removed"), ("piper", "usable", "changed"), ("piper", "answers tts", "removed")]
        assert found == [*gone, *broken * is_new], config
    with pytest.raises(ConfigurationError):
        [each async for each in release_preview.compare(settings, "{}")]
    superuser.execute("UPDATE alembic_version SET version_num = '0001'")
    with pytest.raises(ConfigurationError, match="another schema"):
        [each async for each in release_preview.compare(settings, None)]


@pytest.mark.parametrize("lack", ["secret", "address"])
async def test_a_release_that_makes_a_provider_unusable_says_so_and_who_answers_then(
    settings: Settings, plane: ControlPlane, administrator: Principal, lack: str
) -> None:
    for key, priority in (("openai", 900), ("groq", 5)):
        await plane.providers.update_provider_secrets(administrator, key, SecretsWrite(secrets={"apiKey": KEY}))
        await plane.providers.upsert_organization_provider_config(
            administrator, key, ConfigWrite(is_enabled=True, priority=priority)
        )
    old = [each.entry.model_dump(mode="json", by_alias=True) for each in installed().get_all_providers()]
    assert [each async for each in release_preview.compare(settings, json.dumps({"providers": old}))] == []
    # As if this release had begun to ask for a key, or to call another address.
    for entry in old:
        if lack == "secret" and entry["key"] == "deepgram":
            entry["secretsSchema"].pop("required")
        if lack == "address" and entry["key"] == "openai":
            entry["destination"]["defaultOrigins"] = ["https://old.openai.example:443"]
    if lack == "address":
        change = SecretsWrite(secrets={"apiKey": KEY}, approved_origins=["https://old.openai.example"])
        await plane.providers.update_provider_secrets(administrator, "openai", change)
    [plan] = [each async for each in release_preview.compare(settings, json.dumps({"providers": old}))]
    assert [(each.provider, each.what, each.before, each.after) for each in plan.effects] == {
        "secret": [("deepgram", "usable", True, False), ("deepgram", "answers stt", "deepgram", None)],
        "address": [("openai", "usable", True, False), ("groq", "answers llm", "openai", "groq")],
    }[lack]


async def test_a_release_that_upgrades_an_override_says_so(
    settings: Settings, plane: ControlPlane, administrator: Principal, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = {"temperature": 0.3, "maxTokens": 7}
    await plane.providers.upsert_organization_provider_config(administrator, "openai", ConfigWrite(config=config))

    def upgraded(overrides: dict[str, Any]) -> dict[str, Any]:
        kept = {name: value for name, value in overrides.items() if name != "maxTokens"}
        return kept | {"temperature": 1.5, "organization": "org-x"}

    old = {"providers": [each.entry.model_dump(mode="json", by_alias=True) for each in installed().get_all_providers()]}
    openai = replace(installed().get_provider_by_key("openai"), description="Another.", upgrades=(upgraded,))
    offered = [openai if each.key == "openai" else each for each in installed().get_all_providers()]

    def all_providers(_: ProviderRegistry) -> list[AnyProvider]:
        return offered

    monkeypatch.setattr(ProviderRegistry, "get_all_providers", all_providers)
    [plan] = [each async for each in release_preview.compare(settings, json.dumps(old))]
    assert [(each.provider, each.what, each.kind, each.before, each.after) for each in plan.effects] == [
        ("openai", "config.maxTokens", "changed", 7, 1000),
        ("openai", "config.organization", "set", None, "org-x"),
        ("openai", "config.temperature", "changed", 0.3, 1.5),
    ]
    new = {"providers": [each.entry.model_dump(mode="json", by_alias=True) for each in offered]}
    assert [each async for each in release_preview.compare(settings, json.dumps(new))] == []  # in force by then


# At the terminal

Typed = Callable[..., tuple[int, str, str]]


@pytest.fixture
def typed(settings: Settings, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Iterator[Typed]:
    """Run commands in this process on a database of the test's own; what they answer: code, output, remarks."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    environment(monkeypatch, settings)

    def run(*words: object, stdin: str = "") -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["voxplane", *map(str, words)])
        monkeypatch.setattr(sys, "stdin", io.StringIO(stdin))
        capsys.readouterr()
        with pytest.raises(SystemExit) as exit_:
            cli.main()
        said = capsys.readouterr()
        return int(exit_.value.code or 0), said.out, said.err

    yield run
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.reset_defaults()


def test_at_the_terminal_a_file_that_is_not_there_is_called_so(typed: Typed, tmp_path: Path) -> None:
    for *words, said in (
        ("apply", "-f", "There is no file of this name."),
        ("audit", "verify", "--anchors", "There is no file of anchors of this name."),
        ("legacy", "import", "There is no file and no folder of this name."),
    ):
        code, out, err = typed(*words, tmp_path / "missing")
        assert (code, out, err) == (1, "", f"{said}\n")


def test_at_the_terminal_a_misspelt_name_is_told_before_its_reference_and_not_repeated(
    typed: Typed, tmp_path: Path
) -> None:
    wrong = tmp_path / "wrong.yaml"
    wrong.write_text(
        "organization: default\nproviders:\n  openai:\n    secrets:\n      apikey: env:NOPE\n"
        f"      {KEY}: env:NOPE\n  {KEY}: {{secrets: {{apiKey: env:NOPE}}}}\n"
    )
    for command in (("apply",), ("apply", "--skip-missing-keys"), ("preview",)):
        code, out, err = typed(*command, "-f", wrong)
        assert (code, out, KEY in err) == (1, "", False)
        assert "  default/openai/secrets: There is no such field. Did you mean apiKey?" in err
        assert "  default/?: Provider 2 of this organization is none of those that" in err


def test_at_the_terminal_a_file_goes_round(typed: Typed, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    file, plan = tmp_path / "acme.yaml", tmp_path / "plan.json"
    (tmp_path / "key").write_text(f"{KEY}\n")
    _, text, _ = typed("export")
    assert text.startswith("organization: default\nname: Default organization\nproviders:\n  # stt\n  deepgram:\n")
    file.write_text(
        text.replace("organization: default", "organization: acme")
        + f"    secrets:\n      apiKey: file:{tmp_path / 'key'}\n"
        + "---\norganization: default\nproviders:\n  groq:\n    enabled: true\n"
        + "    secrets:\n      apiKey: env:GROQ_KEY\n"
    )
    code, out, err = typed("apply", "-f", file, "--yes")
    assert (code, out) == (1, "")
    assert "default/groq/secrets/apiKey: Its reference leads nowhere" in err
    _, looked, _ = typed("preview", "-f", file)
    assert "  ~ groq enabled: false -> true" in looked
    monkeypatch.setenv("GROQ_KEY", "gsk_canary7f3a9c51e8")
    plan.write_text(typed("apply", "-f", file, "--plan")[1])
    code, _, err = typed("apply", "-f", "-", stdin=file.read_text())
    assert (code, "Nobody is at a terminal to be asked: say --yes" in err) == (2, True)
    agreed = ("apply", "-f", file, "--as-planned", plan, "--yes")
    code, out, err = typed(*agreed)
    assert (code, "+ acme (new organization)\n" in out, "1 organization of this file is not here" in err) == (
        1,
        True,
        True,
    )
    code, done, _ = typed(*agreed, "--create-organizations")
    assert (code, "+ acme (new organization)\n" in done, "  + groq secrets.apiKey\n" in done) == (0, True, True)
    assert typed("apply", "-f", file) == (0, "", "Nothing changes.\n")
    assert "no longer what the plan says" in typed("apply", "-f", file, "--as-planned", plan)[2]
    assert "This is no plan" in typed("apply", "-f", file, "--as-planned", file)[2]
    _, everybody, _ = typed("export", "--all")
    assert everybody.count("organization: ") == 2
    assert json.loads(typed("preview", "--json")[1]) == {"organizations": []}
    assert "No call changes." in typed("preview")[2]
    assert "cannot be read as text" in typed("apply", "-f", tmp_path)[2]
    (tmp_path / "key").write_text("k" * 16 * 1024 + "\n")
    code, _, err = typed("apply", "-f", file, "--plan")
    assert (code, "more than 16 KiB" in err) == (1, True)
    (tmp_path / "key").write_bytes(b"\xff")
    assert "a reference leads to cannot be read" in typed("apply", "-f", file)[2]
    file.write_text(f"organization: default\nname: {json.dumps(UNSEEN)}\nproviders:\n  openai-tts: {{priority: 3}}\n")
    _, done, _ = typed("apply", "-f", file, "--yes")
    assert '  ~ name: "Default organization" -> "a\\u009bb\\u202ec\\u200bé"\n' in done
    _, written, _ = typed("export")
    assert 'name: "a\\x9Bb\\u202ec\\u200bé"\n' in written
    assert plain_yaml.read_all(written)[0]["name"] == UNSEEN
    assert "a\\u009bb\\u202e" in typed("organization", "list")[1]
    for said in (text, looked, plan.read_text(), done, everybody):
        assert "canary" not in said
