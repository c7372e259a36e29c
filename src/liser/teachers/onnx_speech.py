"""ONNX speech encoders as teachers: their outputs, pooled over the clip, are the embedding."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from liser.corpora.base import Skip, Utterance
from liser.errors import MediaError
from liser.fingerprint import fingerprint
from liser.media.audio import load_audio
from liser.teachers.base import Modality, Target
from liser.teachers.onnx_encoder import OnnxEncoder


class OnnxSpeech:
    """An ONNX speech encoder whose chosen outputs are the embedding.

    Outputs (batch, frames, dim) give their mean, then their standard deviation over the clip's
    frames. Outputs (batch, dim) are taken as they are. The embedding is float32, output by output.
    Clips over `longest_s` are cut into equal windows and pooled over all of them. Each clip runs
    by itself, so nothing is padded unless the model wants it.

    `options` are those of `OnnxEncoder`; raises as `OnnxEncoder`.
    """

    modality: Modality = "speech"
    labels: tuple[str, ...] | None = None

    def __init__(
        self, path: str | Path, outputs: Sequence[str] | None = None, **options: Any
    ) -> None:
        self.encoder = OnnxEncoder(path, outputs, **options)
        self.name = self.encoder.name

    @property
    def fingerprint(self) -> str:
        """Hash of the model's bytes, its settings and the pooling."""
        return fingerprint("onnx-speech", self.encoder.fingerprint)

    def observe(self, utterances: Sequence[Utterance]) -> Iterator[tuple[Utterance, Target | Skip]]:
        """Yield each utterance with its embedding, or with a skip."""
        self.encoder.load()
        for utterance in utterances:
            outcome: Target | Skip
            try:
                outcome = self._target(utterance)
            except Exception as error:
                outcome = Skip.of(utterance.id, error)
            yield utterance, outcome

    def _target(self, utterance: Utterance) -> Target:
        if utterance.audio is None:
            raise MediaError("no audio", "the utterance has no audio file")
        wave = load_audio(
            utterance.audio, self.encoder.sample_rate, utterance.start_s, utterance.end_s
        )
        by_window = [self.encoder.run(window) for window in self.encoder.windows(wave)]
        embedding = np.concatenate([pooled(own) for own in zip(*by_window, strict=True)])
        if not np.isfinite(embedding).all():
            raise MediaError("not finite", f"{self.name} gave NaN or infinity")
        return Target(embedding)


def pooled(windows: Sequence[NDArray[np.float32]]) -> NDArray[np.float32]:
    """Pool one output over windows of equal length.

    Frames (frames, dim) give mean and deviation (2 × dim,), vectors (dim,) their mean (dim,).

    >>> pooled([np.array([[1.0, 0.0], [3.0, 0.0]])]), pooled([np.ones(2), np.zeros(2)])
    (array([2., 0., 1., 0.], dtype=float32), array([0.5, 0.5], dtype=float32))
    """
    if windows[0].ndim == 1:
        return np.asarray(np.stack(windows).astype(np.float64).mean(0), np.float32)
    frames = np.concatenate(windows).astype(np.float64)
    return np.concatenate([frames.mean(0), frames.std(0)]).astype(np.float32)
