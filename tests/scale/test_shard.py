"""Every key is in one shard, whatever else there is."""

import pytest

from liser.errors import InputError
from liser.scale.shard import Shard


def test_shards_share_the_keys_about_evenly() -> None:
    shards = [Shard.read(f"{number}/8") for number in range(1, 9)]
    keys = [f"talk{number}.mp4" for number in range(4_000)]
    owners = [[shard.number for shard in shards if key in shard] for key in keys]
    assert all(len(own) == 1 for own in owners)
    sizes = [sum(own == [number] for own in owners) for number in range(1, 9)]
    assert min(sizes) > 400 and max(sizes) < 600
    assert str(shards[2]) == "3/8"


def test_what_is_no_shard_is_refused() -> None:
    for text in ("0/4", "5/4", "1", "1/0", "a/b", "1/2/3", "-1/4", ""):
        with pytest.raises(InputError, match="give 1/8"):
            Shard.read(text)
