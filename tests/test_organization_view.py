"""What an organization sees of a provider that it never touched: made once, shown to everybody, owned by nobody."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime
from uuid import uuid4

import pytest
from pydantic import SecretStr

from voxplane.provider import AnyProvider
from voxplane.registry import ProviderRegistry
from voxplane.schemas import JsonObject, OrganizationProvider, ProviderType
from voxplane.server import envelope
from voxplane.server.envelope import DataKey, SecretChange, SecretContext
from voxplane.server.organization_view import OrganizationView
from voxplane.server.store import ConfigRow, OrganizationState

TODAY = date(2026, 11, 22)
AFTER_ITS_END = date(2027, 1, 14)  # of gpt-4o-mini, which is OpenAI's default

REGISTRY = ProviderRegistry()
REGISTRY.initialize()
OPENAI = REGISTRY.get_provider_by_key("openai")


def organization(**changes: object) -> OrganizationState:
    """An organization that has set nothing, but for the changes."""
    nothing = OrganizationState(
        id=uuid4(),
        slug="some",
        name="Some",
        epoch=uuid4(),
        revision=7,
        created_at=datetime.now(UTC),
        audit_seq=1,
        audit_hash=b"",
        secret_versions={},
        provider_revisions={},
        configs={},
        secrets={},
        reports={},
        verifications={},
    )
    return replace(nothing, **changes)


def view(state: OrganizationState, today: date = TODAY) -> OrganizationView:
    return OrganizationView(state, REGISTRY, {}, today)


def with_a_key(provider: AnyProvider) -> OrganizationState:
    """An organization that stored its secrets of one provider, and set nothing else."""
    state = organization(secret_versions={provider.key: 1})
    change = SecretChange(
        {name: SecretStr("sk-0123456789") for name in provider.secret_names},
        provider.default_origins,
        "the key",
        datetime.now(UTC).isoformat(),
        "somebody",
    )
    sealed = envelope.seal(DataKey.generate(1), SecretContext(state.id, provider.key), change, present=None, version=1)
    assert sealed is not None
    return replace(state, secrets={provider.key: sealed.to_json()})


@pytest.mark.parametrize("provider", REGISTRY.get_all_providers(), ids=lambda provider: provider.key)
def test_what_is_remembered_is_what_would_be_made(provider: AnyProvider) -> None:
    """A row that sets nothing is shown anew each time, and may differ only in being there."""
    row = ConfigRow.nothing(provider.key)
    for _ in range(2):
        state = organization()
        made = view(replace(state, configs={provider.key: row})).provider(provider.key)
        expected = made.model_copy(update={"is_configured": False, "updated_at": None, "updated_by": None})
        assert view(state).provider(provider.key) == expected
        assert view(state).provider(provider.key).model_dump_json() == expected.model_dump_json()


def test_each_organization_has_its_own_etag() -> None:
    one, other = organization(), organization(secret_versions={"groq": 3})
    assert view(one).provider("groq").etag == f'"{one.epoch}.0.0"'
    assert view(other).provider("groq").etag == f'"{other.epoch}.0.3"'
    assert view(one).provider("groq").etag == f'"{one.epoch}.0.0"'


def everything(state: OrganizationState) -> list[OrganizationProvider]:
    return [each for provider_type in ProviderType for each in view(state).ranked(provider_type)]


def spoil(document: JsonObject) -> None:
    """Change what can be changed in place, in depth."""
    for value in document.values():
        if isinstance(value, list):
            value.append("spoilt")  # pyright: ignore[reportUnknownMemberType] - JSON
    document["spoilt"] = True


def test_what_one_caller_does_to_an_answer_reaches_no_other() -> None:
    mine = organization()
    before = [each.model_dump_json() for each in everything(mine)]
    assert any(isinstance(value, list) for each in everything(mine) for value in each.config.values())
    for each in everything(organization()):
        spoil(each.config)
        spoil(each.overrides)
    assert [each.model_dump_json() for each in everything(mine)] == before


def test_a_new_day_is_seen() -> None:
    codes = [
        [notice.code for notice in view(organization(), day).provider("openai").notices]
        for day in (TODAY, AFTER_ITS_END, TODAY)
    ]
    assert codes == [["model_retiring"], ["model_retired"], ["model_retiring"]]


def test_settings_and_keys_of_its_own_are_seen_by_that_organization_alone() -> None:
    at = datetime.now(UTC)
    row = ConfigRow(
        "openai", {"temperature": 0.1}, 0, is_enabled=True, priority=5, revision=7, updated_at=at, updated_by="x"
    )
    configured, holder = organization(configs={"openai": row}), with_a_key(OPENAI)
    untouched = view(organization()).provider("openai")
    assert view(configured).provider("openai").config["temperature"] == 0.1
    assert view(configured).provider("openai").is_primary
    assert [field.is_set for field in view(holder).provider("openai").secret_fields] == [True]
    again = view(organization()).provider("openai")
    assert again.config == untouched.config == OPENAI.config.defaults()
    assert (again.is_configured, again.is_primary, again.updated_by) == (False, False, None)
    assert [field.is_set for field in again.secret_fields] == [False]


def test_a_shared_key_is_seen_where_nothing_else_was_set() -> None:
    shared = view(with_a_key(OPENAI)).provider("openai-tts")
    assert [(field.is_set, field.shared_from) for field in shared.secret_fields] == [(True, "openai")]
    alone = view(organization()).provider("openai-tts")
    assert [(field.is_set, field.shared_from) for field in alone.secret_fields] == [(False, None)]
