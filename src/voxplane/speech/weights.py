"""Where a worker's speech models lie, and that each is loaded once.

    VOXPLANE_MODELS_DIR         .voxplane/models unless set
    ├── whisper/<model>/        model.bin and tokenizer.json, as CTranslate2 has them
    ├── vosk/<model>/           an unpacked model
    └── piper/<voice>.onnx      and <voice>.onnx.json beside it

Nothing is ever downloaded. The names come from an organization's settings, and none leads out of the folder.
"""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Callable
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from threading import Lock
from typing import Any, Generic, TypeVar

from voxplane.errors import ConfigurationError, MissingDependency, ModelMissing

M = TypeVar("M")
_SAID_MODELS = 10


def models_folder() -> Path:
    """Return the folder that holds the models of this machine."""
    return Path(_environment("VOXPLANE_MODELS_DIR") or ".voxplane/models")


def whisper_model(model: str) -> str:
    """Return the path of a Whisper model's folder.

    Raises:
        ModelMissing: it is not there, or lacks a file without which it would be looked for elsewhere.
    """
    # Without its own tokenizer, faster-whisper would fetch one.
    return _find("whisper", model, "model.bin", "tokenizer.json")


def load_whisper(path: str) -> Any:
    """Load a Whisper model. This takes seconds: see `Loaded`."""
    # Imported here, in the thread: it takes a second, and not every worker has it.
    engine = import_module("faster_whisper")
    return engine.WhisperModel(path, device="auto", compute_type="auto", local_files_only=True)


def vosk_model(model: str) -> str:
    """Return the path of a Vosk model's folder.

    Raises:
        ModelMissing: it is not there.
    """
    return _find("vosk", model, "conf")


def piper_voice(voice: str) -> str:
    """Return the path of a Piper voice, whose settings lie beside it in a file that ends in .onnx.json.

    Raises:
        ModelMissing: one of the two is not there.
    """
    _find("piper", f"{voice}.onnx.json")
    return _find("piper", f"{voice}.onnx")


def piper_in_process() -> bool:
    """Whether VOXPLANE_PIPER says that Piper speaks in the worker itself and not over HTTP.

    Raises:
        ConfigurationError: it says neither `http` nor `in-process`.
    """
    chosen = _environment("VOXPLANE_PIPER") or "http"
    if chosen not in {"http", "in-process"}:
        raise ConfigurationError("VOXPLANE_PIPER is neither http nor in-process.")
    return chosen == "in-process"


def require(module: str, extra: str) -> None:
    """Check that an engine's package is installed, without the time that importing it takes.

    Raises:
        MissingDependency: it is not.
    """
    if find_spec(module) is None:
        raise MissingDependency(f"{module} is not installed: pip install 'voxplane[{extra}]'.")


class Loaded(Generic[M]):
    """Models of one kind, by path: loaded at first use, then shared by all calls of the process.

    The ones used last are kept; a call that still holds another keeps that one alive.
    """

    def __init__(self, load: Callable[[str], M], *, keep: int = 4) -> None:
        self._load = load
        self._keep = keep
        self._models: OrderedDict[str, M] = OrderedDict()
        self._lock = Lock()

    def get(self, path: str) -> M:
        """Return the model at a path. This may take seconds, so it is for a thread and not for the event loop.

        Raises:
            ModelMissing: it cannot be loaded.
        """
        with self._lock:  # also while loading: whoever waits would load the same again
            if path not in self._models:
                self._models[path] = self._loaded(path)
            self._models.move_to_end(path)
            while len(self._models) > self._keep:
                self._models.popitem(last=False)
            return self._models[path]

    def _loaded(self, path: str) -> M:
        try:
            return self._load(path)
        except Exception as error:
            message = f"{Path(path).name} in the models folder cannot be loaded ({type(error).__name__})."
            raise ModelMissing(message) from error

    def clear(self) -> None:
        """Let go of all models."""
        with self._lock:
            self._models.clear()


def _find(engine: str, name: str, *needs: str) -> str:
    # Definitions refuse such names; what reaches a file system is checked here as well.
    if any(not part or part.startswith(".") or set(part) & set("\\:\0") for part in name.split("/")):
        raise ModelMissing(f"This name of a {engine} model is not that of a file in the models folder.")
    place = models_folder() / engine / name
    for file in [place / need for need in needs] or [place]:
        if not file.exists():
            raise ModelMissing(
                f"{file.relative_to(models_folder()).as_posix()} is not in the models folder of this machine: put the "
                f"model there, or set VOXPLANE_MODELS_DIR to the folder that has it.{_those_there(engine, *needs)} "
                "docs/speech.md says how to add one."
            )
    return str(place)


def _those_there(engine: str, *needs: str) -> str:
    """Say which models of an engine the folder has, with a space before it; nothing where there is none."""
    folder = models_folder() / engine
    if needs:  # a folder, whose name may be one of a folder within a folder
        found = [each.parent for at in ("*", "*/*") for each in folder.glob(f"{at}/{needs[0]}")]
        names = [each.relative_to(folder).as_posix() for each in found]
    else:
        names = [each.stem for each in folder.glob("*.onnx")]
    return f" It has: {', '.join(sorted(names)[:_SAID_MODELS])}." if names else ""


def _environment(name: str) -> str | None:
    return os.environ.get(name)  # noqa: TID251 - what a machine has is not a setting of the service or of its tenants
