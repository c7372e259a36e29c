"""Training on several processes that ``torchrun`` starts, on one machine or on many.

The first process (rank 0) runs the command as if it were alone. The others only help it: each holds
a copy of the network and gets a share of every batch. Sums over a batch, and gradients, are added
up over all processes. So the updates are those of one process, but for the order of the additions.

Gloo connects CPUs, NCCL connects GPUs. All gradients are added in one go after the backward pass:
they are a few megabytes, too few to be worth the overlap that `DistributedDataParallel` offers.
"""

import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import timedelta
from itertools import pairwise
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn

from liser.errors import InputError, LiserError, LostProcessError

T = TypeVar("T")

TIMEOUT = timedelta(days=7)
"""How long processes wait for each other: teachers and calibration run in the first one alone. A
process that has died is noticed at once, because its connections close."""


@dataclass(frozen=True, slots=True)
class Ranks:
    """The processes of a training: how many there are (`world`), and which is this one (`rank`).

    One process, the default, is a training without ``torchrun``; nothing is sent then.
    """

    rank: int = 0
    world: int = 1

    @staticmethod
    def current() -> "Ranks":
        """Return the processes that `run_on_first` has joined, or this one alone."""
        return _CURRENT.get()

    def call(self, function: Callable[..., None], *arguments: Any) -> None:
        """Let each other process call a module's function; only the first process may."""
        if self.world > 1:
            self._send([(function, arguments)] * self.world)

    def share(self, batches: Iterable[T], part: Callable[[T, slice], T], size: int) -> Iterator[T]:
        """Send each process its part of each batch of `size` clips, and yield the first one's."""
        for batch in batches:
            if self.world > 1:
                parts = [part(batch, rows) for rows in self._slices(size)]
                self._send(parts)
                yield parts[0]
            else:
                yield batch

    def rows(self, size: int) -> slice:
        """Return this process's rows of a batch; the first ones' shares may be one row longer."""
        return self._slices(size)[self.rank]

    def check(self, size: int, device: str) -> None:
        """Raise `InputError` if the processes can't share batches of `size` clips on a device."""
        if self.world > size:
            raise InputError(
                f"{self.world} processes can't share batches of {size} clips: start at most "
                f"{size}, or raise batch_size"
            )
        if self.world > 1 and device == "mps":
            raise InputError(
                'several processes train on CPUs or on CUDA GPUs: set device = "cpu" in the '
                "settings, or train without torchrun"
            )

    def sum(self, x: Tensor) -> Tensor:
        """Return the sum over all processes, with its gradient; without others, x itself."""
        if self.world == 1:
            return x
        total: Tensor = _Sum.apply(x)  # type: ignore[no-untyped-call]
        return total

    def sum_gradients(self, parameters: Iterable[nn.Parameter]) -> None:
        """Add up the gradients of all processes, in place."""
        if self.world == 1:
            return
        gradients = [p.grad for p in parameters if p.grad is not None]
        flat = torch.cat([gradient.reshape(-1) for gradient in gradients])
        _all_reduce(flat)
        parts = torch.split(flat, [gradient.numel() for gradient in gradients])
        for gradient, part in zip(gradients, parts, strict=True):
            gradient.copy_(part.view(gradient.shape))

    def receive(self) -> Any:
        """Return what the first process sent; raises `_Ended` if its command has ended."""
        received: list[Any] = [None]
        with _lost_process():
            dist.scatter_object_list(received, None)
        if isinstance(received[0], _End):
            raise _Ended(received[0].status)
        return received[0]

    def end(self, status: int) -> None:
        """Tell the other processes that the command has ended, with an exit status."""
        self._send([_End(status)] * self.world)

    def _slices(self, size: int) -> list[slice]:
        least, longer = divmod(size, self.world)
        ends = [rank * least + min(rank, longer) for rank in range(self.world + 1)]
        return [slice(*pair) for pair in pairwise(ends)]

    def _send(self, messages: Sequence[Any]) -> None:
        with _lost_process():  # the first process needs nothing from itself
            dist.scatter_object_list([None], [None, *messages[1:]])


