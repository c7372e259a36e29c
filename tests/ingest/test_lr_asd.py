"""LR-ASD gives what its definition gives, in pieces as in one, and refuses other weights."""

import numpy as np
import pytest

from liser.errors import InputError, NotFoundError
from liser.ingest.lr_asd import CHUNK, LrAsd, read_tensors, sounds_of

CHANNELS = (32, 64, 128)


@pytest.fixture(scope="module")
def tensors():
    """Random weights in LR-ASD's layout."""
    rng = np.random.default_rng(0)
    made = {}

    def layer(conv, norm, shape):
        made[f"{conv}.weight"] = rng.normal(0, np.prod(shape[1:]) ** -0.5, shape)
        made[f"{norm}.weight"] = rng.uniform(0.5, 1.5, shape[0])
        made[f"{norm}.bias"] = rng.normal(0, 0.1, shape[0])
        made[f"{norm}.running_mean"] = rng.normal(0, 0.1, shape[0])
        made[f"{norm}.running_var"] = rng.uniform(0.5, 1.5, shape[0])

    before = 1
    for number, channels in enumerate(CHANNELS, 1):
        half = channels // 2
        for side, space, sizes in (
            ("visualEncoder", "s", [(1, 5, 5), (1, 3, 3), (5, 1, 1), (3, 1, 1)]),
            ("audioEncoder", "m", [(5, 1), (3, 1), (1, 5), (1, 3)]),
        ):
            block = f"{side}.block{number}"
            layer(f"{block}.{space}_1", f"{block}.{space}_norm_1", (half, before, *sizes[0]))
            layer(f"{block}.{space}_2", f"{block}.{space}_norm_2", (channels, half, *sizes[1]))
            layer(f"{block}.t_1", f"{block}.t_norm_1", (channels, channels, *sizes[2]))
            layer(f"{block}.t_2", f"{block}.t_norm_2", (channels, channels, *sizes[3]))
        before = channels
    layer("fusion.attention", "fusion.bn", (256, 256, 1))
    layer("detector.attention.attention", "detector.attention.bn", (128, 128, 1))
    for way in ("forward", "backward"):
        for part, shape in (
            ("weight_ih", (192, 256)),
            ("weight_hh", (192, 64)),
            ("bias_ih", (192,)),
            ("bias_hh", (192,)),
        ):
            made[f"detector.gru_{way}.{part}_l0"] = rng.normal(0, 0.1, shape)
    made["classifier.weight"] = rng.normal(0, 0.1, (2, 128))
    made["classifier.bias"] = rng.normal(0, 0.1, 2)
    return {name: value.astype(np.float32) for name, value in made.items()}


@pytest.fixture(scope="module")
def weights(tensors, tmp_path_factory):
    save_file = pytest.importorskip("safetensors.numpy").save_file
    path = tmp_path_factory.mktemp("weights") / "lr-asd.safetensors"
    save_file(tensors, path)
    return path


@pytest.fixture(scope="module")
def network(weights):
    return LrAsd(weights)


def clip(frames, seed=0):
    rng = np.random.default_rng(seed)
    crops = rng.integers(0, 256, (frames, 112, 112)).astype(np.uint8)
    return crops, rng.normal(0, 0.1, frames * 640).astype(np.float32)


@pytest.mark.shared
def test_the_published_weights_give_the_authors_answers(shared):
    folder = shared / "models/lr-asd"
    network = LrAsd(folder / "lr-asd-talkset.safetensors")
    reference = np.load(folder / "reference.npz")
    found = network.embed(reference["faces"][0], reference["mfcc"][0])
    np.testing.assert_allclose(found.audio, reference["audio"][0], atol=1e-4)
    np.testing.assert_allclose(found.visual, reference["visual"][0], atol=1e-4)
    np.testing.assert_allclose(network.logits(found), reference["logits"], atol=1e-4)


def test_the_graphs_compute_the_network_as_it_is_described(network, tensors):
    torch = pytest.importorskip("torch")
    crops, waveform = clip(6)
    sounds = sounds_of(waveform, 6)
    audio, visual, logits = _by_definition(torch, tensors, crops, sounds)
    found = network.embed(crops, sounds)
    np.testing.assert_allclose(found.audio, audio, atol=1e-4)
    np.testing.assert_allclose(found.visual, visual, atol=1e-4)
    np.testing.assert_allclose(network.logits(found), logits, atol=1e-4)
    np.testing.assert_array_equal(network.scores(crops, waveform), network.logits(found)[:, 1])


