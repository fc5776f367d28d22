"""The credentials tab: a key goes in and never comes out."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import psycopg
import pytest
from playwright.sync_api import Locator, Page, Request, expect

from tests.conftest import worker_of
from tests.console.answers import verification
from tests.console.conftest import PROVIDERS, OpenConsole, Service, Watch

KEY = "gsk_canary0123456789abcdefCANARY"
SERVICE_ACCOUNT = json.dumps(
    {
        "type": "service_account",
        "client_email": "voice@example.iam.gserviceaccount.com",
        "private_key": "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n",
        "token_uri": "https://oauth2.googleapis.com/token",
    },
    indent=2,
)


def save(page: Page, name: str = "API key") -> None:
    """Save without a check: what these tests enter is nobody's key."""
    page.get_by_role("checkbox", name="Check it before saving").uncheck()
    page.get_by_role("button", name=f"Save {name}").click()


def enter(page: Page, value: str = KEY, name: str = "API key") -> None:
    page.get_by_label(f"New {name}").fill(value)
    save(page, name)


def credential(page: Page, name: str = "apiKey") -> Locator:
    return page.locator(f"[data-secret={name}]")


def expect_set(page: Page, name: str = "apiKey", *, is_set: bool = True) -> None:
    expect(credential(page, name).locator("[data-set]")).to_have_text("Set" if is_set else "Not set")


def paste(page: Page, into: Locator, text: str) -> None:
    """Paste as a person does, from the clipboard."""
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page.evaluate("text => navigator.clipboard.writeText(text)", text)
    into.focus()
    page.keyboard.press("ControlOrMeta+V")


def released(service: Service, key: str) -> dict[str, str]:
    """Return the secrets of one provider as a worker gets them: what a call is made with."""
    plane = service.plane
    organization = service.portal.call(plane.access.find_organization, "default")
    found = service.portal.call(plane.workers.release, worker_of(organization.id), key)
    return {name: value.get_secret_value() for name, value in found.secrets.items()}


def test_check_12_enabling_without_a_key_leads_to_credentials_and_saving_turns_it_on(
    open_console: OpenConsole, service: Service
) -> None:
    page = open_console()
    page.get_by_role("switch", name="Groq on").click()
    expect(page.get_by_text("Set the API key to finish turning on Groq.")).to_be_visible()
    expect(page.get_by_label("New API key")).to_be_focused()
    assert not service.provider("groq")["isEnabled"]
    enter(page)
    expect_set(page)
    expect(page.get_by_text("Set the API key to finish turning on Groq.")).to_have_count(0)
    expect(page.get_by_text("Groq is on", exact=True)).to_be_attached()
    expect(page.locator("[data-provider=groq]").get_by_role("switch")).to_be_checked()
    assert service.provider("groq")["usable"]
    # Where a setting is missing as well, that comes next.
    page.keyboard.press("Escape")
    page.get_by_role("switch", name="ElevenLabs on").click()
    expect(page.get_by_text("Set the API key to finish turning on ElevenLabs.")).to_be_visible()
    enter(page)
    expect(page.get_by_text("Fill in what is needed, then save, to finish turning on ElevenLabs.")).to_be_visible()
    expect(page.get_by_role("tab", name="Configuration")).to_be_focused()
    page.get_by_role("button", name="Go to Voice").click()
    page.get_by_role("combobox", name="Voice", exact=True).fill("EXAVITQu4vr4xnSDxMaL")
    page.get_by_role("button", name="Save changes").click()
    expect(page.get_by_text("ElevenLabs is on", exact=True)).to_be_attached()
    assert service.provider("elevenlabs")["usable"]


def test_check_12_turning_on_anyway_is_offered(open_console: OpenConsole, service: Service) -> None:
    page = open_console()
    page.get_by_role("switch", name="Groq on").click()
    page.get_by_role("button", name="Turn on anyway").click()
    expect(page.get_by_text("Groq is on", exact=True)).to_be_attached()
    # From the other tab the button goes as well, and with it the focus, which the drawer would give to a test.
    service.configure("groq", isEnabled=False)
    page.get_by_role("tab", name="Configuration").click()
    page.evaluate("history.replaceState(null, '', '?then=on')")
    page.reload()
    page.get_by_role("button", name="Turn on anyway").press("Enter")
    expect(page.get_by_role("button", name="Turn on anyway")).to_have_count(0)
    expect(page.locator("form.configuration")).to_be_focused()
    expect(page.get_by_role("button", name="Turn on anyway")).to_have_count(0)
    assert service.provider("groq")["isEnabled"]


