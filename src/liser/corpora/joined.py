"""Joins corpora into one, with distinct ids and speakers; each clip names its source."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from itertools import chain

from liser.corpora.base import Corpus, Utterance
from liser.errors import InputError
from liser.labels import in_order

_MARK = ":"


def join(corpora: Sequence[Corpus]) -> Corpus:
    """Return one corpus of all utterances, with the union of the label sets.

    Ids and speakers get the corpus's name as a prefix (`prefixed`), so speakers of different
    corpora stay distinct. An utterance's own id becomes an alias, so tables still find it.
    Emotions come in the canonical order, other labels after them. Skips are prefixed, too. A corpus
    without labels, such as one of ingested recordings, fits any other.

    Raises:
        InputError: there is no corpus, two have the same name, or their labels are of different
            kinds.

    >>> happy = Utterance("1", "ann", "happy")
    >>> both = join([Corpus(name, ("happy",), "given", (happy,)) for name in ("a", "b")])
    >>> both.name, [(u.id, u.speaker_id, u.source) for u in both.utterances]
    ('a+b', [('a:1', 'a:ann', 'a'), ('b:1', 'b:ann', 'b')])
    """
    if not corpora:
        raise InputError("there is no corpus to join")
    doubles = [name for name, n in Counter(c.name for c in corpora).items() if n > 1]
    if doubles:
        raise InputError(f"two corpora are called {doubles[0]!r}: rename one")
    labelled = [c for c in corpora if c.labels] or corpora
    if len({c.label_kind for c in labelled}) > 1:
        found = ", ".join(f"those of {c.name} are {c.label_kind}" for c in labelled)
        raise InputError(f"joined labels must be of one kind, but {found}")
    return Corpus(
        "+".join(c.name for c in corpora),
        in_order(chain(*(c.labels for c in corpora))),
        labelled[0].label_kind,
        tuple(_renamed(c.name, u) for c in corpora for u in c.utterances),
        tuple(replace(s, id=prefixed(c.name, s.id)) for c in corpora for s in c.skipped),
        tuple(replace(s, id=prefixed(c.name, s.id)) for c in corpora for s in c.left_out),
        tuple(dict.fromkeys(pair for c in corpora for pair in c.synonyms)),
    )


def prefixed(corpus: str, name: str) -> str:
    """Return the name of a corpus's clip or speaker in joined corpora.

    >>> prefixed("ravdess", "07")
    'ravdess:07'
    """
    return f"{corpus}{_MARK}{name}"


def bare(name: str) -> str:
    """Return the name of a clip or speaker without the prefix of its corpus.

    >>> bare("ravdess:07"), bare("ann")
    ('07', 'ann')
    """
    _, mark, own = name.partition(_MARK)
    return own if mark else name


def source_of(name: str) -> str:
    """Return the corpus that a name's prefix names, or nothing.

    >>> source_of("ravdess:07"), source_of("ann")
    ('ravdess', '')
    """
    source, mark, _ = name.partition(_MARK)
    return source if mark else ""


def labelled_in(corpus: Corpus, labels: Sequence[str]) -> Corpus:
    """Return the corpus with a smaller label set; other labels and votes become None."""
    known = tuple(name for name in corpus.labels if name in labels)

    def known_or_none(label: str | None) -> str | None:
        return label if label in known else None

    utterances = tuple(
        replace(
            u,
            label=known_or_none(u.label),
            perceived=known_or_none(u.perceived),
            perceived_voice=known_or_none(u.perceived_voice),
        )
        for u in corpus.utterances
    )
    return replace(corpus, labels=known, utterances=utterances)


def _renamed(corpus: str, u: Utterance) -> Utterance:
    speaker = None if u.speaker_id is None else prefixed(corpus, u.speaker_id)
    aliases = (u.id, *(name for name in u.aliases if name != u.id))
    return replace(u, id=prefixed(corpus, u.id), speaker_id=speaker, aliases=aliases, source=corpus)
