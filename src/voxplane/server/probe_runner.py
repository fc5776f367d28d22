"""One run of a provider's probe: the requests that its definition lists, and what their answers show together.

Nothing of it is kept, and nothing that a vendor said leaves it but a status, a time and an outcome.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from anyio import to_thread

from voxplane.probe import judged
from voxplane.server.vendor_client import Unanswered, VendorRequest, origin_of
from voxplane.server.verdict import verdict_of

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import date
    from uuid import UUID

    from voxplane.destination import Origin
    from voxplane.probe import ProbeRequest
    from voxplane.provider import AnyProvider
    from voxplane.schemas import JsonObject
    from voxplane.schemas.verification import Outcome, Stage
    from voxplane.server.vendor_client import VendorClient

_WITHOUT_ANSWER: dict[str, Outcome] = {
    "blocked": "blocked",
    "unreachable": "unreachable",
    "tls": "tls",
    "timeout": "timeout",
    "unsendable": "key_rejected",
}
# Where a test stops with each outcome, and how that stage is shown; those before it passed, those after it did not run.
_STOPS_AT: dict[Outcome, Stage] = {
    "key_missing": "key",
    "key_rejected": "key",
    "key_restricted": "key",
    "quota": "model",
    "rate_limited": "key",
    "wrong_region_or_endpoint": "reachable",
    "model_unavailable": "model",
    "unreachable": "reachable",
    "timeout": "reachable",
    "tls": "reachable",
    "provider_error": "key",
    "blocked": "reachable",
    "not_checkable": "reachable",
    "local_unavailable": "reachable",
}
_STAGES: tuple[Stage, ...] = ("settings", "reachable", "key", "model")


@dataclass(frozen=True)
class Subject:
    """What is tested: a provider with settings in force, its secrets, and where they may go."""

    provider: AnyProvider
    settings: JsonObject
    origins: frozenset[Origin]
    secrets: Mapping[str, str] = field(default_factory=dict[str, str], repr=False)
    is_whole: bool = True
    """Whether nothing is still to be chosen: a key can be tested before a voice is."""

    @property
    def has_key(self) -> bool:
        """Whether there is, or ought to be, a key that can be accepted."""
        return bool(self.secrets or self.provider.required_secrets(self.settings))

    @property
    def model(self) -> str | None:
        """The model or voice that the test is for."""
        probe = self.provider.probe
        named = self.settings.get(probe.model_setting) if probe and probe.model_setting else None
        return named if isinstance(named, str) else None


@dataclass
class Finding:
    """What a test found."""

    outcome: Outcome
    times: dict[Stage, int] = field(default_factory=dict["Stage", int])
    """Milliseconds of the stages that ran."""
    milliseconds: int = 0
    http_status: int | None = None
    retry_after_seconds: int | None = None
    origin: str | None = None
    retires_on: date | None = None
    """When the provider says that the model ends."""
    is_past_key: bool = False
    """Whether the key was accepted before what this says was found."""

    def stages_of(self, subject: Subject) -> list[dict[str, Any]]:
        """Return the stages of a subject's test as they are kept and shown."""
        stop = _STAGES.index(_STOPS_AT[self.outcome]) if self.outcome in _STOPS_AT else len(_STAGES)
        if self.outcome == "timeout" and "key" in self.times:
            stop = _STAGES.index("key")
        if self.is_past_key and self.outcome != "verified":
            stop = _STAGES.index("model")
        bad = "failed" if verdict_of(self.outcome) == "fails" else "inconclusive"
        shown: list[dict[str, Any]] = []
        for number, name in enumerate(_STAGES):
            if name == "key" and not subject.has_key:
                continue
            if name == "settings" and not subject.is_whole:
                state = "inconclusive"
            elif number == stop:
                state = "skipped" if self.outcome == "not_checkable" else bad
            elif number > stop or (name not in self.times and name != "settings"):
                state = "skipped"
            else:
                state = "passed"
            took = None if state == "skipped" else self.times.get(name, 0)
            shown.append({"name": name, "state": state, "milliseconds": took})
        return shown


