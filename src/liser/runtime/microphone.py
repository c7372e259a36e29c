"""The microphone as blocks of sound, in the form of `liser.media.audio.open_audio`."""

import queue
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray

from liser.errors import LiserError, MediaError, MissingExtraError

BLOCK_S = 0.1
_PATIENCE_S = 5.0
"""A device that gives nothing for so long has gone."""


@contextmanager
def open_microphone(
    device: str | None = None,
) -> Iterator[tuple[int, Iterator[NDArray[np.float32]]]]:
    """Open a microphone: its sample rate in Hz, and blocks (samples,) of sound without an end.

    Args:
        device: number or part of the name, as `python -m sounddevice` lists them; None for the
            system's own choice.

    Raises:
        MissingExtraError: sounddevice is not installed.
        LiserError: the PortAudio library is missing.
        MediaError: "no microphone"; while listening, too, if it is unplugged.
    """
    sounddevice = _sounddevice()
    chosen: str | int | None = int(device) if device and device.isdigit() else device
    blocks: queue.SimpleQueue[NDArray[np.float32]] = queue.SimpleQueue()
    try:
        rate = int(sounddevice.query_devices(chosen, "input")["default_samplerate"])
        stream = sounddevice.InputStream(
            samplerate=rate,
            blocksize=round(BLOCK_S * rate),
            device=chosen,
            channels=1,
            dtype="float32",
            callback=lambda sound, *_: blocks.put(sound[:, 0].copy()),
        )
        stream.start()
    except (sounddevice.PortAudioError, ValueError) as error:
        raise MediaError("no microphone", _what_there_is(sounddevice, error)) from None
    with stream:
        yield rate, _until_gone(blocks)


def _sounddevice() -> Any:
    try:
        import sounddevice
    except ModuleNotFoundError:
        raise MissingExtraError("sounddevice", "listen") from None
    except OSError as error:  # it looks for the library when it is imported
        raise LiserError(
            f"{error}: install PortAudio (apt install libportaudio2, dnf install portaudio), or "
            "let a file play the microphone with --file"
        ) from None
    return sounddevice


def _what_there_is(sounddevice: Any, error: Exception) -> str:
    names = [f"{d['index']} {d['name']}" for d in _devices(sounddevice) if d["max_input_channels"]]
    there = f"--device may be {'; '.join(names)}" if names else "this machine has none that is free"
    return f"{error} ({there}; --file FILE plays a file instead)"


def _devices(sounddevice: Any) -> list[dict[str, Any]]:
    try:
        return list(sounddevice.query_devices())
    except sounddevice.PortAudioError:
        return []


def _until_gone(
    blocks: "queue.SimpleQueue[NDArray[np.float32]]",
) -> Iterator[NDArray[np.float32]]:
    while True:
        try:
            yield blocks.get(timeout=_PATIENCE_S)
        except queue.Empty:
            detail = f"it has given nothing for {_PATIENCE_S:g} s; is it still plugged in?"
            raise MediaError("no microphone", detail) from None
