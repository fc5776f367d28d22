"""The old table without the keys that are kept here, and with everything else as it was."""

from __future__ import annotations

import json
from typing import Any, cast

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from psycopg import sql

from tests.test_files import Typed, typed
from tests.test_legacy import BLOBS, CANARIES, CORPUS, TODAY
from tests.test_legacy_import import KEY, SEED, address_of, imported, principal_of
from voxplane import legacy_keys, legacy_text
from voxplane.errors import ConfigurationError
from voxplane.legacy import convert
from voxplane.registry import installed
from voxplane.schemas import SecretsWrite
from voxplane.server import legacy_scrub, legacy_source
from voxplane.server.auth import Principal
from voxplane.server.control_plane import ControlPlane
from voxplane.server.legacy_scrub import ScrubReport, Status

Superuser = psycopg.Connection[tuple[object, ...]]
GOOGLE = json.loads((CORPUS / "vertex.json").read_text())["google"]
BLOB: dict[str, Any] = {
    "openai": {"model": "gpt-4o-mini", "temperature": 0.3, "systemPrompt": "Grüezi \u202e", "apiKey": f"Bearer {KEY}"},
    "apiKeys": {"groq": "gsk_canary7f3a9c51e8"},
    "ELEVENLABS_API_KEY": "canary7f3a9c51e8aa",
    "providers": [{"key": "deepgram", "token": "canary7f3a9c51e8bb"}, "canary7f3a9c51e8bb"],
    "gemini": GOOGLE,
    "llm": {"provider": "openai", "apiKey": KEY},
    "notes": {"old": KEY, "text": f"it was {KEY}"},
    "telephony": {"twilio": {"authToken": "canary7f3a9c51e8cc"}},
    "cartesia": {"apiKey": "***"},
}
LEFT: dict[str, Any] = {
    "openai": {"model": "gpt-4o-mini", "temperature": 0.3, "systemPrompt": "Grüezi \u202e"},
    "apiKeys": {},
    "providers": [{"key": "deepgram"}, None],
    "gemini": {name: value for name, value in GOOGLE.items() if name != "credentials"},
    "llm": {"provider": "openai"},
    "notes": {"text": f"it was {KEY}"},
    "telephony": {"twilio": {"authToken": "canary7f3a9c51e8cc"}},
    "cartesia": {"apiKey": "***"},
}

__all__ = ["typed"]  # a fixture


@pytest.mark.parametrize("path", BLOBS, ids=lambda path: path.stem)
def test_what_the_import_takes_as_a_key_is_taken_out_and_comes_to_the_same_without(path: Any) -> None:
    text = path.read_text()
    scrubbed = legacy_keys.scrub(text, installed(), TODAY, lambda _key: True)
    was, becomes = (convert(json.loads(each), installed(), TODAY) for each in (text, scrubbed.text))
    assert [provider for provider in becomes.providers if provider.secrets] == []
    assert becomes.keys == ()
    texts = [key.text for key in was.keys]
    assert bool(texts) == any(provider.secrets for provider in was.providers) == bool(scrubbed.removed)
    assert [each for each in texts if json.dumps(each) in scrubbed.text] == []
    for canary in CANARIES:
        assert canary not in "".join([*scrubbed.removed, *(left.at for left in scrubbed.left)])
    again = legacy_keys.scrub(scrubbed.text, installed(), TODAY, lambda _key: True)
    assert (again.text, again.removed) == (scrubbed.text, ())
    assert [left.at for left in again.left] == [left.at for left in scrubbed.left]
    nothing = legacy_keys.scrub(text, installed(), TODAY, lambda _key: False)
    assert (nothing.text, nothing.removed) == (text, ())


