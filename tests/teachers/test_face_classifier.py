"""Any image classifier in Hugging Face layout is a face teacher."""

import numpy as np
import pytest

from liser.errors import InputError, NotFoundError
from liser.media.faces import FaceTrack

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
from liser.teachers.image_classifier import HuggingFaceFaceClassifier  # noqa: E402


class NoDetector:
    name = "none"
    settings = ("none",)

    def detect(self, image):
        raise AssertionError("not asked for")


def save_vit(folder, labels, seed=0):
    torch.manual_seed(seed)
    config = transformers.ViTConfig(
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=24,
        image_size=32,
        patch_size=8,
        id2label=dict(enumerate(labels)),
        label2id={label: i for i, label in enumerate(labels)},
    )
    transformers.ViTForImageClassification(config).save_pretrained(folder)
    transformers.ViTImageProcessor(size={"height": 32, "width": 32}).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def vit(tmp_path_factory):
    return save_vit(tmp_path_factory.mktemp("vit"), ["Anger", "happy", "Sadness"])


@pytest.fixture(scope="module")
def track():
    images = np.random.default_rng(0).integers(0, 255, (20, 224, 224, 3), np.uint8)
    scores = np.linspace(0.5, 1, 20, dtype=np.float32)
    return FaceTrack(images, scores, np.zeros((20, 4), np.float32), np.arange(20.0))


def test_a_classifier_gives_labels_embedding_and_logits(vit, track):
    teacher = HuggingFaceFaceClassifier(vit, NoDetector())
    assert teacher.labels == ("angry", "happy", "sad")
    target = teacher.target(track)
    assert target.embedding.shape == (2 * 16 + 2 * 3,)
    assert np.exp(target.logits).sum() == pytest.approx(1, abs=1e-4)
    assert target.confidence == pytest.approx(0.75)


def test_frames_are_what_the_library_itself_gives(vit, track):
    teacher = HuggingFaceFaceClassifier(vit, NoDetector())
    logits, embeddings = teacher.read_crops(track.crops)
    model = transformers.ViTForImageClassification.from_pretrained(vit).eval()
    processor = transformers.ViTImageProcessor.from_pretrained(vit)
    with torch.no_grad():
        inputs = processor(list(track.crops[17:18]), return_tensors="pt")
        alone = model(**inputs, output_hidden_states=True)
    np.testing.assert_allclose(logits[17], alone.logits[0], atol=1e-3)
    np.testing.assert_allclose(embeddings[17], alone.hidden_states[-1].mean(1)[0], atol=1e-3)


def test_a_fingerprint_is_of_the_weights_not_of_the_place(vit, tmp_path):
    twin = save_vit(tmp_path / "twin", ["Anger", "happy", "Sadness"])
    other = save_vit(tmp_path / "other", ["Anger", "happy", "Sadness"], seed=1)
    prints = [HuggingFaceFaceClassifier(m, NoDetector()).fingerprint for m in (vit, twin, other)]
    assert prints[0] == prints[1] != prints[2]
    slower = HuggingFaceFaceClassifier(vit, NoDetector(), frames_per_second=2.0)
    assert slower.fingerprint != prints[0]


def test_what_is_no_classifier_is_refused(tmp_path):
    with pytest.raises(NotFoundError, match="no image classifier"):
        HuggingFaceFaceClassifier(tmp_path, NoDetector())
    with pytest.raises(InputError, match="two names for one emotion"):
        model = save_vit(tmp_path / "double", ["fear", "fearful"])
        HuggingFaceFaceClassifier(model, NoDetector())
