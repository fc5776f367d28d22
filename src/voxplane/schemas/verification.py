"""What travels when somebody tests whether a provider works: a draft, stages, one outcome, and what to do next."""

from __future__ import annotations

from datetime import date, datetime
from typing import Annotated, Literal

from pydantic import Field, field_validator
from pydantic_core import PydanticCustomError

from voxplane.schemas.wire import JsonObject, OriginUrl, Sparse, Wire

Outcome = Literal[
    "verified",
    "key_missing",
    "key_rejected",
    "key_restricted",
    "quota",
    "rate_limited",
    "wrong_region_or_endpoint",
    "model_unavailable",
    "unreachable",
    "timeout",
    "tls",
    "provider_error",
    "blocked",
    "not_checkable",
    "local_unavailable",
]
Verdict = Literal["works", "fails", "inconclusive"]
Stage = Literal["settings", "reachable", "key", "model"]
NextStep = Literal[
    "none",
    "set_key",
    "replace_key",
    "open_console",
    "open_billing",
    "choose_model",
    "check_settings",
    "check_network",
    "try_again",
    "start_server",
    "contact_admin",
]


class VerificationWrite(Sparse):
    """A draft to test before it is saved. An empty object tests what is saved.

    A draft stands by itself: its settings go with its own secrets, never with stored ones.
    """

    config: JsonObject | None = Field(default=None, description="The override to test; absent: the stored one.")
    secrets: dict[str, str] | None = Field(
        default=None,
        description="The secrets to test. They are sent to the provider and not stored.",
        json_schema_extra={"propertyNames": {"pattern": "^[A-Za-z][A-Za-z0-9]*$"}},
    )
    approved_origins: Annotated[list[OriginUrl], Field(max_length=16)] | None = Field(
        default=None, description="Where else than to the provider's own origins these secrets may be sent."
    )

    @property
    def is_draft(self) -> bool:
        """Whether there is anything to test but what is saved."""
        return bool(self.model_fields_set)

    @field_validator("secrets", mode="before")
    @classmethod
    def _name_no_field(cls, secrets: object) -> object:
        # Pydantic's own finding would end in the field's name, and that may be a key pasted into the wrong place.
        if isinstance(secrets, dict) and not all(isinstance(value, str) for value in secrets.values()):  # pyright: ignore[reportUnknownVariableType]
            raise PydanticCustomError("secret_value", "give every secret as a string")
        return secrets  # pyright: ignore[reportUnknownVariableType]


class VerificationStage(Wire):
    """One stage of a test. What comes after a stage that failed is skipped."""

    name: Stage
    state: Literal["passed", "failed", "inconclusive", "skipped"]
    milliseconds: int | None = Field(description="How long the stage took; null when it was skipped.")


class VerificationResult(Wire):
    """What a test of a provider found, in words of ours: nothing of the provider's answer is in it."""

    outcome: Outcome
    verdict: Verdict = Field(
        description="What the outcome says of the provider. An inconclusive one is neither success nor failure."
    )
    sentence: str = Field(description="The outcome in a sentence.")
    advice: str = Field(description="What to do about it; empty when there is nothing to do.")
    next_step: NextStep = Field(description="The same for a program that offers a button.")
    stages: tuple[VerificationStage, ...]
    milliseconds: int = Field(description="How long the provider took, all stages together.")
    http_status: int | None = Field(description="The status of the provider's last answer; null without an answer.")
    retry_after_seconds: int | None = Field(description="How long the provider asked to be left alone.")
    model: str | None = Field(description="The model that was tested for; null when the settings name none.")
    retires_on: date | None = Field(
        description="When this model ends: the day that the provider itself tells, or else the one that is known."
    )
    origin: str | None = Field(description="Where the test went; null when it went nowhere.")
    is_draft: bool = Field(description="Whether a draft was tested: then nothing was stored.")
    checked_at: datetime
    checked_by: str = Field(description="Who tested, by name.")


class Verifications(Wire):
    """The last tests of a provider as it was saved at the time, newest first."""

    verifications: tuple[VerificationResult, ...]
