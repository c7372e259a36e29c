"""What a backbone was made from: clips and encoders, counted by corpus."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

from liser.pretraining.frame_encoder import FrameEncoder
from liser.pretraining.segments import Segment, SegmentSource


def clip_counts(
    sources: Sequence[SegmentSource], by_source: Sequence[Sequence[Segment]]
) -> dict[str, Any]:
    """Count clips by corpus: used, used with their audio, too short, and skipped."""
    clips, audio, short, skipped = (Counter[str]() for _ in range(4))
    for source, segments in zip(sources, by_source, strict=True):
        used = len({one.row for one in segments})
        clips[source.name] += used
        audio[source.name] += len({one.row for one in segments if one.has_audio})
        short[source.name] += len(source.rows) - used
        skipped[source.name] += len(source.features.skipped)
    return {
        "clips": dict(clips),
        "of_sound": dict(audio),
        "too_short": dict(short),
        "skipped": dict(skipped),
    }


def encoder_records(
    encoders: Sequence[FrameEncoder],
    sources: Sequence[SegmentSource],
    by_source: Sequence[Sequence[Segment]],
) -> dict[str, Any]:
    """Name the encoders, and count by corpus the clips of which each further one has frames."""
    records = []
    for encoder in encoders[1:]:
        clips = Counter[str]()
        for source, segments in zip(sources, by_source, strict=True):
            given = {one.row for one in segments if one.input_of(encoder) is not None}
            clips[source.name] += len(given)
        record = {"encoder": encoder.name, "encoder_fingerprint": encoder.fingerprint}
        records.append({**record, "clips": dict(clips)})
    first = {"encoder": encoders[0].name, "encoder_fingerprint": encoders[0].fingerprint}
    return first | ({"further_encoders": records} if records else {})
