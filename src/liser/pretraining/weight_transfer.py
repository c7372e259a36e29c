"""Weight transfer: a student's first layers from a Whisper encoder's, without any training.

The student's residual stream takes the directions in which the encoder's varies most (as in
SliceGPT, Ashkboos et al. 2024, arXiv 2401.15024), and its hidden units are the encoder's most
influential ones. Then each linear map of the student is fitted, from the first to the last: a ridge
regression predicts the encoder's activations from the student's own so far. So every map also
corrects the errors of those before it. No label is used.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from liser.config import Frontend
from liser.errors import InputError
from liser.pretraining.frame_encoder import EncoderInput
from liser.pretraining.whisper import LayerActivations, StemActivations, Whisper
from liser.students.transformer import HEAD_WIDTH, Layer, Transformer, norm, positions

RIDGE = 1e-3
"""Added to the inputs' covariance, as a share of their mean variance."""


@torch.inference_mode()
def transfer_weights(
    student: Transformer,
    encoder: Whisper,
    logmels: Sequence[Tensor],
    frontend: Frontend,
    encoder_inputs: Sequence[EncoderInput] | None = None,
) -> list[float]:
    """Fit a student's stem and layers to the encoder's; return the shares of variance explained.

    `logmels` (frames, mels) are some hundred clips of 30 s at most, through the student's
    `frontend`. `encoder_inputs` are the same clips for the encoder, from the same moment on (None:
    the student's log-mels). The student is on the CPU, and each of its frames needs some 90 kB of
    memory. The result holds the share of the encoder's variance that the student's residual stream
    explains after the stem and after each layer.

    Raises:
        InputError: the encoder's heads are of another width than the student's, or the encoder is
            smaller than the student.
    """
    _check_sizes(student, encoder)
    stems: list[StemActivations] = []
    layers: list[list[LayerActivations]] = [[] for _ in student.layers]
    inputs = encoder_inputs or [(clip, frontend) for clip in logmels]
    for clip, encoder_input in zip(logmels, inputs, strict=True):
        seconds = torch.arange(len(clip)) * frontend.hop_s
        of_stem, of_layers = encoder.activations(*encoder_input, len(layers), seconds)
        stems.append(of_stem)
        for records, record in zip(layers, of_layers, strict=True):
            records.append(record.half())
    clips = _Clips([len(clip) for clip in logmels], torch.cat([clip.float() for clip in logmels]))
    basis = _directions(
        chain(
            (record.stream for record in stems),
            (x for records in layers for r in records for x in (r.middle.float(), r.after.float())),
        )
    )[:, : student.lift.out_features]
    stem = StemActivations.joined(stems)
    stream = _stem(student, encoder, stem, clips, basis)
    explained = [_explained(_projected(stem.stream, basis), stream)]
    for number, layer in enumerate(student.layers):
        theirs, own = encoder.encoder.layers[number], LayerActivations.joined(layers[number])
        stream = _layer(cast(Layer, layer), theirs, own, stream, clips, basis)
        explained.append(_explained(_projected(own.after, basis), stream))
    return explained


