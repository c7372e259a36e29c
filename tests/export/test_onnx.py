"""The exported graph equals the student: any length, any batch, within a ten-thousandth."""

import copy
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

from liser.bundle import Bundle, read_bundle
from liser.config import Frontend
from liser.errors import InputError
from liser.export import onnx as stage
from liser.export.onnx import TOLERANCE, export_student, folded, graph_of, parity
from liser.posteriors import softmax
from liser.students.frontend import LogMel
from liser.students.registry import build_student
from liser.students.student import Student
from liser.students.transformer import Transformer
from liser.students.views import Views

LABELS = ("neutral", "happy", "sad")


def made(name: str, frontend: Frontend) -> Student:
    """Return a student with random weights and used batch norms."""
    torch.manual_seed(0)
    module = build_student(name, len(LABELS), frontend.mels)
    module.train()
    with torch.no_grad():
        for _ in range(3):
            module(torch.randn(8, 40, frontend.mels) - 0.5)
        if isinstance(module, Transformer):  # so that a wrong position would show
            module.place.weight *= 300
    provenance = {"liser": "0", "corpus": "made", "result": {"threshold": 0.4}}
    mean = (-1.0, -1.2, -1.1)
    return Student(module.eval(), name, LABELS, frontend, 1.5, provenance, mean)


@pytest.fixture(scope="module", params=["tiny", "base"])
def student(request: pytest.FixtureRequest) -> Student:
    hop_ms = {"tiny": 23.22, "base": 46.44}[request.param]
    return made(request.param, Frontend(hop_ms=hop_ms))