@pytest.mark.parametrize(
    ("text", "becomes"),
    [
        # Beside a key that is nested as deep as can be read.
        ('{"openai":{"apiKey":"KEY"},"a":' + '{"a":' * 900 + "1" + "}" * 901, None),
        # No number is another one, and no text is written in another way.
        (
            '{ "x" : 12345678901234567.25, "y":[1e22, -0.0],\n "openai": {"\\u0061piKey": "KEY", "a": "\\u00fc"} }',
            '{ "x" : 12345678901234567.25, "y":[1e22, -0.0],\n "openai": { "a": "\\u00fc"} }',
        ),
        # What is short, or names a vendor, is a key only where a key stands.
        ('{"openai":{"apiKey":"none"},"prompts":{"tone":"none"}}', '{"openai":{},"prompts":{"tone":"none"}}'),
        ('{"stt":{"provider":"deepgram","apiKey":"deepgram"}}', '{"stt":{"provider":"deepgram"}}'),
    ],
)
def test_what_is_no_key_stays_letter_by_letter(text: str, becomes: str | None) -> None:
    scrubbed = legacy_keys.scrub(text.replace("KEY", KEY), installed(), TODAY, lambda _key: True)
    assert len(scrubbed.removed) == 1
    assert scrubbed.text == (becomes or text.replace('"apiKey":"KEY"', ""))


JSON = st.recursive(
    st.sampled_from([None, True, 1, 0.5, "", "a,b", '"}', "\\", "\ud800"]),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["a", "b", ',"]', ""]), inner, max_size=4)
    ),
    max_leaves=12,
)


@given(
    value=st.dictionaries(st.sampled_from("abc"), JSON, max_size=3), data=st.data(), indent=st.sampled_from([None, 1])
)
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_members_are_cut_out_of_a_text_as_they_are_out_of_what_it_says(
    value: Any, data: st.DataObject, indent: int | None
) -> None:
    every = [path for path, _ in members(value)]
    places = set(data.draw(st.lists(st.sampled_from(every), max_size=4))) if every else set[tuple[str, ...]]()
    cut = legacy_text.without(json.dumps(value, indent=indent), places)
    for path, holder in members(value):
        if path in places:
            if isinstance(holder, list):
                holder[int(path[-1])] = None
            else:
                del holder[path[-1]]
    assert json.loads(cut) == value


def members(value: Any, path: tuple[str, ...] = ()) -> list[tuple[tuple[str, ...], Any]]:
    """All members, the innermost first, each with what holds it."""
    named: list[tuple[str, Any]] = []
    if isinstance(value, dict):
        named = list(cast("dict[str, Any]", value).items())
    elif isinstance(value, list):
        named = [(str(number), each) for number, each in enumerate(cast("list[Any]", value))]
    found: list[tuple[tuple[str, ...], Any]] = []
    for name, each in named:
        found += [*members(each, (*path, name)), ((*path, name), value)]
    return found


def stored_in(superuser: Superuser, kind: str, *rows: tuple[str | None, str | None]) -> str:
    superuser.execute("DROP TABLE IF EXISTS public.org_configs")
    superuser.execute(f"CREATE TABLE public.org_configs (org_id text, settings {kind})".encode())
    for organization, content in rows:
        # Not prepared: the table of the same name that follows may be of other types.
        superuser.execute("INSERT INTO public.org_configs VALUES (%s, %s)", [organization, content], prepare=False)
    return address_of(superuser)


async def scrubbed(plane: ControlPlane, address: str, *names: str, apply: bool = True) -> dict[str, ScrubReport]:
    return {each.organization: each async for each in plane.legacy_scrub.run(address, names, apply=apply)}


def contents(superuser: Superuser) -> dict[str, Any]:
    found = superuser.execute("SELECT coalesce(org_id, ''), settings::text FROM public.org_configs").fetchall()
    return {str(name): content for name, content in found}