def _check_sizes(student: Transformer, encoder: Whisper) -> None:
    if encoder.head_width != HEAD_WIDTH:
        raise InputError(
            f"{encoder.name} has heads of width {encoder.head_width}, a student {HEAD_WIDTH}"
        )
    theirs, layer = encoder.encoder.layers, cast(Layer, student.layers[0])
    for what, wanted, there in (
        ("layers", len(student.layers), len(theirs)),
        ("channels of the first convolution", student.first.out_channels, encoder.width),
        ("channels of the second convolution", student.second.out_channels, encoder.width),
        ("dimensions", student.lift.out_features, encoder.width),
        ("heads", layer.heads, encoder.width // HEAD_WIDTH),
        ("hidden units", layer.up.out_features, theirs[0].fc1.out_features),
    ):
        if wanted > there:
            raise InputError(
                f"{encoder.name} has {there} {what}, fewer than the student's {wanted}: "
                "transfer from a larger model"
            )


@dataclass(frozen=True, slots=True)
class _Clips:
    """Frames of clips one after the other, and the number of each clip's frames."""

    lengths: list[int]
    logmel: Tensor

    def split(self, x: Tensor) -> tuple[Tensor, ...]:
        """Return the rows of each clip by itself."""
        return torch.split(x, self.lengths)

    def neighbours(self, x: Tensor) -> Tensor:
        """Return each frame with its neighbours (frames, 3 × dim), zeros beyond a clip's ends."""
        parts = []
        for own in self.split(x):
            padded = functional.pad(own, (0, 0, 1, 1))
            parts.append(torch.cat([padded[:-2], padded[1:-1], padded[2:]], 1))
        return torch.cat(parts)


def _directions(streams: Iterable[Tensor]) -> Tensor:
    """Return the principal directions (width, width) of normed streams, the widest first."""
    total: Tensor | int = 0
    for x in streams:
        normed = _centred(x) / _centred(x).norm(dim=1, keepdim=True)
        total = total + normed.T @ normed
    _, vectors = torch.linalg.eigh(total)
    widest: Tensor = vectors.flip(1)
    return widest


def _centred(x: Tensor) -> Tensor:
    return x - x.mean(1, keepdim=True)  # as a layer norm, which removes the mean over the width


def _projected(stream: Tensor, basis: Tensor) -> Tensor:
    return _centred(stream) @ basis


def _stem(
    student: Transformer, encoder: Whisper, own: StemActivations, clips: _Clips, basis: Tensor
) -> Tensor:
    """Fit both convolutions, the map to the stream, and the positions; return the stream."""
    first, second = student.first, student.second
    following = encoder.encoder.conv2.weight.cpu().square().sum((0, 2))
    chosen = _most(functional.gelu(own.first).square().mean(0) * following, first.out_channels)
    x = functional.gelu(_fit_convolution(first, clips, clips.logmel, own.first[:, chosen]))
    chosen = _most(functional.gelu(own.second).var(0), second.out_channels)
    x = functional.gelu(_fit_convolution(second, clips, x, own.second[:, chosen]))
    stream = _fit(student.lift, x, _projected(own.stream - own.positions, basis))
    places = torch.cat([positions(length) for length in clips.lengths])
    # the penalty matters here: positions later than any clip are extrapolated
    weight, offset = _ridge(places, _projected(own.positions, basis))
    student.place.weight.copy_(weight)
    _set_weights(student.lift, student.lift.weight, student.lift.bias + offset)
    return stream + places @ weight.T + offset


def _layer(
    layer: Layer, theirs: Any, own: LayerActivations, stream: Tensor, clips: _Clips, basis: Tensor
) -> Tensor:
    """Fit one layer to the encoder's; return the residual stream after it."""
    gathered = own.gathered.view(len(stream), -1, HEAD_WIDTH).transpose(0, 1)
    writes = theirs.self_attn.out_proj.weight.cpu()
    writes = writes.view(len(writes), -1, HEAD_WIDTH).transpose(0, 1)
    # the variance of a head's output, summed over the width
    variances = [(w @ torch.cov(g.T) * w).sum() for w, g in zip(writes, gathered, strict=True)]
    heads = _most(torch.stack(variances), layer.heads)
    columns = (heads[:, None] * HEAD_WIDTH + torch.arange(HEAD_WIDTH)).flatten()
    x = norm(stream)
    for part, target in ((layer.query, own.query), (layer.key, own.key), (layer.value, own.value)):
        _fit(part, x, target[:, columns])
    attended = torch.cat([layer.attend(clip[None])[0] for clip in clips.split(x)])
    stream = stream + _fit(layer.out, attended, _projected(own.middle, basis) - stream)
    following = theirs.fc2.weight.cpu().square().sum(0)
    chosen = _most(functional.gelu(own.inner).var(0) * following, layer.up.out_features)
    inner = functional.gelu(_fit(layer.up, norm(stream), own.inner[:, chosen]))
    return stream + _fit(layer.down, inner, _projected(own.after, basis) - stream)


def _most(importance: Tensor, count: int) -> Tensor:
    return importance.argsort(descending=True)[:count]


def _fit_convolution(layer: nn.Conv1d, clips: _Clips, x: Tensor, target: Tensor) -> Tensor:
    """Fit a convolution of three frames, and return its output for x (frames, dim)."""
    around = clips.neighbours(x)
    weight, offset = _ridge(around, target)
    _set_weights(layer, weight.view(len(weight), 3, -1).transpose(1, 2), offset)
    return around @ weight.T + offset


def _fit(layer: nn.Linear, x: Tensor, target: Tensor) -> Tensor:
    """Fit a linear layer, and return its output for x (frames, dim)."""
    weight, offset = _ridge(x, target)
    _set_weights(layer, weight, offset)
    return x @ weight.T + offset


def _set_weights(layer: nn.Conv1d | nn.Linear, weight: Tensor, offset: Tensor) -> None:
    layer.load_state_dict({"weight": weight, "bias": offset})


def _ridge(x: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """Return weight (out, in) and offset (out,) of the ridge regression of target on x."""
    x, target = x.double(), target.double()
    centre, mean = x.mean(0), target.mean(0)
    around = x - centre
    covariance = around.T @ around
    covariance.diagonal().add_(RIDGE * covariance.diagonal().mean())
    weight = torch.linalg.solve(covariance, around.T @ (target - mean)).T
    return weight.float(), (mean - weight @ centre).float()


def _explained(target: Tensor, output: Tensor) -> float:
    lost = (target - output).square().sum() / (target - target.mean(0)).square().sum()
    return 1.0 - lost.item() if math.isfinite(lost.item()) else 0.0
