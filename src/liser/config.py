"""Every setting of training and of the protocol, typed, frozen and with its default.

A TOML file of the same names does what the flags do. An unknown key or a value out of range is
an error that names its path, such as ``training.epochs``.
"""

import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal, Self, get_args

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    model_validator,
)

from liser.errors import InputError, NotFoundError
from liser.storage import read_text

Fraction = Annotated[float, Field(ge=0.0, le=1.0)]
Weight = Annotated[float, Field(ge=0.0, le=1000.0)]
LearningRate = Annotated[float, Field(gt=0.0, le=1.0)]
Temperature = Annotated[float, Field(ge=0.01, le=100.0)]
Crop = Annotated[float, Field(ge=0.1, le=60.0)]
Count = Annotated[int, Field(ge=1, le=10_000_000)]
Folds = Annotated[int, Field(ge=2, le=1000)]
BatchSize = Annotated[int, Field(ge=2, le=65_536)]
Seed = Annotated[int, Field(ge=0, lt=2**32)]
Precision = Literal["float32", "bfloat16"]


class Settings(BaseModel):
    """Frozen settings; unknown names are refused, and numbers that aren't finite.

    Every number has a least and a greatest value.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    @classmethod
    def read(cls, record: dict[str, Any]) -> Self:
        """Check a plain record; raises `InputError` that names each wrong key and its value."""
        try:
            return cls.model_validate(record)
        except ValidationError as error:
            faults = "; ".join(
                f"{'.'.join(map(str, e['loc'])) or 'settings'} = {e['input']!r}: {e['msg']}"
                for e in error.errors()
            )
            raise InputError(f"settings that can't be used: {faults}") from None

    @classmethod
    def from_toml(cls, path: Path) -> Self:
        """Read a TOML file.

        Raises:
            NotFoundError: there is no such file.
            InputError: it is not TOML, or names something unknown or out of range.
        """
        return cls.read(read_toml(path))


def read_toml(path: Path) -> dict[str, Any]:
    """Return a TOML file's tables; raises as `Settings.from_toml`."""
    try:
        return tomllib.loads(read_text(path))
    except FileNotFoundError:
        raise NotFoundError(f"no settings file {path}") from None
    except InputError as error:
        raise InputError(f"settings file {error}") from None
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise InputError(f"settings file {path} can't be read: {error}") from None


class Frontend(Settings):
    """Log-mel front end of a student.

    By default one for all corpora, so that a student can be carried from one to another: the
    lowest 116 of the 128 bands of CREMA-D's stored log-mels, up to the 8 kHz of its recordings.
    """

    sample_rate: Annotated[int, Field(ge=8_000, le=48_000)] = 22_050
    mels: Annotated[int, Field(ge=16, le=256)] = 116
    window_ms: Annotated[float, Field(ge=1.0, le=1000.0)] = 92.88
    """Long enough to resolve the harmonics of a voice, and with them its pitch."""
    hop_ms: Annotated[float, Field(ge=1.0, le=1000.0)] = 23.22
    low_hz: Annotated[float, Field(ge=0.0, lt=4_000)] = 0.0
    high_hz: Annotated[float, Field(gt=0.0, le=24_000.0)] | None = 8012.168965763913
    """Upper edge of the highest mel filter; None: half the sample rate."""
    trim_db: Annotated[float, Field(gt=0.0, le=200.0)] = 35.0
    """Leading and trailing sound this far below the loudest frame is cut off."""
    floor_db: Annotated[float, Field(ge=-200.0, lt=0.0)] = -30.0
    """What is quieter than this, against the clip's mean power, is flattened."""

    @property
    def hop_s(self) -> float:
        """What lies between two frames: `hop_ms`, rounded to whole samples, in seconds.

        >>> Frontend(sample_rate=22_050, hop_ms=10.0).hop_s * 22_050
        220.0
        """
        return round(self.hop_ms * self.sample_rate / 1000) / self.sample_rate

    @model_validator(mode="after")
    def _has_bands(self) -> Self:
        if self.high_hz is not None and not self.low_hz < self.high_hz <= self.sample_rate / 2:
            raise ValueError(
                f"high_hz = {self.high_hz:g} lies not between low_hz = {self.low_hz:g} and half "
                f"the sample rate, {self.sample_rate / 2:g}; set it as well"
            )
        return self


class Heads(Settings):
    """Emotion heads on the teachers' representations, and their fusion."""

    speaker_normalisation: bool = True
    """Z-norm each representation by speaker, with statistics of all clips, labelled or not."""
    components: Count = 200
    shrinkage: Annotated[float, Field(ge=0.01, le=1.0)] = 0.4
    """Share of the identity in the covariance; none would need more clips than components."""
    self_training_rounds: Annotated[int, Field(ge=0, le=10)] = 1
    self_training_keep: Annotated[float, Field(gt=0.0, le=1.0)] = 0.7
    """Share of the clips, the surest ones, whose pseudo-labels a round of self-training uses."""
    self_training_shrinkage: Annotated[float, Field(ge=0.01, le=1.0)] = 0.2
    distribution_alignment: Fraction = 0.0
    """How far heads are held to saying each emotion as often as the labelled clips have it; 1: to
    the letter. Worth most where those clips are a fair sample of all."""


