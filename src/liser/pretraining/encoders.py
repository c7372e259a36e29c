"""The encoders of a backbone by their specs: a Whisper model, then any further ones."""

from collections.abc import Sequence

from liser.errors import InputError
from liser.pretraining.frame_encoder import FrameEncoder
from liser.pretraining.onnx_frames import OnnxFrames
from liser.pretraining.whisper import Whisper
from liser.teachers.registry import onnx_encoder


def frame_encoders(specs: Sequence[str]) -> list[FrameEncoder]:
    """Make encoders: each spec is a Whisper model, or an ``.onnx`` file with options.

    ONNX models are loaded, and their interfaces checked. Raises as `Whisper`, `OnnxEncoder` and
    `transferred`.
    """
    encoders: list[FrameEncoder] = []
    for spec in specs:
        onnx = onnx_encoder(spec)
        encoders.append(Whisper(spec) if onnx is None else OnnxFrames(onnx))
    transferred(encoders)
    return encoders


def transferred(encoders: Sequence[FrameEncoder]) -> Whisper:
    """Return the encoder whose weights are transferred: the first.

    Raises `InputError` if it is no Whisper, or if an encoder is given twice.
    """
    first = encoders[0] if encoders else None
    if not isinstance(first, Whisper):
        given = "there is none" if first is None else f"{first.name} is none"
        raise InputError(
            f"the first encoder must be a Whisper model, whose weights are transferred, and "
            f"{given}; others may follow it, and their frames are further targets"
        )
    names: dict[str, str] = {}
    for encoder in encoders:
        if encoder.fingerprint in names:
            raise InputError(f"the encoder {encoder.name} is given twice: give it once")
        names[encoder.fingerprint] = encoder.name
    return first
