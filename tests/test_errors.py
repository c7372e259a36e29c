"""Errors come back unchanged from other processes."""

import copy
import importlib
import multiprocessing
import pickle
import pkgutil

import pytest

import liser
from liser.errors import InputError, LiserError, MediaError, MissingExtraError, StorageError


def _all_errors() -> list[type[LiserError]]:
    for module in pkgutil.walk_packages(liser.__path__, "liser."):
        importlib.import_module(module.name)
    found = [LiserError]
    for kind in found:
        found += [below for below in kind.__subclasses__() if below.__module__.startswith("liser")]
    return found


_TAKES = {MediaError: ("no face", "in none of 5 frames"), MissingExtraError: ("torch", "train")}


def _same(ours: LiserError, theirs: LiserError) -> bool:
    return (
        type(ours) is type(theirs)
        and str(ours) == str(theirs)
        and ours.args == theirs.args
        and vars(ours) == vars(theirs)
    )


def test_every_error_survives_pickling_and_copying() -> None:
    for kind in _all_errors():
        error = kind(*_TAKES.get(kind, ("what was wrong",)))
        error.add_note("a note")
        for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
            assert _same(error, pickle.loads(pickle.dumps(error, protocol)))
        assert _same(error, copy.copy(error))
        assert _same(error, copy.deepcopy(error))


def test_fields_of_builtin_errors_survive_too() -> None:
    error = StorageError(28, "No space left on device", "runs/x.bin")
    again = pickle.loads(pickle.dumps(error))
    assert (again.errno, again.strerror, again.filename) == (28, error.strerror, "runs/x.bin")
    missing = pickle.loads(pickle.dumps(MissingExtraError("torch", "train")))
    assert (missing.name, missing.package, missing.extra) == ("torch", "torch", "train")
    assert missing.msg == str(missing)


class _TakesThree(InputError):
    def __init__(self, a: int, b: int, *, c: int) -> None:
        super().__init__(f"{a} {b} {c}")
        self.values = (a, b, c)


def test_errors_with_other_constructors_survive() -> None:
    again = pickle.loads(pickle.dumps(_TakesThree(1, 2, c=3)))
    assert str(again) == "1 2 3"
    assert again.values == (1, 2, 3)


def _fail(reason: str) -> None:
    raise MediaError(reason, "the file has no bytes")


def test_a_pool_of_processes_raises_what_a_worker_raised() -> None:
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        answer = pool.map_async(_fail, ["empty"])
        with pytest.raises(MediaError, match="empty: the file has no bytes") as caught:
            answer.get(timeout=60)
    assert caught.value.reason == "empty"
