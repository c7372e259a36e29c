"""Every setting of training and of the benchmark: typed, frozen, with a default.

A TOML file sets them by the same names. An unknown key or a value out of range is an error that
names its path, such as ``training.epochs``.
"""

import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from liser.errors import InputError, NotFoundError
from liser.storage import read_text
from liser.systems import RUNNABLE

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
    """Frozen settings. Unknown names and infinite numbers are refused; every number has bounds."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    @classmethod
    def read(cls, record: dict[str, Any]) -> Self:
        """Validate a plain record; raises `InputError` that names each wrong key and its value."""
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
            InputError: it isn't TOML, or a key is unknown or a value out of range.
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
    """A student's log-mel front end.

    One default serves all corpora, so that a student of one can be tested on another: the lowest
    116 of the 128 bands of CREMA-D's stored log-mels, up to the 8 kHz of its recordings.
    """

    sample_rate: Annotated[int, Field(ge=8_000, le=48_000)] = 22_050
    mels: Annotated[int, Field(ge=16, le=256)] = 116
    window_ms: Annotated[float, Field(ge=1.0, le=1000.0)] = 92.88
    """Long enough to resolve a voice's harmonics, and so its pitch."""
    hop_ms: Annotated[float, Field(ge=1.0, le=1000.0)] = 23.22
    low_hz: Annotated[float, Field(ge=0.0, lt=4_000)] = 0.0
    high_hz: Annotated[float, Field(gt=0.0, le=24_000.0)] | None = 8012.168965763913
    """Upper edge of the highest mel filter; None: half the sample rate."""
    trim_db: Annotated[float, Field(gt=0.0, le=200.0)] = 35.0
    """Sound at the start and the end this far below the loudest frame is cut off."""
    floor_db: Annotated[float, Field(ge=-200.0, lt=0.0)] = -30.0
    """Soft floor, relative to the clip's mean power: quieter sound is flattened."""

    @property
    def hop_s(self) -> float:
        """Seconds from one frame to the next: `hop_ms`, rounded to whole samples.

        >>> Frontend(sample_rate=22_050, hop_ms=10.0).hop_s * 22_050
        220.0
        """
        return round(self.hop_ms * self.sample_rate / 1000) / self.sample_rate

    @model_validator(mode="after")
    def _has_bands(self) -> Self:
        if self.high_hz is not None and not self.low_hz < self.high_hz <= self.sample_rate / 2:
            raise ValueError(
                f"high_hz = {self.high_hz:g} is not between low_hz = {self.low_hz:g} and half "
                f"the sample rate, {self.sample_rate / 2:g}; set it as well"
            )
        return self


class Heads(Settings):
    """The teachers' emotion heads, fitted on few labels, and their fusion."""

    speaker_normalisation: bool = True
    """Z-norm each embedding by speaker; the statistics are those of all clips, unlabelled too."""
    components: Count = 200
    """Principal components of the embeddings that a head uses."""
    shrinkage: Annotated[float, Field(ge=0.01, le=1.0)] = 0.4
    """Share of the identity in the covariance. Without it, clips must outnumber components."""
    self_training_rounds: Annotated[int, Field(ge=0, le=10)] = 1
    self_training_keep: Annotated[float, Field(gt=0.0, le=1.0)] = 0.7
    """Share of the clips, the most confident ones, whose pseudo-labels a round uses."""
    self_training_shrinkage: Annotated[float, Field(ge=0.01, le=1.0)] = 0.2
    distribution_alignment: Fraction = 0.0
    """How far the mean posterior is moved to the labelled clips' class shares; 1: all the way.
    Helps most where those clips are a fair sample of all."""


class Loss(Settings):
    """Weights of the loss's terms; 0 switches a term off."""

    posterior: Weight = 1.0
    speech_alignment: Weight = 1.0
    face_alignment: Weight = 1.0
    """A modality's teachers share its weight."""
    temperature: Temperature = 1.0
    confidence_power: Annotated[float, Field(ge=0.0, le=100.0)] = 1.0
    label_share: Fraction = 1.0
    """Share of the label in a labelled clip's target; the rest is the teachers' posterior."""


