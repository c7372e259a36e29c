"""Videos in which it is known who talks, made from real clips of one actor.

A clip's face becomes a panel of a montage. It plays its own clips one after another, at its own
time or at another one, or it is idle: one still frame, or the frames before the clip's speech, to
and fro. A scene's sound is that of one panel at a time, or of a narrator whom nobody sees.

The clips of RAVDESS hold two sentences, in 3.2 s each. So the sound of another clip at the same
time is no negative, and neither is a shift by a whole clip. What "moves to something else" is
shifted by `SHIFT` frames, 1 to 2.2 s.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from liser.media.audio import load_audio
from liser.media.detectors import FaceDetector
from liser.media.video import read_frames
from made_sounds import made_sound

RATE, FRAME = 16_000, 640  # samples a second and a frame of 25 a second
WIDTH, HEIGHT = 640, 360
SHIFT = (25, 55)
BELOW_DB = 35.0
AUDIO_DELAY = 533  # samples by which the sound of audio-visual clips is behind the audio-only ones

Sound = NDArray[np.float32]
Images = NDArray[np.uint8]
Row = tuple[int, int]  # a take's number, and a frame of it


@dataclass(frozen=True)
class Take:
    """One clip: a square around its face, its sound, and the frames of its speech."""

    name: str
    frames: Images
    sound: Sound
    speech: tuple[int, int]


@dataclass(frozen=True)
class Panel:
    """A face in a scene: what it shows in each frame, and its square's left, top and side."""

    rows: list[Row]
    left: int
    top: int
    side: int
    mirrored: bool


@dataclass
class Scene:
    """A video with its sound and the truth: (start frame, end frame, panel or None)."""

    kind: str
    takes: Sequence[Take]
    panels: list[Panel]
    sound: Sound
    utterances: list[tuple[int, int, int | None]]
    degraded: bool = False

    def frames(self) -> Iterator[Images]:
        """Yield the frames (360, 640, 3)."""
        for index in range(len(self.panels[0].rows)):
            image = np.full((HEIGHT, WIDTH, 3), 128, np.uint8)
            for panel in self.panels:
                number, frame = panel.rows[index]
                face = self.takes[number].frames[frame]
                face = cv2.resize(face, (panel.side, panel.side), interpolation=cv2.INTER_AREA)
                face = face[:, ::-1] if panel.mirrored else face
                rows = slice(panel.top, panel.top + panel.side)
                image[rows, panel.left : panel.left + panel.side] = face
            yield _coarse(image) if self.degraded else image


def takes_of(ravdess: Path, actor: int, detector: FaceDetector) -> list[Take]:
    """Load every take of an actor once; a take without sound gets that of its audio-only clip."""
    files: dict[str, Path] = {}
    for path in sorted((ravdess / "video" / f"Actor_{actor:02}").glob("*.mp4")):
        files.setdefault(path.stem[2:], path)  # 01-, with sound, comes before 02-
    takes = []
    for rest, path in files.items():
        frames = read_frames(path, 25).images
        box = detector.detect(frames[len(frames) // 2]).boxes[0]
        side = int(min(1.5 * box[3], HEIGHT))
        left = int(np.clip(box[0] + (box[2] - side) / 2, 0, frames.shape[2] - side))
        top = int(np.clip(box[1] + (box[3] - side) / 2, 0, frames.shape[1] - side))
        square = frames[:, top : top + side, left : left + side].copy()
        if path.stem.startswith("01"):
            sound = load_audio(path, RATE)
        else:
            audio = ravdess / "audio" / f"Actor_{actor:02}" / f"03{rest}.flac"
            sound = np.concatenate([np.zeros(AUDIO_DELAY, np.float32), load_audio(audio, RATE)])
        takes.append(Take(path.stem, square, _fitted(sound, len(square)), speech_of(sound)))
    return takes


def degraded(take: Take, rng: np.random.Generator) -> Take:
    """Return a take with a small, coarse picture, and with music under its speech."""
    small = [cv2.resize(image, (80, 80), interpolation=cv2.INTER_AREA) for image in take.frames]
    frames = np.stack([_coarse(image) for image in small])
    return Take(take.name, frames, _with_music(take.sound, rng), take.speech)


def _coarse(image: Images) -> Images:
    _, written = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, 30])
    return np.asarray(cv2.imdecode(written, cv2.IMREAD_COLOR), np.uint8)


