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


class Clock:
    """Places frames one after another, as players do: gaps are silent, overlaps are dropped."""

    def __init__(self, zero_s: float, rate: int, seeked: bool, ends_s: float | None = None) -> None:
        """Count samples at `rate` from the stamp `zero_s`; after a seek, from the first frame's.

        Stamps far beyond `ends_s`, the file's length by its header, count as damaged.
        """
        self.end: float | None = None if seeked else 0
        """Number of the next sample, None if that isn't known yet."""
        self._zero_s, self._rate = zero_s, rate
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
        elif self.end is None:
            self.end = max(0, self._number(stamp_s))
        else:
            gap = round(self._number(stamp_s) - self.end)
            if abs(gap) > FAR_S * self._rate and next_s is not None:
                strays_s = abs(next_s - stamp_s - samples / self._rate)
                gap = 0 if strays_s > FAR_S else gap
            gap = max(self._gap(gap, exact), -int(samples))
        self.end += gap + samples
        return gap

    @property
    def end_stamp_s(self) -> float:
        """The time stamp of the next sample."""
        return (self.end or 0) / self._rate + self._zero_s

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

    def _number(self, stamp_s: float) -> int:
        return round((stamp_s - self._zero_s) * self._rate)

    def _gap(self, gap: int, exact: bool) -> int:
        exact |= gap > 0 and not self.end  # decoders swallow the first packet of some codecs
        if abs(gap) <= (EXACT_S if exact else JITTER_S) * self._rate:
            return 0
        too_far = self._silence + gap > MAX_SILENCE_S * self._rate
        too_far |= gap > FAR_S * self._rate and (self.end or 0) + gap > self._last
        if too_far or not -OVERLAP_S * self._rate <= gap or (gap < 0 and not self.end):
            self._zero_s += gap / self._rate
            if self.end and self._jumped_at is None:
                self._jumped_at = self.end
            return 0
        self._silence += max(gap, 0)
        self._lost += max(gap, 0) if self.end and not exact else 0
        self._overlapped += max(-gap, 0)
        return gap
