"""The contact sheet: one page that shows what was taken from long recordings, and what was not.

A card a piece: the picture with the faces' boxes, the sound to play, why it was used so, and the
teachers' first guesses where a target store has them. The page holds its pictures and sound, so it
can be moved and sent. A large corpus is sampled, so that every reason is represented.
"""

import base64
import io
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray

from liser.corpora import ingested
from liser.errors import MediaError
from liser.media.audio import load_audio
from liser.posteriors import softmax
from liser.report.page import page_environment
from liser.storage import write_text
from liser.targets.store import TargetStore
from liser.teachers.base import Target
from liser.text.progress import duration

MOST_PIECES = 240
"""Pieces on the page: at about 25 kB each it stays below 8 MB."""

SOUND_RATE = 16_000
_BIT_RATE = 24_000
_BARS = 96  # of a waveform
_WIDTH = 360  # pixels of a picture
_QUALITY = 72  # of JPEG
_MEASURES = (
    ("level", "level_dbfs", "{:.0f} dBFS"),
    ("above its surroundings", "snr_db", "{:.0f} dB"),
    ("at the peak", "clipped", "{:.2%}"),
    ("music", "music", "{:.0%}"),
    ("second voice", "second_voice", "{:.2f}"),
    ("face height", "face_height", "{:.0f} px"),
    ("sharpness", "sharpness", "{:.3f}"),
    ("turn", "turn", "{:.2f}"),
    ("face seen", "seen", "{:.0%}"),
    ("synchrony", "synchrony", "{:.2f}"),
)
"""Measures on a card: what readers call each, its column, and how it is written."""

Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Guess:
    """A teacher's first guess about a piece."""

    teacher: str
    modality: str
    label: str
    probability: float


def contact_sheet(
    corpus: Path,
    rows: Sequence[Row],
    summary: Mapping[str, Any],
    path: Path,
    store: Path | None = None,
    update: Callable[[int, int], None] = lambda done, total: None,
    most: int = MOST_PIECES,
) -> None:
    """Write the contact sheet of an ingested corpus.

    Args:
        corpus: its folder.
        rows: its manifest.
        summary: its counts (`liser.ingest.manifest.summary`).
        path: where to write the page.
        store: a target store, whose teachers' guesses are shown.
        update: called with the number of cards that are done, and of all.
        most: cards on the page.

    Raises `StorageError` if the page can't be written, and `MissingExtraError` without Jinja.
    """
    environment = page_environment()
    shown = sampled(rows, most)
    guesses = {} if store is None else first_guesses(corpus, {row["id"] for row in shown}, store)
    cards = []
    for number, row in enumerate(shown, start=1):
        cards.append(_card(corpus, row, guesses.get(row["id"], ())))
        update(number, len(shown))
    environment.filters |= {
        "duration": duration,
        "count": lambda n: f"{n:,}".replace(",", "\u202f"),
    }
    page = environment.get_template("contact_sheet.html.j2").render(
        title=corpus.resolve().name,
        summary=summary,
        cards=cards,
        total=len(rows),
        uses=_uses(summary),
        sources=sorted({card["source"] for card in cards}),
    )
    write_text(path, page)


def sampled(rows: Sequence[Row], most: int) -> list[Row]:
    """Choose at most `most` rows, in their order, with each use and reason in turn.

    Within a reason they are spread evenly over the corpus. The same rows give the same choice.
    """
    if len(rows) <= most:
        return list(rows)
    groups: defaultdict[tuple[str, str], list[int]] = defaultdict(list)
    for place, row in enumerate(rows):
        groups[row["taken"], row["reason"]].append(place)
    spread = [_spread(places) for places in groups.values()]
    chosen: set[int] = set()
    for turn in range(max(map(len, spread))):
        for places in spread:
            if turn < len(places) and len(chosen) < most:
                chosen.add(places[turn])
    return [rows[place] for place in sorted(chosen)]


def _spread(places: list[int]) -> list[int]:
    """Order places so that each beginning of the list covers the whole range: by halves."""
    order = sorted(range(len(places)), key=lambda n: int(f"{n:032b}"[::-1], 2))
    return [places[n] for n in order]


def first_guesses(corpus: Path, ids: set[str], store: Path) -> dict[str, tuple[Guess, ...]]:
    """Return what the teachers of a store named first for some utterances, by id."""
    utterances = [one for one in ingested.load(corpus).utterances if one.id in ids]
    targets = TargetStore(store)
    found: defaultdict[str, list[Guess]] = defaultdict(list)
    for card, stored in targets.classifiers():
        with targets.keys(corpus.resolve().name, card.modality) as key_of:
            keys = {one.id: key_of(one) for one in utterances}
        named = {clip: key for clip, key in keys.items() if isinstance(key, str)}
        with stored:
            outcomes = stored.read(set(named.values()))
        for clip, key in named.items():
            target = outcomes.get(key)
            if isinstance(target, Target) and target.logits is not None:
                posterior = softmax(target.logits[None])[0]
                best = int(posterior.argmax())
                guess = Guess(card.name, card.modality, card.labels[best], float(posterior[best]))
                found[clip].append(guess)
    return {clip: tuple(guesses) for clip, guesses in found.items()}