class Traces:
    """Where a key could be found that must not be there."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.answered: list[Request] = []
        self.messages: list[str] = []
        # A stream does not end, and a request that the page gave up, also while its answer came, has none to look into.
        page.on("requestfinished", self._finished)
        page.on("console", lambda message: self.messages.append(message.text))
        page.on("pageerror", lambda error: self.messages.append(str(error)))

    def _finished(self, request: Request) -> None:
        self.answered.append(request)

    def heap(self) -> str:
        """Return all that JavaScript still holds, by the browser's own account, after it threw away what it could."""
        chunks: list[str] = []
        session = self.page.context.new_cdp_session(self.page)

        def received(event: dict[str, str]) -> None:
            chunks.append(event["chunk"])

        session.on("HeapProfiler.addHeapSnapshotChunk", received)
        for command in ("enable", "collectGarbage", "takeHeapSnapshot"):
            session.send(f"HeapProfiler.{command}")  # pyright: ignore[reportUnknownMemberType] - dict without types
        session.detach()
        return "".join(chunks)

    def found(self, key: str) -> list[str]:
        """Return the places in which the key, or a recognisable half of it, is."""
        values = "[...document.querySelectorAll('input, textarea')].map((each) => each.value)"
        places = {
            "document": self.page.content(),
            "fields": self.page.evaluate(f"JSON.stringify({values})"),
            "address": self.page.url + self.page.evaluate("JSON.stringify(history.state)"),
            "storage": self.page.evaluate("JSON.stringify([{ ...localStorage }, { ...sessionStorage }])"),
            "cookies": str(self.page.context.cookies()),
            "requests": self.page.evaluate("JSON.stringify(performance.getEntries())"),
            "console": str(self.messages),
            "answers": "".join(answer.text() for each in self.answered if (answer := each.response())),
            "memory": self.heap(),
        }
        half = key[len(key) // 2 :]
        return [place for place, text in places.items() if key in text or half in text]


def _save(page: Page) -> None:
    save(page)
    expect_set(page)


def _cancel(page: Page) -> None:
    page.get_by_role("button", name="Cancel").click()
    expect(page.get_by_label("New API key")).to_have_count(0)


def _close(page: Page) -> None:
    question = page.get_by_role("alertdialog", name="Discard the API key that you typed?")
    page.keyboard.press("Escape")
    question.get_by_role("button", name="Keep editing").click()
    page.get_by_role("button", name="Close Groq").click()
    question.get_by_role("button", name="Discard it").click()
    expect(page.get_by_role("dialog")).to_have_count(0)


def _sign_out(page: Page) -> None:
    # From where it is typed: no page has to be left first.
    page.keyboard.press("Control+k")
    page.get_by_role("combobox", name="Go to a provider").fill("sign out")
    page.keyboard.press("Enter")
    page.get_by_role("alertdialog").get_by_role("button", name="Discard it").click()
    expect(page.get_by_role("heading", name="Sign in")).to_be_visible()


def _idle(page: Page) -> None:
    page.clock.fast_forward(5 * 60_000 + 1)
    expect(page.get_by_text("What you typed was cleared")).to_be_visible()
    expect(page.get_by_label("New API key")).to_have_value("")


def _idle_while_held(page: Page) -> None:
    """Let the token end while the key is saved: it waits for somebody to sign in again, and nobody comes in time."""
    page.route("**/secrets", lambda route: route.fulfill(status=401, json={}))
    save(page)
    dialog = page.get_by_role("dialog", name="Sign in again")
    expect(dialog).to_be_visible()
    page.clock.fast_forward(5 * 60_000 + 1)
    expect(page.get_by_text("What you typed was cleared")).to_be_attached()


def _give_up_while_held(page: Page) -> None:
    """Let the token end while the key is saved, and go back: whoever signs in next stores it no more."""
    page.route("**/secrets", lambda route: route.fulfill(status=401, json={}))
    save(page)
    expect(page.get_by_role("dialog", name="Sign in again")).to_be_visible()
    # As when the drawer was opened from the overview.
    page.evaluate("history.replaceState(null, '', '/providers')")
    page.evaluate("history.pushState(null, '', '/providers/groq/credentials')")
    page.evaluate("history.back()")
    page.get_by_role("alertdialog").get_by_role("button", name="Discard it").click()
    expect(page.get_by_role("heading", name="Groq", include_hidden=True)).to_have_count(0)


def _fail(page: Page) -> None:
    page.route("**/secrets", lambda route: route.abort())
    save(page)
    expect(page.get_by_role("alert")).to_contain_text("The server did not answer.")
    _close(page)


@pytest.mark.parametrize(
    "end", [_save, _cancel, _close, _sign_out, _idle, _idle_while_held, _give_up_while_held, _fail]
)
def test_check_31_and_37_a_key_that_was_typed_is_nowhere_afterwards(
    open_console: OpenConsole, watch: Watch, end: Callable[[Page], None]
) -> None:
    watch.expected += ["net::ERR_FAILED", "401 (Unauthorized)"]
    page = open_console("/providers/groq/credentials")
    page.clock.install()
    traces = Traces(page)
    page.get_by_role("button", name="Set API key").click()
    page.keyboard.insert_text(KEY)
    page.get_by_role("button", name="Show", exact=True).click()
    assert traces.found(KEY) == ["fields", "memory"]
    end(page)
    assert traces.found(KEY) == []


def _for_an_address(page: Page) -> None:
    page.locator("[data-setting=baseUrl] input").fill("https://eu.api.openai.com/v1")
    page.get_by_role("button", name="Save changes").click()
    page.get_by_label("New API key").press_sequentially(KEY)


def _for_a_test(page: Page) -> None:
    page.locator("[data-setting=temperature] input[inputmode]").fill("0.4")
    page.get_by_role("button", name="Test with these changes").click()
    page.get_by_label("The API key for this test").press_sequentially(KEY)


def _stored(page: Page) -> None:
    page.get_by_role("checkbox", name="Check it before saving").uncheck()
    page.get_by_role("button", name="Save changes").click()
    expect(page.locator(".save-bar")).to_have_count(0)


def _tested(page: Page) -> None:
    page.get_by_role("button", name="Run test").click()
    page.locator(".draft [data-outcome]").wait_for()
    page.locator(".draft").get_by_role("button", name="Close", exact=True).click()


def _discarded(page: Page) -> None:
    page.get_by_role("button", name="Discard", exact=True).click()
    expect(page.locator("input[type=password]")).to_have_count(0)


@pytest.mark.parametrize(
    ("begin", "end"),
    [
        (_for_an_address, _stored),
        (_for_a_test, _tested),
        pytest.param(_for_an_address, _discarded, marks=pytest.mark.deep),
        pytest.param(_for_a_test, _discarded, marks=pytest.mark.deep),
    ],
)
def test_check_31_a_key_that_was_typed_beside_settings_is_nowhere_afterwards(
    open_console: OpenConsole, service: Service, begin: Callable[[Page], None], end: Callable[[Page], None]
) -> None:
    service.store_key("openai")
    page = open_console("/providers/openai/config")
    page.get_by_role("tabpanel").locator("summary").first.click()
    traces = Traces(page)
    answer = verification("verified", isDraft=True)
    page.route("**/verify", lambda route: route.fulfill(json=answer))
    begin(page)
    assert traces.found(KEY) == ["fields", "memory"]
    end(page)
    assert traces.found(KEY) == []


def test_check_31_two_keys_of_different_lengths_look_the_same_once_stored(open_console: OpenConsole) -> None:
    page = open_console("/providers/groq/credentials")
    page.get_by_role("button", name="Set API key").click()
    shots: list[bytes] = []
    for version, value in enumerate(("gsk_short", "gsk_a_much_longer_key_than_the_first_one"), 1):
        enter(page, value)
        expect(credential(page)).to_contain_text(f"v{version}")
        shots.append(page.screenshot(mask=[credential(page).locator(".head > .muted")], animations="disabled"))
        page.get_by_role("button", name="Replace API key").click()
    assert shots[0] == shots[1]


def test_check_32_the_field_is_empty_after_opening_replace(open_console: OpenConsole, service: Service) -> None:
    service.store_key("groq", KEY)
    page = open_console("/providers/groq/credentials")
    page.get_by_role("button", name="Replace API key").click()
    field = page.get_by_label("New API key")
    expect(field).to_have_value("")
    assert field.get_attribute("placeholder") is None
    assert field.get_attribute("type") == "password"
    assert field.get_attribute("autocomplete") == "new-password"


def test_check_33_only_what_was_typed_is_sent(open_console: OpenConsole, service: Service, watch: Watch) -> None:
    service.admin.put(
        f"{PROVIDERS}/google/secrets", json={"secrets": {"apiKey": "AIza-1", "serviceAccountJson": SERVICE_ACCOUNT}}
    ).raise_for_status()
    page = open_console("/providers/google/credentials")
    page.get_by_role("button", name="Replace API key").click()
    enter(page, "AIza-2")
    expect(credential(page)).to_contain_text("v2")
    page.get_by_role("button", name="Replace API key").click()
    page.get_by_label("Label (optional)").fill("EU production")
    enter(page, "AIza-3")
    expect(credential(page)).to_contain_text("EU production")
    # The label is the old key's: nobody typed it for the new one.
    page.get_by_role("button", name="Replace API key").click()
    expect(page.get_by_label("Label (optional)")).to_have_value("")
    expect(page.get_by_text("The present one's label, “EU production”, is not kept.")).to_be_visible()
    enter(page, "AIza-4")
    expect(credential(page)).to_contain_text("v4")
    expect(credential(page)).not_to_contain_text("EU production")
    assert [each.post_data_json for each in watch.sent("PUT", "/secrets")] == [
        {"secrets": {"apiKey": "AIza-2"}},
        {"secrets": {"apiKey": "AIza-3"}, "label": "EU production"},
        {"secrets": {"apiKey": "AIza-4"}},
    ]
    assert released(service, "google") == {"apiKey": "AIza-4", "serviceAccountJson": SERVICE_ACCOUNT}


def test_check_34_editing_the_label_alone_leaves_the_key(
    open_console: OpenConsole, service: Service, watch: Watch
) -> None:
    service.configure("groq", isEnabled=True)
    service.store_key("groq", KEY)
    page = open_console("/providers/groq/credentials")
    page.get_by_role("button", name="Add label to API key").click()
    page.get_by_label("Label", exact=True).fill("EU production")
    page.get_by_role("button", name="Save label").click()
    expect(credential(page)).to_contain_text("EU production")
    expect(credential(page)).to_contain_text("v1")
    (request,) = watch.sent("PUT", "/secrets")
    assert request.post_data_json == {"label": "EU production"}
    assert released(service, "groq") == {"apiKey": KEY}
    assert service.provider("groq")["usable"]


def test_check_35_what_is_known_of_a_key_is_shown(open_console: OpenConsole, service: Service) -> None:
    service.admin.put(
        f"{PROVIDERS}/groq/secrets", json={"secrets": {"apiKey": KEY}, "label": "EU production"}
    ).raise_for_status()
    (field,) = service.provider("groq")["secretFields"]
    page = open_console("/providers/groq/credentials")
    shown = credential(page)
    expect(shown).to_contain_text(re.compile(r"API key\s*Required\s*Set\s*EU production"))
    expect(shown).to_contain_text(f"by {field['updatedBy']} · v1")
    expect(shown.locator("time")).to_have_attribute("datetime", field["updatedAt"])
    page.goto("/providers/anthropic/credentials")
    expect_set(page, is_set=False)
    expect(credential(page).locator("time")).to_have_count(0)


def test_check_36_the_remove_dialog_names_the_consequences(open_console: OpenConsole, service: Service) -> None:
    for key in ("groq", "openai"):
        service.store_key(key)
        service.configure(key, isEnabled=True)
    service.configure("openai-tts", isEnabled=True, priority=900)
    page = open_console("/providers/openai/credentials")
    page.get_by_role("button", name="Remove API key").click()
    dialog = page.get_by_role("alertdialog")
    expect(dialog).to_contain_text("OpenAI is Primary for language models and answers the next call")
    expect(dialog).to_contain_text("calls will go to Groq.")
    expect(dialog).to_contain_text("OpenAI TTS is Primary for text to speech")
    expect(dialog).to_contain_text("calls will go to Piper (local).")
    dialog.get_by_role("button", name="Cancel").click()
    expect(page.get_by_role("button", name="Remove API key")).to_be_focused()
    expect_set(page)
    page.get_by_role("button", name="Remove API key").click()
    dialog.get_by_role("button", name="Remove API key").click()
    expect(dialog).to_have_count(0)
    expect_set(page, is_set=False)
    expect(page.get_by_role("dialog").locator("[data-status]")).to_have_text("Key missing")
    following = service.admin.get(PROVIDERS).json()["nextCall"]
    assert (following["llm"], following["tts"]) == ("groq", "piper")


def test_check_36_removing_the_last_key_says_that_calls_cannot_be_answered(
    open_console: OpenConsole, service: Service
) -> None:
    service.store_key("openai")
    page = open_console("/providers/openai/credentials")
    page.get_by_role("button", name="Remove API key").click()
    expect(page.get_by_role("alertdialog")).to_contain_text(
        "OpenAI is Primary for language models and answers the next call; no other one can. "
        "No language model will be available: calls cannot be answered."
    )


def test_check_38_what_comes_along_with_a_pasted_key_is_removed_with_a_note(
    open_console: OpenConsole, service: Service
) -> None:
    page = open_console("/providers/groq/credentials")
    page.get_by_role("button", name="Set API key").click()
    field = page.get_by_label("New API key")
    paste(page, field, f'  "Bearer {KEY}"\t')
    expect(field).to_have_value(KEY)
    expect(page.get_by_text("Taken off, as no part of it")).to_have_text(
        "Taken off, as no part of it: the space around it, the quotes around it, and the word Bearer before it."
    )
    field.fill(f"bearer {KEY} ")
    expect(page.get_by_text("Taken off, as no part of it")).to_contain_text("the word Bearer before it")
    expect(page.get_by_text("Groq keys start with gsk_.")).to_have_count(0)
    save(page)
    expect_set(page)
    assert released(service, "groq") == {"apiKey": KEY}


def test_a_key_of_an_unusual_shape_is_warned_of_and_taken(open_console: OpenConsole, service: Service) -> None:
    page = open_console("/providers/groq/credentials")
    page.get_by_role("button", name="Set API key").click()
    page.get_by_label("New API key").fill("sk-of-somebody-else")
    expect(page.get_by_text("Groq keys start with gsk_.")).to_be_visible()
    save(page)
    expect_set(page)
    assert released(service, "groq") == {"apiKey": "sk-of-somebody-else"}


def test_a_refused_value_is_explained_at_its_field(open_console: OpenConsole, watch: Watch) -> None:
    watch.expected.append("422 (Unprocessable Content)")
    watch.expected.append("422 (Unprocessable Entity)")
    page = open_console("/providers/groq/credentials")
    page.get_by_role("button", name="Set API key").click()
    save(page)
    field = page.get_by_label("New API key")
    expect(field).to_have_accessible_description(re.compile("Enter the API key"))
    enter(page, "********")
    expect(field).to_be_focused()
    expect(field).to_have_attribute("aria-invalid", "true")
    expect(field).to_have_accessible_description(re.compile("This is a placeholder, not a secret"))
    page.get_by_label("Label (optional)").fill("gsk_label")
    enter(page, "gsk_label")
    expect(page.get_by_text("A label is shown to everybody")).to_be_visible()


def test_a_service_account_is_pasted_or_chosen_as_a_file(
    open_console: OpenConsole, service: Service, watch: Watch, tmp_path: Path
) -> None:
    page = open_console("/providers/google/credentials")
    page.get_by_role("button", name="Set service account").click()
    enter(page, "{ not the whole", name="service account")
    expect(page.get_by_role("alert")).to_have_text("Paste the whole document, from { to }.")
    assert watch.sent("PUT") == []
    file = tmp_path / "account.json"
    file.write_text(f"\n{SERVICE_ACCOUNT}\n")
    page.get_by_label("Choose a file").set_input_files(file)
    expect(page.get_by_label("New service account")).to_have_value(SERVICE_ACCOUNT)
    save(page, "service account")
    expect_set(page, "serviceAccountJson")
    assert [each["isSet"] for each in service.provider("google")["secretFields"]] == [False, True]


def test_a_key_without_an_address_of_its_own_asks_where_it_may_go(open_console: OpenConsole, service: Service) -> None:
    page = open_console("/providers/azure-openai/credentials")
    page.get_by_role("button", name="Set API key").click()
    enter(page, "0" * 32)
    expect(page.get_by_text("Say where it may be sent.")).to_be_visible()
    page.get_by_label("Address that it may be sent to").fill("https://mine.openai.azure.com")
    save(page)
    expect_set(page)
    expect(page.get_by_role("dialog").get_by_text("https://mine.openai.azure.com")).to_be_visible()
    assert service.provider("azure-openai")["approvedOrigins"]


def test_an_address_in_the_settings_is_approved_on_purpose(
    open_console: OpenConsole, service: Service, watch: Watch
) -> None:
    watch.expected.append("412 (Precondition Failed)")
    service.store_key("openai", KEY)
    service.configure("openai", config={"baseUrl": "https://proxy.example.com/v1"})
    assert service.provider("openai")["status"] == "destination_unapproved"
    page = open_console("/providers/openai/credentials")
    expect(page.get_by_text("The stored key is not approved for that address")).to_be_visible()
    page.get_by_role("button", name="Approve address").click()
    dialog = page.get_by_role("alertdialog")
    expect(dialog).to_contain_text("https://proxy.example.com")
    expect(dialog).to_contain_text("Whoever runs that address can read the key of OpenAI.")
    # Of another address than was read, nothing is approved.
    service.configure("openai", config={"baseUrl": "https://other.example.com/v1"})
    expect(page.get_by_text("The settings send calls to https://other.example.com")).to_be_attached()
    dialog.get_by_role("button", name="Approve address").click()
    expect(page.get_by_role("alert")).to_contain_text("Somebody changed this since you read it")
    assert not service.provider("openai")["usable"]
    page.get_by_role("button", name="Approve address").click()
    expect(dialog).to_contain_text("https://other.example.com")
    dialog.get_by_role("button", name="Approve address").click()
    expect(page.get_by_text("The stored key is not approved for that address")).to_have_count(0)
    assert service.provider("openai")["usable"]
    assert released(service, "openai") == {"apiKey": KEY}


def test_a_shared_key_is_named_and_may_be_replaced_by_its_own(open_console: OpenConsole, service: Service) -> None:
    service.store_key("openai", "sk-of-openai")
    page = open_console("/providers/openai-tts/credentials")
    expect(page.get_by_role("link", name="The key of OpenAI is used")).to_be_visible()
    expect(page.get_by_role("button", name="Remove API key")).to_have_count(0)
    page.get_by_role("button", name="Set its own API key").click()
    enter(page, "sk-of-its-own")
    expect(page.get_by_role("button", name="Remove API key")).to_be_visible()
    assert released(service, "openai-tts") == {"apiKey": "sk-of-its-own"}
    assert released(service, "openai") == {"apiKey": "sk-of-openai"}


def test_what_somebody_else_stored_meanwhile_is_not_overwritten_unseen(
    open_console: OpenConsole, service: Service, watch: Watch
) -> None:
    watch.expected += ["412 (Precondition Failed)", "net::ERR_FAILED"]
    page = open_console(wait=False)
    page.route("**/changes", lambda route: route.abort())
    page.goto("/providers/groq/credentials")
    page.get_by_role("button", name="Set API key").click()
    page.get_by_label("New API key").fill(KEY)
    service.store_key("groq", "gsk_of_somebody_else")
    save(page)
    expect(page.get_by_role("alert")).to_contain_text("stored another API key in the meantime.")
    expect_set(page)
    assert released(service, "groq") == {"apiKey": "gsk_of_somebody_else"}
    expect(page.get_by_label("New API key")).to_have_value(KEY)
    save(page)
    expect(credential(page)).to_contain_text("v2")
    assert released(service, "groq") == {"apiKey": KEY}


def test_what_is_seen_to_change_under_a_form_or_a_dialog_is_asked_about(
    open_console: OpenConsole, service: Service
) -> None:
    def theirs(label: str) -> None:
        body = {"secrets": {"apiKey": f"gsk_{label}"}, "label": label}
        service.admin.put(f"{PROVIDERS}/groq/secrets", json=body).raise_for_status()
        # The page has heard of it: what it sends is based on that.
        expect(credential(page)).to_contain_text(label)

    service.store_key("groq", "gsk_of_before")
    page = open_console("/providers/groq/credentials")
    page.get_by_role("button", name="Replace API key").click()
    page.get_by_label("New API key").fill(KEY)
    theirs("US production")
    save(page)
    alert = page.get_by_role("alert")
    expect(alert).to_contain_text("stored another API key, labelled “US production”, in the meantime.")
    assert released(service, "groq") == {"apiKey": "gsk_US production"}
    save(page)
    expect(credential(page)).to_contain_text("v3")
    expect(credential(page)).not_to_contain_text("US production")
    assert released(service, "groq") == {"apiKey": KEY}

    page.get_by_role("button", name="Remove API key").click()
    theirs("AU production")
    remove = page.get_by_role("alertdialog").get_by_role("button", name="Remove API key")
    remove.click()
    expect(alert).to_contain_text("labelled “AU production”, in the meantime. Nothing was removed.")
    expect_set(page)
    remove.click()
    expect_set(page, is_set=False)


def test_what_cannot_be_opened_is_removed_and_entered_again(
    open_console: OpenConsole, service: Service, superuser: psycopg.Connection[tuple[object, ...]]
) -> None:
    service.store_key("openai")
    superuser.execute("UPDATE organization_secrets SET secrets = jsonb_set(secrets, '{openai}', '{}')")
    service.configure("groq", isEnabled=True)
    page = open_console("/providers/openai/credentials")
    expect(page.get_by_text("What is stored for OpenAI cannot be opened")).to_be_visible()
    page.get_by_role("button", name="Remove what is stored").click()
    page.get_by_role("alertdialog").get_by_role("button", name="Remove what is stored").click()
    page.get_by_role("button", name="Set API key").click()
    enter(page, "sk-entered-again")
    expect_set(page)
    assert released(service, "openai") == {"apiKey": "sk-entered-again"}


def test_a_provider_that_needs_no_key_says_so(open_console: OpenConsole) -> None:
    page = open_console("/providers/vosk/credentials")
    expect(page.get_by_role("tabpanel")).to_have_text(re.compile(r"Vosk.* needs no key\."))


def test_an_address_of_a_provider_without_a_key_is_approved_and_taken_back(
    open_console: OpenConsole, service: Service
) -> None:
    service.configure("piper", config={"baseUrl": "http://127.0.0.1:5999"}, isEnabled=True, priority=1000)
    page = open_console()
    attention = page.locator("[data-attention=piper]")
    expect(attention).to_contain_text("its address is not approved")
    expect(attention).not_to_contain_text("key")
    attention.get_by_role("link").click()
    tab = page.get_by_role("tabpanel")
    unapproved = tab.get_by_text("The settings send calls to http://127.0.0.1:5999. That address is not approved")
    expect(unapproved).to_be_visible()
    expect(tab.get_by_role("button", name="Remove approved addresses")).to_have_count(0)
    page.get_by_role("button", name="Approve address").click()
    dialog = page.get_by_role("alertdialog", name="Send calls to http://127.0.0.1:5999?")
    expect(dialog).not_to_contain_text("key")
    dialog.get_by_role("button", name="Approve address").click()
    expect(unapproved).to_have_count(0)
    expect(tab.get_by_role("listitem")).to_have_text(["http://127.0.0.1:5000", "http://127.0.0.1:5999"])
    assert service.provider("piper")["usable"]
    tab.get_by_role("button", name="Remove approved addresses").click()
    dialog = page.get_by_role("alertdialog", name="Remove the approved addresses of Piper (local)?")
    expect(dialog).to_contain_text("Only http://127.0.0.1:5000 is approved then")
    dialog.get_by_role("button", name="Remove approved addresses").click()
    expect(unapproved).to_be_visible()
    expect(tab.get_by_role("listitem")).to_have_text(["http://127.0.0.1:5000"])
    assert service.provider("piper")["approvedOrigins"] == ["http://127.0.0.1:5000"]
    page.get_by_role("tab", name="History").click()
    expect(tab).to_contain_text(
        re.compile(r"Approved addresses removed by .*Approved addresses changed by ", re.DOTALL)
    )


def test_who_may_not_approve_an_address_is_told_whom_to_ask(open_console: OpenConsole, service: Service) -> None:
    service.configure("vosk", config={"serverUrl": "ws://127.0.0.1:2700"})
    page = open_console("/providers/vosk/credentials", scopes=("livekit:read", "livekit:write"))
    tab = page.get_by_role("tabpanel")
    expect(tab.get_by_text("To have it approved, ask a secrets admin of your organization.")).to_be_visible()
    expect(tab.get_by_role("button")).to_have_count(0)
