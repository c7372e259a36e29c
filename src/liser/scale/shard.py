"""A share of the items, for machines that share no queue, such as the tasks of a SLURM array."""

import hashlib
import re
from dataclasses import dataclass

from liser.errors import InputError


@dataclass(frozen=True, slots=True)
class Shard:
    """Shard `number` of `count`, from 1: every key belongs to exactly one of them.

    The key's hash decides. So new items move no others, and all machines agree without talking.

    >>> sum("talk.mp4" in Shard(number, 3) for number in (1, 2, 3))
    1
    """

    number: int
    count: int

    @classmethod
    def read(cls, text: str) -> "Shard":
        """Read ``2/8``; raises `InputError` for anything else, and for a number out of range."""
        found = re.fullmatch(r"(\d{1,6})/(\d{1,6})", text)
        shard = cls(int(found[1]), int(found[2])) if found else cls(0, 0)
        if not 1 <= shard.number <= shard.count:
            raise InputError(f"{text!r} is no shard: give 1/8 for the first of eight, to 8/8")
        return shard

    def __contains__(self, key: str) -> bool:
        digest = hashlib.sha256(key.encode("utf-8", "surrogateescape")).digest()
        return int.from_bytes(digest[:8], "big") % self.count == self.number - 1

    def __str__(self) -> str:
        return f"{self.number}/{self.count}"