def _with_music(sound: Sound, rng: np.random.Generator) -> Sound:
    """Add chords, 10 dB below the speech."""
    music = made_sound("chords", rng, len(sound) / RATE + 1)[: len(sound)]
    gain = np.sqrt((sound**2).mean() / (music**2).mean() / 10)
    return np.asarray(sound + np.float32(gain) * music, np.float32)


def voices_of(ravdess: Path, actors: Sequence[int], rng: np.random.Generator) -> list[Take]:
    """Load 40 sounds of other speakers, as takes without pictures."""
    files = [f for a in actors for f in sorted((ravdess / f"audio/Actor_{a:02}").glob("*.flac"))]
    voices = []
    for index in rng.choice(len(files), 40, replace=False):
        sound = load_audio(files[index], RATE)
        frames = len(sound) // FRAME
        nothing = np.zeros((frames, 1, 1, 3), np.uint8)
        voices.append(Take(files[index].stem, nothing, _fitted(sound, frames), speech_of(sound)))
    return voices


def speech_of(sound: Sound) -> tuple[int, int]:
    """Return the first frame of a clean clip's speech, and the first one after it."""
    power = (sound[: len(sound) // FRAME * FRAME].reshape(-1, FRAME).astype(np.float64) ** 2).mean(
        1
    )
    level = 10 * np.log10(power + 1e-12)
    loud = np.flatnonzero(level >= np.percentile(level, 99) - BELOW_DB)
    return int(loud[0]), int(loud[-1]) + 1


@dataclass
class Maker:
    """Makes scenes from the takes of one actor and the voices of narrators."""

    takes: list[Take]
    voices: list[Take]
    rng: np.random.Generator

    def turns(self, faces: int, degraded: bool = False) -> Scene:
        """Faces talk one at a time, in six turns; the others are idle."""
        talkers = [int(self.rng.integers(faces))]
        while len(talkers) < 6:  # two faces always take turns, more of them at random
            talkers.append(int(self.rng.choice([f for f in range(faces) if f != talkers[-1]])))
        return self._in_turns(f"turns of {faces}", faces, talkers, self._squares(faces), degraded)

    def listener(self) -> Scene:
        """The speaker's face is small, and a listener's is large."""
        side = int(self.rng.integers(110, 160))
        squares = [(int(self.rng.integers(0, 100)), int(self.rng.integers(0, 360 - side)), side)]
        squares.append((280, 0, 360))
        return self._in_turns("large listener", 2, [0] * 5, squares)

    def moving(self, faces: int, pauses: bool = True, degraded: bool = False) -> Scene:
        """One face talks; the mouths of the others move to something else."""
        rows = [self._talk(10.0, pauses) for _ in range(faces)]
        length = min(map(len, rows))
        rows = [row[:length] for row in rows]
        talker = int(self.rng.integers(faces))
        shown = [r if f == talker else self._rolled(r, pauses) for f, r in enumerate(rows)]
        kind = "others move" + ("" if pauses else ", no pauses")
        return self._scene(kind, shown, rows[talker], talker, self._squares(faces), degraded)

    def moving_turns(self, faces: int) -> Scene:
        """All mouths always move; the sound is that of one face, then of another."""
        first, second = (int(f) for f in self.rng.choice(faces, 2, replace=False))
        halves = []
        for talker in (first, second):
            rows = [self._talk(6.5, True) for _ in range(faces)]
            rows = [row[: min(map(len, rows))] for row in rows]
            shown = [r if f == talker else self._rolled(r, True) for f, r in enumerate(rows)]
            scene = self._scene("", shown, rows[talker], talker, self._squares(faces))
            halves.append((scene, shown))
        (one, shown), (other, more) = halves
        squares = [(p.left, p.top, p.side, p.mirrored) for p in one.panels]
        panels = [Panel([*a, *b], *q) for a, b, q in zip(shown, more, squares, strict=True)]
        later = [(b + len(shown[0]), e + len(shown[0]), p) for b, e, p in other.utterances]
        sound = np.concatenate([one.sound, other.sound])
        return Scene("others move, in turns", self.takes, panels, sound, [*one.utterances, *later])

    def narrator_still(self, faces: int) -> Scene:
        """A narrator speaks over idle faces."""
        rows = self._talk(10.0, True, self.voices)
        shown = [self._idle(len(rows)) for _ in range(faces)]
        squares = self._squares(faces)
        return self._scene("narrator, still face", shown, rows, None, squares, sound_of=self.voices)

    def narrator_talking(self, pauses: bool = True, degraded: bool = False) -> Scene:
        """A narrator speaks over a face that says something else: own sound or another's."""
        rows = self._talk(10.0, pauses)
        kind = "narrator, talking face" + ("" if pauses else ", no pauses")
        squares = self._squares(1)
        if self.rng.random() < 0.5:
            return self._scene(kind, [self._rolled(rows, pauses)], rows, None, squares, degraded)
        voice = self._talk(10.0, pauses, self.voices)
        length = min(len(rows), len(voice))
        shown = self._rolled(rows[:length], pauses)
        return self._scene(kind, [shown], voice[:length], None, squares, degraded, self.voices)

    def alone(self, pauses: bool = True, degraded: bool = False) -> Scene:
        """One face, which talks."""
        rows = self._talk(10.0, pauses)
        kind = "one face talks" + ("" if pauses else ", no pauses")
        return self._scene(kind, [rows], rows, 0, self._squares(1), degraded)

    def _in_turns(
        self,
        kind: str,
        faces: int,
        talkers: list[int],
        squares: list[tuple[int, int, int]],
        degraded: bool = False,
    ) -> Scene:
        shown: list[list[Row]] = [[] for _ in range(faces)]
        played: list[Row] = []
        utterances: list[tuple[int, int, int | None]] = []
        for talker in talkers:
            rows = self._talk(3.0, True)
            utterances += self._spans(rows, len(played), talker, self.takes)
            played += rows
            for face in range(faces):
                shown[face] += rows if face == talker else self._idle(len(rows))
        scene = self._scene(kind, shown, played, None, squares, degraded)
        scene.utterances = utterances
        return scene

    def _scene(
        self,
        kind: str,
        shown: list[list[Row]],
        played: list[Row],
        talker: int | None,
        squares: list[tuple[int, int, int]],
        degraded: bool = False,
        sound_of: list[Take] | None = None,
    ) -> Scene:
        takes = self.takes if sound_of is None else sound_of
        sound = np.concatenate([takes[t].sound[f * FRAME : (f + 1) * FRAME] for t, f in played])
        sound = sound + np.float32(1e-4) * self.rng.normal(size=len(sound)).astype(np.float32)
        if degraded:
            sound = _with_music(sound, self.rng)
            kind += ", degraded"
            squares = [(x, y, max(70, side // 3)) for x, y, side in squares]
        panels = [
            Panel(rows, *square, bool(self.rng.random() < 0.5))
            for rows, square in zip(shown, squares, strict=True)
        ]
        spans = _joined(self._spans(played, 0, talker, takes))
        return Scene(kind, self.takes, panels, sound.astype(np.float32), spans, degraded)

    def _talk(self, seconds: float, pauses: bool, takes: list[Take] | None = None) -> list[Row]:
        """Play takes one after another for about so long, whole or their speech alone."""
        takes = self.takes if takes is None else takes
        rows: list[Row] = []
        order: list[int] = []
        while len(rows) < 25 * seconds:
            order = order or [int(n) for n in self.rng.permutation(len(takes))]
            number = order.pop()
            begin, end = takes[number].speech
            frames = len(takes[number].frames)
            span = range(frames) if pauses else range(max(0, begin - 3), min(frames, end + 3))
            rows += [(number, frame) for frame in span]
        return rows

    def _idle(self, length: int) -> list[Row]:
        """Show a still frame, or the frames before a take's speech to and fro."""
        number = int(self.rng.integers(len(self.takes)))
        before = max(2, self.takes[number].speech[0] - 5)
        if self.rng.random() < 0.5:
            return [(number, int(self.rng.integers(before)))] * length
        there = list(range(before))
        circle = there + there[-2:0:-1]
        return [(number, circle[i % len(circle)]) for i in range(length)]

    def _rolled(self, rows: list[Row], pauses: bool) -> list[Row]:
        most = SHIFT[1] if pauses else len(rows) // 2
        shift = int(self.rng.integers(SHIFT[0], most)) * int(self.rng.choice([-1, 1]))
        return rows[shift:] + rows[:shift]

    def _squares(self, faces: int) -> list[tuple[int, int, int]]:
        """Place so many squares side by side, or in two rows."""
        columns, high = (faces, HEIGHT) if faces < 4 else (2, HEIGHT // 2)
        wide = WIDTH // columns
        squares = []
        for face in range(faces):
            side = int(min(wide, high) * self.rng.uniform(0.7, 1.0))
            left = face % columns * wide + int(self.rng.integers(wide - side + 1))
            top = face // columns * high + int(self.rng.integers(high - side + 1))
            squares.append((left, top, side))
        return squares

    @staticmethod
    def _spans(
        rows: list[Row], offset: int, talker: int | None, takes: Sequence[Take]
    ) -> list[tuple[int, int, int | None]]:
        """Return the speech of each take that is played from the start of its speech to its end."""
        spans = []
        begin = 0
        for index in range(1, len(rows) + 1):
            if index == len(rows) or rows[index] != (rows[index - 1][0], rows[index - 1][1] + 1):
                number, first = rows[begin]
                start, stop = takes[number].speech
                if first <= start and rows[index - 1][1] >= stop - 1:
                    at = offset + begin - first
                    spans.append((at + start, at + stop, talker))
                begin = index
        return spans


def _joined(spans: list[tuple[int, int, int | None]]) -> list[tuple[int, int, int | None]]:
    """Join speech with pauses below 0.6 s into utterances of at most 10 s, as ingest does."""
    joined: list[tuple[int, int, int | None]] = []
    for begin, end, talker in spans:
        if joined and begin - joined[-1][1] < 15 and end - joined[-1][0] <= 250:
            joined[-1] = (joined[-1][0], end, talker)
        else:
            joined.append((begin, end, talker))
    return joined


def _fitted(sound: Sound, frames: int) -> Sound:
    fitted = np.zeros(frames * FRAME, np.float32)
    fitted[: len(sound)] = sound[: len(fitted)]
    return fitted


KINDS: dict[str, Callable[[Maker], Scene]] = {
    "turns of 2": lambda make: make.turns(2),
    "turns of 3": lambda make: make.turns(3),
    "turns of 4": lambda make: make.turns(4),
    "turns of 2, degraded": lambda make: make.turns(2, degraded=True),
    "large listener": lambda make: make.listener(),
    "others move": lambda make: make.moving(int(make.rng.integers(2, 5))),
    "others move, in turns": lambda make: make.moving_turns(int(make.rng.integers(2, 5))),
    "others move, no pauses": lambda make: make.moving(int(make.rng.integers(2, 5)), False),
    "others move, degraded": lambda make: make.moving(2, degraded=True),
    "narrator, still face": lambda make: make.narrator_still(int(make.rng.integers(1, 3))),
    "narrator, talking face": lambda make: make.narrator_talking(),
    "narrator, talking face, no pauses": lambda make: make.narrator_talking(False),
    "narrator, talking face, degraded": lambda make: make.narrator_talking(degraded=True),
    "one face talks": lambda make: make.alone(),
    "one face talks, no pauses": lambda make: make.alone(False),
    "one face talks, degraded": lambda make: make.alone(degraded=True),
}
"""Makes one scene of each kind."""