class Loss(Settings):
    """Weights of the loss's terms; 0 switches a term off."""

    posterior: Weight = 1.0
    speech_alignment: Weight = 1.0
    face_alignment: Weight = 1.0
    """Weight of a modality's alignment, which its teachers share."""
    temperature: Temperature = 1.0
    confidence_power: Annotated[float, Field(ge=0.0, le=100.0)] = 1.0
    label_share: Fraction = 1.0
    """Share of the label in a labelled clip's target; the rest is the teachers' posterior."""


class Training(Settings):
    """The training loop: updates, learning rates, and augmentation."""

    updates: Count = 2400
    """Weight updates in all."""
    passes: Count | None = None
    """Passes over the clips at most, because few clips need fewer updates. None: any number."""
    batch_size: BatchSize = 32
    learning_rate: LearningRate = 2e-3
    transferred_rate: Annotated[float, Field(ge=0.0, le=100.0)] = 1.0
    """Learning rate of layers from a backbone, as a share of `learning_rate`."""
    weight_decay: Annotated[float, Field(ge=0.0, le=10.0)] = 1e-2
    mixup: Annotated[float, Field(ge=0.0, le=100.0)] = 0.3
    """Both parameters of the Beta distribution of mixup's weights; 0: no mixup."""
    mixup_share: Fraction = 0.5
    """Share of a batch's clips that are mixed, each with a weight of its own."""
    label_smoothing: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.1
    crop_s: Crop = 2.0
    augment: bool = True
    degradation_augmentation: Fraction = 0.0
    """Probability of each of five degradations of a clip, before `augment`."""
    average: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.995
    """Decay of the moving average of the weights, which is the result."""
    updates_a_round: Count = 50
    """Updates between two checkpoints, and between two validation scores."""
    device: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    precision: Precision = "bfloat16"
    """Arithmetic of training, and of the features that the readout is fitted to; weights stay
    float32."""


class Pretraining(Settings):
    """Training a student, without labels, to predict a speech encoder's frames."""

    weight_transfer_clips: Annotated[int, Field(ge=2, le=1_000_000)] = 300
    """Clips that the weight transfer before training is fitted to."""
    updates: Count = 2500
    batch_size: BatchSize = 32
    learning_rate: LearningRate = 1e-3
    crop_s: Crop = 1.5
    components: Count = 192
    """Principal components of the encoder's frames that are predicted."""
    oversampling: Count = 1
    """Frame rate of the encoder's log-mels, as a multiple of the student's: an encoder loses more
    by a low one. Audio always comes at the encoder's own rate."""
    device: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    precision: Precision = "bfloat16"

    def encoder_frontend(self, frontend: Frontend) -> Frontend:
        """Return the front end of the log-mels that teach a student of `frontend`.

        >>> Pretraining(oversampling=2).encoder_frontend(Frontend(hop_ms=46.44)) == Frontend()
        True
        """
        return frontend.model_copy(update={"hop_ms": frontend.hop_ms / self.oversampling})


class PretrainingRecipe(Pretraining):
    """Settings of `liser pretrain`: how backbones are made, and their students' front end."""

    frontend: Frontend = Frontend()

    @property
    def pretraining(self) -> Pretraining:
        """How backbones are made."""
        return Pretraining.read(self.model_dump(exclude={"frontend"}))


Tempo = Annotated[float, Field(ge=0.5, le=2.0)]
Shift = Annotated[float, Field(ge=-0.1, le=0.1)]


class Distillation(Settings):
    """All settings that decide a student, given clips, targets and labels."""

    student: str = "conv"
    frontend: Frontend = Frontend()
    heads: Heads = Heads()
    loss: Loss = Loss()
    training: Training = Training()
    balanced: bool = True
    """Whether the training clips' prior is taken out, as if all emotions were equally frequent."""
    readout: Annotated[float, Field(ge=0.0, le=1e6)] = 0.1
    """Penalty of the readout, a linear probe fitted once the student is trained; 0: no readout, the
    trained head answers."""
    backbone_interpolation: Fraction = 0.0
    """Share of the backbone's weights in the transferred layers once the student is trained, before
    the readout is fitted."""
    tempi: Annotated[tuple[Tempo, ...], Field(min_length=1)] = (1.0,)
    """Tempi of the views that a trained student averages over."""
    shifts: tuple[Shift, ...] = ()
    """Further views, shifted by these shares of the mel axis; above 0 is upwards."""
    readout_views: Count | None = None
    """Number of views, drawn clip by clip, that the readout is fitted to; None: all."""

    @model_validator(mode="after")
    def _interpolates_before_a_readout(self) -> Self:
        if self.backbone_interpolation and not self.readout:
            raise ValueError(
                "backbone_interpolation needs a readout, which is fitted afterwards: the head "
                "that was trained doesn't fit interpolated layers"
            )
        return self


