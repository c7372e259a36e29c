"""A graph is checked against its bundle before its first use."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from liser.bundle import Bundle
from liser.errors import InputError
from liser.runtime.graph import Graph

Write = Callable[..., Bundle]
Make = Callable[..., Any]


def test_posteriors_are_softmax_of_logits_over_temperature(bands: Bundle) -> None:
    import onnxruntime

    waveform = np.random.default_rng(0).normal(size=8000).astype(np.float32)
    session = onnxruntime.InferenceSession(str(bands.graph))
    logits = session.run(["logits"], {"waveform": waveform[None]})[0][0] / bands.temperature
    expected = np.exp(logits) / np.exp(logits).sum()
    log_posterior = Graph(bands).log_posterior(waveform)
    np.testing.assert_allclose(np.exp(log_posterior), expected, rtol=1e-5)


def test_short_speech_has_a_higher_temperature(write_bands: Write, bands: Bundle) -> None:
    rng = np.random.default_rng(0)
    short = Graph(write_bands(short_speech=0.5))
    for seconds, factor in ((0.5, 1.5), (1.0, 1.0), (2.0, 1.0)):
        waveform = rng.normal(size=round(seconds * bands.sample_rate)).astype(np.float32)
        before = Graph(bands).log_posterior(waveform) / factor
        expected = before - np.log(np.exp(before).sum())
        np.testing.assert_allclose(short.log_posterior(waveform), expected, rtol=1e-5)


@pytest.mark.parametrize("samples", [1, 100, 22_050 * 3])
def test_any_length_works(bands: Bundle, samples: int) -> None:
    assert Graph(bands).log_posterior(np.zeros(samples, np.float32)).shape == (len(bands.labels),)


@pytest.mark.parametrize(
    ("names", "words"),
    [
        ({"waveform": "x"}, "takes"),
        ({"logits": "y"}, "returns"),
        ({"embedding": "z"}, "returns"),
    ],
)
def test_other_inputs_and_outputs_are_refused(
    write_bands: Write, bands_graph: Make, names: dict[str, str], words: str
) -> None:
    with pytest.raises(InputError, match=words):
        Graph(write_bands(bands_graph(**names).SerializeToString()))


@pytest.mark.parametrize("classes", [2, 4])
def test_a_graph_of_other_labels_is_refused(
    write_bands: Write, bands_graph: Make, classes: int
) -> None:
    with pytest.raises(InputError, match=r"3 labels need \(batch, 3\)"):
        Graph(write_bands(bands_graph(classes).SerializeToString()))


def test_a_file_that_is_no_graph_is_refused(write_bands: Write, bands_graph: Make) -> None:
    for graph in (b"", b"not a graph", bands_graph().SerializeToString()[:300]):
        with pytest.raises(InputError, match="can't load"):
            Graph(write_bands(graph))


def test_an_input_of_another_type_or_rank_is_refused(write_bands: Write, bands_graph: Make) -> None:
    from onnx import TensorProto

    for change in ("type", "rank"):
        model = bands_graph()
        kind = model.graph.input[0].type.tensor_type
        if change == "type":
            kind.elem_type = TensorProto.DOUBLE
        else:
            kind.shape.dim.add().dim_value = 2
        with pytest.raises(InputError, match=r"takes|can't load"):
            Graph(write_bands(model.SerializeToString()))


def test_logits_that_are_not_finite_are_refused(bands: Bundle) -> None:
    waveform = np.full(1000, np.nan, np.float32)
    with pytest.raises(InputError, match="nan"):
        Graph(bands).log_posterior(waveform)


def test_threads_are_counted_from_one(bands: Bundle) -> None:
    for threads in (0, -1, True, 1.5, "2", 10**9):
        with pytest.raises(InputError, match="threads = "):
            Graph(bands, threads=threads)  # type: ignore[arg-type]
