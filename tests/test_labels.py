"""One name for each emotion, and one table of synonyms, which the docs show."""

from pathlib import Path

import pytest

from liser.labels import RAVDESS, SYNONYMS, canonical, renamed, without_invisible

DOCS = Path(__file__).parents[1] / "docs" / "how-to" / "corpora.md"


@pytest.mark.parametrize(
    ("name", "label"),
    [
        *(("Anxiety", "fearful"), ("FEAR", "fearful"), (" joy ", "happy"), ("Anger", "angry")),
        *(("happiness", "happy"), ("sadness", "sad"), ("surprise", "surprised")),
        *(("Pleasant  Surprise", "surprised"), ("excited", "excited"), ("Bored", "bored")),
    ],
)
def test_names_that_mean_one_emotion_become_one(name: str, label: str) -> None:
    assert canonical(name) == label


def test_no_word_means_two_emotions() -> None:
    words = [word for words in SYNONYMS.values() for word in words]
    assert len(set(words)) == len(words) and not set(words) & set(RAVDESS)
    assert set(SYNONYMS) <= set(RAVDESS)


def test_only_synonyms_are_returned() -> None:
    assert renamed(["Sad", "ANGER", "anger", "bored"]) == (("anger", "angry"),)


def test_the_docs_show_the_table() -> None:
    shown = DOCS.read_text("utf-8")
    for label, words in SYNONYMS.items():
        assert f"| `{label}` | {', '.join(f'`{word}`' for word in words)} |" in shown


def test_invisible_characters_make_no_other_emotion() -> None:
    for word in ("\u200bhappy", "hap\u00adpy", "Happy\u200d\ufeff", "\u2060 JOY \u200e"):
        assert canonical(word) == "happy"
    assert without_invisible("\u0645\u06cc\u200c\u062e") == "\u0645\u06cc\u200c\u062e"
