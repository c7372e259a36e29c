"""The flags that say where work is done: `--jobs`, `--ray` and `--shard`."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from liser.scale.pool import Backend
    from liser.scale.shard import Shard


def backend_of(jobs: int | None, ray: str | None) -> Backend | None:
    """Return the back end that the flags name, None for this process.

    Raises `MissingExtraError` if it needs Ray, which is not installed.
    """
    if ray is not None:
        from liser.scale.ray_actors import RayActors

        return RayActors(ray, jobs)
    if jobs is None or jobs == 1:
        return None
    from liser.scale.processes import Processes

    return Processes(jobs)


def shard_of(text: str | None) -> Shard | None:
    """Return the share that `--shard` names; raises `InputError`."""
    if text is None:
        return None
    from liser.scale.shard import Shard

    return Shard.read(text)
