"""What the outcome of a test means, in words: one sentence and one step for each, the same to console and command line.

Nothing that a provider said is in them. Where they name a model or an address, it is the organization's own setting.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from voxplane.schemas import ProviderSummary, ProviderType

if TYPE_CHECKING:
    from voxplane.provider import AnyProvider
    from voxplane.schemas.verification import NextStep, Outcome, Verdict
    from voxplane.server.verification_store import VerificationRow


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
        "check_settings",
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
        "check_settings",
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
        "A holder of admin:secrets approves a destination; the operator allows addresses that are not public with "
        "VOXPLANE_VENDOR_NETWORKS.",
        "contact_admin",
    ),
    "not_checkable": Words(
        "inconclusive", "{p} cannot be tested from the control plane.", "Save it and try it in a call."
    ),
    "local_unavailable": Words(
        "fails", "{p} does not answer at {at}.", "Start its server, then check again.", "start_server"
    ),
}

# A key may be stored all the same.
_DRAFT_WITHOUT_KEY = Words(
    "fails",
    "The draft holds no API key for {p}.",
    "Give the key with it, then check again: a stored key is used with saved settings alone.",
)
# Where the provider itself refuses, something else answers than where another does.
_NOT_THIS_ACCOUNT = Words(
    "fails",
    "{p} at {at} does not take this key for the organization or project that is set.",
    "Check organization, project and address in the settings: all must be those that the key was made for.",
    "check_settings",
)
# It is reached and turns away who asks. Workers may be elsewhere, so this says nothing of key or settings.
_NOT_FROM_HERE = Words(
    "inconclusive",
    "{p} does not serve calls from where the control plane is.",
    "The key is not at fault. The provider says which countries it serves, and the account which networks: workers "
    "must be in one.",
    "open_console",
)
# Where every resource is a host, a name that nobody has is a resource that is not there.
_NO_SUCH_HOST = Words(
    "fails",
    "There is no host of this name: {at}.",
    "Check the address in the settings: the resource must be named as the provider names it. The key was not sent.",
    "check_settings",
)
_REFUSED_AS: dict[tuple[Outcome, int | None], Words] = {
    ("wrong_region_or_endpoint", None): _NO_SUCH_HOST,
    ("wrong_region_or_endpoint", 401): _NOT_THIS_ACCOUNT,
    ("wrong_region_or_endpoint", 403): _NOT_THIS_ACCOUNT,
    ("unreachable", 400): _NOT_FROM_HERE,
    ("unreachable", 401): _NOT_FROM_HERE,
    ("unreachable", 403): _NOT_FROM_HERE,
}

# The provider's own address, which nobody has to check.
_AT_DEFAULT: dict[Outcome, Words] = {
    "unreachable": Words(
        "inconclusive",
        "The control plane could not reach {p} at {at}.",
        "This is the provider's own address, so nothing in the settings is at fault. See whether this network and its "
        "firewall let the control plane connect to it, and what the provider's status page says.",
        "check_network",
    ),
    "tls": Words(
        "inconclusive",
        "The connection to {at} is not secure: its certificate or encryption is not accepted.",
        "This is the provider's own address, so something between it and the control plane answers instead. Behind a "
        "proxy that opens TLS, the operator can trust its certificate.",
        "check_network",
    ),
}

_LOCAL: dict[Outcome, Words] = {
    "verified": Words("works", "{p} is ready."),
    "model_unavailable": Words(
        "fails",
        "{p} answers at {at}, but has no {model}.",
        "Put it where the server looks for it, or choose another one.",
        "choose_model",
    ),
    "not_checkable": Words(
        "inconclusive",
        "{p} was not looked for at {at}, as that may be another machine than the worker's own.",
        "A call shows whether it works. For a test from here, the operator allows the control plane to look there "
        "with VOXPLANE_VENDOR_NETWORKS.",
    ),
}
# Those without an address run in the worker.
_IN_THE_WORKER: dict[Outcome, Words] = {
    "model_unavailable": Words(
        "fails",
        "{p} has no {model} in the folder of models.",
        "Put its files into VOXPLANE_MODELS_DIR, or choose another one.",
        "choose_model",
    ),
    "not_checkable": Words(
        "inconclusive",
        "{p} runs in the worker, and its models were not looked for.",
        "A call shows whether it works. For a test from here, the operator names their folder with "
        "VOXPLANE_MODELS_DIR, if this machine has it.",
    ),
}
_UNCHOSEN = {
    ProviderType.TTS: "No voice was tested, because none is chosen yet.",
    ProviderType.STT: "Settings are still to be chosen, so only the key was tested.",
    ProviderType.LLM: "Settings are still to be chosen, so only the key was tested.",
}


def verdict_of(outcome: Outcome) -> Verdict:
    """Return whether an outcome is success, failure or neither."""
    return WORDS[outcome].verdict


def worded(
    row: VerificationRow, provider: ProviderSummary | AnyProvider, *, ending: str = "", is_draft: bool = False
) -> Words:
    """Return the words for one test; of what is no longer offered, its summary is known.

    `ending` says that the model ends, which counts where the test came to it.
    """
    outcome: Outcome = row.outcome  # pyright: ignore[reportAssignmentType] - a column of text
    words = _DRAFT_WITHOUT_KEY if is_draft and outcome == "key_missing" else WORDS[outcome]
    own = () if isinstance(provider, ProviderSummary) else provider.default_origins
    if any(row.origin == each._replace(path="").in_short for each in own):
        words = _AT_DEFAULT.get(outcome, words)
    words = _REFUSED_AS.get((outcome, row.http_status), words)
    if provider.hosting == "local":
        words = _LOCAL.get(outcome, words)
        if row.origin is None:
            words = _IN_THE_WORKER.get(outcome, words)
    filled = {
        "p": provider.name,
        "model": row.model or "such model",
        "at": row.origin or "its address",
        "seconds": str(row.retry_after_seconds or 30),
    }
    is_unfinished = any(each["name"] == "settings" and each["state"] == "inconclusive" for each in row.stages)
    advice = [
        ending if outcome in {"verified", "model_unavailable"} else "",
        words.advice.format_map(filled),
        _UNCHOSEN[provider.type] if is_unfinished else "",
    ]
    return words._replace(sentence=words.sentence.format_map(filled), advice=" ".join(filter(None, advice)))
