"""Checks a corpus: counts its contents, and names the clips with problems."""

import hashlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from liser.corpora.base import Corpus, LabelKind, Skip, Utterance
from liser.corpora.stored_logmel import LogMelReader

CHECK_RATE = 16_000  # Hz; speech teachers use nothing above half of it
SILENT_PEAK = 10 ** (-60 / 20)  # -60 dB of full scale: below a quiet room's noise
SHORTEST_S = 0.3  # about one stressed syllable: too little to hear an emotion in
IMBALANCE = 3.0  # the commonest label over the rarest
NONE = "(none)"  # no label, no speaker or no sex in the counts


_Fault = tuple[str, str]
"""Reason and detail."""


@dataclass(frozen=True, slots=True)
class Problem:
    """One kind of problem: a short stable reason, and the detail for each clip that has it."""

    reason: str
    clips: dict[str, str]


@dataclass(frozen=True, slots=True)
class CorpusReport:
    """The result of `check_corpus`.

    `by_speaker` and `by_sex` count utterances: speaker (or sex) -> label -> count. `with_logmel`
    counts stored log-mels. `duration_s` is the total of the readable utterances, and
    `sample_rates` maps their files' rates in Hz to numbers of utterances. `decoded` is whether the
    samples were checked; without that, silence, damage inside files and duplicates are unknown.
    `left_out` and `synonyms` are the corpus's.
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


def check_corpus(
    source: Corpus, decode: bool = True, advance: Callable[[], None] = lambda: None
) -> CorpusReport:
    """Count the contents of a corpus and name the clips with problems.

    Reads the header of every audio file and, with `decode`, every sample and every byte; it
    ignores video. `advance` is called after each utterance. Problems are: clips that the loader
    skipped, no audio file, every reason of `liser.media.audio` (unreadable, truncated, …), silent,
    too short, duplicated content (by SHA-256 of the file, and the segment), no speaker, no label
    (if the corpus has labels), and label imbalance.
    """
    problems: dict[str, dict[str, str]] = {}

    def note(clip: str, faults: Iterable[_Fault]) -> None:
        for reason, detail in faults:
            problems.setdefault(reason, {})[clip] = detail

    for skip in source.skipped:
        note(skip.id, [(skip.reason, skip.detail)])
    duration_s, rates = 0.0, Counter[int]()
    reader = _ClipReader(decode)
    for u in source.utterances:
        note(u.id, _faults_of_record(u, source))
        length_s, rate, faults = reader.read(u)
        note(u.id, faults)
        duration_s += length_s
        rates.update([] if rate is None else [rate])
        advance()
    imbalance = _imbalance(source)
    if imbalance is not None:
        note(source.name, [("label imbalance", imbalance)])
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


def _faults_of_record(u: Utterance, source: Corpus) -> Iterator[_Fault]:
    """Yield the problems of an utterance that don't need its audio."""
    if u.speaker_id is None:
        yield "no speaker", "it can be in no fold of whole speakers"
    if u.label is None and source.labels:
        yield "no label", f"there is no {source.label_kind} emotion for it"
    if u.audio is None and u.logmel is None:
        yield "no sound file", "it has neither audio nor a stored log-mel"


class _ClipReader:
    """Reads utterances and finds their problems; with `decode`, their samples and bytes too."""

    def __init__(self, decode: bool) -> None:
        self._decode = decode
        self._logmels = LogMelReader()
        self._digests: dict[Path, str] = {}  # a long file with many utterances is hashed once
        self._contents: dict[tuple[str, float, float | None], str] = {}

    def read(self, u: Utterance) -> tuple[float, int | None, list[_Fault]]:
        """Return an utterance's length in seconds, its file's rate in Hz, and its problems.

        Without usable audio, the length is 0 and the rate None.
        """
        try:
            return self._read(u)
        except Exception as error:
            skip = Skip.of(u.id, error)
            return 0.0, None, [(skip.reason, skip.detail)]

    def _read(self, u: Utterance) -> tuple[float, int | None, list[_Fault]]:
        if u.audio is None:
            if u.logmel is not None and self._decode:
                self._logmels.power(u.logmel)
            return 0.0, None, []
        length_s, rate, faults = self._read_audio(u, u.audio)
        if self._decode:
            if u.audio not in self._digests:
                self._digests[u.audio] = _sha256(u.audio)
            content = (self._digests[u.audio], u.start_s, u.end_s)
            first = self._contents.setdefault(content, u.id)
            if first != u.id:
                faults.append(("duplicated content", f"the same bytes as {first}"))
        return length_s, rate, faults

    def _read_audio(self, u: Utterance, audio: Path) -> tuple[float, int, list[_Fault]]:
        from liser.media.audio import load_audio, probe

        info = probe(audio)
        length_s = min(info.duration_s, u.end_s or info.duration_s) - u.start_s
        faults = []
        if self._decode:
            waveform = load_audio(audio, CHECK_RATE, u.start_s, u.end_s)
            length_s = len(waveform) / CHECK_RATE
            peak = float(np.abs(waveform).max())
            if peak < SILENT_PEAK:
                faults.append(("silent", f"no sample above {peak:.1e} of full scale"))
        if length_s < SHORTEST_S:
            faults.append(("too short", f"{max(length_s, 0):.2f} s, less than {SHORTEST_S} s"))
        return max(length_s, 0.0), info.sample_rate, faults


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