def _by_definition(torch, tensors, crops, sounds):
    """The network in PyTorch's words, with batch norms of their own."""
    of = {name: torch.from_numpy(value) for name, value in tensors.items()}
    functional = torch.nn.functional

    def norm(value, name):
        mean, var = of[f"{name}.running_mean"], of[f"{name}.running_var"]
        scale, bias = of[f"{name}.weight"], of[f"{name}.bias"]
        return functional.batch_norm(value, mean, var, scale, bias, eps=1e-3)

    def block(value, side, space, conv, number):
        for layer in (f"{space}_1", f"{space}_2", "t_1", "t_2"):
            weight = of[f"{side}.block{number}.{layer}.weight"]
            stride = (1, 2, 2) if weight.shape[:2] == (16, 1) and weight.ndim == 5 else 1
            padding = tuple(size // 2 for size in weight.shape[2:])
            kind, place = layer.split("_")
            value = conv(value, weight, stride=stride, padding=padding)
            value = functional.relu(norm(value, f"{side}.block{number}.{kind}_norm_{place}"))
        return value

    faces = (torch.from_numpy(crops).float() / 255 - 0.4161) / 0.1688
    visual = faces[None, None]
    audio = torch.from_numpy(sounds).T[None, None]
    for number in (1, 2, 3):
        visual = block(visual, "visualEncoder", "s", functional.conv3d, number)
        audio = block(audio, "audioEncoder", "m", functional.conv2d, number)
        if number < 3:
            visual = functional.max_pool3d(visual, (1, 3, 3), (1, 2, 2), (0, 1, 1))
            audio = functional.max_pool2d(audio, (1, 3), (1, 2), (0, 1))
    visual, audio = visual.amax((3, 4))[0].T, audio.mean(2)[0].T

    def gated(value, conv, name):
        gate = functional.conv1d(value.T[None], of[f"{conv}.weight"])
        return value * torch.sigmoid(norm(gate, name))[0].T

    value = gated(torch.cat([audio, visual], 1), "fusion.attention", "fusion.bn")
    ways = []
    for way, turned in (("forward", value), ("backward", value.flip(0))):
        gru = torch.nn.GRU(256, 64)
        gru.load_state_dict({name: of[f"detector.gru_{way}.{name}"] for name in gru.state_dict()})
        with torch.no_grad():
            ways.append(gru(turned)[0])
    value = torch.cat([ways[0], ways[1].flip(0)], 1)
    value = gated(value, "detector.attention.attention", "detector.attention.bn")
    logits = value @ of["classifier.weight"].T + of["classifier.bias"]
    return audio.numpy(), visual.numpy(), logits.numpy()


def test_a_long_track_in_pieces_is_the_same_as_in_one(network):
    frames = CHUNK + 20
    crops, waveform = clip(frames)
    whole = network._picture.run(None, {"faces": crops})[0]
    found = network.embed(crops, sounds_of(waveform, frames)).visual
    np.testing.assert_allclose(found, whole, atol=1e-5)


def test_the_authors_file_of_pytorch_weights_gives_the_same_tensors(tensors, tmp_path):
    torch = pytest.importorskip("torch")
    names = {"classifier": "lossAV.FC"}
    theirs = {}
    for name, value in tensors.items():
        first, _, rest = name.partition(".")
        prefix = "" if first in names else "model."
        theirs[f"{prefix}{names.get(first, first)}.{rest}"] = torch.from_numpy(value)
    theirs["lossV.FC.weight"] = torch.zeros(2, 128)
    theirs["model.audioEncoder.block1.m_norm_1.num_batches_tracked"] = torch.tensor(3)
    path = tmp_path / "finetuning_TalkSet.model"
    torch.save(theirs, path)
    found = read_tensors(path)
    for name, value in tensors.items():
        np.testing.assert_array_equal(found[name], value)


def test_other_weights_are_refused(tmp_path, tensors):
    save_file = pytest.importorskip("safetensors.numpy").save_file
    path = tmp_path / "other.safetensors"
    save_file({**tensors, "classifier.weight": np.zeros((7, 128), np.float32)}, path)
    with pytest.raises(InputError, match=r"classifier.weight is \(7, 128\), not \(2, 128\)"):
        LrAsd(path)
    path.write_bytes(b"junk" * 100)
    with pytest.raises(InputError, match="safetensors"):
        LrAsd(path)
    with pytest.raises(NotFoundError, match="who talks"):
        LrAsd(tmp_path / "missing")


def test_shapes_that_do_not_fit_are_refused(network):
    crops, waveform = clip(4)
    with pytest.raises(InputError, match=r"\(4, 112, 112\) and \(20, 13\)"):
        network.embed(crops, sounds_of(waveform, 5))
    assert network.scores(crops, waveform[:100]).shape == (4,)  # sound may end early
