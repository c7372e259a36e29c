"""A Ray of this machine, started once for all tests that use it."""

from collections.abc import Iterator

import pytest

from liser.scale.pool import Backend


@pytest.fixture(scope="session")
def two_actors(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Backend]:
    ray = pytest.importorskip("ray", reason="Ray is not installed: pip install 'liser[scale]'")
    from liser.scale.ray_actors import LOCAL, RayActors, _join

    _join(ray, LOCAL, jobs=2)
    yield RayActors(jobs=2)
    ray.shutdown()
