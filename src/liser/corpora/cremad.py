"""CREMA-D: 91 actors, twelve sentences, six emotions, and a crowd that rated every clip.

Cao et al. 2014, doi:10.1109/TAFFC.2014.2336244. A file name is Actor_Sentence_Emotion_Level.
"""

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal, get_args

from liser.config import Frontend
from liser.corpora.base import Corpus, Skip, StoredLogMel, Utterance
from liser.corpora.files import Take, best, find_media, group_takes, look_through, sound_of
from liser.corpora.tables import Row, read_rows, text
from liser.errors import InputError, NotFoundError
from liser.labels import CREMAD, canonical
from liser.text.escaping import readable

Labels = Literal["intended", "perceived"]
Votes = Literal["voice", "face", "audiovisual"]
"""What the crowd saw or heard: the sound alone, the picture alone, or both."""

_NAME = re.compile(r"(?P<actor>\d{4})_[A-Z]{3}_(?P<emotion>ANG|DIS|FEA|HAP|NEU|SAD)_(HI|MD|LO|XX)")
# One name lost a letter upstream, in some of the tables.
_MISSPELT = {"1040_ITH_SAD_X": "1040_ITH_SAD_XX"}
_BAD_UPSTREAM = {
    "1076_MTI_NEU_XX": "the recording has no sound",
    "1076_MTI_SAD_XX": "the recording has no sound",
    "1064_TIE_SAD_XX": "the recording is damaged",
    "1064_IEO_DIS_MD": "the recording is damaged",
}
CLIP_LISTS = ("logmel_clips.parquet",)
_LOGMELS = "logmel_u8.npy"
STORED_FRONTEND = Frontend(
    sample_rate=22_050, window_ms=92.88, hop_ms=23.22, mels=128, low_hz=0.0, high_hz=None
)
"""The front end of ``logmel_u8.npy``: librosa's n_fft 2048 and hop 512, Slaney's 128 bands."""
_STORED_RANGE_DB = 80.0  # librosa.power_to_db's top_db; 16 kHz sound leaves every clip's top silent
_VOTE_TABLES = ("votes.parquet", "processedResults/summaryTable.csv", "summaryTable.csv")
_ACTOR_TABLES = ("actors.parquet", "VideoDemographics.csv")
TABLES = (*CLIP_LISTS, *_VOTE_TABLES, *_ACTOR_TABLES)
_SUMMARY_COLUMNS: dict[Votes, str] = {
    "voice": "VoiceVote",
    "face": "FaceVote",
    "audiovisual": "MultiModalVote",
}
_VOTED = {word: canonical(word) for word in ("anger", "disgust", "fear", "happy", "neutral", "sad")}
_INITIALS = {word[0].upper(): label for word, label in _VOTED.items()}


def load(path: Path, labels: Labels = "intended", votes: Votes = "audiovisual") -> Corpus:
    """Read CREMA-D, in any layout of folders, as one utterance a clip.

    Clips are the media files, by their names, and the rows of ``logmel_clips.parquet`` in `path`.
    The same row of ``logmel_u8.npy`` beside it is a clip's stored log-mel. Of several formats of a
    clip, the lossless one is used. Upstream's four bad clips, second copies, and names that can't
    be parsed are skipped.

    `labels` are the *intended* emotions from the names, or the *perceived* ones: the plurality of
    the crowd's votes in the modality `votes`, None on a tie or without votes. Either way, an
    utterance's `perceived` holds the plurality with sound and picture, and `perceived_voice` the
    plurality with sound alone. Votes come from ``votes.parquet`` (clip, modality, and a count for
    each emotion) or upstream's ``summaryTable.csv``. Sexes come from ``actors.parquet`` or
    upstream's ``VideoDemographics.csv``, and are None without one.

    Raises `NotFoundError` if `path` has no CREMA-D clip, or no votes for perceived labels;
    `InputError` for an unknown `labels` or `votes`, or a table without the columns named above.
    """
    path = Path(path)
    _one_of("labels", labels, get_args(Labels))
    _one_of("votes", votes, get_args(Votes))
    takes, skipped, left_out = _clips(path)
    winners = _winners(path)
    if labels == "perceived" and winners is None:
        raise NotFoundError(
            f"perceived labels need the crowd's votes, but {str(path)!r} has none of "
            f"{', '.join(_VOTE_TABLES)}: put one there, or use labels='intended'"
        )
    plurality: dict[Votes, dict[str, str | None]] = winners or {}
    logmels = _stored_logmels(path)
    sexes = _sexes(path)
    misspelt = {right: wrong for wrong, right in _MISSPELT.items()}
    utterances = []
    for name, take in sorted(takes.items()):
        actor, _, emotion, _ = name.split("_")
        utterances.append(
            Utterance(
                id=name,
                speaker_id=actor,
                label=canonical(emotion) if labels == "intended" else plurality[votes].get(name),
                audio=sound_of(take),
                video=best(take, "video"),
                sex=sexes.get(actor),
                aliases=(misspelt[name],) if name in misspelt else (),
                logmel=logmels.get(name),
                perceived=plurality.get("audiovisual", {}).get(name),
                perceived_voice=plurality.get("voice", {}).get(name),
            )
        )
    return Corpus("cremad", CREMAD, labels, tuple(utterances), tuple(skipped), left_out)


