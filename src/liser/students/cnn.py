"""A small residual 2-D convolutional student with attentive statistics pooling.

Residual blocks (He et al. 2016) with squeeze-and-excitation (Hu et al. 2018) over time and
frequency, and mean and deviation over time under a learned attention (Okabe et al. 2018). Plain
3×3 convolutions of few channels: on a CPU they train and run faster than depthwise ones of the
same number of parameters.
"""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from liser.students.linear_probe import LinearProbe, frames_of
from liser.students.module import StudentModule
from liser.students.pool import AttentivePool
from liser.students.shape import Group, Rows, Shape, batch_norm, factors


class Cnn(StudentModule):
    """Log-mel (batch, frames, mels) to logits (batch, classes) and embedding (batch, dim).

    `channels` gives the width of the stem and of each residual block. The stem and the first
    three blocks halve both time and frequency; any number of frames is taken. `inner` gives the
    channels between a block's two convolutions (None: its width), `gates` those of its
    squeeze-and-excitation (None: a quarter of its width).
    """

    def __init__(
        self,
        classes: int,
        mels: int,
        channels: Sequence[int],
        embedding: int,
        dropout: float = 0.3,
        inner: Sequence[int] | None = None,
        gates: Sequence[int] | None = None,
    ) -> None:
        super().__init__()
        stem, *widths = channels
        inner = inner or widths
        gates = gates or [width // 4 for width in widths]
        self.mels = mels
        self._rest = (classes, embedding, dropout)
        self.stem = nn.Sequential(
            nn.Conv2d(1, stem, 5, stride=2, padding=2, bias=False), nn.BatchNorm2d(stem), nn.ReLU()
        )
        before = [stem, *widths]
        self.blocks = nn.Sequential(
            *(
                Block(before[i], width, 2 if i < 3 else 1, inner[i], gates[i])
                for i, width in enumerate(widths)
            )
        )
        bands = mels
        for _ in range(1 + min(3, len(widths))):
            bands = (bands + 1) // 2
        self._bands = bands
        self._shape = {"channels": list(channels), "inner": list(inner), "gates": list(gates)}
        self.pool = AttentivePool(widths[-1] * bands)
        pooled = 2 * widths[-1] * bands
        self.embed = nn.Sequential(
            nn.BatchNorm1d(pooled),
            nn.Dropout(dropout),
            nn.Linear(pooled, embedding),
            nn.BatchNorm1d(embedding),
        )
        self.classify = nn.Sequential(nn.ReLU(), nn.Dropout(dropout), nn.Linear(embedding, classes))
        self.readout = LinearProbe(pooled, classes)

    def forward(self, logmel: Tensor) -> tuple[Tensor, Tensor]:
        """Return logits (batch, classes) and embedding (batch, dim)."""
        features = self.features(logmel)
        embedding = self.embed(features)
        return self.classify(embedding) + self.readout(features, frames_of(logmel)), embedding

    def features(self, logmel: Tensor) -> Tensor:
        """Return the linear probe's input (batch, dim), mean and deviation over time."""
        maps = self.blocks(self.stem(logmel.transpose(1, 2).unsqueeze(1)))
        pooled: Tensor = self.pool(maps.flatten(1, 2).transpose(1, 2))
        return pooled

    @property
    def shape(self) -> Shape:
        """How wide each part is: `channels`, `inner` and `gates`."""
        return {part: list(widths) for part, widths in self._shape.items()}

    def shaped(self, shape: Mapping[str, Sequence[int]]) -> "Cnn":
        """Return a student of the same kind in another shape, with fresh weights."""
        classes, embedding, dropout = self._rest
        channels, inner, gates = shape["channels"], shape["inner"], shape["gates"]
        return Cnn(classes, self.mels, channels, embedding, dropout, inner, gates)

    def groups(self) -> list[Group]:
        """Return the channels that can be left out: those of all parts of the shape."""
        channels = self._shape["channels"]
        stem = (Rows("stem.0.weight"), *batch_norm("stem.1"), *self._readers(0))
        found = [Group("channels", 0, channels[0], stem, factors("stem.1"))]
        for i, width in enumerate(channels[1:]):
            body, gate, aside = (f"blocks.{i}.{part}" for part in ("body", "gate", "shortcut"))
            own = (
                *(Rows(f"{body}.3.weight"), *batch_norm(f"{body}.4")),
                *(Rows(f"{aside}.0.weight"), *batch_norm(f"{aside}.1")),
                *(Rows(f"{gate}.0.weight", 1), *factors(f"{gate}.2")),
            )
            scales = (*factors(f"{body}.4"), *factors(f"{aside}.1"))
            found.append(Group("channels", i + 1, width, (*own, *self._readers(i + 1)), scales))
            within = (
                Rows(f"{body}.0.weight"),
                *batch_norm(f"{body}.1"),
                Rows(f"{body}.3.weight", 1),
            )
            inner, gates = self._shape["inner"][i], self._shape["gates"][i]
            found.append(Group("inner", i, inner, within, factors(f"{body}.1")))
            squeezed = factors(f"{gate}.0")
            rows = (*squeezed, Rows(f"{gate}.2.weight", 1))
            found.append(Group("gates", i, gates, rows, squeezed))
        return found

    def _readers(self, block: int) -> tuple[Rows, ...]:
        """Name the weights that take the stem's output (0) or a block's."""
        if block < len(self.blocks):
            return tuple(
                Rows(f"blocks.{block}.{part}.0.weight", 1) for part in ("body", "shortcut")
            )
        # a channel's bands lie side by side; means come first, then deviations
        bands = self._bands
        return (
            Rows("pool.score.0.weight", 1, bands),
            *batch_norm("embed.0", bands, 2),
            Rows("embed.2.weight", 1, bands, 2),
            Rows("readout.weight", 1, bands, 2),
        )


class Block(nn.Module):
    """Average pooling, then two 3×3 convolutions with squeeze-and-excitation beside a shortcut.

    Pooling comes first, for both ways: strided convolutions alias (Zhang 2019, arXiv 1904.11486),
    and on unseen speakers this student is clearly worse with them.
    """

    def __init__(self, before: int, width: int, stride: int, inner: int, gates: int) -> None:
        super().__init__()
        self.pool = nn.AvgPool2d(stride, ceil_mode=True) if stride > 1 else nn.Identity()
        self.body = nn.Sequential(
            nn.Conv2d(before, inner, 3, padding=1, bias=False),
            nn.BatchNorm2d(inner),
            nn.ReLU(),
            nn.Conv2d(inner, width, 3, padding=1, bias=False),
            nn.BatchNorm2d(width),
        )
        self.gate = nn.Sequential(
            nn.Linear(width, gates), nn.ReLU(), nn.Linear(gates, width), nn.Sigmoid()
        )
        self.shortcut = nn.Sequential(
            nn.Conv2d(before, width, 1, bias=False), nn.BatchNorm2d(width)
        )

    def forward(self, x: Tensor) -> Tensor:
        """Return maps (batch, width, bands / stride, frames / stride), rounded up."""
        x = self.pool(x)
        y = self.body(x)
        gate = self.gate(y.mean((2, 3)))[:, :, None, None]
        return functional.relu(torch.addcmul(self.shortcut(x), y, gate))
