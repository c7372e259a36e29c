"""The model card shows the record, and says what the record lacks."""

from pathlib import Path
from typing import Any

from liser.bundle import Bundle
from liser.model_card import calibrated_threshold, card


def card_of(provenance: dict[str, Any], threshold: float = 0.0) -> str:
    bundle = Bundle(
        folder=Path("x"),
        name="small",
        labels=("happy", "sad"),
        sample_rate=22_050,
        window_s=6.0,
        temperature=1.25,
        short_speech=0.0,
        threshold=threshold,
        mean_log_posterior=(-1.0, -0.5),
        parameters=370_173,
        precision="int8",
        provenance=provenance,
        parity={},
    )
    return card(bundle)


def test_an_empty_record_makes_nothing_up() -> None:
    page = card_of({})
    assert "370,173" in page and "22,050 Hz" in page and "int8" in page
    assert "It is never “uncertain”. No threshold was calibrated." in page
    assert page.count("not stated") >= 5
    assert "Not measured, or not stated." in page
    assert "Not measured for this model" in page
    assert "None" not in page and "{" not in page.replace("```", "")


def test_a_full_record_is_shown_in_full() -> None:
    page = card_of(
        {
            "liser": "0.2",
            "commit": "abc123",
            "corpus": "ravdess+cremad",
            "label_kind": "intended",
            "clips": 8642,
            "labelled": 8642,
            "speakers": ["a", "b", "c"],
            "teachers": [{"name": "whisper", "fingerprint": "0"}],
            "backbone": {
                "encoder": "whisper-base",
                "clips": {"cremad": 7000, "calls": 3},
                "further_encoders": [{"encoder": "moonshine"}],
            },
            "finetuned": [{"corpus": "mine", "clips": 12}],
            "terms": ["wav2vec 2 (audEERING): CC BY-NC-SA 4.0"],
            "licence": "CC BY-NC-SA 4.0",
            "results": [{"what": "RAVDESS, unseen actors", "uar": 0.6, "low": 0.55, "high": 0.65}],
            "weaknesses": ["whispering"],
        },
        threshold=0.5,
    )
    for words in (
        "probability is below 0.50",
        "abc123",
        "8642 clips (8642 labelled), 3 speakers",
        "Teacher: whisper",
        "whisper-base, pretrained on 7000 clips of cremad, 3 clips of calls",
        "Backbone: further encoder moonshine",
        "Fine-tuned on: mine, 12 clips",
        "These weights: CC BY-NC-SA 4.0",
        "RAVDESS, CC BY-NC-SA 4.0",
        "CREMA-D, ODbL 1.0",
        "calls: terms not stated",
        "wav2vec 2 (audEERING)",
        "| RAVDESS, unseen actors | 0.600 | 0.550–0.650 |",
        "- whispering",
        "the emotion that the speaker meant to show",
    ):
        assert words in page, words
    assert page.count("RAVDESS, CC BY") == 1


def test_the_threshold_is_shown_with_its_source() -> None:
    result = {"threshold": 0.5, "coverage": 0.8, "answered_wa": 0.76}
    chosen = "it labels 80% of the clips, 76% of them correctly"
    assert chosen in card_of({"result": result}, 0.5)
    assert "The threshold was set by hand." in card_of({"result": result}, 0.6)
    assert "The threshold was set by hand." in card_of({"result": {"threshold": None}}, 0.6)
    everything = card_of({"result": {**result, "threshold": 0.0}}, 0.0)
    assert "It is never “uncertain”. On the validation speakers" in everything


def test_fine_tuning_replaces_the_threshold() -> None:
    before = {"result": {"threshold": 0.4}}
    assert calibrated_threshold(before) == 0.4
    assert calibrated_threshold({**before, "finetuned": [{"result": {"threshold": None}}]}) is None
    after = {**before, "finetuned": [{"result": {"threshold": 0.3}}]}
    assert calibrated_threshold(after) == 0.3
    assert calibrated_threshold({}) is None


def test_teachers_of_unknown_terms_are_named() -> None:
    page = card_of({"teachers": [{"name": "whisper"}]})
    assert "the teachers: terms not stated" in page


def test_untrusted_text_is_no_markup() -> None:
    evil = "<script>x</script>\n# [x](javascript:y) | **b** \x1b[31m"
    page = card_of(
        {
            **dict.fromkeys(("liser", "commit", "corpus", "licence", "clips", "labelled"), evil),
            "teachers": [{"name": evil}],
            "backbone": {"encoder": evil, "clips": {evil: evil}},
            "finetuned": [{"corpus": evil, "clips": evil}],
            "terms": [evil],
            "results": [{"what": evil, "uar": 0.6}],
            "weaknesses": [evil],
        }
    )
    plain = page.replace(card_of({}), "")
    assert plain.count("&lt;script&gt;") >= 12
    for markup in ("<script", "\n# [", "[x](", "**b**", "\x1b", " | \\*"):
        assert markup not in plain, markup
