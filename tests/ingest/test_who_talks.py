"""The face whose lips move with the sound talks; a voice that no face owns is nobody's."""

import numpy as np
import pytest

from liser.ingest import who_talks as module
from liser.ingest.synchrony import NO_SYNCHRONY, Synchrony
from liser.ingest.who_talks import TALKS, WEIGHTS, Evidence, decide, who_talks

FRAME = 640


def speech(frames, begin, end, seed=0):
    """How far a mouth opens: syllables of 4 to 8 frames between two frames."""
    rng = np.random.default_rng(seed)
    opening = np.zeros(frames)
    frame = begin
    while frame < end - 8:
        length = int(rng.integers(4, 9))
        opening[frame : frame + length] = rng.uniform(2, 6) * np.hanning(length)
        frame += length + int(rng.integers(0, 4))
    return opening


def sound_of(opening, seed=0):
    """A voice as loud as the mouth is fast."""
    speed = np.abs(np.diff(opening, prepend=0))
    level = np.repeat(0.05 * speed, FRAME)
    return (level * np.random.default_rng(seed).normal(size=len(level))).astype(np.float32)


def seconds(*frames):
    return tuple(frame / 25 for frame in frames)


def test_with_several_faces_the_one_that_moves_with_the_sound_talks(track_of):
    """Both talk all the time, and the sound is that of one, then that of the other."""
    one, two = speech(300, 20, 280, 1), speech(300, 10, 290, 2)
    sound = np.concatenate([sound_of(one)[: 150 * FRAME], sound_of(two)[150 * FRAME :]])
    tracks = [track_of(one, seed=1), track_of(two, seed=2)]
    first, second = who_talks(tracks, sound, [seconds(25, 140), seconds(160, 280)])
    assert (first.track, second.track) == (0, 1)
    assert first.score > TALKS and first.reason == "this one of 2 faces talks"
    assert [number for number, _ in second.scores] == [1, 0]
    assert -0.08 <= second.lag_s <= 0.24


def test_a_still_face_does_not_talk(track_of):
    sound = sound_of(speech(200, 20, 180))
    (answer,) = who_talks([track_of(np.zeros(200))], sound, [seconds(20, 180)])
    assert answer.track is None and answer.score < TALKS
    assert answer.reason == "the mouth is still"


def test_a_mouth_that_hardly_moves_does_not_talk_whatever_its_synchrony(track_of):
    high = Synchrony(4.0, 0.08, 0.9)
    assert decide({0: Evidence(high, high)}).track == 0
    still = decide({0: Evidence(high, high, network=4.0, is_still=True)})
    assert (still.track, still.reason, still.synchrony) == (None, "the mouth is still", 4.0)
    opening = speech(200, 20, 180)
    sound, spans = sound_of(opening), [seconds(30, 90), seconds(182, 198)]
    first, second = module.evidence([track_of(opening)], sound, spans)
    assert (first[0].is_still, second[0].is_still) == (False, True)


def test_a_talking_face_under_another_s_voice_does_not_talk(track_of):
    face = speech(300, 10, 290, 3)
    own, other = (
        who_talks([track_of(face)], sound_of(opening), [seconds(10, 290)])[0]
        for opening in (face, np.roll(face, 40))
    )
    assert own.track == 0 and own.reason == "the only face talks"
    assert other.track is None
    assert own.synchrony > other.synchrony


def test_without_a_face_nobody_talks(track_of):
    opening = speech(100, 10, 90)
    track = track_of(opening)
    answers = who_talks([track], sound_of(np.tile(opening, 3)), [seconds(110, 190)])
    assert answers == [module.Talker(None, 0.0, "no face")]
    assert who_talks([], sound_of(opening), [seconds(10, 90)])[0].track is None


def test_a_face_that_is_there_for_less_than_half_of_an_utterance_is_no_answer(track_of):
    opening = speech(200, 0, 200)
    late = track_of(opening[120:], start_frame=120)
    (answer,) = who_talks([late], sound_of(opening), [seconds(20, 180)])
    assert answer.scores == ()
    (answer,) = who_talks([late], sound_of(opening), [seconds(90, 180)])
    assert [number for number, _ in answer.scores] == [0]


@pytest.mark.parametrize("offset", [0, 1000, -7])
def test_only_differences_of_times_matter(track_of, offset):
    """A part of a recording gives the same answers wherever it lies."""
    opening = speech(200, 20, 180)
    sound = sound_of(opening)
    before = max(0, -offset)  # a waveform that starts before or after the track's first frame
    start = offset if offset >= 0 else 0
    waveform = np.concatenate([np.zeros(before * FRAME, np.float32), sound])
    track = track_of(opening, start_frame=start + before)
    spans = [seconds(start + before + 20, start + before + 180)]
    (answer,) = who_talks([track], waveform, spans, start_frame=start)
    (plain,) = who_talks([track_of(opening)], sound, [seconds(20, 180)])
    assert answer.track == plain.track == 0
    assert answer.score == pytest.approx(plain.score, abs=1e-6)


