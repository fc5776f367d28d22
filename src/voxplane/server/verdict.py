"""What the outcome of a test means, in words: one sentence and one step for each, the same to console and command line.

Nothing that a provider said is in them. Where they name a model or an address, it is the organization's own setting.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from voxplane.schemas.verification import NextStep, Outcome, Verdict


class Words(NamedTuple):
    """An outcome's verdict, sentence, advice and step. `{p}`, `{model}`, `{at}` and `{seconds}` are filled in."""

    verdict: Verdict
    sentence: str
    advice: str = ""
    step: NextStep = "none"


WORDS: dict[Outcome, Words] = {
    "verified": Words("works", "{p} answers and accepts the key."),
    "key_missing": Words("fails", "No API key is set for {p}.", "Set the key, then check again.", "set_key"),
    "key_rejected": Words(
        "fails",
        "{p} rejected the API key.",
        "It may have been revoked, or belong to another account or address. Replace the key, then check again.",
        "replace_key",
    ),
    "key_restricted": Words(
        "inconclusive",
        "{p} knows the key but does not let it do what the check needs.",
        "Calls may work all the same. Give the key more rights at the provider, or try it in a call.",
        "open_console",
    ),
    # The key is good, and nothing that is set here would mend it: workers' reports say whether calls fail.
    "quota": Words(
        "inconclusive",
        "The key works, but {p} says that this account has no credit left.",
        "Add credit at the provider, then check again.",
        "open_billing",
    ),
    "rate_limited": Words(
        "inconclusive",
        "{p} answers, but limits requests at the moment.",
        "Nothing is wrong with the settings by that. Check again in {seconds} s.",
        "try_again",
    ),
    "wrong_region_or_endpoint": Words(
        "fails",
        "What answers at {at} is not {p} for this key.",
        "Check the address: the region, the path and the resource must be those that the key was made for.",
        "check_settings",
    ),
    "model_unavailable": Words(
        "fails",
        "The key works, but {p} has no {model} for it.",
        "Choose another model, or ask the provider for access to this one.",
        "choose_model",
    ),
    "unreachable": Words(
        "inconclusive",
        "{at} could not be reached from the control plane.",
        "Check the address, and whether this network may connect to it.",
        "check_network",
    ),
    "timeout": Words(
        "inconclusive",
        "{p} did not answer in time.",
        "Check again. If it goes on, look at the provider's status page.",
        "try_again",
    ),
    "tls": Words(
        "inconclusive",
        "The connection to {at} is not secure: its certificate or encryption is not accepted.",
        "Check the address. Behind a proxy that opens TLS, the operator can trust its certificate.",
        "check_network",
    ),
    "provider_error": Words(
        "inconclusive",
        "{p} answered with an error of its own.",
        "Check again. If it goes on, look at the provider's status page.",
        "try_again",
    ),
    "blocked": Words(
        "inconclusive",
        "Calls to {at} are not allowed here, so nothing was sent.",
        "A holder of admin:secrets approves a destination; the operator allows addresses that are not public.",
        "contact_admin",
    ),
    "not_checkable": Words(
        "inconclusive", "{p} cannot be tested from the control plane.", "Save it and try it in a call."
    ),
    "local_unavailable": Words(
        "fails", "{p} is not ready at {at}.", "Start its server, or put the model where it belongs.", "start_server"
    ),
}

_READY = Words("works", "{p} is ready.")


def verdict_of(outcome: Outcome) -> Verdict:
    """Return whether an outcome is success, failure or neither."""
    return WORDS[outcome].verdict


def worded(
    outcome: Outcome,
    *,
    provider: str,
    is_local: bool,
    model: str | None,
    at: str | None,
    retry_after_seconds: int | None,
) -> Words:
    """Return an outcome's words for one test."""
    words = _READY if is_local and outcome == "verified" else WORDS[outcome]
    filled = {
        "p": provider,
        "model": model or "such model",
        "at": at or "its address",
        "seconds": str(retry_after_seconds or 30),
    }
    return words._replace(sentence=words.sentence.format_map(filled), advice=words.advice.format_map(filled))
