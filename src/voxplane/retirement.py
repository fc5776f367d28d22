"""What ends, and how to go on: notices on models and voices, and the change of settings that takes a successor.

Pure functions: nothing here reads, writes or waits. A proposal is an ordinary override that the definition accepts.
It keeps what the organization set as far as the successor takes it, and says why of everything else.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from voxplane.errors import Invalid
from voxplane.schemas import Model, Notice, Proposal, ProposedChange, Voice

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from datetime import date

    from voxplane.provider import AnyProvider
    from voxplane.schemas import JsonObject


class _NoProposal(Exception):
    """Why nothing can be proposed, as a sentence."""


class _Ending(NamedTuple):
    """A setting, and what it names that ends or has ended."""

    setting: str
    chosen: str
    offer: Model | Voice
    """What is known of it; by another name where that is the model that the chosen one is a version of."""
    has_ended: bool
    is_late: bool = False
    """Whether the day has come that the vendor told, and not the end: it told it of a model that is still there."""


def notices(
    provider: AnyProvider, overrides: JsonObject, effective: JsonObject, today: date, told: date | None = None
) -> list[Notice]:
    """Say what is known of the chosen models and voices: that one ends, has ended, or is a model nobody knows.

    `overrides` are what the organization set, `effective` the settings in force, and `told` the day on which the
    vendor itself said that the model that they name ends: it knows best.
    """
    return [
        _notice(provider, overrides, each, today) if isinstance(each, _Ending) else each
        for each in _noteworthy(provider, effective, today, told)
    ]


def sentences(provider: AnyProvider, effective: JsonObject, today: date) -> list[str]:
    """Say the same as `notices` in words alone, without working out what to change."""
    return [
        _sentence(provider, each) if isinstance(each, _Ending) else each.message
        for each in _noteworthy(provider, effective, today, None)
    ]


def ending(
    provider: AnyProvider, effective: JsonObject, today: date, told: date | None = None
) -> tuple[date | None, str] | None:
    """Return when the first that ends of what settings name does so, if that is known, and say it; None if none does.

    `told` is as for `notices`.
    """
    found = next((each for each in _noteworthy(provider, effective, today, told) if isinstance(each, _Ending)), None)
    return None if found is None else (found.offer.retires_on, _sentence(provider, found))


def _noteworthy(
    provider: AnyProvider, effective: JsonObject, today: date, told: date | None
) -> Iterator[_Ending | Notice]:
    for setting in provider.named:
        chosen = effective.get(setting)
        if not isinstance(chosen, str):
            continue
        offer = provider.known_of(setting, chosen)
        if told is not None and setting == provider.model_setting:
            # The vendor told it of this very model, and not of one that it is a version of.
            offer = (offer or Model(name=chosen)).model_copy(update={"name": chosen, "retires_on": told})
            yield _Ending(setting, chosen, offer, offer.status == "retired", is_late=told <= today)
        elif offer is None:
            # Voices are an account's own as often as not, so one that is not listed says nothing.
            if provider.models and setting == provider.model_setting:
                yield _unknown(provider, setting, chosen)
        elif offer.has_ended(today) or offer.will_end():
            yield _Ending(setting, chosen, offer, offer.has_ended(today))


def _unknown(provider: AnyProvider, setting: str, chosen: str) -> Notice:
    message = f"{provider.name} may offer this model; Voxplane does not know it."
    return Notice(code="model_unknown", pointer=f"/config/{setting}", message=message, model=chosen)


def _notice(provider: AnyProvider, overrides: JsonObject, ending: _Ending, today: date) -> Notice:
    offer = ending.offer
    kind = "model" if isinstance(offer, Model) else "voice"
    proposal, no_proposal = None, None
    try:
        proposal = _propose(provider, overrides, ending, today)
    except _NoProposal as because:
        no_proposal = str(because)
    return Notice.model_validate(
        {
            "code": f"{kind}_{'retired' if ending.has_ended else 'retiring'}",
            "pointer": f"/config/{ending.setting}",
            "message": _sentence(provider, ending),
            kind: ending.chosen,
            "retires_on": offer.retires_on,
            "replacement": offer.replacement,
            "proposal": proposal,
            "no_proposal": no_proposal,
        }
    )


def _sentence(provider: AnyProvider, ending: _Ending) -> str:
    offer = ending.offer
    called = getattr(offer, "label", None) or offer.name
    if ending.chosen != offer.name:
        called = f"{ending.chosen} is a version of {offer.name}, which"
    when = f" on {offer.retires_on.isoformat()}" if offer.retires_on else ""
    if ending.has_ended:
        sentence = f"{called} ended{when}."
    elif ending.is_late:
        sentence = f"{called} was to end{when}, so it may end any day."
    else:
        sentence = f"{called} ends{when}." if when else f"{called} is deprecated."
    return sentence + (f" {provider.name} names {offer.replacement} as its replacement." if offer.replacement else "")


def _propose(provider: AnyProvider, overrides: JsonObject, ending: _Ending, today: date) -> Proposal:
    """Return the change to the successor.

    Raises:
        _NoProposal: nothing valid can be proposed.
    """
    name, call_settings = _successor(provider, ending, today)
    try:
        before = provider.validate(overrides)
    except Invalid:
        raise _NoProposal("The settings are not valid as they are: mend them first.") from None
    proposed, dropped = _without_what_it_refuses(provider, {**call_settings, **overrides, ending.setting: name}, ending)
    after = provider.validate(proposed)
    if provider.effective_origins(after) != provider.effective_origins(before):
        raise _NoProposal("It would send calls to another address: choose the replacement yourself.")
    changes = _changes(provider, before.effective(), after.effective(), overrides, dropped)
    return Proposal(config=proposed, changes=changes)


def _successor(provider: AnyProvider, ending: _Ending, today: date) -> tuple[str, JsonObject]:
    """Follow the replacements to one that has no end in sight, and return it with the settings that suit it."""
    at, seen = ending.offer, {ending.offer.name, ending.chosen}
    while at.replacement is not None and at.replacement not in seen:
        seen.add(at.replacement)
        found = provider.known_of(ending.setting, at.replacement)
        if found is None:
            return at.replacement, {}
        if not (found.has_ended(today) or found.will_end()):
            return at.replacement, found.call_settings if isinstance(found, Model) else {}
        at = found
    if all(each.has_ended(today) or each.will_end() for each in provider.named[ending.setting]):
        kind = provider.type.value.upper()
        raise _NoProposal(f"All that {provider.name} is known to offer ends: set up another {kind} provider.")
    if at is ending.offer:
        raise _NoProposal(f"{provider.name} names no replacement: choose one yourself.")
    raise _NoProposal("Its replacement ends as well, and no other is named: choose one yourself.")


def _without_what_it_refuses(
    provider: AnyProvider, proposed: JsonObject, ending: _Ending
) -> tuple[JsonObject, dict[str, str]]:
    """Leave out what the successor does not take, and say why of each setting."""
    dropped: dict[str, str] = {}
    while True:
        try:
            provider.validate(proposed)
        except Invalid as invalid:
            refused = {error.pointer.split("/")[1]: error.message for error in invalid.errors}
        else:
            return proposed, dropped
        if ending.setting in refused or not refused.keys() <= proposed.keys():
            raise _NoProposal("It does not go with the other settings: choose the replacement yourself.")
        dropped |= refused
        proposed = {name: value for name, value in proposed.items() if name not in refused}


def _changes(
    provider: AnyProvider, before: JsonObject, after: JsonObject, overrides: JsonObject, dropped: Mapping[str, str]
) -> tuple[ProposedChange, ...]:
    names = [name for name in {**before, **after} if before.get(name) != after.get(name)]
    # A setting that goes back to a default of the same value is still one less that the organization set.
    names += [name for name in dropped if name in overrides and name not in names]
    known = provider.entry.config_schema["properties"]
    return tuple(
        ProposedChange(
            setting=name,
            title=known[name]["title"],
            before=before.get(name),
            after=after.get(name),
            because=dropped.get(name),
        )
        for name in names
    )