def is_name(stem: str) -> bool:
    """Return whether a file name without its suffix is one of CREMA-D's.

    >>> is_name("1001_DFA_ANG_XX"), is_name("1001_DFA_ANGRY")
    (True, False)
    """
    return _NAME.fullmatch(_spelt(stem)) is not None


def _spelt(name: str) -> str:
    return _MISSPELT.get(name, name)


def _clips(path: Path) -> tuple[dict[str, Take], list[Skip], tuple[Skip, ...]]:
    """Return the files of each clip (or none), the skipped clips, and the left-out files."""
    clip_list = _find(path, CLIP_LISTS)
    found = find_media(path) if clip_list is None else look_through(path)
    named, skipped = [], list(found.skipped)
    for file in found.media:
        name = readable(file.path.relative_to(path).as_posix())
        if is_name(file.path.stem):
            named.append(file)
        else:
            skipped.append(Skip(name, "name not understood", "not like 1001_DFA_ANG_XX"))
    takes, copies = group_takes(named, path, lambda f: _spelt(f.stem))
    if clip_list is not None:
        for row in _rows(clip_list, ("clip",)):
            clip = text(row["clip"]) or ""
            if is_name(clip):
                takes.setdefault(_spelt(clip), ())
            else:
                skipped.append(Skip(clip, "name not understood", f"in {clip_list.name}"))
    bad = [Skip(name, "bad upstream", why) for name, why in _BAD_UPSTREAM.items() if name in takes]
    for skip in bad:
        del takes[skip.id]
    if not takes:
        raise NotFoundError(
            f"{readable(path)!r} has no CREMA-D clip: none of its {len(found.media)} media files "
            "has a name like 1001_DFA_ANG_XX"
        )
    return takes, [*skipped, *copies, *bad], found.left_out


def _stored_logmels(path: Path) -> dict[str, StoredLogMel]:
    """Return each clip's stored log-mel; the list of clips has the order of the rows."""
    table, file = _find(path, CLIP_LISTS), path / _LOGMELS
    if table is None or not file.is_file():
        return {}
    return {
        _spelt(text(row["clip"]) or ""): StoredLogMel(file, at, STORED_FRONTEND, _STORED_RANGE_DB)
        for at, row in enumerate(_rows(table, ("clip",)))
    }


def _winners(path: Path) -> dict[Votes, dict[str, str | None]] | None:
    """Return the plurality of each voted clip by modality, None on a tie; None without votes."""
    table = _find(path, _VOTE_TABLES)
    if table is None:
        return None
    modalities: tuple[Votes, ...] = get_args(Votes)
    winners: dict[Votes, dict[str, str | None]] = {votes: {} for votes in modalities}
    if table.suffix == ".parquet":
        for row in _rows(table, ("clip", "modality", *_VOTED)):
            if row["modality"] in winners:
                counts = {label: int(row[word] or 0) for word, label in _VOTED.items()}
                winners[row["modality"]][_spelt(row["clip"])] = _plurality(counts)
        return winners
    for row in _rows(table, ("FileName", *_SUMMARY_COLUMNS.values())):
        for votes in modalities:
            # Upstream writes ties as initials with colons between them.
            winner = _INITIALS.get(row[_SUMMARY_COLUMNS[votes]])
            winners[votes][_spelt(row["FileName"])] = winner
    return winners


def _plurality(counts: dict[str, int]) -> str | None:
    most = max(counts.values())
    winners = [label for label, count in counts.items() if count == most]
    return winners[0] if most and len(winners) == 1 else None


def _sexes(path: Path) -> dict[str, Literal["female", "male"]]:
    table = _find(path, _ACTOR_TABLES)
    if table is None:
        return {}
    actor, sex = ("actor", "sex") if table.suffix == ".parquet" else ("ActorID", "Sex")
    sexes: dict[str, Literal["female", "male"]] = {}
    for row in _rows(table, (actor, sex)):
        match (text(row[sex]) or "").lower():
            case "female" | "male" as word:
                sexes[text(row[actor]) or ""] = word
    return sexes


def _find(path: Path, names: Iterable[str]) -> Path | None:
    return next((path / name for name in names if (path / name).is_file()), None)


def _rows(table: Path, columns: Iterable[str]) -> list[Row]:
    rows = read_rows(table)
    missing = [column for column in columns if rows and column not in rows[0]]
    if missing:
        raise InputError(f"{str(table)!r} has no column {missing[0]!r}, only {', '.join(rows[0])}")
    return rows


def _one_of(name: str, value: Any, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise InputError(f"{name}={value!r} is not one of {', '.join(choices)}")
