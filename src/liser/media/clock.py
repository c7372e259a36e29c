"""The clock of an audio track: maps a frame's time stamp to a sample number."""

from liser.media.limits import MAX_SILENCE_S

JITTER_S = 0.04
"""Smaller errors of a stamp are rounding or delay: the audio just goes on."""
EXACT_S = 0.002
"""The same after a packet that could not be decoded: containers that count in ms round."""
NOTED_S = 0.25
"""A longer total of gaps gets a note."""
FAR_S = 1.0
"""A stamp that is further off counts only if the next one agrees: a single one is damaged."""
OVERLAP_S = 0.5
"""A smaller step back means that the audio overlaps. A larger one means that the stamps start
again, as in concatenated files."""
MANY_FRAMES, FEW_FRAMES = 64, 5
"""So many frames set the clock where stamps are rounded to more than a sample, and elsewhere."""
_ODD_FRAMES = 2  # the first ones, whose stamps don't reckon with a codec's delay


class Clock:
    """Places frames one after another, as players do: gaps are silent, overlaps are dropped."""

    def __init__(
        self,
        zero_s: float,
        rate: int,
        seeked: bool,
        ends_s: float | None = None,
        tick_s: float = 0.0,
    ) -> None:
        """Count samples at `rate` from the stamp `zero_s`; after a seek, `begin` sets the count.

        Stamps far beyond `ends_s`, the file's length by its header, count as damaged. `tick_s` is
        the unit of the stamps.
        """
        self.end: float | None = None if seeked else 0
        """Number of the next sample, None if that isn't known yet."""
        self.zero_s = zero_s
        """The time stamp of time 0. The first frames may correct it."""
        self.settles_after = MANY_FRAMES if tick_s * rate > 1.5 else FEW_FRAMES
        """The number of frames whose stamps set the clock."""
        self._near = max(2.0, tick_s * rate)  # rounding, in samples
        self._rate = rate
        self._strays: list[float] | None = None if seeked else []
        self.grid: tuple[float, float] | None = None
        """A frame's first number and its length, in samples; after a seek, that of the frames
        before it. Frames of equal length begin on a grid, and stamps only tell which one it is."""
        self._last = rate * (float("inf") if ends_s is None else 1.05 * ends_s + FAR_S)
        self._silence = self._overlapped = 0.0  # in samples
        self._lost = 0.0  # the silence that is neither at the start nor a bad packet
        self._jumped_at: float | None = None

    def place(
        self,
        stamp_s: float | None,
        samples: float,
        *,
        next_s: float | None = None,
        exact: bool = False,
    ) -> int:
        """Place a frame of so many samples; return how many samples are missing before it.

        A negative number is an overlap: how many of its own samples to drop. Without a stamp the
        frame follows the last one. `next_s` is the stamp of the next frame. `exact` is for a frame
        after a packet that could not be decoded.
        """
        gap = 0
        if stamp_s is None:
            self.end = self.end or 0
        else:
            stray = (stamp_s - self.zero_s) * self._rate - (self.end or 0)
            gap = round(stray)
            if abs(gap) > FAR_S * self._rate and next_s is not None:
                strays_s = abs(next_s - stamp_s - samples / self._rate)
                gap = 0 if strays_s > FAR_S else gap
            gap = max(self._gap(gap, exact), -int(samples))
            self._settle(stray, gap, samples)
        self.end = (self.end or 0) + gap + samples
        return gap

    def begin(self, frames: list[tuple[float | None, float]]) -> bool:
        """Set the count by the (stamp, length) of the first frames after a seek, in seconds.

        Returns False if the first one has no stamp.
        """
        if not frames or frames[0][0] is None:
            return False
        strays: list[float] = []
        count_s = 0.0
        for stamp_s, length_s in frames:
            if stamp_s is not None:
                stray = stamp_s - self.zero_s - count_s
                if strays and abs(stray - strays[0]) > JITTER_S:
                    break
                strays.append(stray)
            count_s += length_s
        first = self._rate * _settled(strays)
        lengths = {round(length_s * self._rate) for _, length_s in frames[1:-1]}
        if self.grid and lengths == {self.grid[1]}:
            phase, step = self.grid
            second = first + round(frames[0][1] * self._rate)
            off = (second - phase) - step * round((second - phase) / step)
            first -= off if abs(off) <= self._near else 0
        self.end = round(first)  # negative in a codec's lead-in
        return True

    @property
    def is_settling(self) -> bool:
        """Whether the next frames may still correct `zero_s`."""
        return self._strays is not None

    def _settle(self, stray: float, gap: int, samples: float) -> None:
        """Correct `zero_s` by the first frames' mean distance from the count, in samples.

        Decoders drop the encoder's delay, and containers round. What follows is placed by stamps
        where there are gaps and after a seek, and so meets the count.
        """
        if self._strays is None:
            return
        if self.end and gap:
            self._strays = None
            return
        if abs(stray) <= JITTER_S * self._rate:
            self._strays.append(stray)
        if len(self._strays) == self.settles_after:
            self.zero_s += _settled(self._strays) / self._rate
            self.grid = ((self.end or 0) % samples, samples) if samples else None
            self._strays = None

    @property
    def end_stamp_s(self) -> float:
        """The time stamp of the next sample."""
        return (self.end or 0) / self._rate + self.zero_s

    @property
    def notes(self) -> tuple[str, ...]:
        """What is odd about the stamps, in short sentences."""
        notes = []
        if self._lost >= NOTED_S * self._rate:
            length_s = self._lost / self._rate
            notes.append(f"{length_s:.1f} s are missing in the file, and were filled with silence")
        if self._jumped_at is not None:
            at_s = self._jumped_at / self._rate
            notes.append(
                f"the time stamps start again at {at_s:.1f} s; the rest was placed after that"
            )
        if self._overlapped:
            length_s = self._overlapped / self._rate
            notes.append(f"{length_s:.2f} s overlap earlier audio and were dropped")
        return tuple(notes)

    def _gap(self, gap: int, exact: bool) -> int:
        exact |= gap > 0 and not self.end  # decoders swallow the first packet of some codecs
        if abs(gap) <= (EXACT_S if exact else JITTER_S) * self._rate:
            return 0
        too_far = self._silence + gap > MAX_SILENCE_S * self._rate
        too_far |= gap > FAR_S * self._rate and (self.end or 0) + gap > self._last
        if too_far or not -OVERLAP_S * self._rate <= gap or (gap < 0 and not self.end):
            self.zero_s += gap / self._rate
            if self.end and self._jumped_at is None:
                self._jumped_at = self.end
            return 0
        self._silence += max(gap, 0)
        self._lost += max(gap, 0) if self.end and not exact else 0
        self._overlapped += max(-gap, 0)
        return gap


def _settled(strays: list[float]) -> float:
    """Return the mean, without the odd first frames if there are others."""
    steady = strays[_ODD_FRAMES:] or strays[:1]
    return sum(steady) / len(steady)
