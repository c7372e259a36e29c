"""A small Transformer student, in the form of a speech representation model's first layers.

It has the parts of a Whisper encoder (Radford et al. 2022, arXiv 2212.04356): two convolutions
over time, sinusoidal positions, pre-norm layers of self-attention and a feed-forward net. It is
far narrower, its norm has no parameters, and it takes the student's log-mel at the student's own
frame rate. So weights can be transferred to it (`liser.pretraining.weight_transfer`).
"""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from liser.students.linear_probe import LinearProbe, frames_of
from liser.students.module import StudentModule
from liser.students.pool import AttentivePool, moments
from liser.students.shape import Group, Rows, Shape, factors

HEAD_WIDTH = 64


class Transformer(StudentModule):
    """Log-mel (batch, frames, mels) to logits (batch, classes) and embedding (batch, dim).

    `stem` gives the channels of the two convolutions, `width` that of the residual stream,
    `inner` that of the feed-forward nets; `heads` and `inner` may be given for each of the layers.
    Any number of frames is taken.
    """

    transferred = ("first", "second", "lift", "place", "layers")
    """Parts that weights are transferred to."""

    def __init__(
        self,
        classes: int,
        mels: int,
        stem: Sequence[int] = (160, 256),
        width: int = 256,
        heads: int | Sequence[int] = 4,
        inner: int | Sequence[int] = 384,
        layers: int = 2,
        embedding: int = 128,
    ) -> None:
        super().__init__()
        heads = [heads] * layers if isinstance(heads, int) else list(heads)
        inner = [inner] * layers if isinstance(inner, int) else list(inner)
        self.mels = mels
        self._classes = classes
        self._rest = {"width": width, "layers": layers, "embedding": embedding}
        self._shape = {"stem": list(stem), "heads": heads, "inner": inner}
        self.first = nn.Conv1d(mels, stem[0], 3, padding=1)
        self.second = nn.Conv1d(stem[0], stem[1], 3, padding=1)
        self.lift = nn.Linear(stem[1], width)
        self.place = nn.Linear(2 * FREQUENCIES, width, bias=False)
        self.layers = nn.ModuleList(Layer(width, heads[i], inner[i]) for i in range(layers))
        self.pool = AttentivePool(width)
        self.embed = nn.Sequential(
            nn.BatchNorm1d(2 * width),
            nn.Dropout(0.3),
            nn.Linear(2 * width, embedding),
            nn.BatchNorm1d(embedding),
        )
        self.classify = nn.Sequential(nn.ReLU(), nn.Dropout(0.3), nn.Linear(embedding, classes))
        self.readout = LinearProbe(2 * width * layers, classes)

    def forward(self, logmel: Tensor) -> tuple[Tensor, Tensor]:
        """Return logits (batch, classes) and embedding (batch, dim)."""
        streams = self._streams(logmel)
        embedding = self.embed(self.pool(streams[-1]))
        probed = self.readout(_statistics(streams), frames_of(logmel))
        return self.classify(embedding) + probed, embedding

    def features(self, logmel: Tensor) -> Tensor:
        """Return the linear probe's input (batch, dim), mean and deviation over time."""
        return _statistics(self._streams(logmel))

    def _streams(self, logmel: Tensor) -> list[Tensor]:
        """Return the normed residual stream after each layer."""
        return [norm(state) for state in self.states(logmel)[1:]]

    def states(self, logmel: Tensor) -> list[Tensor]:
        """Return the residual stream (batch, frames, width) before and after each layer."""
        x = functional.gelu(self.first(logmel.transpose(1, 2)))
        x = functional.gelu(self.second(x))
        places = positions(logmel.shape[1], logmel.device)
        stream = self.lift(x.transpose(1, 2)) + self.place(places)
        states = [stream]
        for layer in self.layers:
            stream = layer(stream)
            states.append(stream)
        return states

    @property
    def shape(self) -> Shape:
        """The width of each part: `stem`, and of each layer `heads` and `inner`."""
        return {part: list(widths) for part, widths in self._shape.items()}

    def shaped(self, shape: Mapping[str, Sequence[int]]) -> "Transformer":
        """Return a student of the same kind in another shape, with fresh weights."""
        stem, heads, inner = shape["stem"], shape["heads"], shape["inner"]
        return Transformer(self._classes, self.mels, stem, heads=heads, inner=inner, **self._rest)

    def groups(self) -> list[Group]:
        """Return what pruning can leave out: channels of the stem, heads, and hidden units."""
        read = (Rows("second.weight", 1),), (Rows("lift.weight", 1),)
        found = [
            Group("stem", i, width, (*factors(name), *read[i]), read[i])
            for i, (name, width) in enumerate(
                zip(("first", "second"), self._shape["stem"], strict=True)
            )
        ]
        for i in range(len(self.layers)):
            layer, wide = f"layers.{i}", HEAD_WIDTH
            projections = tuple(
                Rows(f"{layer}.{part}.{what}", 0, wide)
                for part in ("query", "key", "value")
                for what in ("weight", "bias")
            )
            out, down = (Rows(f"{layer}.out.weight", 1, wide),), (Rows(f"{layer}.down.weight", 1),)
            heads, inner = self._shape["heads"][i], self._shape["inner"][i]
            found.append(Group("heads", i, heads, (*projections, *out), out))
            found.append(Group("inner", i, inner, (*factors(f"{layer}.up"), *down), down))
        return found