_CURRENT: ContextVar[Ranks] = ContextVar("ranks", default=Ranks())  # noqa: B039  (it is frozen)


@dataclass(frozen=True, slots=True)
class _End:
    """The last message of the first process."""

    status: int


class _Ended(Exception):
    """The first process's command has ended."""

    def __init__(self, status: int) -> None:
        super().__init__(status)
        self.status = status


class _Sum(torch.autograd.Function):
    """The sum over all processes. Each one's loss depends on it, so gradients are summed too."""

    @staticmethod
    def forward(_: Any, x: Tensor) -> Tensor:
        total = x.clone(memory_format=torch.contiguous_format)
        _all_reduce(total)
        return total

    @staticmethod
    def backward(_: Any, *gradients: Tensor) -> Tensor:
        total = gradients[0].clone(memory_format=torch.contiguous_format)
        _all_reduce(total)
        return total


def _all_reduce(x: Tensor) -> None:
    with _lost_process():
        dist.all_reduce(x)


@contextmanager
def _lost_process() -> Iterator[None]:
    """Raise `LostProcessError` if a message can't be sent or received."""
    try:
        yield
    except torch.OutOfMemoryError:
        raise
    except RuntimeError as error:
        cause = str(error).partition(". ")[0]
        raise LostProcessError(
            "another process of this training has ended, or can't be reached: see its own error, "
            f"and give the same command again to go on from the checkpoint ({cause})"
        ) from error


def run_on_first(command: Callable[[], T]) -> T | None:
    """Join the processes that ``torchrun`` has started, and run a command in the first one.

    Training in it (`liser.distillation.train`, `liser.pretraining.train`) is shared out among all
    of them. In the other processes this returns None when the command is done.

    Raises:
        SystemExit: in the other processes, if the command has failed: with its exit status.
        LostProcessError: one of the processes has ended, or can't be reached.
    """
    ranks = _join()
    token = _CURRENT.set(ranks)
    try:
        if ranks.rank == 0:
            return _lead(command, ranks)
        _help(ranks)
        return None
    finally:
        _CURRENT.reset(token)
        dist.destroy_process_group()


def _join() -> Ranks:
    """Connect the processes; each takes a GPU of its machine, if there are any."""
    backend, gpus = "gloo", torch.cuda.device_count()
    if gpus:
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]) % gpus)
        if int(os.environ.get("LOCAL_WORLD_SIZE", "1")) <= gpus:  # NCCL wants a GPU a process
            backend = "cpu:gloo,cuda:nccl"
    with _lost_process():
        dist.init_process_group(backend, timeout=TIMEOUT)
    return Ranks(dist.get_rank(), dist.get_world_size())


def _lead(command: Callable[[], T], ranks: Ranks) -> T:
    """Run the command, and tell the other processes how it ended."""
    status = 1
    try:
        result = command()
        status = 0
    except SystemExit as error:
        status = error.code if isinstance(error.code, int) else int(error.code is not None)
        raise
    except LiserError as error:
        status = error.exit_status
        raise
    finally:
        if not isinstance(sys.exception(), LostProcessError):
            try:
                ranks.end(status)
            except LostProcessError:
                if status == 0:
                    raise
    return result


def _help(ranks: Ranks) -> None:
    """Do what the first process asks for, until its command has ended."""
    if threading.current_thread() is threading.main_thread():
        # a signal ends this process at once, as it has nothing to save
        for number in (signal.SIGINT, signal.SIGTERM):
            if signal.getsignal(number) is not signal.SIG_IGN:
                signal.signal(number, signal.SIG_DFL)
    try:
        while True:
            function, arguments = ranks.receive()
            try:
                function(*arguments)
            except LostProcessError:
                raise
            except LiserError:
                continue  # the first process has raised it too, and says so
    except _Ended as ended:
        if ended.status:
            time.sleep(1)  # torchrun names the process that ends first: let it be the other
            sys.exit(ended.status)
    except LostProcessError:  # torchrun says which
        sys.exit(1)
