"""The microphone as blocks of samples, like a file from `liser.media.audio.open_audio`."""

import queue
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray

from liser.errors import LiserError, MediaError, MissingExtraError

BLOCK_S = 0.1
_PATIENCE_S = 5.0
"""A device that sends nothing for so long counts as unplugged."""


@contextmanager
def open_microphone(
    device: str | None = None,
) -> Iterator[tuple[int, Iterator[NDArray[np.float32]]]]:
    """Open a microphone: give its sample rate in Hz, and endless blocks (samples,) of sound.

    Args:
        device: number or part of the name, as `python -m sounddevice` lists them; None for the
            system's default.

    Raises:
        MissingExtraError: sounddevice is not installed.
        LiserError: the PortAudio library is missing.
        MediaError: "no microphone"; also while reading, if it is unplugged.
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
        raise MediaError("no microphone", _with_devices(sounddevice, error)) from None
    with stream:
        yield rate, _until_unplugged(blocks)


def _sounddevice() -> Any:
    try:
        import sounddevice
    except ModuleNotFoundError:
        raise MissingExtraError("sounddevice", "listen") from None
    except OSError as error:  # the import looks for the library
        raise LiserError(
            f"{error}: install PortAudio (apt install libportaudio2, dnf install portaudio), or "
            "use a file instead with --file FILE"
        ) from None
    return sounddevice


def _with_devices(sounddevice: Any, error: Exception) -> str:
    names = [f"{d['index']} {d['name']}" for d in _devices(sounddevice) if d["max_input_channels"]]
    found = (
        f"--device may be {'; '.join(names)}" if names else "this machine has no free microphone"
    )
    return f"{error} ({found}; --file FILE uses a file instead)"


def _devices(sounddevice: Any) -> list[dict[str, Any]]:
    try:
        return list(sounddevice.query_devices())
    except sounddevice.PortAudioError:
        return []


def _until_unplugged(
    blocks: "queue.SimpleQueue[NDArray[np.float32]]",
) -> Iterator[NDArray[np.float32]]:
    while True:
        try:
            yield blocks.get(timeout=_PATIENCE_S)
        except queue.Empty:
            detail = f"it has sent nothing for {_PATIENCE_S:g} s; is it still plugged in?"
            raise MediaError("no microphone", detail) from None
