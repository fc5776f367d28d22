"""What an import left to a person: listed once, without a key, until somebody who may write says that it is done."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import psycopg

from tests.conftest import Caller, stored_rows
from tests.test_legacy import BLOBS, CANARIES
from tests.test_legacy_import import KEY, imported
from voxplane.schemas import ConfigWrite
from voxplane.server.auth import Principal, Scope
from voxplane.server.control_plane import ControlPlane
from voxplane.server.legacy_import import Status

NOTICE = "/api/organizations/current/import-notice"
NONE: dict[str, Any] = {"importedAt": None, "importedBy": None, "findings": [], "etag": None}
BLOB: dict[str, Any] = {
    "openai": {"temperature": 0.3, "apiKey": KEY, "user": "", "topology": KEY},
    "tts": {"provider": "elevenlabs", "voiceId": "21m00Tcm4TlvDq8ikWAM", "speed": 9},
    "prompts": {"system": "You are the receptionist."},
    "greeting": KEY,
    "fallback": "groq",
    KEY: 1,
}
Superuser = psycopg.Connection[tuple[object, ...]]


async def test_what_needs_a_person_is_listed_until_somebody_who_may_says_that_it_is_done(
    plane: ControlPlane, administrator: Principal, caller: Caller, superuser: Superuser
) -> None:
    reader = await caller(Scope.LIVEKIT_READ)
    writer = await caller(Scope.LIVEKIT_READ, Scope.LIVEKIT_WRITE)
    assert (await reader.get(NOTICE)).json() == NONE
    assert (await writer.delete(NOTICE)).status_code == 204
    [looked_at] = await imported(plane, ("default", BLOB), apply=False)
    assert (await reader.get(NOTICE)).json() == NONE
    assert await imported(plane, ("default", BLOB)) == [looked_at]
    answer = await reader.get(NOTICE)
    notice = answer.json()
    assert KEY not in answer.text
    assert [(each["at"], each["outcome"], each["provider"], each["setting"]) for each in notice["findings"]] == [
        ("/openai/topology", "unknown", "openai", None),
        ("/tts/speed", "clamped", "elevenlabs", "speed"),
        ("/greeting", "left", None, None),
        ("/fallback", "left", None, None),
        ("/?", "unknown", None, None),
    ]
    assert notice["findings"][1]["value"] == 1.2
    assert "may hold a key" in notice["findings"][2]["note"]
    assert (notice["importedBy"], notice["etag"]) == ("test", answer.headers["etag"])
    assert datetime.fromisoformat(notice["importedAt"]) < datetime.now(UTC)
    # The same blob again leaves nothing new.
    before = stored_rows(superuser)
    [again] = await imported(plane, ("default", BLOB))
    assert (again.status, stored_rows(superuser)) == (Status.UNCHANGED, before)
    assert (await reader.delete(NOTICE)).status_code == 403
    assert (await writer.delete(NOTICE, headers={"If-Match": '"1.0"'})).status_code == 412
    assert (await reader.get(NOTICE)).json() == notice
    # What somebody set here meanwhile needs nobody any more.
    await plane.providers.upsert_organization_provider_config(
        administrator, "elevenlabs", ConfigWrite(config={"voiceId": "21m00Tcm4TlvDq8ikWAM", "speed": 1.1})
    )
    assert [each.status for each in await imported(plane, ("default", BLOB))] == [Status.UNCHANGED]
    notice = (await reader.get(NOTICE)).json()
    assert [each["at"] for each in notice["findings"]] == ["/openai/topology", "/greeting", "/fallback", "/?"]
    for _ in range(2):
        assert (await writer.delete(NOTICE, headers={"If-Match": notice["etag"]})).status_code == 204
    assert (await reader.get(NOTICE)).json() == NONE
    done = stored_rows(superuser)
    await imported(plane, ("default", BLOB))
    assert stored_rows(superuser) == done
    events = [(each["action"], each["outcome"], each["detail"]) for each in done["audit_events"]]
    assert [each for each in events if each[0].startswith("legacy.")] == [
        ("legacy.import", "success", {"providers": ["elevenlabs", "openai"], "left": 5, "revision": 2}),
        ("legacy.finish", "denied", {"reason": "permission_denied"}),
        ("legacy.import", "success", {"providers": [], "left": 4}),
        ("legacy.finish", "success", {"findings": 4}),
    ]
    # What was not there before begins anew, although nothing could be written of it.
    await imported(plane, ("default", BLOB | {"vendor": "acme"}))
    assert [each["at"] for each in (await reader.get(NOTICE)).json()["findings"]][-1] == "/vendor"
    assert (await plane.audit.check()).breaks == ()


async def test_notices_of_the_whole_corpus_hold_no_key(plane: ControlPlane, superuser: Superuser) -> None:
    await imported(plane, *((path.stem, json.loads(path.read_text())) for path in BLOBS))
    rows = stored_rows(superuser)
    assert len(rows["import_notices"]) > 20
    said = json.dumps([rows["import_notices"], rows["audit_events"]])
    assert [canary for canary in CANARIES if canary in said] == []
    # What says that it is empty, or is no setting of a provider, needs nobody.
    slugs = {row["id"]: row["slug"] for row in rows["organizations"]}
    with_notices = {slugs[row["organization_id"]] for row in rows["import_notices"]}
    assert not with_notices & {"seed", "empty", "empty-sections", "camel-case"}


async def test_every_import_adds_to_what_is_open_and_takes_off_what_it_takes(
    plane: ControlPlane, caller: Caller
) -> None:
    writer = await caller(Scope.LIVEKIT_READ, Scope.LIVEKIT_WRITE)

    async def listed() -> list[str]:
        return [each["at"] for each in (await writer.get(NOTICE)).json()["findings"]]

    gateway = {"openai": {"baseUrl": "https://llm.acme.example/v1", "apiKey": KEY}}
    await imported(plane, ("default", gateway | {"zork": 1}))
    await imported(plane, ("default", {"blub": 1}))
    assert await listed() == ["/openai/apiKey", "/zork", "/blub"]
    await imported(plane, ("default", gateway), approve_origins=True)
    assert await listed() == ["/zork", "/blub"]
    assert (await writer.delete(NOTICE)).status_code == 204
    await imported(plane, ("default", {"blub": 1, "zork": 1, "quux": 1}))
    assert await listed() == ["/quux"]


async def test_a_key_that_would_go_elsewhere_is_listed_once_with_where_it_would_go_now(
    plane: ControlPlane, caller: Caller, administrator: Principal, superuser: Superuser
) -> None:
    writer = await caller(Scope.LIVEKIT_READ, Scope.LIVEKIT_WRITE)

    def sent_to(host: str) -> dict[str, Any]:
        return {"openai": {"baseUrl": f"https://{host}.example/v1", "apiKey": KEY}, "zork": 1}

    async def listed() -> list[tuple[str, bool]]:
        found = (await writer.get(NOTICE)).json()["findings"]
        return [(each["at"], "//two.example" in each["note"]) for each in found]

    await imported(plane, ("default", sent_to("one")))
    assert await listed() == [("/openai/apiKey", False), ("/zork", False)]
    await plane.providers.delete_organization_provider_config(administrator, "openai")
    two = {"config": {"baseUrl": "https://two.example/v1"}}
    await plane.providers.upsert_organization_provider_config(administrator, "openai", ConfigWrite.model_validate(two))
    await imported(plane, ("default", sent_to("one")))
    assert await listed() == [("/zork", False), ("/openai/apiKey", True)]
    assert (await writer.delete(NOTICE)).status_code == 204
    before = stored_rows(superuser)
    await imported(plane, ("default", sent_to("one")))
    assert stored_rows(superuser) == before
    # Somebody looked at that address, not at another one.
    three = ConfigWrite.model_validate({"config": {"baseUrl": "https://three.example/v1"}})
    await plane.providers.upsert_organization_provider_config(administrator, "openai", three)
    await imported(plane, ("default", sent_to("one")))
    assert await listed() == [("/openai/apiKey", False)]
