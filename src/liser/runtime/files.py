"""Predicts many files on several workers, and goes on after a kill from a journal."""

import os
import pickle
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from liser import __version__
from liser.bundle import RECORD
from liser.corpora.base import Skip
from liser.errors import InputError
from liser.fingerprint import fingerprint
from liser.runtime.prediction import Prediction
from liser.runtime.recognizer import Recognizer, Source
from liser.scale.in_process import InProcess
from liser.scale.journal import Journal
from liser.scale.pool import Backend
from liser.scale.scheduler import Done, run
from liser.text.escaping import readable

Answer = Prediction | Skip


def predict_files(
    recognizer: Recognizer,
    names: Sequence[str],
    backend: Backend | None = None,
    journal: Journal | None = None,
    open_source: Callable[[str], Source] = str,
) -> Iterator[tuple[str, Answer]]:
    """Yield each file's name with its prediction, or with a skip, as soon as it is known.

    A file that kills its worker three times is a skip, too (`liser.scale.scheduler.run`).

    Args:
        recognizer: its bundle must be at the same path on every machine.
        names: paths, each one once.
        backend: where the workers live; None for this process.
        journal: answers that it has are not computed again, others are appended. They belong to
            the file as it is now and to the recogniser: a file that has changed is predicted anew.
        open_source: returns what the recogniser is given for a name.

    Raises:
        InputError: the recogniser adapts to one speaker, so that the order counts, and there is a
            `backend` or a `journal`; or it can't be pickled, and there is a `backend`.
        LiserError: as `run`.
    """
    if recognizer.one_speaker and (backend is not None or journal is not None):
        raise InputError(
            "a recogniser for one speaker learns from one recording to the next: it needs one "
            "process that does all of them"
        )
    keys: dict[str, str] = {}
    missing = list(names)
    if journal is not None:
        keys = _keys(recognizer, names)
        missing = [name for name in names if keys.get(name, "") not in journal]
        for name in names:
            if keys.get(name, "") in journal:
                yield name, _answer(readable(name), journal[keys[name]])
    factory = partial(_open, recognizer, open_source)
    for outcome in run(missing, factory, InProcess() if backend is None else backend):
        name = outcome.item
        if isinstance(outcome, Done):
            answer = outcome.result
        else:
            answer = Skip(readable(name), outcome.reason, outcome.detail)
        if journal is not None and name in keys and not _may_pass(answer):
            journal.append(keys[name], _record(readable(name), answer))
        yield name, answer


def _open(recognizer: Recognizer, open_source: Callable[[str], Source]) -> Callable[[str], Answer]:
    """Make a worker's function."""
    return partial(_predict, recognizer, open_source)


def _predict(recognizer: Recognizer, open_source: Callable[[str], Source], name: str) -> Answer:
    try:
        return recognizer.predict(open_source(name))
    except InputError as error:
        return Skip(readable(name), "not usable", str(error))
    except Exception as error:
        return Skip.of(readable(name), error)


def _keys(recognizer: Recognizer, names: Sequence[str]) -> dict[str, str]:
    """Return the key of each file that is there: its path, size and time, and the recogniser."""
    pickle.dumps(recognizer)  # refuses one whose model isn't saved: its record is another model's
    detector = recognizer.detector_name
    own = (__version__, fingerprint(recognizer.bundle.folder / RECORD), recognizer.labels, detector)
    keys = {}
    for name in names:
        try:
            status = Path(name).stat()
        except (OSError, ValueError):
            continue
        place = os.path.realpath(name)
        keys[name] = fingerprint(*own, place, status.st_size, status.st_mtime_ns)
    return keys


def _may_pass(answer: Answer) -> bool:
    return isinstance(answer, Skip) and answer.may_pass


def _record(file: str, answer: Answer) -> dict[str, Any]:
    if isinstance(answer, Skip):
        return {"file": file, "skipped": {"reason": answer.reason, "detail": answer.detail}}
    return {"file": file, **answer.to_dict()}


def _answer(file: str, record: dict[str, Any]) -> Answer:
    """Undo `_record`."""
    if "skipped" in record:
        return Skip(file, **record["skipped"])
    return Prediction.from_dict(record)
