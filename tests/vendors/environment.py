"""The variables in which plugins and SDKs would find somebody's account, and canaries to put into them."""

from __future__ import annotations

import importlib.util
import re
from functools import cache
from pathlib import Path

from google.auth import environment_vars

CANARY = "canary"
SCANNED = (
    *("openai:*.py", "openai:lib/*.py", "anthropic:*.py", "anthropic:lib/**/*.py", "groq:*.py", "google.genai:*.py"),
    *("google.auth:*.py", "livekit.plugins.openai:*.py", "livekit.plugins.groq:*.py", "livekit.plugins.google:*.py"),
    *("livekit.plugins.anthropic:*.py", "livekit.agents.inference:*.py", "pipecat.services.openai:*.py"),
    *("pipecat.services.google:**/*.py", "pipecat.services.groq:*.py", "pipecat.services.anthropic:*.py"),
    "pipecat.services.azure:*.py",
)
READ = re.compile(r"""(?:environ(?:\.get)?\s*[(\[]|getenv\()\s*["']([A-Z][A-Z0-9_]+)["']""")
OF_A_VENDOR = re.compile("^(OPENAI|AZURE|ANTHROPIC|GROQ|GOOGLE|GEMINI|LIVEKIT)_")
# What these would change is which library sends, or that nothing is sent at all.
NO_CANARY = {"GOOGLE_GENAI_HTTP_CLIENT", "GOOGLE_GENAI_CLIENT_MODE"}


@cache
def variables_of_models() -> frozenset[str]:
    """Every variable of a language model's vendor that the installed classes and SDKs read, by their source."""
    found = {environment_vars.CREDENTIALS, environment_vars.GOOGLE_CLOUD_QUOTA_PROJECT}
    for each in SCANNED:
        package, _, pattern = each.partition(":")
        spec = importlib.util.find_spec(package)
        assert spec is not None
        for folder in spec.submodule_search_locations or ():
            for file in Path(folder).glob(pattern):
                found |= set(READ.findall(file.read_text()))
    return frozenset(name for name in found if OF_A_VENDOR.match(name)) - NO_CANARY


def canary(name: str, url: str) -> str:
    """Return a value of a variable that shows where it arrives; addresses lead to `url`."""
    if name.endswith(("_URL", "_ENDPOINT")):
        return f"{url}/{CANARY}"
    if name.endswith("_HEADERS"):
        names = ("X-Proxy-Key", "Authorization", "OpenAI-Organization", "X-Api-Key", "anthropic-workspace-id")
        return "\n".join(f"{header}: {CANARY}" for header in names)
    return "true" if "_USE_" in name else f"{CANARY}-{name.lower()}"


@cache
def variables_of_speech() -> frozenset[str]:
    """Every variable of the speech vendors that their SDKs or the frameworks' classes read, by the source of these."""
    clouds = ("deepgram", "elevenlabs", "cartesia", "openai")
    homes = [f"{home}{cloud}" for home in ("", "livekit.plugins.", "pipecat.services.") for cloud in clouds]
    names = "(?:DEEPGRAM|ELEVEN|CARTESIA|OPENAI)[A-Z_]*"
    read = re.compile(rf"""(?:environ(?:\.get)?|getenv)\s*[\[(]\s*["']({names})["']""")
    found: set[str] = set()
    for home in homes:
        spec = importlib.util.find_spec(home)
        assert spec is not None
        for folder in spec.submodule_search_locations or ():
            for path in Path(folder).rglob("*.py"):
                found |= set(read.findall(path.read_text(encoding="utf-8")))
    return frozenset(found)


def canaries(url: str) -> dict[str, str]:
    """Return somebody else's account for every variable there is; its addresses lead to `url`."""
    # OPENAI_LOG makes the SDK write more, and spends nothing.
    return {name: canary(name, url) for name in variables_of_models() | variables_of_speech() - {"OPENAI_LOG"}}
