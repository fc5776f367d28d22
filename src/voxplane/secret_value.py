"""What can be a secret: the value alone, and not a placeholder that somebody's form shows in its place."""

from __future__ import annotations

import re

from voxplane.errors import FieldError

_MASK = re.compile(r"[*•.xX\s]+|<?\[?(?:redacted|masked|hidden|secret)\]?>?", re.IGNORECASE)


def not_a_secret(pointer: str, value: str) -> list[FieldError]:
    """Say why a value cannot be a secret; nothing when it can. The value is in no message."""
    if _MASK.fullmatch(value):
        return [FieldError(pointer, "masked_value", "This is a placeholder, not a secret; enter the secret itself.")]
    # A document, such as a service account's, is stored as it is; anything else ends up in a header of HTTP.
    is_document = value.startswith("{")
    is_plain = _is_text(value) if is_document else value.isascii() and value.isprintable()
    is_quoted = len(value) > 1 and value[0] == value[-1] and value[0] in "\"'`"
    if value != value.strip() or is_quoted or value.lower().startswith("bearer ") or not is_plain:
        message = "Enter the secret alone: ASCII, no space or quotes around it and no word before it."
        return [FieldError(pointer, "not_bare", message)]
    return []


def _is_text(value: str) -> bool:
    """Whether a value holds no half of a surrogate pair, which nothing can be made of."""
    return not any("\ud800" <= letter <= "\udfff" for letter in value)
