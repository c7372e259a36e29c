"""openSMILE functionals as a speech teacher; no download.

openSMILE and its Python package are by audEERING (Eyben et al., 2010), free for research and
personal use; commercial products need a licence from audEERING.
"""

import warnings
from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import Any

import numpy as np

from liser.corpora.base import Skip, Utterance
from liser.errors import InputError, MediaError, MissingExtraError
from liser.fingerprint import fingerprint
from liser.media.audio import load_audio
from liser.teachers.base import Modality, Target

try:
    import opensmile
except ImportError as error:
    raise MissingExtraError("opensmile", "teachers") from error


class OpenSmileSpeech:
    """Functionals of one openSMILE feature set over the whole clip, such as eGeMAPS's 88.

    `feature_set` is a member of `opensmile.FeatureSet`. The embedding is float32 of
    (functionals,), in openSMILE's own units: scale it before use. Clips that are too short for the
    feature set (60 ms for most) are skipped.

    Raises `InputError` for an unknown feature set. Source: Eyben et al., "The Geneva Minimalistic
    Acoustic Parameter Set (GeMAPS)", IEEE Trans. Affective Computing, 2016.
    """

    modality: Modality = "speech"
    labels: tuple[str, ...] | None = None
    sample_rate = 16_000

    def __init__(self, feature_set: str = "eGeMAPSv02") -> None:
        known = [member.name for member in opensmile.FeatureSet]
        if feature_set not in known:
            raise InputError(f"feature set {feature_set!r} is not one of {', '.join(known)}")
        self.feature_set = feature_set
        self.name = f"opensmile-{feature_set}"

    @cached_property
    def fingerprint(self) -> str:
        """Hash of the feature set, openSMILE's version and the sample rate."""
        return fingerprint("opensmile", self.feature_set, opensmile.__version__, self.sample_rate)

    @cached_property
    def _smile(self) -> Any:
        return opensmile.Smile(
            feature_set=opensmile.FeatureSet[self.feature_set],
            feature_level=opensmile.FeatureLevel.Functionals,
        )

    def observe(self, utterances: Sequence[Utterance]) -> Iterator[tuple[Utterance, Target | Skip]]:
        """Yield each utterance with its functionals, or with a skip."""
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
        wave = load_audio(utterance.audio, self.sample_rate, utterance.start_s, utterance.end_s)
        with warnings.catch_warnings():
            # the NaN that it announces makes the clip a skip below
            warnings.filterwarnings("ignore", message="Segment too short")
            frame = self._smile.process_signal(wave, self.sample_rate)
        functionals = frame.to_numpy(dtype=np.float32)[0]
        if not np.isfinite(functionals).all():
            seconds = len(wave) / self.sample_rate
            raise MediaError("too short", f"{self.feature_set} gives no values for {seconds:.3f} s")
        return Target(functionals)
