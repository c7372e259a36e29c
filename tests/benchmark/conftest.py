"""A corpus of tones and its teachers' targets, which tests of several modules share."""

import pytest
from small_protocol import MakeCorpus, MakeTargets

from liser.corpora.base import Corpus
from liser.targets.targets import Targets


@pytest.fixture(scope="module")
def tones(tone_corpus: MakeCorpus, tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    return tone_corpus(tmp_path_factory.mktemp("tones"), speakers=6, takes=3)


@pytest.fixture(scope="module")
def both(tones: Corpus, tone_targets: MakeTargets) -> list[Targets]:
    return [tone_targets(tones, "speech"), tone_targets(tones, "face", missing=4)]
