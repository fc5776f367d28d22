"""What travels over the API about lists of models and voices."""

from __future__ import annotations

from datetime import date, datetime
from typing import Literal

from pydantic import Field

from voxplane.schemas import ModelStatus
from voxplane.schemas.wire import Wire

ListSource = Literal["live", "cached", "built-in"]
NotListed = Literal[
    "not_offered",
    "retired",
    "sealed",
    "invalid_config",
    "secrets_missing",
    "destination_unapproved",
    "undecryptable",
    "too_often",
    "key_refused",
    "key_restricted",
    "quota",
    "rate_limited",
    "provider_error",
    "not_understood",
    "unreachable",
    "timeout",
    "tls",
    "blocked",
]


class ListedOffer(Wire):
    """A model or a voice that can be chosen, with what is known of it."""

    name: str = Field(description="The value of the setting.")
    label: str | None = Field(description="What people call it.")
    language: str | None
    status: ModelStatus
    retires_on: date | None
    replacement: str | None
    note: str | None
    is_listed: bool | None = Field(description="Whether the vendor lists it for this key; null when it was not asked.")
    has_preview: bool = Field(description="Whether `.../preview` has a sample of the voice.")


class OfferList(Wire):
    """The models or voices of one provider, as far as they are known to this organization."""

    items: tuple[ListedOffer, ...]
    source: ListSource = Field(description="From the vendor now, from it earlier, or from what this release knows.")
    fetched_at: datetime | None = Field(description="When the vendor answered; null for the built-in list.")
    reason: NotListed | None = Field(description="Why the vendor's answer is not a new one, where one was wanted.")
    is_whole: bool = Field(description="Whether the vendor's list was read to its end.")
