"""What the default organization lacks for a call on this machine: added, and told with the commands that undo it."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from examples.call.machine import PIPER, VOICE, WHISPER, administrator

from voxplane.errors import ModelMissing
from voxplane.schemas import ConfigWrite, ProviderType, SecretsWrite
from voxplane.speech.weights import whisper_model

if TYPE_CHECKING:
    from collections.abc import Callable

    from voxplane.schemas import OrganizationProvider
    from voxplane.server.auth import Principal
    from voxplane.server.control_plane import ControlPlane

PLACEHOLDER = "sk-scripted-model"
_TYPES = (ProviderType.STT, ProviderType.LLM, ProviderType.TTS)


async def prepare(plane: ControlPlane, say: Callable[[str], None], *, is_vendors: bool = False) -> None:
    """Complete the default organization so that it can take a call here.

    Of what it has set nothing is changed, but that a provider is switched on where none of its type can answer. What is
    added stays. With `is_vendors` its own language model answers, for which nothing can stand in.
    """
    admin = await administrator(plane)
    shown = await plane.providers.get_organization_providers(admin)
    found = {each.provider.key: each for each in shown.providers}
    hears, answers, speaks = (shown.next_call.get(each) for each in _TYPES)
    whisper, piper = found["whisper"], found["piper"]
    model = found["openai"]
    if found["openai-tts"].is_enabled and not _has_key(model):
        # OpenAI's voice speaks on the key of its model, and would be asked with what stands for one.
        model = found["groq"]
    if hears in {None, "whisper"}:
        done = await _complete(plane, admin, whisper, {"model": WHISPER} if _lacks_model(whisper) else {})
        _tell(say, done)
    if answers is None and not is_vendors and set(model.origins) <= set(model.approved_origins):
        if not _has_key(model):
            secrets = SecretsWrite(secrets={"apiKey": PLACEHOLDER}, label="stands for a script on this machine")
            key = model.provider.key
            await plane.providers.update_provider_secrets(admin, key, secrets, if_match=model.etag)
            _tell(say, (f"{key}: has a placeholder for a key", f"secrets remove {key} apiKey"))
        _tell(say, await _complete(plane, admin, model, {}))
    if speaks in {None, "piper"}:
        is_here = piper.config["baseUrl"] == PIPER
        _tell(say, await _complete(plane, admin, piper, {"voice": VOICE} if is_here else {}))


async def _complete(
    plane: ControlPlane, admin: Principal, provider: OrganizationProvider, settings: dict[str, str]
) -> tuple[str, str] | None:
    """Switch a provider on, with settings that it has not; return what was done, and what undoes it."""
    key = provider.provider.key
    provider = await plane.providers.get_organization_provider(admin, key)  # as the step before left it
    added = {name: value for name, value in settings.items() if name not in provider.overrides}
    if provider.is_enabled and not added:
        return None
    change = ConfigWrite(config={**provider.overrides, **added}, is_enabled=True)
    await plane.providers.upsert_organization_provider_config(admin, key, change, if_match=provider.etag)
    undo = [f"config set {key}", *(f"--unset {name}" for name in added)]
    done = [f"{name} is {value}" for name, value in added.items()]
    if not provider.is_enabled:
        undo.append("--disable")
        done.insert(0, "is on")
    return f"{key}: {', '.join(done)}", " ".join(undo)


def _tell(say: Callable[[str], None], done: tuple[str, str] | None) -> None:
    if done is not None:
        # Whoever makes a call from a clone has the command in its environment, and not in his PATH.
        command = os.path.relpath(Path(sys.executable).with_name("voxplane"))
        say(f"default organization, {done[0]} (undo: {command} {done[1]})")


def _has_key(provider: OrganizationProvider) -> bool:
    return any(each.is_set for each in provider.secret_fields)


def _lacks_model(whisper: OrganizationProvider) -> bool:
    if "baseUrl" in whisper.overrides:  # it is elsewhere
        return False
    try:
        whisper_model(str(whisper.config["model"]))
    except ModelMissing:
        return True
    return False
