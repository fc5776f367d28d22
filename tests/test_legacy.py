"""Blobs of the old system: what each comes to, and that no report holds what could be a key.

`tests/data/legacy` holds blobs and, beside each, the report that was read through. After a deliberate change
`python -m tests.test_legacy` writes them anew, to be read through again.
"""

from __future__ import annotations

import json
import random
from datetime import date
from pathlib import Path
from string import ascii_letters, ascii_lowercase, ascii_uppercase
from typing import Any, cast

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from voxplane import legacy_keys
from voxplane.legacy import MAX_FINDINGS, Converted, Outcome, convert
from voxplane.legacy_reading import key_places, pointer
from voxplane.legacy_values import Refused, fit
from voxplane.registry import installed

CORPUS = Path(__file__).parent / "data" / "legacy"
BLOBS = sorted(path for path in CORPUS.glob("*.json") if not path.name.endswith(".report.json"))
TODAY = date(2026, 11, 28)
KEY = "sk-canary-7f3a9c51e8"
CANARIES = ("canary", "c0ffee", "plainsecret", "0123456789abcdef")


def report_of(converted: Converted) -> dict[str, Any]:
    """What is said of one blob; of keys, their names."""
    return {
        "providers": [
            {
                "key": each.key,
                "isEnabled": each.is_enabled,
                "priority": each.priority,
                "config": each.config,
                "secrets": sorted(each.secrets),
                "notices": list(each.notices),
            }
            for each in converted.providers
        ],
        "findings": [each.model_dump(mode="json", by_alias=True, exclude_none=True) for each in converted.findings],
    }


def reported(path: Path) -> str:
    report = report_of(convert(json.loads(path.read_text()), installed(), TODAY))
    return json.dumps(report, indent=2) + "\n"


@pytest.mark.parametrize("path", BLOBS, ids=lambda path: path.stem)
def test_a_blob_comes_to_what_its_report_says(path: Path) -> None:
    report = reported(path)
    assert report == path.with_suffix(".report.json").read_text()
    assert not [canary for canary in CANARIES if canary in report]


def test_the_corpus_is_whole() -> None:
    assert len(BLOBS) >= 40
    reports = [path.read_text() for path in CORPUS.glob("*.report.json")]
    assert len(reports) == len(BLOBS)
    assert all(any(f'"outcome": "{outcome}"' in report for report in reports) for outcome in Outcome)


def test_the_blob_of_the_seed_comes_to_exactly_its_two_providers() -> None:
    converted = convert(json.loads((CORPUS / "seed.json").read_text()), installed(), TODAY)
    assert [(each.key, each.config, each.secrets, each.is_enabled, each.priority) for each in converted.providers] == [
        ("deepgram", {"model": "nova-2"}, {}, True, 100),
        ("openai", {"model": "gpt-4o-mini", "temperature": 0.3}, {}, True, 100),
    ]


def test_a_megabyte_of_anything_is_read_and_reported_within_bounds() -> None:
    blob: dict[str, Any] = {f"junk{number}": "x" * 100 for number in range(9000)}
    blob["openai"] = {"temperature": 0.3, "chatModel": "g" * 100_000, "apiKey": "k" * 100_000}
    assert len(json.dumps(blob)) > 1_000_000
    converted = convert(blob, installed(), TODAY)
    [openai] = converted.providers
    assert (openai.config, dict(openai.secrets)) == ({"temperature": 0.3}, {})
    assert len(converted.findings) == MAX_FINDINGS + 1


def test_what_is_made_to_take_for_ever_to_read_is_read() -> None:
    keys = {f"key{number}": f"hunter2hunter2-{number}" for number in range(3000)}
    hostile: list[dict[str, Any]] = [
        {"notes": "sk-" * 330_000},
        {"openai": {"model": "sk-" * 330_000, "apiKey": "sk-" * 330_000}},
        {"deepgram": {"keyterms": [f"word{number}" for number in range(100_000)]}, "apiKeys": keys},
    ]
    for blob in hostile:
        converted = convert(blob, installed(), TODAY)
        assert [each.config for each in converted.providers if each.config] == []
        text = json.dumps(blob)
        assert legacy_keys.scrub(text, installed(), TODAY, lambda _key: False).text == text


def test_a_key_of_one_provider_is_in_no_setting_of_another() -> None:
    key = "hunter2hunter2"
    for blob in (
        {"deepgram": {"apiKey": key}, "openai": {"promptCacheKey": key}},
        {"openai": {"apiKey": key}, "tts": {"provider": "openai", "instructions": f"use {key}"}},
        {"apiKeys": {"nobody": key}, "openai": {"promptCacheKey": f"Bearer {key}"}},
        {"unheardof": {"apiKey": [key]}, "openai": {"promptCacheKey": key}},
    ):
        converted = convert(blob, installed(), TODAY)
        assert key not in json.dumps([report_of(converted), [each.config for each in converted.providers]])


