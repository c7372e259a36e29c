"""Reads the audio of a file, through all recordings that were appended to it."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import BinaryIO, cast

from liser.errors import MediaError
from liser.media.container import open_stream
from liser.media.recordings import Part, first_bytes
from liser.media.sound_track import Mono, SoundTrack
from liser.media.source import Reader


class ChainedTrack:
    """The audio of recordings one after another; each has its own clock, rate and channels."""

    can_seek = False

    def __init__(self, first: SoundTrack, following: list[Part], name: Path) -> None:
        """Begin with a track, and go on with the recordings that follow it."""
        self.rate, self.channels = first.rate, first.channels
        self._first, self._following, self._name = first, following, name
        self._now: SoundTrack | None = first
        self._notes: list[str] = []  # on the recordings before
        self._second_at: int | None = None  # number of its first sample
        self._differs = False  # in rate or channels

    @property
    def notes(self) -> tuple[str, ...]:
        """What was odd in the audio so far, in short sentences."""
        notes = []
        if self._second_at is not None:
            count, at_s = 1 + len(self._following), self._second_at / self.rate
            differ = ", and differ in sample rate or channels" if self._differs else ""
            notes.append(
                f"{count} recordings follow each other, the second from {at_s:.1f} s on{differ}"
            )
        return tuple(dict.fromkeys((*notes, *self._notes, *(self._now.notes if self._now else ()))))

    def duration_s(self) -> float:
        """Return the sum of the recordings' lengths in seconds, by their headers."""
        return sum(track.duration_s() for track in self._tracks())

    def blocks(
        self, from_s: float | None = None, stop: int | None = None
    ) -> Iterator[tuple[int, Mono]]:
        """Yield (number of the first sample, mono samples), up to sample `stop` or the end.

        It always begins with sample 0. If a recording was cut off or can't be read, there is a
        note, and the next one follows. If the last one was cut off, `MediaError` is raised.
        """
        position = 0
        for track in self._tracks():
            offset = position
            if track is not self._first and self._second_at is None:
                self._second_at = offset
            try:
                for index, mono in track.blocks(stop=None if stop is None else stop - offset):
                    yield offset + index, mono
                    position = offset + index + len(mono)
            except MediaError as error:
                self._pass_over(error, is_last=self._left == 0)
            if stop is not None and position >= stop:
                return

    def _tracks(self) -> Iterator[SoundTrack]:
        self._left = len(self._following)
        yield self._first
        for part in self._following:
            self._notes += self._now.notes if self._now else ()
            self._now, self._left = None, self._left - 1
            try:
                with open_stream(cast(BinaryIO, part), self._name) as media:
                    self._now = SoundTrack(media, self.rate)
                    self._differs |= self._now.kind != self._first.kind
                    yield self._now
            except MediaError as error:
                self._pass_over(error, is_last=self._left == 0)

    def _pass_over(self, error: MediaError, is_last: bool) -> None:
        if is_last and error.reason == "truncated":
            raise error
        self._notes.append(f"a recording in it is incomplete: {error.detail}")


@contextmanager
def open_sound_track(file: BinaryIO, name: Path) -> Iterator[SoundTrack | ChainedTrack]:
    """Open the audio in a seekable file object, which stays open.

    `name` is for the messages.

    Raises:
        MediaError: as `liser.media.audio.load_audio`.
    """
    places = [*first_bytes(Reader(file, name)), file.seek(0, os.SEEK_END)]
    first, *following = [Part(file, begin, end) for begin, end in pairwise(places)]
    with open_stream(cast(BinaryIO, first) if following else file, name) as media:
        track = SoundTrack(media)
        yield ChainedTrack(track, following, name) if following else track
