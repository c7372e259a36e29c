"""Backbones: one a fold, without its test speakers, pretrained once, named in the record."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from liser import storage
from liser.config import Distillation, Frontend, Heads, Pretraining, Protocol, Training
from liser.corpora.base import Corpus
from liser.errors import InputError, StorageError
from liser.students.backbone import load_backbone
from liser.students.features import extract_features
from liser.targets.targets import Targets

pytest.importorskip("transformers")
from liser.benchmark import backbones as module
from liser.benchmark.backbones import BackboneSource, backbones_of
from liser.benchmark.protocol import benchmark, folds_of
from liser.pretraining.segments import SegmentSource
from liser.pretraining.whisper import Whisper
from liser.text.progress import show_progress

TRAINING = Training(
    updates=6, updates_a_round=3, batch_size=8, crop_s=0.3, device="cpu", precision="float32"
)
FRONTEND = Frontend(sample_rate=16_000, mels=16, window_ms=64, hop_ms=16, low_hz=50, high_hz=None)
PROTOCOL = Protocol(
    systems=("scratch", "distilled"),
    speakers_per_fold=2,
    valid_speakers=1,
    budgets=(1.0,),
    draws=1,
    pretraining=Pretraining(
        weight_transfer_clips=6,
        updates=4,
        batch_size=4,
        crop_s=0.3,
        components=8,
        device="cpu",
        precision="float32",
    ),
    distillation=Distillation(
        student="heir", frontend=FRONTEND, heads=Heads(components=6), training=TRAINING
    ),
    supervised=TRAINING,
)
MakeCorpus = Callable[..., Corpus]


@pytest.fixture(scope="module")
def tones(tone_corpus: MakeCorpus, tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    return tone_corpus(tmp_path_factory.mktemp("tones"), speakers=6, takes=2)


@pytest.fixture(scope="module")
def other(tone_corpus: MakeCorpus, tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    made = tone_corpus(tmp_path_factory.mktemp("other"), speakers=2, takes=1, seed=5)
    people = [replace(u, id=f"o-{u.id}", speaker_id=f"o-{u.speaker_id}") for u in made.utterances]
    return replace(made, name="others", utterances=tuple(people))


@pytest.fixture
def source(whisper: Path, tmp_path: Path, other: Corpus) -> BackboneSource:
    return BackboneSource(str(whisper), tmp_path / "frames", (other,))


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[list[SegmentSource]]:
    """What each backbone was made from."""
    given: list[list[SegmentSource]] = []
    real = module.pretrain

    def spy(heard: Any, *rest: Any, **more: Any) -> Any:
        given.append(list(heard))
        return real(heard, *rest, **more)

    monkeypatch.setattr(module, "pretrain", spy)
    return given


def made(
    source: BackboneSource | None,
    tones: Corpus,
    folder: Path,
    protocol: Protocol = PROTOCOL,
    jobs: int = 1,
    beside: Sequence[Callable[[], None]] = (),
) -> tuple[Path, ...]:
    clips = extract_features(tones.utterances, protocol.distillation.frontend)
    folds = folds_of(tones, protocol)
    backbones = backbones_of(source, tones, clips, folds, protocol, folder)
    backbones.make(jobs, beside=beside)
    return backbones.folders


def test_a_backbone_is_pretrained_without_its_folds_test_speakers(
    heir: str,
    tones: Corpus,
    source: BackboneSource,
    asked: list[list[SegmentSource]],
    tmp_path: Path,
) -> None:
    folders = made(source, tones, tmp_path / "runs")
    folds = folds_of(tones, PROTOCOL)
    assert len(folders) == len(set(folders)) == len(asked) == len(folds) == 3
    for fold, heard, folder in zip(folds, asked, folders, strict=True):
        own, others = heard
        speakers = {tones.utterances[row].speaker_id for row in own.rows}
        assert speakers == {*fold.train, *fold.valid}
        assert not speakers & set(fold.test)
        assert len(own.rows) == 4 * 2 * 3
        assert len(others.rows) == 2 * 3
        assert load_backbone(folder).provenance["clips"] == {"tones": 24, "others": 6}
        assert sorted(f.name for f in folder.iterdir()) == ["backbone.json", "backbone.safetensors"]


def test_the_encoder_may_have_a_finer_frame_rate_than_the_student(
    heir: str,
    tones: Corpus,
    source: BackboneSource,
    asked: list[list[SegmentSource]],
    tmp_path: Path,
) -> None:
    finer = PROTOCOL.pretraining.model_copy(update={"oversampling": 2})
    folders = made(
        source, tones, tmp_path / "runs", PROTOCOL.model_copy(update={"pretraining": finer})
    )
    half = FRONTEND.model_copy(update={"hop_ms": FRONTEND.hop_ms / 2})
    assert {heard.features.frontend for own in asked for heard in own} == {half}
    assert len(asked[0][0].rows) == 4 * 2 * 3
    assert load_backbone(folders[0]).frontend == FRONTEND


def test_a_backbones_folder_is_named_by_all_that_decides_it(
    heir: str, tones: Corpus, other: Corpus, source: BackboneSource, tmp_path: Path
) -> None:
    first = made(source, tones, tmp_path / "runs")
    fewer = replace(other, utterances=other.utterances[:-1])
    p = PROTOCOL
    longer = p.pretraining.model_copy(update={"updates": 5})
    wider = p.distillation.model_copy(update={"frontend": FRONTEND.model_copy(update={"mels": 17})})
    others = [
        made(replace(source, also=()), tones, tmp_path / "runs"),
        made(replace(source, also=(fewer,)), tones, tmp_path / "runs"),
        made(source, tones, tmp_path / "runs", p.model_copy(update={"pretraining": longer})),
        made(source, tones, tmp_path / "runs", p.model_copy(update={"distillation": wider})),
        made(source, tones, tmp_path / "runs", p.model_copy(update={"seed": 1})),
    ]
    assert len({*first, *(path for paths in others for path in paths)}) == 18
    more = p.model_copy(update={"draws": 9, "budgets": (0.5,)})
    assert made(source, tones, tmp_path / "runs", more) == first


def test_further_encoders_are_learnt_from_and_decide_the_folder(
    heir: str,
    tones: Corpus,
    source: BackboneSource,
    write_encoder: Callable[..., Path],
    tmp_path: Path,
) -> None:
    model = write_encoder(name="toy.onnx")
    specs = [[source.model, f"{model}:outputs={name}"] for name in ("low", "high")]
    first, second = (BackboneSource.of(one, source.frames, source.also) for one in specs)
    assert BackboneSource.of([source.model], source.frames, source.also) == source
    alone = made(source, tones, tmp_path / "runs")
    both = made(first, tones, tmp_path / "runs")
    assert len({*alone, *both, *made(second, tones, tmp_path / "runs")}) == 9
    (record, *others) = load_backbone(both[0]).provenance["further_encoders"]
    assert others == []
    assert (record["encoder"], record["clips"]) == ("toy", {"tones": 24, "others": 6})
    toy = next(path for path in source.frames.iterdir() if path.name.startswith("frames-toy"))
    assert len(list(toy.iterdir())) == 36 + 6
    assert made(first, tones, tmp_path / "runs") == both


@pytest.mark.parametrize("left", ["no record", "damaged weights"])
def test_backbones_are_made_once_and_a_killed_one_goes_on(
    heir: str,
    tones: Corpus,
    source: BackboneSource,
    asked: list[list[SegmentSource]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    left: str,
) -> None:
    first = made(source, tones, tmp_path / "runs")
    weights = (first[1] / "backbone.safetensors").read_bytes()
    if left == "no record":  # as a kill leaves it
        (first[1] / "backbone.json").unlink()
    else:
        (first[1] / "backbone.safetensors").write_bytes(weights[:-1] + bytes([weights[-1] ^ 1]))

    def never(*_: object) -> None:
        raise AssertionError("listened again")

    with monkeypatch.context() as patch:
        patch.setattr("liser.pretraining.whisper.Whisper.frames", never)
        assert made(source, tones, tmp_path / "runs") == first
    assert len(asked) == 4
    assert (first[1] / "backbone.safetensors").read_bytes() == weights
    with monkeypatch.context() as patch:
        patch.setattr(module, "segment_sources", never)  # nor is anything decoded for nothing
        assert made(source, tones, tmp_path / "runs") == first
    assert len(asked) == 4


def test_two_benchmarks_do_not_make_one_backbone_at_once(
    heir: str,
    tones: Corpus,
    source: BackboneSource,
    asked: list[list[SegmentSource]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    locked = []
    real = module.pretrain

    def spy(*rest: Any, checkpoint: Path, **more: Any) -> Any:
        with (
            pytest.raises(StorageError, match="another process"),
            storage.held(checkpoint.parent, wait=False),
        ):
            pass
        locked.append(checkpoint.parent)
        return real(*rest, checkpoint=checkpoint, **more)

    monkeypatch.setattr(module, "pretrain", spy)
    folders = made(source, tones, tmp_path / "runs")
    assert tuple(locked) == folders
    # one that waited for the lock finds the backbone there
    assert module._make(source, [], PROTOCOL, folders[0]) == 1
    assert len(locked) == len(asked) == 3


def test_frames_of_every_clip_are_computed_once_for_all_folds(
    heir: str,
    tones: Corpus,
    source: BackboneSource,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    listened: list[int] = []
    real = Whisper.frames

    def counted(self: Any, logmel: Any, frontend: Any) -> Any:
        listened.append(len(logmel))
        return real(self, logmel, frontend)

    monkeypatch.setattr(Whisper, "frames", counted)
    monkeypatch.setattr(module, "PORTION", 5)
    portions: list[int] = []
    listen_to = module._precompute_portion

    def in_portions(encoders: Any, frames: Any, segments: Any) -> int:
        portions.append(len(segments))
        return listen_to(encoders, frames, segments)

    monkeypatch.setattr(module, "_precompute_portion", in_portions)
    made(source, tones, tmp_path / "runs")
    assert len(listened) == 36 + 6
    assert sum(portions) == 42
    assert max(portions) == 5


def test_test_speakers_in_a_further_corpus_are_refused(
    heir: str, tones: Corpus, source: BackboneSource, tmp_path: Path
) -> None:
    again = replace(tones, name="again", utterances=tones.utterances[:3])
    with pytest.raises(InputError, match=r"again would include 1 speakers of tones, such as 's0'"):
        made(replace(source, also=(again,)), tones, tmp_path / "runs")
    assert not (tmp_path / "runs").exists()


def test_interpolation_without_a_backbone_is_refused(tones: Corpus, tmp_path: Path) -> None:
    recalling = PROTOCOL.distillation.model_copy(update={"backbone_interpolation": 0.4})
    protocol = PROTOCOL.model_copy(update={"distillation": recalling})
    with pytest.raises(InputError, match="needs a backbone, and there is none"):
        made(None, tones, tmp_path / "runs", protocol)


def test_a_student_without_weight_transfer_is_refused_before_any_work(
    nano: str, tones: Corpus, source: BackboneSource, tmp_path: Path
) -> None:
    small = PROTOCOL.distillation.model_copy(update={"student": "nano"})
    with pytest.raises(InputError, match="transferred to a 'nano' student"):
        made(
            source,
            tones,
            tmp_path / "runs",
            PROTOCOL.model_copy(update={"distillation": small}),
        )
    assert not source.frames.exists()


def test_without_an_encoder_there_are_no_backbones(tones: Corpus, tmp_path: Path) -> None:
    assert made(None, tones, tmp_path) == ()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("jobs", "idle"), [(1, 0), (2, 1), (4, 1), (6, 3)])
def test_other_work_fills_the_processes_that_would_wait_for_the_last_backbones(
    heir: str,
    tones: Corpus,
    source: BackboneSource,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    jobs: int,
    idle: int,
) -> None:
    monkeypatch.setattr(module, "run_in_processes", lambda work, _: (one() for one in work))
    done: list[int] = []
    beside = [partial(done.append, number) for number in range(3)]
    folders = made(source, tones, tmp_path / "runs", jobs=jobs, beside=beside)
    assert all((folder / "backbone.json").exists() for folder in folders)
    assert sorted(done) == list(range(idle))
    made(source, tones, tmp_path / "runs", jobs=jobs, beside=beside)
    assert len(done) == idle, "there was nothing to wait for"


def _cells(folder: Path) -> dict[str, np.ndarray]:
    return {
        f"{path.parent.name.partition('-')[0]} {path.name}": np.load(path)["posteriors"]
        for path in folder.glob("*/*.npz")
    }


def test_distilled_students_alone_start_from_backbones(
    heir: str,
    tones: Corpus,
    source: BackboneSource,
    tone_targets: Callable[..., Targets],
    tmp_path: Path,
) -> None:
    both = [tone_targets(tones, "speech"), tone_targets(tones, "face")]
    plain = benchmark(tones, both, tmp_path / "plain", PROTOCOL, jobs=1)
    begun = benchmark(tones, both, tmp_path / "begun", PROTOCOL, backbone_source=source, jobs=1)
    without, given = _cells(tmp_path / "plain"), _cells(tmp_path / "begun")
    assert without.keys() == given.keys()
    assert len(given) == 6
    for name, posteriors in given.items():
        assert np.array_equal(posteriors, without[name]) == name.startswith("scratch"), name
    assert plain["backbones"] == []
    assert [t["clips"] for t in begun["backbones"]] == [{"tones": 24, "others": 6}] * 3
    assert {t["encoder"] for t in begun["backbones"]} == {"tiny-whisper"}
    assert all(0 <= abs(t["explained"]) <= 1 for t in begun["backbones"])
    again = benchmark(tones, both, tmp_path / "begun", PROTOCOL, backbone_source=source, jobs=1)
    assert begun["reused"] == {"backbones": 0, "students": 0}
    assert again["reused"] == {"backbones": 3, "students": 6}


def test_the_number_of_processes_changes_nothing(
    tones: Corpus,
    whisper: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The encoder's frames are compared: a student made up here is unknown in other processes."""
    monkeypatch.setattr(module, "PORTION", 8)
    clips = extract_features(tones.utterances, PROTOCOL.distillation.frontend)
    kept = []
    for jobs in (1, 2):
        source = BackboneSource(str(whisper), tmp_path / str(jobs))
        with show_progress() as add_task:
            module._precompute(
                source, [SegmentSource(clips, np.arange(36), "tones")], jobs, add_task
            )
        assert "36 of 36" in capsys.readouterr().err
        files = sorted((tmp_path / str(jobs)).rglob("*.npy"))
        kept.append({path.name: np.load(path) for path in files})
        assert not list((tmp_path / str(jobs)).rglob("*.part"))
    assert len(kept[0]) == 36
    for name, frames in kept[0].items():
        np.testing.assert_allclose(frames, kept[1][name], atol=1e-3)