@pytest.fixture(scope="module")
def bundle(student: Student, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return export_student(student, tmp_path_factory.mktemp("bundle"))


def test_parity_is_stored_and_within_tolerance(bundle: Bundle) -> None:
    stored = read_bundle(bundle.folder).parity
    assert {one["duration_s"] for one in stored["differences"]} == {0.1, 0.5, 1, 3, 10, 30}
    assert {one["batch"] for one in stored["differences"]} == {1, 3}
    assert 0 < max(one["logits"] for one in stored["differences"]) < TOLERANCE
    assert 0 < max(one["embedding"] for one in stored["differences"]) < TOLERANCE


def test_sounds_of_any_length_give_the_same(student: Student, bundle: Bundle) -> None:
    session = onnxruntime.InferenceSession(bundle.graph)
    rng = np.random.default_rng(1)
    for samples in (1, 441, 511, 512, 30_000, 100_001):
        waveform = rng.normal(0, 0.05, (2, samples)).astype(np.float32)
        logits, embedding = session.run(["logits", "embedding"], {"waveform": waveform})
        with torch.inference_mode():
            ours = student.module(LogMel(student.frontend)(torch.from_numpy(waveform)))
        np.testing.assert_allclose(logits, ours[0].numpy(), atol=TOLERANCE)
        np.testing.assert_allclose(embedding, ours[1].numpy(), atol=TOLERANCE)


def test_neither_the_batch_nor_the_gain_changes_a_clip(bundle: Bundle) -> None:
    session = onnxruntime.InferenceSession(bundle.graph)
    rng = np.random.default_rng(2)
    waveform = rng.normal(0, 0.05, (3, 20_000)).astype(np.float32)
    waveform[1] *= 100.0

    def logits(sound: np.ndarray) -> np.ndarray:
        return np.asarray(session.run(["logits"], {"waveform": sound})[0])

    together = logits(waveform)
    for i in range(3):
        np.testing.assert_allclose(together[i], logits(waveform[i : i + 1])[0], atol=1e-5)
    np.testing.assert_allclose(logits(waveform[:1] * 0.01), together[:1], atol=1e-4)


def test_the_graph_is_one_valid_file_with_the_contract_s_names(bundle: Bundle) -> None:
    model = onnx.load(bundle.graph)
    onnx.checker.check_model(model)
    assert [i.name for i in model.graph.input] == ["waveform"]
    assert [o.name for o in model.graph.output] == ["logits", "embedding", "features"]
    for dimension in model.graph.input[0].type.tensor_type.shape.dim:
        assert dimension.dim_param, "batch and samples are free"
    assert {file.name for file in bundle.folder.iterdir()} == {
        "model.onnx",
        "model.json",
        "README.md",
    }


def test_the_graph_is_small_and_names_no_files(bundle: Bundle) -> None:
    data = bundle.graph.read_bytes()
    assert b".py" not in data and str(Path.cwd()).encode() not in data
    assert len(data) < 4 * bundle.parameters + 90_000, "the front end takes little room"
    model = onnx.load_from_string(data)
    assert not any(node.op_type in ("BatchNormalization", "Dropout") for node in model.graph.node)
    made = {name for node in model.graph.node for name in node.output if name}
    read = {name for node in model.graph.node for name in node.input}
    assert made - read <= {"logits", "features"}, "embedding is read on the way to the logits"


def test_without_a_fitted_probe_the_features_are_the_embedding(bundle: Bundle) -> None:
    session = onnxruntime.InferenceSession(bundle.graph)
    waveform = np.random.default_rng(0).normal(0, 0.1, (2, 20_000)).astype(np.float32)
    _, embedding, features = session.run(None, {"waveform": waveform})
    np.testing.assert_array_equal(features, embedding)


def test_a_probe_s_logits_over_views_are_linear_in_the_features(
    student: Student,
) -> None:
    views = Views((0.9,), (0.05,))
    own = replace(student, module=copy.deepcopy(student.module), views=views)
    with torch.no_grad():
        own.module.readout.weight.normal_(0, 0.1)
        for parameter in own.module.head.parameters():
            parameter.zero_()
    graph = graph_of(own)
    session = onnxruntime.InferenceSession(graph)
    waveform = np.random.default_rng(0).normal(0, 0.1, (2, 20_000)).astype(np.float32)
    logits, _, features = session.run(None, {"waveform": waveform})
    weight, bias = (p.numpy() for p in (own.module.readout.weight, own.module.readout.bias))
    linear = softmax(features @ weight.T + bias)
    np.testing.assert_allclose(linear, softmax(logits), rtol=1e-3, atol=1e-6)
    assert_nothing_is_computed_twice(graph)


def test_features_cost_no_second_pass(bundle: Bundle) -> None:
    assert_nothing_is_computed_twice(bundle.graph.read_bytes())


def assert_nothing_is_computed_twice(graph: bytes) -> None:
    nodes = onnx.load_from_string(graph).graph.node
    layers = [n for n in nodes if n.op_type in ("Conv", "MatMul", "Gemm", "Softmax", "Relu")]
    computed = [(node.op_type, *node.input, str(node.attribute)) for node in layers]
    assert len(set(computed)) == len(computed)


def test_a_nan_difference_is_refused_wherever_it_is(
    student: Student, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [
        {"logits": gap, "embedding": 0.0, "features": 0.0} for gap in (1e-6, float("nan"), 1e-6)
    ]
    monkeypatch.setattr(stage, "graph_of", lambda student: b"")
    monkeypatch.setattr(stage, "parity", lambda student, graph: {"differences": rows})
    with pytest.raises(InputError, match="by nan"):
        export_student(student, tmp_path / "bundle")


def test_batch_norms_go_into_the_linear_layers_after_them(student: Student) -> None:
    chain = copy.deepcopy(student.module.embed).eval()
    with torch.no_grad():
        for parameter in chain.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.1)
    x = torch.randn(4, chain[0].num_features)
    before = chain(x)
    assert isinstance(folded(chain)[0], torch.nn.Identity)
    torch.testing.assert_close(chain(x), before, rtol=1e-4, atol=1e-5)


def test_a_bundle_has_the_student_s_fields(student: Student, bundle: Bundle) -> None:
    stored = read_bundle(bundle.folder)
    assert stored.labels == LABELS
    assert stored.temperature == student.temperature
    assert stored.mean_log_posterior == student.mean_log_posterior
    assert stored.parameters == student.parameters
    assert stored.threshold == 0.4, "from the student's validation speakers"
    assert stored.provenance == student.provenance
    assert stored.precision == "float32"


def test_a_graph_with_other_outputs_is_refused(
    student: Student, bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    graph = bundle.graph.read_bytes()
    other = made(student.name, student.frontend)
    with torch.no_grad():
        other.module.classify[-1].bias += 0.01
    compared = parity(other, graph, (0.5,), (1,))
    assert compared["differences"][0]["logits"] == pytest.approx(0.01, rel=0.05)
    monkeypatch.setattr(stage, "graph_of", lambda student: graph)
    with pytest.raises(InputError, match=r"differ from the student's by 0\.01"):
        export_student(other, tmp_path / "bundle")
    assert not (tmp_path / "bundle").exists()


def test_a_student_with_nan_outputs_is_refused(
    student: Student, bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = made(student.name, student.frontend)
    with torch.no_grad():
        broken.module.classify[-1].bias.fill_(float("nan"))
    monkeypatch.setattr(stage, "graph_of", lambda student: bundle.graph.read_bytes())
    with pytest.raises(InputError, match="nothing was written"):
        export_student(broken, tmp_path / "bundle")


def test_export_does_not_change_the_student() -> None:
    student = made("tiny", Frontend(mels=32))
    before = {name: value.clone() for name, value in student.module.state_dict().items()}
    graph_of(replace(student, temperature=2.0))
    for name, value in student.module.state_dict().items():
        assert torch.equal(value, before[name])


def test_a_constant_is_stored_once(bundle: Bundle) -> None:
    stored = [t for t in onnx.load(bundle.graph).graph.initializer if len(t.raw_data) > 64]
    contents = [(t.data_type, tuple(t.dims), t.raw_data) for t in stored]
    assert len(set(contents)) == len(contents)