def _statistics(streams: Sequence[Tensor]) -> Tensor:
    """Return mean and deviation over frames of every layer, (batch, 2 × width × layers)."""
    return moments(torch.cat(list(streams), -1))


class Layer(nn.Module):
    """Self-attention, then a feed-forward net, each on the normed stream and added to it."""

    def __init__(self, width: int, heads: int, inner: int) -> None:
        super().__init__()
        self.heads = heads
        attended = HEAD_WIDTH * heads
        self.query, self.key, self.value = (nn.Linear(width, attended) for _ in range(3))
        self.out = nn.Linear(attended, width)
        self.up, self.down = nn.Linear(width, inner), nn.Linear(inner, width)

    def forward(self, stream: Tensor) -> Tensor:
        """Return the residual stream (batch, frames, width) after this layer."""
        stream = stream + self.out(self.attend(norm(stream)))
        added: Tensor = self.down(functional.gelu(self.up(norm(stream))))
        return stream + added

    def attend(self, x: Tensor) -> Tensor:
        """Return the attended values of all heads (batch, frames, heads × 64)."""
        batch, frames, _ = x.shape
        query, key, value = (
            part(x).view(batch, frames, self.heads, HEAD_WIDTH).transpose(1, 2)
            for part in (self.query, self.key, self.value)
        )
        if self.training:
            # by hand: in bfloat16 on a CPU, PyTorch's own takes five times as long backwards
            scores = (query * HEAD_WIDTH**-0.5) @ key.transpose(-1, -2)
            attended: Tensor = scores.softmax(-1, torch.float32).to(value.dtype) @ value
        else:  # without memory for all pairs of frames: whole clips may be long
            attended = functional.scaled_dot_product_attention(query, key, value)
        return attended.transpose(1, 2).reshape(batch, frames, -1)


FREQUENCIES = 64

# Constants and no formula, so that an exported graph has the very same ones. Sharp attention to
# positions would make a difference in the last digit a thousand times larger.
RATES = torch.logspace(0.0, -3.0, FREQUENCIES, dtype=torch.float64).float()


def positions(frames: int, device: torch.device | str = "cpu") -> Tensor:
    """Return sines and cosines (frames, 2 × 64) of periods from 6 to 6,000 frames."""
    angles = torch.arange(frames, dtype=torch.float32, device=device)[:, None] * RATES.to(device)
    return torch.cat([angles.sin(), angles.cos()], 1)


def norm(x: Tensor) -> Tensor:
    """Divide by the root mean square over the last axis (Zhang & Sennrich 2019), in float32."""
    scale: Tensor = torch.rsqrt(x.float().square().mean(-1, keepdim=True) + 1e-5)
    normed: Tensor = x * scale.to(x.dtype)
    return normed