class Training(Settings):
    """The training loop: length, learning rate, augmentation."""

    updates: Count = 2400
    """Weight updates in all."""
    passes: Count | None = None
    """Most passes over the clips, which shortens training on few clips. None: any number."""
    batch_size: BatchSize = 32
    learning_rate: LearningRate = 2e-3
    transferred_rate: Annotated[float, Field(ge=0.0, le=100.0)] = 1.0
    """Learning rate of the layers taken from a backbone, as a share of `learning_rate`."""
    weight_decay: Annotated[float, Field(ge=0.0, le=10.0)] = 1e-2
    mixup: Annotated[float, Field(ge=0.0, le=100.0)] = 0.3
    """Both parameters of the Beta distribution of the mixing weights; 0: no mixing."""
    mixup_share: Fraction = 0.5
    """Share of a batch's clips that are mixed, each with its own weight."""
    label_smoothing: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.1
    crop_s: Crop = 2.0
    augment: bool = True
    degradation_augmentation: Fraction = 0.0
    """Probability of each of five degradations of a clip's sound, applied before `augment`."""
    average: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.995
    """Decay of the weights' moving average. The trained student has the average."""
    updates_a_round: Count = 50
    """Updates in a round. After each, the validation speakers are scored and a checkpoint saved."""
    device: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    precision: Precision = "bfloat16"
    """Arithmetic of training, and of the features for linear probe and calibration. Weights stay
    float32."""


class Pretraining(Settings):
    """Pretraining a backbone, without labels, on the outputs of a speech encoder."""

    weight_transfer_clips: Annotated[int, Field(ge=2, le=1_000_000)] = 300
    """Clips on which the encoder's layers are fitted to the student's width, before training."""
    updates: Count = 2500
    batch_size: BatchSize = 32
    learning_rate: LearningRate = 1e-3
    crop_s: Crop = 1.5
    components: Count = 192
    """Principal components of the encoder's frames that the backbone learns to predict."""
    oversampling: Count = 1
    """The encoder's input has this many times the student's frame rate, where it is a log-mel. A
    waveform always enters at the encoder's own rate."""
    device: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    precision: Precision = "bfloat16"

    def encoder_frontend(self, frontend: Frontend) -> Frontend:
        """Return the front end of the encoder's log-mels for a student of `frontend`.

        >>> Pretraining(oversampling=2).encoder_frontend(Frontend(hop_ms=46.44)) == Frontend()
        True
        """
        return frontend.model_copy(update={"hop_ms": frontend.hop_ms / self.oversampling})


class PretrainingRecipe(Pretraining):
    """The settings file of `liser pretrain`: pretraining, and the student's front end."""

    frontend: Frontend = Frontend()

    @property
    def pretraining(self) -> Pretraining:
        """The settings without the front end."""
        return Pretraining.read(self.model_dump(exclude={"frontend"}))


Tempo = Annotated[float, Field(ge=0.5, le=2.0)]
Shift = Annotated[float, Field(ge=-0.1, le=0.1)]


class Distillation(Settings):
    """Everything that decides a student, given clips, targets and labels."""

    student: str = "conv"
    frontend: Frontend = Frontend()
    heads: Heads = Heads()
    loss: Loss = Loss()
    training: Training = Training()
    logit_adjustment: Literal["after", "loss", "none"] = "after"
    """Where the training clips' class shares are taken out, so that no emotion is favoured: of the
    logits `after` training, or in the `loss` (Menon et al. 2021, arXiv 2007.07314, eq. 9 and 10).
    `loss` is for joined corpora: an emotion that one corpus lacks is then no sign of another."""
    readout: Annotated[float, Field(ge=0.0, le=1e6)] = 0.1
    """Penalty of the linear probe that replaces the student's head after training; 0: no probe,
    the head stays."""
    novelty: Annotated[float, Field(ge=0.0, le=100.0)] = 0.0
    """How fast the temperature rises with the distance of a clip's features from the training
    clips' (`liser.students.novelty`); 0: not at all. It needs a linear probe, and several times
    as many clips as the probe has inputs."""
    backbone_interpolation: Fraction = 0.0
    """Share of the backbone's weights in the transferred layers after training (WiSE-FT, Wortsman
    et al. 2022). The linear probe is fitted afterwards."""
    tempi: Annotated[tuple[Tempo, ...], Field(min_length=1)] = (1.0,)
    """Test-time augmentation: the views' tempi. The prediction is the mean over the views."""
    shifts: tuple[Shift, ...] = ()
    """Further views: shifts along the mel axis, as shares of it; above 0: upwards."""
    readout_views: Count | None = None
    """Views, drawn for each clip, on which the linear probe is fitted. None: all."""

    @model_validator(mode="after")
    def _has_a_readout_where_one_is_needed(self) -> Self:
        if self.backbone_interpolation and not self.readout:
            raise ValueError(
                "backbone_interpolation needs a readout, which is fitted afterwards: the head "
                "that was trained doesn't fit interpolated layers"
            )
        if self.novelty and not self.readout:
            raise ValueError("novelty needs a readout: its distance is that of the probe's input")
        return self