class Network:
    """Stands for LR-ASD: remembers what it gets, and gives one logit."""

    def __init__(self, *logits):
        self.logits, self.calls = logits, []

    def scores(self, crops, waveform):
        self.calls.append((len(crops), waveform))
        return np.full(len(crops), self.logits[(len(self.calls) - 1) % len(self.logits)])


@pytest.fixture
def open_question(monkeypatch):
    monkeypatch.setattr(module, "_is_open", lambda _: True)


@pytest.mark.usefixtures("open_question")
def test_the_network_sees_the_utterance_and_a_little_around_it(track_of):
    opening = speech(300, 20, 280)
    sound = sound_of(opening)
    network = Network(9.0)
    found = module.evidence([track_of(opening)], sound, [seconds(100, 150)], network)
    ((frames, waveform),) = network.calls
    assert frames == 70
    np.testing.assert_array_equal(waveform[: 70 * FRAME], sound[90 * FRAME : 160 * FRAME])
    assert found[0][0].network == 4.0, "logits beyond 4 say no more"


@pytest.mark.usefixtures("open_question")
def test_the_network_gets_silence_where_there_is_no_sound(track_of):
    opening = speech(60, 0, 60)
    network = Network(1.0)
    who_talks([track_of(opening)], sound_of(opening)[: 30 * FRAME], [seconds(0, 60)], network)
    ((frames, waveform),) = network.calls
    assert frames == 60 and not waveform[30 * FRAME :].any() and waveform[: 30 * FRAME].any()


def test_the_network_runs_only_where_it_can_change_the_answer(track_of):
    face = speech(300, 10, 290, 3)
    network = Network(4.0)
    for opening in (face, np.roll(face, 40)):
        who_talks([track_of(face)], sound_of(opening), [seconds(10, 290)], network)
    assert network.calls == []


def test_where_synchrony_leaves_two_faces_alike_the_network_decides(track_of):
    opening = speech(200, 20, 180)
    twins = [track_of(opening), track_of(opening)]
    sound, spans = sound_of(opening), [seconds(20, 180)]
    assert who_talks(twins, sound, spans)[0].track is None
    network = Network(-3.0, 3.0)
    (answer,) = who_talks(twins, sound, spans, network)
    assert answer.track == 1 and len(network.calls) == 2


def evidence_of(near, network=0.0, whole=2.0):
    return Evidence(*(Synchrony(score, 0.08, 0.3) for score in (near, whole)), network)


def test_no_more_evidence_makes_a_face_less_likely():
    base = decide({0: evidence_of(1.0, 0.0, 1.0)}).score
    for better in (evidence_of(2.0, 0, 1), evidence_of(1.0, 1, 1), evidence_of(1.0, 0, 2)):
        assert decide({0: better}).score > base


def test_two_faces_that_are_alike_leave_the_answer_open():
    both = decide({0: evidence_of(3.0), 4: evidence_of(3.0)})
    assert both.track is None
    assert both.reason == "2 faces may talk, and none is clearly ahead"
    ahead = decide({0: evidence_of(0.0), 4: evidence_of(3.0)})
    assert ahead.track == 4


def test_scores_are_a_softmax_with_none():
    found = decide({2: evidence_of(0.5), 5: evidence_of(2.5)})
    logits = {n: WEIGHTS @ evidence_of(s).features for n, s in ((2, 0.5), (5, 2.5))}
    total = 1 + sum(np.exp(list(logits.values())))
    assert [number for number, _ in found.scores] == [5, 2]
    for number, score in found.scores:
        assert score == pytest.approx(np.exp(logits[number]) / total)


def test_missing_synchrony_counts_neither_way():
    one = Evidence(NO_SYNCHRONY, NO_SYNCHRONY, 2.0)
    zero = evidence_of(0.0, 2.0, whole=0.0)
    assert decide({0: one}).score == decide({0: zero}).score
    assert decide({0: one}).synchrony is None


def test_the_reason_of_a_refusal_says_what_is_missing():
    still = Evidence(NO_SYNCHRONY, NO_SYNCHRONY)
    assert decide({0: still}).reason == "the mouth is still"
    assert decide({0: still, 1: still}).reason == "all mouths are still"
    assert decide({0: evidence_of(-2.0)}).reason == "the mouth isn't in time with the sound"
    assert decide({0: evidence_of(-2.0), 1: still}).reason == "no mouth is in time"