@pytest.mark.parametrize("kind", ["jsonb", "json", "text", "character varying(4000)"])
async def test_keys_that_are_kept_here_are_taken_out_of_a_column_of_any_kind(
    plane: ControlPlane, superuser: Superuser, kind: str
) -> None:
    await imported(plane, ("acme", BLOB), approve_origins=True)
    own = {"openai": {"apiKey": KEY, "baseUrl": "https://llm.acme.example/v1"}}
    others = {"here": {"openai": {"apiKey": KEY}}, "nobody": {"openai": {"apiKey": KEY}}, "seed": SEED, "own": own}
    await imported(plane, ("here", {}), ("seed", SEED), ("own", own))
    rows: list[tuple[str | None, str | None]] = [("ACME", json.dumps(BLOB)), ("none", None)]
    rows += [(name, json.dumps(blob)) for name, blob in others.items()]
    address = stored_in(superuser, kind, *rows)
    before = contents(superuser)
    looked_at = await scrubbed(plane, address, apply=False)
    assert contents(superuser) == before
    reports = await scrubbed(plane, address)
    assert reports == looked_at
    assert {name: report.status for name, report in reports.items()} == {
        "acme": Status.SCRUBBED,
        "none": Status.UNCHANGED,
        "here": Status.UNCHANGED,  # its key was not imported, so it is the only one that there is
        "nobody": Status.MISSING,
        "own": Status.UNCHANGED,
        "seed": Status.UNCHANGED,
    }
    after = contents(superuser)
    assert json.loads(after.pop("ACME")) == LEFT
    assert after == {name: content for name, content in before.items() if name != "ACME"}
    assert reports["acme"].removed == (
        *("/ELEVENLABS_API_KEY", "/apiKeys/groq", "/gemini/credentials", "/llm/apiKey", "/notes/old"),
        *("/openai/apiKey", "/providers/0/token", "/providers/1"),
    )
    assert {left.at: left.note for left in reports["acme"].left} == {
        "/notes/text": "a key that is kept here is a part of this text: take it out by hand",
        "/telephony/twilio/authToken": "may be a key, of no vendor that is offered here",
    }
    assert [(left.at, left.note[:15]) for name in ("here", "own") for left in reports[name].left] == [
        ("/openai/apiKey", "not stored here"),
        ("/openai/apiKey", "not imported, a"),
    ]
    again = await scrubbed(plane, address)
    assert (again["acme"].status, again["acme"].removed) == (Status.UNCHANGED, ())
    said = "".join(report.model_dump_json() for report in [*reports.values(), *again.values()])
    assert "canary" not in said


async def test_a_key_is_taken_out_only_where_that_very_value_is_stored_here_or_was(
    plane: ControlPlane, superuser: Superuser
) -> None:
    blob = {"openai": {"apiKey": KEY}, "gemini": GOOGLE}
    await imported(plane, ("acme", {}), ("other", {}))
    who, other = await principal_of(plane, "acme"), await principal_of(plane, "other")
    address = stored_in(superuser, "jsonb", ("acme", json.dumps(blob)))
    nowhere = "not stored here: import it, or store it with `voxplane secrets set`"
    another = "another key is stored here: this one is kept nowhere else"

    async def left() -> dict[str, str]:
        report = (await scrubbed(plane, address))["acme"]
        assert report.removed == ()
        assert json.loads(contents(superuser)["acme"]) == blob
        return {left.at: left.note for left in report.left}

    async def store(key: str | None, who: Principal = who, provider: str = "openai", name: str = "apiKey") -> None:
        await plane.providers.update_provider_secrets(who, provider, SecretsWrite(secrets={name: key}))

    await store(KEY, other)  # of another organization
    found = await left()
    assert found.pop("/openai/apiKey") == nowhere
    assert found
    assert {place.rpartition("/")[0] for place in found} == {"/gemini/credentials"}
    assert set(found.values()) == {nowhere}
    await store("sk-another-1")
    document = {**GOOGLE["credentials"], "private_key_id": "another"}
    await store(json.dumps(document), provider="google", name="serviceAccountJson")
    assert await left() == dict.fromkeys([*found, "/openai/apiKey"], another)
    await store(None)
    assert await left() == dict.fromkeys(found, another) | {"/openai/apiKey": nowhere}
    # It was stored and somebody removed it: nobody's loss.
    await store(KEY)
    await store(None)
    assert (await scrubbed(plane, address))["acme"].removed == ("/openai/apiKey",)
    # One that was stored before there were marks is told by what is stored now.
    await store(KEY)
    superuser.execute("UPDATE public.org_configs SET settings = %s", [json.dumps(blob)])
    superuser.execute("ALTER TABLE audit_events DISABLE TRIGGER USER")
    superuser.execute("UPDATE audit_events SET detail = detail - 'fingerprints'")
    assert (await scrubbed(plane, address))["acme"].removed == ("/openai/apiKey",)
    await store("sk-another-1")
    blob.pop("gemini")
    superuser.execute("UPDATE public.org_configs SET settings = %s", [json.dumps(blob)])
    assert await left() == {"/openai/apiKey": another}
    # What does not open tells nothing.
    superuser.execute("UPDATE organization_data_keys SET wrapped = '\\x00'")
    [report] = (await scrubbed(plane, address)).values()
    assert (report.status, "cannot be read" in str(report.note)) == (Status.REFUSED, True)


