"""An ingested corpus goes through `corpus`, `teach`, `pretrain` and `distill` as it is."""

import json
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("cv2")
pytest.importorskip("pyarrow")
pytest.importorskip("scipy")

from liser.corpora import synthetic
from liser.corpora.base import Corpus
from liser.corpora.registry import load_corpus
from liser.corpora.synthetic.camera import FPS
from liser.corpora.synthetic.voice import SAMPLE_RATE
from liser.corpora.synthetic.write import write_mp4
from liser.ingest.ingest import ingest
from liser.ingest.source import IngestSettings
from liser.media.audio import load_audio
from liser.media.video import read_frames

GAP = 15  # frames between two sentences
SEEN = 4  # sentences of each speaker with their faces, then one of a narrator
QUICK = """[training]
updates = 4
updates_a_round = 2
batch_size = 4
[heads]
components = 2
speaker_normalisation = false
"""


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with `clips`, the labelled synthetic corpus, and `corpus`, ingested of it."""
    folder = tmp_path_factory.mktemp("made")
    clips = synthetic.generate(folder / "clips", 2, SEEN + 1, seed=3, jobs=1, progress=False)
    for speaker in clips.speakers:
        write_long(folder / "videos" / speaker / "talk.mp4", clips.only([speaker]))
    settings = IngestSettings(folder / "corpus", detector="lbp", network=None)
    ingest([folder / "videos"], settings, speaker_of="folder")
    return folder


def seen(corpus: Corpus) -> int:
    """Return how many pieces have their talking face."""
    return sum(u.video is not None for u in corpus.utterances)


def write_long(path: Path, clips: Corpus) -> None:
    """Join clips with a pause before each; the picture of the last one is black."""
    images, sounds = [], []
    for number, clip in enumerate(clips.utterances):
        assert clip.audio is not None and clip.video is not None
        shown = read_frames(clip.video, FPS).images
        black = np.zeros((GAP, *shown.shape[1:]), np.uint8)
        images += [black, shown if number < SEEN else np.zeros_like(shown)]
        sound = load_audio(clip.audio, SAMPLE_RATE)
        size = (GAP + len(shown)) * SAMPLE_RATE // FPS
        rng = np.random.default_rng(number)
        whole = (1e-4 * rng.normal(size=size)).astype(np.float32)
        begin = GAP * SAMPLE_RATE // FPS
        whole[begin : begin + len(sound)] += sound[: size - begin]
        sounds.append(whole)
    path.parent.mkdir(parents=True)
    write_mp4(path, np.concatenate(sounds), SAMPLE_RATE, np.concatenate(images), FPS, "talk")


@pytest.fixture
def corpus(made: Path, here: Path) -> Corpus:
    """Return the ingested corpus; the command line works in a folder with settings beside it."""
    (here / "quick.toml").write_text(QUICK)
    return load_corpus("ingested", made / "corpus")


def test_corpus_counts_its_utterances_and_finds_no_fault(liser, made: Path, corpus: Corpus) -> None:
    record = json.loads(liser("corpus", made / "corpus", "--json").out)
    count = len(corpus.utterances)
    assert (record["kind"], record["name"], record["problems"]) == ("ingested", "corpus", [])
    assert (record["utterances"], record["with_video"]) == (count, seen(corpus))
    assert 2 <= seen(corpus) <= count - 2
    assert set(record["by_speaker"]) == {"synthetic-01", "synthetic-02"}
    assert f"9 utterances ({seen(corpus)} with video)" in liser("corpus", made / "corpus").out


def test_teachers_read_the_talking_face_and_the_narrators_voice(
    liser, made: Path, corpus: Corpus, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_search(*_: object) -> None:
        raise AssertionError("the faces are known: none should be searched for")

    monkeypatch.setattr("liser.media.detectors.LbpCascade.detect", no_search)
    teachers = ("--speech-teacher", "opensmile", "--face-teacher", "hog:detector=lbp")
    ask = ("teach", made / "corpus", *teachers, "--json")
    speech, face = json.loads(liser(*ask).out)["teachers"]
    assert (speech["clips"], face["clips"]) == (len(corpus.utterances), seen(corpus))
    (skipped,) = face["skipped"]
    assert (skipped["reason"], skipped["clips"]) == (
        "no video",
        len(corpus.utterances) - seen(corpus),
    )
    assert all(teacher["computed"] == 0 for teacher in json.loads(liser(*ask).out)["teachers"])


@pytest.mark.usefixtures("heir", "corpus")
def test_a_backbone_is_pretrained_on_it(liser, made: Path, whisper: Path) -> None:
    pytest.importorskip("transformers")
    Path("pretraining.toml").write_text(
        "updates = 2\nbatch_size = 4\ncrop_s = 0.4\ncomponents = 8\nweight_transfer_clips = 6\n"
    )
    ended = liser(
        *("pretrain", made / "corpus", "--encoder", whisper, "--student", "heir"),
        *("--settings", "pretraining.toml", "--out", "backbone", "--json"),
    )
    assert ended.status == 0, ended.err
    record = json.loads(ended.out)
    assert (record["clips"], record["of_sound"]) == ({"corpus": 9}, {"corpus": 9})


def test_some_pieces_are_labelled_by_a_table(liser, made: Path, corpus: Corpus) -> None:
    ids = [u.id for u in corpus.utterances]
    rows = [f"{name},{'happy' if place % 2 else 'sad'}" for place, name in enumerate(ids[:6])]
    Path("labels.csv").write_text("\n".join(["id,label", *rows]))
    ask = ("distill", made / "corpus", "--labels", "labels.csv", "--settings", "quick.toml")
    teachers = ("--speech-teacher", "opensmile", "--face-teacher", "hog:detector=lbp")
    ended = liser(*ask, *teachers, "--out", "student", "--json")
    assert ended.status == 0, ended.err
    record = json.loads(ended.out)
    assert (record["clips"], record["labelled"], record["speakers"]) == (9, 6, 2)
    assert [t["clips"] for t in record["teachers"]] == [9, seen(corpus)]


def test_labels_come_from_another_corpus(liser, made: Path, corpus: Corpus) -> None:
    ask = ("distill", made / "corpus", made / "clips", "--settings", "quick.toml")
    teachers = ("--speech-teacher", "opensmile", "--face-teacher", "hog:detector=lbp")
    record = json.loads(liser(*ask, *teachers, "--out", "student", "--json").out)
    assert (record["corpus"], record["clips"], record["labelled"]) == ("corpus+synthetic", 19, 10)
    assert record["labels"] == list(synthetic.EMOTIONS)
    assert [t["clips"] for t in record["teachers"]] == [19, 10 + seen(corpus)]
    alone = liser("distill", made / "corpus", *ask[3:], "--out", "none")
    assert alone.status == 2 and "name a labelled corpus as well" in alone.err
