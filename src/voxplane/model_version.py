"""The names of a model's versions: what vendors put behind a model's name to say which version of it they mean.

Each is a pattern of what follows the name, for a definition's `versions`.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

_MONTH, _DAY_OF_MONTH = "(0[1-9]|1[0-2])", "(0[1-9]|[12][0-9]|3[01])"

DAY = f"-20[0-9]{{2}}-{_MONTH}-{_DAY_OF_MONTH}"
"""As in gpt-4o-2024-08-06."""
COMPACT_DAY = f"-20[0-9]{{2}}{_MONTH}{_DAY_OF_MONTH}"
"""As in claude-sonnet-4-20250514."""
MONTH_AND_DAY = f"-{_MONTH}{_DAY_OF_MONTH}"
"""As in gpt-4-0613."""
NUMBER = "-[0-9]{3}"
"""As in gemini-1.5-flash-001."""
LATEST = "-latest"
"""The newest, as in claude-3-5-sonnet-latest."""


def model_of(name: str, versions: Iterable[str]) -> str | None:
    """Return the name of the model that a name says it is a version of; None when it says nothing of the kind."""
    for version in versions:
        if found := re.search(f"(?:{version})\\Z", name):
            return name[: found.start()]
    return None