def _uses(summary: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the uses with their share of the time, for the bar, and their reasons."""
    whole = sum(use["seconds"] for use in summary["taken"].values()) or 1.0
    return [
        {
            "name": name,
            "key": name.replace(" ", "-"),
            "pieces": use["pieces"],
            "seconds": use["seconds"],
            "share": use["seconds"] / whole,
            "reasons": [one for one in summary["reasons"] if one["taken"] == name],
        }
        for name, use in summary["taken"].items()
    ]


def _card(corpus: Path, row: Row, guesses: Sequence[Guess]) -> dict[str, Any]:
    media = corpus / row["path"]
    try:
        sound: NDArray[np.float32] | None = load_audio(media, SOUND_RATE, row["start"], row["end"])
    except MediaError:
        sound = None
    middle_s = (row["start"] + row["end"]) / 2
    picture = _picture(media, middle_s) if row["has_video"] else None
    return {
        "id": row["id"],
        "source": PurePosixPath(row["path"]).name,
        "start": _clock(row["start"]),
        "seconds": row["end"] - row["start"],
        "taken": row["taken"],
        "key": row["taken"].replace(" ", "-"),
        "reason": row["reason"],
        "why": row["talks_why"],
        "duplicate_of": row["duplicate_of"],
        "score": row["talks_score"],
        "guesses": guesses,
        "picture": picture,
        "talker": _box_at(row, middle_s),
        "others": np.reshape(row["other_boxes"], (-1, 4)).tolist(),
        "wave": None if sound is None else _wave(sound),
        "mp3": None if sound is None else _mp3(sound),
        "measures": [
            (name, form.format(row[column]))
            for name, column, form in _MEASURES
            if row[column] is not None
        ],
    }


def _box_at(row: Row, time_s: float) -> list[float] | None:
    """Return the talking face's box nearest to a time."""
    if not row["boxes"]:
        return None
    nearest = int(np.abs(np.array(row["box_times"]) - time_s).argmin())
    return [float(side) for side in row["boxes"][4 * nearest : 4 * nearest + 4]]


@dataclass(frozen=True, slots=True)
class _Picture:
    """A JPEG in base64, and its size in pixels."""

    jpeg: str
    width: int
    height: int

    def rectangle(self, box: Sequence[float]) -> tuple[float, ...]:
        """Return x, y, width and height in pixels of a box in shares of the picture."""
        sides = (self.width, self.height, self.width, self.height)
        return tuple(round(share * side, 1) for share, side in zip(box, sides, strict=True))


def _picture(media: Path, time_s: float) -> _Picture | None:
    """Return the frame on screen at a time, None if it can't be read."""
    from liser.media.detectors import import_cv2
    from liser.media.video import read_frames

    cv2 = import_cv2()
    try:
        image = read_frames(media, 25.0, time_s, time_s + 0.04).images[0]
    except MediaError:
        return None
    height, width = image.shape[:2]
    if width > _WIDTH:
        size = (_WIDTH, max(1, round(height * _WIDTH / width)))
        image = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    _, encoded = cv2.imencode(".jpg", image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, _QUALITY])
    jpeg = base64.b64encode(encoded.tobytes()).decode()
    return _Picture(jpeg, image.shape[1], image.shape[0])


def _wave(sound: NDArray[np.float32]) -> str:
    """Return the waveform's outline as the path of a picture 96 wide and 24 high."""
    parts = np.array_split(np.abs(sound), min(_BARS, max(1, len(sound))))
    peaks = np.array([float(part.max(initial=0.0)) for part in parts])
    heights = 0.4 + 11 * np.sqrt(peaks / max(float(peaks.max()), 1e-6))
    step = 96 / len(peaks)
    bars = [
        f"M{(n + 0.5) * step:.1f} {12 - height:.1f}V{12 + height:.1f}"
        for n, height in enumerate(heights)
    ]
    return "".join(bars)


def _mp3(sound: NDArray[np.float32]) -> str:
    """Return a sound as MP3 in base64, which every browser plays."""
    file = io.BytesIO()
    with av.open(file, "w", format="mp3") as container:
        stream = container.add_stream("libmp3lame", rate=SOUND_RATE, layout="mono")
        stream.bit_rate = _BIT_RATE
        frame = av.AudioFrame.from_ndarray(sound[None], "fltp", "mono")
        frame.sample_rate = SOUND_RATE
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return base64.b64encode(file.getvalue()).decode()


def _clock(seconds: float) -> str:
    """Write a time as on a player.

    >>> _clock(62.34), _clock(3723.0)
    ('1:02.3', '1:02:03.0')
    """
    tenths = round(seconds * 10)
    minutes, rest = divmod(tenths, 600)
    hours, minutes = divmod(minutes, 60)
    start = f"{hours}:{minutes:02d}" if hours else f"{minutes}"
    return f"{start}:{rest // 10:02d}.{rest % 10}"