async def test_what_cannot_be_read_or_written_back_or_is_changed_meanwhile_stays_and_is_reported(
    plane: ControlPlane, superuser: Superuser, monkeypatch: pytest.MonkeyPatch
) -> None:
    await imported(plane, *((name, {"openai": {"apiKey": KEY}}) for name in ("a", "b", "c")))
    key = f'"openai": {{"apiKey": "{KEY}"}}'
    rows = [
        ("a", f'{{"n": 1, "n": 2, {key}}}'),
        ("b", f'{{"half": "\\ud800", {key}}}'),
        *(("a", "x"), ("", f"{{{key}}}"), ("c", '{"long": "' + "x" * 300 + '"}')),
        (KEY, f"{{{key}}}"),
    ]
    monkeypatch.setattr(legacy_source, "MAX_BLOB_BYTES", 200)
    address = stored_in(superuser, "text", *rows)
    reports = [each async for each in plane.legacy_scrub.run(address, (), apply=True)]
    assert [(each.organization, each.status.value) for each in reports] == [
        *(("record 1", "missing"), ("a", "refused"), ("a", "refused"), ("b", "scrubbed"), ("c", "refused")),
        ("record 6", "missing"),
    ]
    assert KEY not in "".join(each.model_dump_json() for each in reports)
    assert [each.note for each in reports if "have one name" in str(each.note)] == [reports[1].note]
    assert contents(superuser)["b"] == '{"half": "\\ud800", "openai": {}}'
    monkeypatch.setattr(legacy_scrub, "_BATCH", 1)
    address = stored_in(superuser, "json", *((name, f"{{{key}}}") for name in ("a", "b", "c")))
    changed: list[ScrubReport] = []
    async for each in plane.legacy_scrub.run(address, (), apply=True):
        changed.append(each)
        superuser.execute("UPDATE public.org_configs SET settings = '{}' WHERE org_id > 'a'")
    assert [each.status.value for each in changed] == ["scrubbed", "refused", "refused"]
    assert "run it again" in str(changed[1].note)
    # Of a view that PostgreSQL cannot write through, it says so.
    superuser.execute("ALTER TABLE public.org_configs RENAME TO kept")
    superuser.execute("UPDATE public.kept SET settings = %s", [f"{{{key}}}"])
    superuser.execute("CREATE VIEW public.org_configs AS SELECT DISTINCT org_id, settings::text FROM public.kept")
    with pytest.raises(ConfigurationError, match="a view of one table"):
        await scrubbed(plane, address)


def test_at_the_terminal_it_looks_first_and_says_what_is_left(typed: Typed, superuser: Superuser) -> None:
    address = stored_in(superuser, "jsonb", ("default", json.dumps(BLOB)))
    assert typed("legacy", "import", address, "--apply")[0] == 0
    code, text, _ = typed("legacy", "scrub", address)
    assert (code, text.splitlines()[0]) == (0, "default: would be scrubbed")
    assert "  key that would be taken out: /openai/apiKey\n" in text
    assert "  left: /telephony/twilio/authToken: may be a key, of no vendor that is offered here\n" in text
    assert text.endswith("1 organization: 1 would be scrubbed. Nothing was written: this is what --apply does.\n")
    code, _, err = typed("legacy", "scrub", "blob.json")
    assert (code, "takes the address of the PostgreSQL" in err) == (1, True)
    document = json.loads(typed("legacy", "scrub", address, "--apply", "--json")[1])
    assert document["totals"] == {"isApplied": True, "scrubbed": 1, "unchanged": 0, "missing": 0, "refused": 0}
    assert "1 unchanged" in typed("legacy", "scrub", address, "--apply", "--organization", "DEFAULT")[1]
    for wrong in ((address, "--organization", "other"), ("postgresql://nobody:hunter2@127.0.0.1:1/x",)):
        code, out, err = typed("legacy", "scrub", *wrong)
        assert (code, "hunter2" in out + err, "canary" in out + err) == (1, False, False)
    superuser.execute(sql.SQL("UPDATE public.org_configs SET org_id = 'other'"))
    assert typed("legacy", "scrub", address)[0] == 1
    assert "canary" not in text + json.dumps(document)