class ProbeRunner:
    """Runs probes."""

    def __init__(self, client: VendorClient, models_dir: Path | None) -> None:
        """Take what asks vendors, and where the operator says that local engines keep their files."""
        self._client = client
        self._models_dir = models_dir

    async def run(self, subject: Subject, asker: UUID) -> Finding:
        """Test a subject for an organization, asking nobody when that is not needed to know."""
        if found := before_asking(subject):
            return found
        if subject.provider.required_secrets(subject.settings) - set(subject.secrets):
            return Finding("key_missing")
        return await self._look(subject, asker)

    async def _look(self, subject: Subject, asker: UUID) -> Finding:
        probe = subject.provider.probe
        assert probe is not None  # noqa: S101 - `before_asking` looked
        requests = probe.questions(subject.settings)
        if not requests:
            return await self._look_at_files(probe.files(subject.settings))
        finding = Finding("not_checkable")
        for number, request in enumerate(requests):
            if request.is_fallback and finding.outcome == "verified":
                continue
            found = await self._ask(subject, request, asker)
            if number == 0 or request.is_fallback:
                finding = found
                if found.outcome != "verified" and (found.outcome, found.http_status) not in request.goes_on:
                    break
            else:
                # The key was known before, so what refuses it now is a right that it lacks. What a later request
                # leaves open is open: a key that works with a model that may not is no success.
                finding.outcome = "key_restricted" if found.outcome == "key_rejected" else found.outcome
                if found.outcome in {"model_unavailable", "quota"} or "model" in found.times:
                    finding.times["model"] = found.milliseconds
                finding.milliseconds += found.milliseconds
                finding.http_status, finding.retry_after_seconds = found.http_status, found.retry_after_seconds
                finding.is_past_key = finding.outcome != "key_restricted"
                finding.retires_on = found.retires_on or finding.retires_on
        return finding

    async def _look_at_files(self, files: tuple[str, ...]) -> Finding:
        """Look for the files of an engine that runs in the worker, where the operator said that they are."""
        if self._models_dir is None or not files:
            return Finding("not_checkable")
        are_there = await to_thread.run_sync(_are_there, self._models_dir, files)
        return Finding("verified" if are_there else "model_unavailable", {"model": 0})

    async def _ask(self, subject: Subject, request: ProbeRequest, asker: UUID) -> Finding:
        probe, values = subject.provider.probe, {**subject.settings, **subject.secrets}
        assert probe is not None  # noqa: S101 - as above
        sent = VendorRequest(
            url=request.address(subject.settings),
            headers=request.heading(values),
            method=request.method,
            body=request.content(subject.settings),
        )
        origin = _shown_origin(sent.url)
        answer = await self._client.ask(sent, within=subject.origins, asker=asker)
        if isinstance(answer, Unanswered):
            return _unanswered(subject, answer, origin)
        text = answer.body.decode("utf-8", errors="replace")
        outcome = judged(probe, request, answer.status, text)
        if outcome == "verified" and not (request.lists or request.is_long or answer.is_whole):
            outcome = "wrong_region_or_endpoint"  # no vendor needs so many words for that
        times: dict[Stage, int] = {
            "reachable": answer.connected_milliseconds,
            "key": answer.milliseconds - answer.connected_milliseconds,
        }
        is_of_model = request.lists is not None or request.proves != "key"
        if outcome == "verified" and subject.model is not None and is_of_model:
            is_kind = _is_of_its_kind(subject, subject.model)
            has_model = is_kind and request.has_model(text, subject.model)
            if has_model or answer.is_whole or not is_kind:
                times["model"] = 0
                outcome = "verified" if has_model else "model_unavailable"
        elif outcome in {"verified", "model_unavailable"} and request.proves != "key":
            times["model"] = 0
        if subject.provider.hosting == "local" and verdict_of(outcome) == "fails" and outcome != "model_unavailable":
            outcome = "local_unavailable"
        ends = request.retires_on(text) if outcome == "verified" else None
        return Finding(outcome, times, answer.milliseconds, answer.status, answer.retry_after_seconds, origin, ends)


def before_asking(subject: Subject) -> Finding | None:
    """Return what is found without asking anybody and without a secret, if that is all there is to find."""
    probe = subject.provider.probe
    return Finding("not_checkable") if probe is None or not probe.is_checkable(subject.settings) else None


def _is_of_its_kind(subject: Subject, model: str) -> bool:
    """Whether a name is one of those that the vendor's list is read for; a compatible server has names of its own."""
    listings = subject.provider.lists_models
    is_own = subject.origins <= subject.provider.default_origins
    return not (is_own and listings) or any(re.search(each.keeps, model) for each in listings)


def _unanswered(subject: Subject, answer: Unanswered, origin: str | None) -> Finding:
    provider = subject.provider
    assert provider.probe is not None  # noqa: S101 - it was asked
    outcome = _WITHOUT_ANSWER.get(answer.reason, provider.probe.unknown_host)
    if provider.hosting == "local":
        # The worker's own machine is another one than this, unless the operator says otherwise.
        outcome = "not_checkable" if outcome == "blocked" else "local_unavailable"
    if answer.reason == "unsendable" and origin is None:  # the model's name makes an address of it that nobody has
        outcome = "model_unavailable"
    connected = answer.connected_milliseconds
    if connected is None:
        return Finding(outcome, {"reachable": answer.milliseconds}, answer.milliseconds, origin=origin)
    times: dict[Stage, int] = {"reachable": connected, "key": answer.milliseconds - connected}
    return Finding(outcome, times, answer.milliseconds, origin=origin)


def _are_there(folder: Path, names: tuple[str, ...]) -> bool:
    """Whether these files and folders are in the folder, with something in each; a link is as good as what it names."""
    return all(_is_there(folder, each) for each in names)


def _is_there(folder: Path, name: str) -> bool:
    # Definitions refuse names that lead out of the folder; what reaches a file system is checked here as well.
    if any(not part or part.startswith(".") for part in name.rstrip("/").split("/")):
        return False
    found = (folder / name).parent.glob(Path(name).name)
    if name.endswith("/"):
        return any(each.is_dir() and any(each.iterdir()) for each in found)
    return any(each.is_file() and each.stat().st_size > 0 for each in found)


def _shown_origin(url: str) -> str | None:
    try:
        return origin_of(url)._replace(path="").in_short
    except ValueError:
        return None
