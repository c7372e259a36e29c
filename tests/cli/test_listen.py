"""`liser listen` with a file, or a made-up microphone, in the microphone's place."""

import json
import sys
import wave
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from liser.bundle import Bundle


@pytest.fixture
def tune(recordings: Path, bands: Bundle) -> Path:
    (recordings.parent / "model").symlink_to(bands.folder)
    return recordings / "speaker0" / "sad-0.wav"


def listen(liser, *arguments: object):
    return liser("listen", "--bundle", "model", "--all-sound", *arguments)


class Microphones(ModuleType):
    """Stands in for the package sounddevice: one microphone that plays a tone."""

    class PortAudioError(Exception):
        pass

    def __init__(self) -> None:
        super().__init__("sounddevice")
        self.closed = False

    def query_devices(self, device: Any = None, kind: str | None = None) -> Any:
        inputs = [{"index": 3, "name": "Desk mic", "max_input_channels": 1}]
        if kind is None:
            return inputs
        if device not in (None, 3, "Desk"):
            raise ValueError(f"No input device matching {device!r}")
        return {**inputs[0], "default_samplerate": 48_000.0}

    def InputStream(self, callback: Any, blocksize: int, **kinds: Any) -> Any:
        microphones, tone = self, 0.3 * np.sin(0.1 * np.arange(blocksize))[:, None]

        class Stream:
            def start(self) -> None:
                for _ in range(30):
                    callback(tone.astype(np.float32), blocksize, None, None)

            def __enter__(self) -> None:
                pass

            def __exit__(self, *error: object) -> None:
                microphones.closed = True

        return Stream()


@pytest.fixture
def microphones(monkeypatch: pytest.MonkeyPatch) -> Microphones:
    made = Microphones()
    monkeypatch.setitem(sys.modules, "sounddevice", made)
    monkeypatch.setattr("liser.runtime.microphone._PATIENCE_S", 0.01)
    return made


def test_a_file_plays_the_microphone(liser, tune: Path) -> None:
    ended = listen(liser, "--file", tune)
    assert ended.status == 0
    assert "0:00.6 of sound, 0:00.6 of it speech" in ended.out and "overall:" in ended.out


def test_notes_on_a_file_are_shown(liser, tune: Path) -> None:
    tune.write_bytes(tune.read_bytes() * 2)
    assert "bytes follow the end" in " ".join(listen(liser, "--file", tune).out.split())
    (note,) = json.loads(listen(liser, "--file", tune, "--json").out)["notes"]
    assert "bytes follow the end" in note


def test_its_predictions_are_those_of_predict(liser, tune: Path) -> None:
    live = json.loads(listen(liser, "--file", tune, "--json").out)
    recorded = json.loads(liser("predict", "--bundle", "model", "--all-sound", tune, "--json").out)
    for name in ("label", "probabilities", "segments", "duration_s", "speech_s"):
        assert live[name] == recorded["recordings"][0][name]


def test_only_possible_emotions_are_shown(liser, tune: Path) -> None:
    shown = json.loads(listen(liser, "--file", tune, "--labels", "sad,happy", "--json").out)
    assert list(shown["probabilities"]) == ["happy", "sad"]
    assert sum(shown["probabilities"].values()) == pytest.approx(1.0, abs=1e-5)


def test_predictions_are_printed_when_time_is_up_or_the_microphone_gone(
    liser, tune: Path, microphones: Microphones
) -> None:
    ended = listen(liser, "--seconds", 4.7)
    assert ended.status == 2 and "has sent nothing" in ended.err and microphones.closed
    assert "0:03.0 of sound" in ended.out  # until it was unplugged
    ended = listen(liser, "--seconds", 2.95)
    assert ended.status == 0 and "0:03.0 of sound" in ended.out and ended.err == ""
    ended = listen(liser, "--seconds", 3, "--json")
    assert json.loads(ended.out)["duration_s"] == 3.0
    assert listen(liser, "--seconds", 1, "--device", "Desk").status == 0
    assert listen(liser, "--seconds", 1, "--device", "3").status == 0


def test_another_device_is_refused_and_those_there_are_named(
    liser, tune: Path, microphones: Microphones
) -> None:
    ended = listen(liser, "--device", "Piano")
    assert ended.status == 2 and "No input device matching 'Piano'" in ended.err
    assert "--device may be 3 Desk mic" in ended.err


def test_a_missing_package_and_a_missing_library_are_different_errors(
    liser, tune: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "sounddevice", None)
    ended = listen(liser)
    assert ended.status == 2 and "pip install 'liser[listen]'" in ended.err
    broken = tune.parents[2] / "sounddevice.py"
    broken.write_text("raise OSError('PortAudio library not found')")
    monkeypatch.delitem(sys.modules, "sounddevice")
    monkeypatch.syspath_prepend(str(broken.parent))
    ended = listen(liser)
    assert ended.status == 1 and "install PortAudio" in ended.err


def test_ctrl_c_ends_it_with_a_summary(
    liser, tune: Path, microphones: Microphones, monkeypatch: pytest.MonkeyPatch
) -> None:
    def until_ctrl_c(blocks: Any) -> Iterator[np.ndarray]:
        yield from (blocks.get() for _ in range(20))
        raise KeyboardInterrupt

    monkeypatch.setattr("liser.runtime.microphone._until_unplugged", until_ctrl_c)
    ended = listen(liser)
    assert ended.status == 0 and "0:02.0 of sound" in ended.out and microphones.closed


def test_segments_are_printed_as_they_are_finished(liser, here: Path, bands: Bundle, talk) -> None:
    sound = talk((0.2, 1.5), (1.5, 2.0))
    with wave.open("talk.wav", "wb") as file:
        file.setparams((1, 2, 16_000, 0, "NONE", ""))
        file.writeframes(np.round(sound * 32767).astype("<i2").tobytes())
    ended = liser("listen", "--bundle", bands.folder, "--all-sound", "--file", "talk.wav")
    segment, summary = ended.out.splitlines()[:2]
    assert segment.startswith("0:00.0 0:02.2 ") and summary.startswith("0:05.2 of sound")


def test_a_muted_microphone_is_pointed_out(liser, tune: Path) -> None:
    with wave.open("mute.wav", "wb") as file:
        file.setparams((1, 2, 16_000, 0, "NONE", ""))
        file.writeframes(bytes(32_000))
    ended = liser("listen", "--bundle", "model", "--file", "mute.wav")
    assert ended.status == 0 and "muted" in ended.out


def test_a_terminal_shows_bars_during_the_stream(
    liser, tune: Path, microphones: Microphones, monkeypatch: pytest.MonkeyPatch
) -> None:
    screen = Console(force_terminal=True, width=60, file=(shown := _Shown()))
    monkeypatch.setattr("liser.cli.output.console", screen)
    assert listen(liser, "--seconds", 2).status == 0
    assert "Ctrl-C to stop" in shown.text and "█" in shown.text


class _Shown:
    text = ""

    def write(self, text: str) -> None:
        self.text += text

    def flush(self) -> None:
        pass