@pytest.mark.parametrize("path", [None, *BLOBS], ids=lambda path: path.stem if path else "by-name-alone")
def test_what_may_be_a_key_and_is_left_is_reported_so(path: Path | None) -> None:
    by_name = {"assemblyai": {"apiKey": "aai-SECRET-9999"}, "twilio": {"authToken": "twtoken123456"}}
    blob = json.loads(path.read_text()) if path else by_name
    converted = convert(blob, installed(), TODAY)
    said = [f"{each.at}/" for each in converted.findings if each.needs_a_person and "may hold a key" in str(each.note)]
    taken = {key.path for key in converted.keys}
    left = [at for at in key_places(blob, installed()) if not any(at[: len(key)] == key for key in taken)]
    assert all(f"{pointer(at)}/".startswith(tuple(said)) for at in left)
    assert path or said == ["/assemblyai/", "/twilio/"]


def test_a_name_is_shown_when_it_reads_as_one_and_not_when_it_could_be_a_key() -> None:
    shown = "topP top_p apiKey OPENAI_API_KEY serviceAccountJson applyTextNormalization openAI Open-AI gpt4 a 11labs"
    for name in shown.split():
        assert pointer((name, "3")) == f"/{name}/3"
    dice = random.Random(4)  # noqa: S311 - keys that have no digit in them by chance
    for alphabet in (ascii_letters, ascii_lowercase, ascii_uppercase, ascii_letters + "-_"):
        keys = ["".join(dice.choices(alphabet, k=length)) for length in (20, 24, 32, 40) for _ in range(500)]
        assert sum(pointer((key,)) != "/?" for key in keys) <= 5, alphabet
    assert pointer(("7", "123456", "", "a b", KEY, "x" * 100_000)) == "/7/?/?/?/?/?"


def test_the_name_of_a_provider_is_no_key() -> None:
    blob: dict[str, Any] = {"providers": [{"key": "deepgram", "baseUrl": "https://api.deepgram.com"}]}
    [deepgram] = convert(blob, installed(), TODAY).providers
    assert deepgram.config == {"baseUrl": "https://api.deepgram.com"}


def test_no_number_and_no_text_is_too_strange_to_be_read() -> None:
    huge = 10**400
    blob: dict[str, Any] = {
        "openai": {"temperature": huge, "maxTokens": -huge, "priority": huge, "apiKey": '{"a":"\ud800"}'},
        "piper": {"speed": huge},
    }
    converted = convert(blob, installed(), TODAY)
    assert [each.key for each in converted.providers if each.secrets] == []
    # None is written as another one without saying so.
    converted = convert({"openai": {"seed": 123456789012345678}}, installed(), TODAY)
    assert [(each.outcome, each.value) for each in converted.findings] == [(Outcome.CLAMPED, 2**53 - 1)]
    with pytest.raises(Refused):
        fit({"type": "integer"}, 2**60)


def test_advice_about_a_key_fits_whose_it_is() -> None:
    blob = {
        "playht": {"apiKey": "canary-7f3a9c51e8"},
        "openai": {"apiKey": KEY, "other": {"secret": "canary-0000"}, "temperature": 0.2},
        "llm": {"provider": "openai", "temperature": 0.9},
    }
    notes = {each.at: str(each.note) for each in convert(blob, installed(), TODAY).findings}
    assert "no provider that Voxplane has by this name" in notes["/playht"]
    assert "`voxplane secrets set openai`" in notes["/openai/other"]
    assert notes["/llm/temperature"] == "Another place in the blob comes first for this setting."


NAMES = st.sampled_from(
    [
        "openai",
        "stt",
        "tts",
        "llm",
        "provider",
        "model",
        "chatModel",
        "temperature",
        "apiKey",
        "voice",
        "speed",
        "azure",
        "baseUrl",
        "config",
        "secrets",
        "keywords",
        "language",
        "enabled",
        "priority",
        "deepgram",
        "elevenlabs",
        "voiceId",
        "providers",
        "apiKeys",
        "OPENAI_API_KEY",
        "junk",
    ]
)
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.floats()
    | st.integers()
    | st.text(max_size=8)
    | st.sampled_from(["0.3", "deepgram", "openai", "nova-2", "gpt-4o", "https://a.openai.azure.com", "en", "KEY"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=5),
    max_leaves=20,
)


def leaves(value: Any, path: tuple[str, ...] = ()) -> list[str]:
    if isinstance(value, dict) and value:
        members = cast("dict[str, Any]", value)
        return [leaf for name, each in members.items() for leaf in leaves(each, (*path, name))]
    if isinstance(value, list) and value:
        items = cast("list[Any]", value)
        return [leaf for number, each in enumerate(items) for leaf in leaves(each, (*path, str(number)))]
    return ["".join(f"/{name}" for name in path)]


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(blob=st.dictionaries(NAMES, VALUES, max_size=6))
@example(blob={"tts": {"openai": None, "stt": None, "elevenlabs": {}}})
def test_every_part_of_a_blob_is_in_one_finding_and_every_config_is_accepted(blob: dict[str, Any]) -> None:
    converted = convert(blob, installed(), TODAY)
    for each in converted.providers:
        provider = installed().get_provider_by_key(each.key)
        if each.config:
            provider.validate(each.config)
        for name, secret in each.secrets.items():
            provider.validate_secret(name, secret.get_secret_value(), at="")
    places = [finding.at for finding in converted.findings]
    assert len(set(places)) == len(places)
    for leaf in leaves(blob) if blob else []:
        assert len([at for at in places if leaf == at or leaf.startswith(f"{at}/")]) == 1, leaf


if __name__ == "__main__":
    for each in BLOBS:
        each.with_suffix(".report.json").write_text(reported(each))
