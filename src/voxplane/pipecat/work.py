"""What a chain was given and has not answered: contexts, texts, or sound."""

# Pipecat leaves type parameters of events and tasks open.
# pyright: reportUnknownMemberType=false

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import deque
from typing import TYPE_CHECKING, ClassVar

from pipecat.frames.frames import (
    Frame,
    FunctionCallsStartedFrame,
    InputAudioRawFrame,
    InterimTranscriptionFrame,
    LLMContextFrame,
    LLMFullResponseEndFrame,
    LLMFullResponseStartFrame,
    LLMTextFrame,
    TextFrame,
    TranscriptionFrame,
    TTSAudioRawFrame,
    TTSSpeakFrame,
    TTSStoppedFrame,
    VADUserStartedSpeakingFrame,
    VADUserStoppedSpeakingFrame,
)
from pipecat.processors.frame_processor import FrameDirection
from typing_extensions import override

if TYPE_CHECKING:
    from voxplane.pipecat.link import Frames, Link

Given = tuple[Frame, FrameDirection]

ANSWER: Frames = (LLMTextFrame, FunctionCallsStartedFrame)
"""What a model answers with."""


class Work(ABC):
    """What a chain was given and has not answered, as it was given: another provider can take it over whole."""

    kinds: ClassVar[Frames]
    """What it consists of."""
    ends_here: ClassVar[Frames] = ()
    """What of it is of no use to anybody else in the pipeline."""

    def __init__(self) -> None:
        self.given: deque[Given] = deque()
        self.is_answered = False
        self.asked: set[Link] = set()

    @abstractmethod
    def take(self, frame: Frame, direction: FrameDirection) -> bool:
        """Keep a frame if it is work; return whether a new piece of work begins with it."""

    @abstractmethod
    def came(self, frame: Frame) -> None:
        """Note a frame that came out."""

    def ends_with(self, frame: Frame) -> bool:
        """Whether this frame is the last that was given."""
        return bool(self.given) and self.given[-1][0] is frame

    def clear(self) -> None:
        """Forget it: it is done, or lost."""
        self.given.clear()
        self.is_answered = False

    def interrupt(self) -> None:
        """Forget it, for the caller spoke."""
        self.clear()


class Answering(Work):
    """Contexts to answer."""

    kinds = ends_here = (LLMContextFrame,)

    @override
    def take(self, frame: Frame, direction: FrameDirection) -> bool:
        if not isinstance(frame, LLMContextFrame):
            return False
        self.given.append((frame, direction))
        return len(self.given) == 1

    @override
    def came(self, frame: Frame) -> None:
        if isinstance(frame, ANSWER):
            self.is_answered = True
        elif isinstance(frame, LLMFullResponseEndFrame):
            self.is_answered = False
            if self.given:
                self.given.popleft()


class Speaking(Work):
    """Texts to say."""

    kinds = (LLMFullResponseStartFrame, TextFrame, TTSSpeakFrame, LLMFullResponseEndFrame)
    ends_here = (TextFrame, TTSSpeakFrame)

    @override
    def take(self, frame: Frame, direction: FrameDirection) -> bool:
        begins = isinstance(frame, LLMFullResponseStartFrame | TTSSpeakFrame)
        if begins and self.is_answered:
            self.clear()
        if begins or (self.given and isinstance(frame, self.kinds)):
            self.given.append((frame, direction))
        return begins and len(self.given) == 1

    @override
    def came(self, frame: Frame) -> None:
        if isinstance(frame, TTSAudioRawFrame):
            self.is_answered = True
        elif isinstance(frame, TTSStoppedFrame) and self.is_answered:
            self.clear()


class Listening(Work):
    """Sound is never answered half: all that is not in a final transcript yet is heard anew."""

    kinds = (InputAudioRawFrame, VADUserStartedSpeakingFrame, VADUserStoppedSpeakingFrame)
    BEFORE_SPEECH, AT_MOST = 50, 3000
    """Frames, of 20 ms usually: a VAD notices speech a moment late."""

    def __init__(self) -> None:
        super().__init__()
        self._speaks = self._waits = False
        self.unanswered_seconds = 0.0
        """How much speech has come since anything was written."""

    @override
    def take(self, frame: Frame, direction: FrameDirection) -> bool:
        if not isinstance(frame, self.kinds):
            return False
        if not isinstance(frame, InputAudioRawFrame):
            self._speaks = isinstance(frame, VADUserStartedSpeakingFrame)
        elif self._speaks:
            self.unanswered_seconds += frame.num_frames / frame.sample_rate
        self._waits = self._waits or self._speaks
        self.given.append((frame, direction))
        while len(self.given) > (self.AT_MOST if self._waits else self.BEFORE_SPEECH):
            self.given.popleft()
        return isinstance(frame, VADUserStartedSpeakingFrame)

    @override
    def came(self, frame: Frame) -> None:
        if isinstance(frame, TranscriptionFrame | InterimTranscriptionFrame):
            self.unanswered_seconds = 0.0
        if isinstance(frame, TranscriptionFrame):
            self._waits = self._speaks
            began = [each for each in self.given if isinstance(each[0], VADUserStartedSpeakingFrame)]
            self.given = deque(began[-1:] if self._speaks else [])
            self.asked.clear()

    @override
    def clear(self) -> None:
        super().clear()
        self._waits = False
        self.unanswered_seconds = 0.0

    @override
    def interrupt(self) -> None:
        """Go on: who interrupts is the one to hear."""