class Compression(Settings):
    """How a student is compressed: pruning, retraining, 8-bit integers."""

    prune: bool = True
    keep: Annotated[float, Field(gt=0.0, le=1.0)] = 0.7
    """Share of the parameters left by pruning."""
    step: Count = 8
    """A pruned layer's channels stay a multiple of this, which CPUs compute faster."""
    recovery: Training = Training(learning_rate=1e-3, updates=600, label_smoothing=0.0)
    """Retraining after pruning: half the learning rate, a quarter of the updates."""
    int8: bool = True
    calibration_clips: Count = 200
    """Clips whose activations give the integers' ranges."""
    check_clips: Count = 200
    """Clips on which ranges are compared, and the layers found that stay in float."""


def _check_system(name: str) -> str:
    if name not in RUNNABLE:
        raise ValueError(f"no system is called so; there are {', '.join(RUNNABLE)}")
    return name


SystemName = Annotated[str, AfterValidator(_check_system)]
Budget = Annotated[float, Field(gt=0.0, le=1.0)]


class Experiment(Settings):
    """What the benchmark and the cross-corpus experiment share."""

    valid_speakers: Count = 2
    """Validation speakers of each fold (and corpus)."""
    draws: Count = 3
    """Label draws, and seeds of the student, for each fold, system and budget."""
    seed: Seed = 0
    pretraining: Pretraining = Pretraining()
    """Of the backbones, if an encoder is given."""
    distillation: Distillation = Distillation()


class Protocol(Experiment):
    """The benchmark: systems, folds of whole speakers, label budgets."""

    systems: tuple[SystemName, ...] = RUNNABLE
    speakers_per_fold: Count | None = None
    """Most test speakers of a fold: 4 if neither this nor `folds` is given."""
    folds: Folds | None = None
    """Number of folds, instead of `speakers_per_fold`."""
    budgets: tuple[Budget, ...] = (0.05, 0.1, 0.2, 1.0)
    """Shares of the labels."""
    ablation_budgets: tuple[Budget, ...] = (0.1,)
    """Budgets of the students of one modality's teachers."""
    supervised: Training = Training()
    """Training of the student from scratch, tuned separately."""
    supervised_student: str | None = None
    """The student that is trained from scratch; None: the distilled one. An architecture for
    weight transfer may be weak without it, and a weak baseline proves nothing."""

    @model_validator(mode="after")
    def _counts_folds_once(self) -> Self:
        if self.folds is not None and self.speakers_per_fold is not None:
            raise ValueError("give folds or speakers_per_fold, not both")
        return self


class CrossCorpus(Experiment):
    """Training on some corpora, testing on others."""

    folds: Folds = 5
    """Number of folds of each corpus's speakers."""
    run_folds: Count = 1
    """How many of the folds are run, from the first on."""
    budget: Budget = 1.0
    """Share of the training and validation speakers' labels."""
    draws: Count = 1
    training_sets: Literal["each alone", "all but one"] = "each alone"
    """Of what students are trained beside that of all corpora. All but one needs three or more: the
    one left out is what a stranger's speech is to them."""

    @model_validator(mode="after")
    def _has_the_folds_it_runs(self) -> Self:
        if self.run_folds > self.folds:
            raise ValueError(f"run_folds = {self.run_folds} is more than folds = {self.folds}")
        return self

    @property
    def protocol(self) -> Protocol:
        """The benchmark's protocol for the same students."""
        shared = {name: getattr(self, name) for name in Experiment.model_fields}
        return Protocol(systems=("distilled",), folds=self.folds, budgets=(self.budget,), **shared)


class SourceSettings(Settings):
    """A corpus and its teachers, named as on the command line."""

    corpus: str
    data: Path
    name: str | None = None
    """The corpus's name in the record; needed if two would have the same."""
    speech_teacher: tuple[str, ...] = ()
    face_teacher: tuple[str, ...] = ()
    """Without any teacher, students learn from this corpus's labels alone, and from a backbone."""


class CrossCorpusRecipe(CrossCorpus):
    """The settings file of `liser cross-corpus`: corpora with their teachers, and settings."""

    source: Annotated[tuple[SourceSettings, ...], Field(min_length=2)]
    compression: Compression = Compression()
    """Compression of the bundled model, which learns from all corpora (benchmarks/ship.py)."""
    window_s: Annotated[float, Field(gt=0.0, le=30.0)] = 3.0
    """Longest speech segment of the bundled model's predictions, in seconds."""
    licence: str = ""
    terms: tuple[str, ...] = ()
    """Of the bundled model, for its card: a sentence on each teacher and further source."""
