"""The back end of Ray: plain actors on one machine or on many, under our own queue.

Ray Data's actor pools were tried and are not used. In Ray 2.60 they hang when a pool takes all
CPUs, never finish when an item always kills its worker, and fail the whole job when one raises.
"""

import os
import secrets
import sys
from collections.abc import Sequence
from contextlib import suppress
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from liser.errors import InputError, LiserError, MissingExtraError
from liser.scale.pool import Event, EventKind, Factory, Pool, RemoteError, portable
from liser.workers import one_thread

LOCAL = "local"
"""The address that starts a Ray of its own on this machine."""


class RayActors:
    """Actors of one CPU each, which hold their state.

    Args:
        address: of a running cluster (``HOST:6379``, or ``auto`` on one of its machines), or
            ``local``, which starts one on this machine.
        jobs: the number of actors; None for as many as the cluster has CPUs.

    A Ray that this process has joined before is used as it is.

    Raises `MissingExtraError` if Ray is not installed, and `InputError` for a Ray Client's address.
    """

    def __init__(self, address: str = LOCAL, jobs: int | None = None) -> None:
        if find_spec("ray") is None:
            raise MissingExtraError("ray", "scale")
        if address.startswith("ray://"):
            raise InputError(
                f"{address} is a Ray Client's address: give HOST:6379, or run this on one of the "
                "cluster's machines with the address auto"
            )
        self.address, self.jobs = address, jobs

    def open(self, factory: Factory) -> Pool:
        """Join the cluster, and return the pool of its actors.

        Raises `LiserError` if the cluster can't be joined.
        """
        _authenticate(self.address)  # Ray reads the environment when it is imported
        ray: Any = import_module("ray")
        joined = not ray.is_initialized()
        if joined:
            _join(ray, self.address, self.jobs)
        size = self.jobs or int(ray.cluster_resources().get("CPU", 1))
        return _Actors(ray, factory, size, leave=joined)


def _join(ray: Any, address: str, jobs: int | None) -> None:
    options: dict[str, Any] = {"log_to_driver": False, "logging_level": "ERROR"}
    if address == LOCAL:
        # on one machine, workers can import all that this process can
        here = {"env_vars": {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}}
        options |= {"include_dashboard": False, "num_cpus": jobs, "runtime_env": here}
    try:
        ray.init(address=address, **options)
    except Exception as error:  # Ray raises its own, the system's, and plain ones
        raise LiserError(
            f"the Ray at {address} can't be joined: {error}. Check that it runs, and that this "
            "process has the cluster's token (RAY_AUTH_TOKEN, or ~/.ray/auth_token)"
        ) from error


def _authenticate(address: str) -> None:
    """See to the token that Ray asks for since 2.60; `RAY_AUTH_MODE` overrules this.

    A Ray of our own gets a token of its own: Ray would write one to the user's home. Joining a
    cluster, Ray sends a token only in a mode that it doesn't choose by itself.
    """
    if "RAY_AUTH_MODE" in os.environ:
        return
    has_token = (
        os.environ.get("RAY_AUTH_TOKEN")
        or os.environ.get("RAY_AUTH_TOKEN_PATH")
        or Path("~/.ray/auth_token").expanduser().exists()
    )
    if has_token:
        os.environ["RAY_AUTH_MODE"] = "token"
    elif address == LOCAL:
        os.environ["RAY_AUTH_TOKEN"] = secrets.token_hex(32)


class _Worker:
    """What runs in an actor."""

    def open(self, factory: Factory) -> tuple[str, Any]:
        try:
            with one_thread():
                self._do = factory()
        except Exception as error:
            return "unready", portable(error)
        return "ready", None

    def do(self, item: Any) -> tuple[str, Any]:
        try:
            with one_thread():
                return "returned", self._do(item)
        except Exception as error:
            return "raised", portable(error)


class _Actors:
    def __init__(self, ray: Any, factory: Factory, size: int, leave: bool) -> None:
        self.size = size
        self._ray, self._leave = ray, leave
        self._factory = ray.put(factory)  # sent to each machine once
        self._class = ray.remote(num_cpus=1, max_restarts=0, max_task_retries=0)(_Worker)
        self._actors: dict[int, Any] = {}
        self._numbers: dict[Any, int] = {}  # of the actors, by the call that each has in hand
        self._opened: set[int] = set()

    def start(self, worker: int) -> None:
        self.stop(worker)
        actor = self._actors[worker] = self._class.remote()
        self._numbers[actor.open.remote(self._factory)] = worker

    def send(self, worker: int, item: Any) -> None:
        self._opened.add(worker)
        self._numbers[self._actors[worker].do.remote(item)] = worker

    def wait(self, timeout_s: float) -> Sequence[Event]:
        calls = list(self._numbers)
        if not calls:
            return []
        ready, _ = self._ray.wait(calls, num_returns=1, timeout=timeout_s)
        if ready:  # a call for all that are ready costs as much as one for the first
            ready, _ = self._ray.wait(calls, num_returns=len(calls), timeout=0)
        return [self._event(call) for call in ready]

    def _event(self, call: Any) -> Event:
        worker = self._numbers.pop(call)
        try:
            kind, value = self._ray.get(call)
        except self._ray.exceptions.RayTaskError as error:  # something can't be pickled or imported
            failed: EventKind = "raised" if worker in self._opened else "unready"
            return Event(worker, failed, RemoteError(_first_line(error.cause or error)))
        except self._ray.exceptions.RayError as error:
            self._kill(worker)  # it may be out of reach, and live
            return Event(worker, "died", _first_line(error))
        return Event(worker, kind, value)

    def stop(self, worker: int) -> None:
        self._kill(worker)
        self._numbers = {call: n for call, n in self._numbers.items() if n != worker}

    def _kill(self, worker: int) -> None:
        if (actor := self._actors.pop(worker, None)) is not None:
            self._opened.discard(worker)
            with suppress(self._ray.exceptions.RayError):
                self._ray.kill(actor)

    def close(self) -> None:
        for worker in list(self._actors):
            self._kill(worker)
        if self._leave:
            self._ray.shutdown()


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
