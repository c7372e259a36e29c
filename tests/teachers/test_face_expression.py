"""Expression nets get the pixels of their spec, and a spec that doesn't fit is refused."""

import json
import pickle

import numpy as np
import pytest

from liser.corpora.base import Utterance
from liser.errors import InputError, NotFoundError
from liser.media.detectors import LbpCascade, YuNet
from liser.media.faces import FaceTrack
from liser.posteriors import softmax
from liser.teachers.expression import SPECS, ExpressionNet, ExpressionSpec, load_spec

SPEC = {"input_size": 16, "labels": ["Happiness", "anger", "sad"], "logits": "logits"}


class NoDetector:
    name = "none"
    settings = ("none",)

    def detect(self, image):
        raise AssertionError("not asked for")


@pytest.fixture(scope="module")
def net(tmp_path_factory):
    """A net whose logits are the mean of each channel, and whose embedding is a corner pixel."""
    onnx = pytest.importorskip("onnx")
    helper, kind = onnx.helper, onnx.TensorProto.FLOAT
    nodes = [
        helper.make_node("GlobalAveragePool", ["x"], ["pooled"]),
        helper.make_node("Flatten", ["pooled"], ["logits"]),
        helper.make_node("Slice", ["x", "from", "to", "axes"], ["corner"]),
        helper.make_node("Flatten", ["corner"], ["embedding"]),
    ]
    integers = [("from", [0, 0]), ("to", [1, 1]), ("axes", [2, 3])]
    graph = helper.make_graph(
        nodes,
        "means",
        [helper.make_tensor_value_info("x", kind, ["batch", 3, 16, 16])],
        [helper.make_tensor_value_info(n, kind, ["batch", 3]) for n in ("logits", "embedding")],
        [helper.make_tensor(n, onnx.TensorProto.INT64, [2], v) for n, v in integers],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    path = tmp_path_factory.mktemp("net") / "means.onnx"
    onnx.save(model, path)
    return path


def make(net, **changes):
    return ExpressionNet(net, ExpressionSpec(**{**SPEC, **changes}), NoDetector())


def crops(*colours):
    return np.stack([np.full((16, 16, 3), colour, np.uint8) for colour in colours])


def test_pixels_arrive_as_in_the_spec(net):
    colour = crops((10, 20, 30))
    np.testing.assert_allclose(make(net).read_crops(colour)[0], [[10, 20, 30]], rtol=1e-5)
    bgr = make(net, colour_order="bgr", divide_by=10, mean=(1, 1, 2), std=(2, 1, 1))
    np.testing.assert_allclose(bgr.read_crops(colour)[0], [[1, 1, -1]], rtol=1e-5)


def test_labels_are_canonical_and_in_the_net_s_order(net):
    teacher = make(net)
    assert teacher.labels == ("happy", "angry", "sad")
    assert teacher.modality == "face" and teacher.name == "means"


def test_a_target_pools_posteriors_by_score(net):
    teacher = make(net, embedding="embedding", divide_by=10)
    images = crops((30, 0, 0), (0, 30, 0), (0, 0, 30))
    scores = np.float32([0.9, 0.3, 0.0])
    track = FaceTrack(images, scores, np.zeros((3, 4), np.float32), np.arange(3.0))
    target = teacher.target(track)
    per_frame = softmax(np.eye(3, dtype=np.float32) * 3)
    posterior = 0.75 * per_frame[0] + 0.25 * per_frame[1]
    np.testing.assert_allclose(np.exp(target.logits), posterior, atol=1e-5)
    assert target.embedding.shape == (12,)
    np.testing.assert_allclose(target.embedding[:3], [2.25, 0.75, 0], atol=1e-5)
    assert target.confidence == pytest.approx(0.4)


def test_outputs_that_are_posteriors_already_are_taken_so(net):
    teacher = make(net, divide_by=255, logits_are_posteriors=True)
    logits, _ = teacher.read_crops(crops((51, 51, 153)))
    np.testing.assert_allclose(softmax(logits), [[0.2, 0.2, 0.6]], atol=1e-4)


def test_batches_change_nothing(net):
    many = np.random.default_rng(0).integers(0, 255, (130, 16, 16, 3), np.uint8)
    logits, _ = make(net).read_crops(many)
    np.testing.assert_allclose(logits, many.mean(axis=(1, 2)), rtol=1e-4)


def test_it_can_be_sent_to_another_process(net):
    teacher = make(net)
    some = crops(40, 90)
    other = pickle.loads(pickle.dumps(teacher))
    assert other.fingerprint == teacher.fingerprint
    for one, again in zip(teacher.read_crops(some), other.read_crops(some), strict=True):
        np.testing.assert_array_equal(one, again)


def test_a_fingerprint_covers_weights_spec_and_sampling(net, tmp_path):
    other = tmp_path / net.name
    other.write_bytes(net.read_bytes())
    base = make(net).fingerprint
    assert make(other).fingerprint == base, "where the file lies doesn't matter"
    changed = ExpressionNet(net, ExpressionSpec(**SPEC), NoDetector(), 4.0)
    assert len({base, make(net, margin=0.1).fingerprint, changed.fingerprint}) == 3


def test_a_spec_is_found_beside_the_weights_or_by_name(net):
    with pytest.raises(InputError, match="needs a spec"):
        load_spec(None, net)
    net.with_suffix(".json").write_text(json.dumps(SPEC))
    assert ExpressionNet(net, None, NoDetector()).spec == ExpressionSpec(**SPEC)
    assert load_spec("face-api", net) is SPECS["face-api"]
    net.with_suffix(".json").unlink()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{", "not an expression spec"),
        ('{"input_size": 16, "labels": ["a", "b"]}', "logits"),
        (json.dumps({**SPEC, "colour": "rgb"}), "colour"),
        (json.dumps({**SPEC, "std": [0]}), "std"),
        (json.dumps({**SPEC, "labels": ["fear", "fearful"]}), "same emotion"),
    ],
)
def test_a_bad_spec_is_explained(net, tmp_path, text, words):
    path = tmp_path / "spec.json"
    path.write_text(text)
    with pytest.raises(InputError, match=words):
        load_spec(path, net)


def test_a_spec_that_does_not_fit_is_refused(net, tmp_path):
    for changes, words in (
        ({"logits": "scores"}, "no output 'scores'"),
        ({"input_size": 20}, "20×20"),
        ({"labels": ["happy", "sad"]}, "gives 3 classes"),
    ):
        with pytest.raises(InputError, match=words):
            make(net, **changes)
    junk = tmp_path / "junk.onnx"
    junk.write_bytes(b"junk")
    with pytest.raises(InputError, match="cannot load"):
        make(junk)
    with pytest.raises(NotFoundError):
        make(tmp_path / "missing.onnx")


@pytest.mark.shared
@pytest.mark.parametrize("detector", ["yunet", "lbp"])
def test_the_real_net_reads_a_real_smile(shared, detector):
    weights = shared / "models/face-api-expression/model.onnx"
    yunet = shared / "models/yunet/yunet_n_640_640.onnx"
    finder = YuNet(yunet) if detector == "yunet" else LbpCascade()
    teacher = ExpressionNet(weights, "face-api", finder)
    clip = shared / "data/ravdess/video/Actor_05/02-01-03-01-01-02-05.mp4"
    [(_, target)] = teacher.observe([Utterance("smile", video=clip)])
    assert target.embedding.shape == (2 * 256 + 2 * 7,)
    assert teacher.labels[int(target.logits.argmax())] == "happy"
    assert target.confidence > 0.9
