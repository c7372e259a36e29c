"""How often the search for speech misses speech, and takes noise or music for it.

    python benchmarks/speech_search.py --speech RAVDESS=../shared/data/ravdess/audio \\
        --speech ASED=../shared/data/ased/audio --speech nEMO=../shared/data/nemo/audio

Each folder holds a folder for each speaker; speakers whose names end in an odd number are scored
apart, since ASED's chose the limits of the second search. The sounds that are no speech are made
(`made_sounds.py`), 20 s each, from another seed than those of the choice, which were 0, 1 and 2.
``benchmarks/results/speech_search.json`` holds a row for each kind, with and without the second
search.
"""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import typer
from numpy.typing import NDArray

from liser import storage
from liser.runtime.silero import silero
from liser.runtime.slow_search import SlowSearch
from liser.runtime.speech_search import SpeechSearch
from liser.runtime.vad import FRAME, FRAME_RATE, Detector
from made_sounds import KINDS, made_sound

RESULTS = Path(__file__).parent / "results" / "speech_search.json"
WINDOW_S = 6.0
SEED = 7

Sounds = Iterator[NDArray[np.float32]]


def main(
    speech: list[str] = typer.Option([], metavar="NAME=DIR", help="Recordings of speech."),
    sounds: int = typer.Option(20, help="How many sounds to make of each kind."),
    out: Path = typer.Option(RESULTS),
) -> None:
    """Search speech and made sounds, and write how many have speech."""
    make = silero()
    rows = []
    for name, _, folder in (word.partition("=") for word in speech):
        for group, files in _by_speaker(Path(folder)).items():
            title = f"{name}, {group} speakers" if group else name
            rows.append(_row(make, "speech", title, _recordings(files)))
            print(rows[-1], flush=True)
    for number, kind in enumerate(KINDS):
        made = (made_sound(kind, np.random.default_rng([SEED, number, i])) for i in range(sounds))
        rows.append(_row(make, "no speech", kind, made))
        print(rows[-1], flush=True)
    storage.write_json(out, {"seed": SEED, "rows": rows})


def _row(make: Callable[[], Detector], role: str, name: str, sounds: Sounds) -> dict[str, Any]:
    """Count sounds with speech, by the first search alone and by both, and the seconds of it."""
    count, duration_s = 0, 0.0
    found, speech_s = {"first": 0, "both": 0}, {"first": 0.0, "both": 0.0}
    for sound in sounds:
        count, duration_s = count + 1, duration_s + len(sound) / FRAME_RATE
        for which, slow in (("first", None), ("both", SlowSearch(make, WINDOW_S))):
            seconds = _speech_s(SpeechSearch(make(), WINDOW_S, slow), sound)
            found[which] += seconds > 0
            speech_s[which] += seconds
    return {
        "role": role,
        "name": name,
        "sounds": count,
        "duration_s": round(duration_s, 1),
        **{f"with_speech_{which}": number for which, number in found.items()},
        **{f"speech_s_{which}": round(seconds, 1) for which, seconds in speech_s.items()},
    }


def _speech_s(search: SpeechSearch, sound: NDArray[np.float32]) -> float:
    frames = np.pad(sound, (0, -len(sound) % FRAME)).reshape(-1, FRAME)
    spans = [*search.feed(frames), *search.end(len(sound) / FRAME_RATE)]
    return sum(end_s - begin_s for begin_s, end_s in spans)


def _by_speaker(folder: Path) -> dict[str, list[Path]]:
    """Group recordings by whether the speaker's number is odd; "" if it is no number."""
    groups: dict[str, list[Path]] = {}
    for file in sorted(path for path in folder.rglob("*.*") if path.is_file()):
        last = file.parent.name[-2:]
        group = ("even", "odd")[int(last) % 2] if last.isdigit() else ""
        groups.setdefault(group, []).append(file)
    return groups


def _recordings(files: list[Path]) -> Sounds:
    from liser.media.audio import load_audio

    return (load_audio(file, FRAME_RATE) for file in files)


if __name__ == "__main__":
    typer.run(main)