class Compression(Settings):
    """How a student is made smaller: pruning, what it then learns again, and 8-bit integers."""

    prune: bool = True
    keep: Annotated[float, Field(gt=0.0, le=1.0)] = 0.7
    """Share of the parameters that pruning leaves."""
    step: Count = 8
    """Channels of a layer stay a multiple of this when some leave, for the sake of CPUs."""
    recovery: Training = Training(learning_rate=1e-3, updates=600, label_smoothing=0.0)
    """Half the learning rate and a quarter of the updates of a training from scratch."""
    int8: bool = True
    calibration_clips: Count = 200
    """Clips whose activations give the ranges of 8-bit integers."""
    check_clips: Count = 200
    """Clips on which ranges are compared, and layers that had better stay in float are found."""


System = Literal[
    "scratch",
    "opensmile_svm",
    "distilled",
    "distilled_speech",
    "distilled_face",
    "teacher_speech",
    "teacher_face",
    "teacher_av",
]


Budget = Annotated[float, Field(gt=0.0, le=1.0)]


class Protocol(Settings):
    """The benchmark: folds of whole speakers, label budgets, draws, and which systems run."""

    systems: tuple[System, ...] = get_args(System)
    speakers_per_fold: Count | None = None
    """How many speakers a fold tests at most: 4 if neither this nor `folds` is given."""
    folds: Folds | None = None
    """How many folds there are, instead of `speakers_per_fold`."""
    valid_speakers: Count = 2
    budgets: tuple[Budget, ...] = (0.05, 0.1, 0.2, 1.0)
    draws: Count = 3
    """Label draws (and seeds of the student) for each fold, system and budget."""
    ablation_budgets: tuple[Budget, ...] = (0.1,)
    """Budgets at which one teacher alone teaches the student."""
    seed: Seed = 0
    pretraining: Pretraining = Pretraining()
    """Of the backbones, where an encoder is given."""
    distillation: Distillation = Distillation()
    supervised: Training = Training()
    """Training of the student from scratch, tuned for itself."""
    supervised_student: str | None = None
    """Which student is trained from scratch: None for the one that is taught. A shape that is
    made to inherit may be a weak one to start from nothing with, and a weak baseline proves
    nothing."""

    @model_validator(mode="after")
    def _counts_folds_once(self) -> Self:
        if self.folds is not None and self.speakers_per_fold is not None:
            raise ValueError("give folds or speakers_per_fold, not both")
        return self


class CrossCorpus(Settings):
    """Training on some corpora and testing on others: folds, labels, and the student."""

    folds: Folds = 5
    """Into how many folds each corpus's speakers are divided."""
    run_folds: Count = 1
    """How many of the folds are run, the first ones."""
    valid_speakers: Count = 2
    """Of each corpus, in each fold; and of each corpus where one student is made of all."""
    budget: Budget = 1.0
    """Share of the training and validation speakers' labels that is kept."""
    draws: Count = 1
    """Label draws (and seeds of the student) for each fold and training set."""
    seed: Seed = 0
    pretraining: Pretraining = Pretraining()
    """Of the backbones, where an encoder is given."""
    distillation: Distillation = Distillation()

    @model_validator(mode="after")
    def _has_the_folds_it_runs(self) -> Self:
        if self.run_folds > self.folds:
            raise ValueError(f"run_folds = {self.run_folds} is more than folds = {self.folds}")
        return self

    @property
    def protocol(self) -> Protocol:
        """The benchmark's protocol for the same students."""
        return Protocol(
            systems=("distilled",),
            folds=self.folds,
            valid_speakers=self.valid_speakers,
            budgets=(self.budget,),
            draws=self.draws,
            seed=self.seed,
            pretraining=self.pretraining,
            distillation=self.distillation,
        )


class SourceSettings(Settings):
    """A corpus and its teachers, in the words of the command line's flags."""

    corpus: str
    data: Path
    name: str | None = None
    """What it is called; needed where two corpora would go by one name."""
    speech_teacher: tuple[str, ...] = ()
    face_teacher: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _has_a_teacher(self) -> Self:
        if not self.speech_teacher and not self.face_teacher:
            raise ValueError("no teacher to learn from: give speech_teacher, face_teacher or both")
        return self


class CrossCorpusRecipe(CrossCorpus):
    """What `liser across` reads: corpora with their teachers, and how students are made."""

    source: Annotated[tuple[SourceSettings, ...], Field(min_length=2)]
    compression: Compression = Compression()
    """How one student of all is made smaller, where it is to be shipped (benchmarks/ship.py)."""
