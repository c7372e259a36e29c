"""What a corpus holds, and what is wrong with it."""

import hashlib
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from liser.corpora.base import Corpus, LabelKind, Skip, Utterance

CHECK_RATE = 16_000  # Hz; speech students and teachers hear nothing above half of it
SILENT_PEAK = 10 ** (-60 / 20)  # -60 dB of full scale: below a quiet room's noise
SHORTEST_S = 0.3  # about one stressed syllable: too little to hear an emotion in
IMBALANCE = 3.0  # the commonest label over the rarest
NONE = "(none)"  # stands for no label, no speaker or no sex in the counts


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong: a short stable reason, and the detail for each clip that has it."""

    reason: str
    clips: dict[str, str]


@dataclass(frozen=True, slots=True)
class CorpusReport:
    """What `corpus` found.

    `by_speaker` and `by_sex` count utterances: speaker (or sex) -> label -> count. `with_logmel`
    counts stored log-mels, which are heard where there is no file. `duration_s` is the total of
    the utterances that could be opened, and `sample_rates` maps the files' own rates, in Hz, to
    the number of those utterances. `decoded` tells whether the samples were looked at; without
    it, nothing is known of silence, damage inside a file, or equal contents. `left_out` and
    `synonyms` are the corpus's.
    """

    name: str
    labels: tuple[str, ...]
    label_kind: LabelKind
    utterances: int
    with_video: int
    with_logmel: int
    by_speaker: dict[str, dict[str, int]]
    by_sex: dict[str, dict[str, int]]
    duration_s: float
    sample_rates: dict[int, int]
    decoded: bool
    problems: tuple[Problem, ...]
    left_out: tuple[Skip, ...] = ()
    synonyms: tuple[tuple[str, str], ...] = ()


def corpus(
    source: Corpus, decode: bool = True, advance: Callable[[], None] = lambda: None
) -> CorpusReport:
    """Count what a corpus holds and name the clips with something wrong.

    Reads the header of every sound file and, with `decode`, every sample and every byte; pictures
    are not looked at. `advance` is called once after each utterance, for a progress bar. Problems
    are: what the loader skipped, no sound file, what
    `liser.media.audio` refuses (unreadable, truncated, …), silent, too short, duplicated content
    (by SHA-256 of the file and the stretch of it), no speaker, no label (where the corpus has
    labels), and label imbalance.
    """
    # This check is the one thing of this stage that needs the next one: loaders open no media.
    from liser.corpora.stored_logmel import LogMelReader

    reader = LogMelReader()
    problems: dict[str, dict[str, str]] = {}

    def note(reason: str, clip: str, detail: str) -> None:
        problems.setdefault(reason, {})[clip] = detail

    for skip in source.skipped:
        note(skip.reason, skip.id, skip.detail)
    duration_s, rates = 0.0, Counter[int]()
    contents: dict[tuple[str, float, float | None], str] = {}
    digests: dict[Path, str] = {}  # a long file cut into many utterances is hashed once
    for u in source.utterances:
        for reason, detail in _from_record(u, source):
            note(reason, u.id, detail)
        if u.audio is not None:
            try:
                heard_s, rate, faults = _listen(u, u.audio, decode)
                if decode:
                    if u.audio not in digests:
                        digests[u.audio] = _sha256(u.audio)
                    first = contents.setdefault((digests[u.audio], u.start_s, u.end_s), u.id)
                    if first != u.id:
                        faults.append(("duplicated content", f"the same bytes as {first}"))
            except Exception as error:
                skip = Skip.of(u.id, error)
                note(skip.reason, u.id, skip.detail)
            else:
                duration_s += heard_s
                rates[rate] += 1
                for reason, detail in faults:
                    note(reason, u.id, detail)
        elif u.logmel is not None and decode:
            try:
                reader.power(u.logmel)
            except Exception as error:
                skip = Skip.of(u.id, error)
                note(skip.reason, u.id, skip.detail)
        advance()
    imbalance = _imbalance(source)
    if imbalance is not None:
        note("label imbalance", source.name, imbalance)
    return CorpusReport(
        name=source.name,
        labels=source.labels,
        label_kind=source.label_kind,
        utterances=len(source.utterances),
        with_video=sum(u.video is not None for u in source.utterances),
        with_logmel=sum(u.logmel is not None for u in source.utterances),
        by_speaker=_count((u.speaker_id, u.label) for u in source.utterances),
        by_sex=_count((u.sex, u.label) for u in source.utterances),
        duration_s=duration_s,
        sample_rates=dict(sorted(rates.items())),
        decoded=decode,
        problems=tuple(Problem(reason, clips) for reason, clips in sorted(problems.items())),
        left_out=source.left_out,
        synonyms=source.synonyms,
    )


def _from_record(u: Utterance, source: Corpus) -> Iterable[tuple[str, str]]:
    """Yield what is wrong with an utterance before its sound is opened."""
    if u.speaker_id is None:
        yield "no speaker", "it can be in no fold of whole speakers"
    if u.label is None and source.labels:
        yield "no label", f"there is no {source.label_kind} emotion for it"
    if u.audio is None and u.logmel is None:
        yield "no sound file", "only tables or silent video can know this clip"


def _listen(u: Utterance, audio: Path, decode: bool) -> tuple[float, int, list[tuple[str, str]]]:
    """Return an utterance's length in seconds, its file's rate in Hz, and what is wrong.

    Raises `MediaError` for sound that cannot be used at all.
    """
    from liser.media.audio import load_audio, probe

    info = probe(audio)
    heard_s = min(info.duration_s, u.end_s or info.duration_s) - u.start_s
    faults = []
    if decode:
        waveform = load_audio(audio, CHECK_RATE, u.start_s, u.end_s)
        heard_s = len(waveform) / CHECK_RATE
        peak = float(np.abs(waveform).max())
        if peak < SILENT_PEAK:
            faults.append(("silent", f"no sample above {peak:.1e} of full scale"))
    if heard_s < SHORTEST_S:
        faults.append(("too short", f"{max(heard_s, 0):.2f} s, less than {SHORTEST_S} s"))
    return max(heard_s, 0.0), info.sample_rate, faults


def _sha256(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _count(pairs: Iterable[tuple[str | None, str | None]]) -> dict[str, dict[str, int]]:
    """Count pairs as group -> label -> count, groups and labels sorted."""
    table: dict[str, dict[str, int]] = {}
    for (group, label), n in sorted(Counter((g or NONE, k or NONE) for g, k in pairs).items()):
        table.setdefault(group, {})[label] = n
    return table


def _imbalance(source: Corpus) -> str | None:
    counts = Counter(u.label for u in source.utterances if u.label is not None)
    if not counts:
        return None
    sizes = {label: counts[label] for label in source.labels}
    rarest, commonest = min(sizes, key=sizes.__getitem__), max(sizes, key=sizes.__getitem__)
    if sizes[commonest] <= IMBALANCE * sizes[rarest]:
        return None
    return f"{sizes[commonest]} clips are {commonest!r} and {sizes[rarest]} {rarest!r}"
