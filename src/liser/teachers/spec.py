"""The grammar of a teacher's spec: ``NAME[:KEY=VALUE[,KEY=VALUE…]]``.

``openai/whisper-base:layers=2,3``, ``encoder.onnx:outputs=h3,h4,normalise=yes``,
``face-api.onnx:spec=face-api,detector=yunet:nets/mine.onnx`` and
``votes:votes.parquet:modality=face`` are specs. Names and values may hold colons. The options
start at the first colon before a ``KEY=``, and the next option at a comma before one.
"""

import re
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

from liser.errors import InputError

_OPTIONS = re.compile(r":(?=[^:=/\\]+=)")
_NEXT_OPTION = re.compile(r",(?=[A-Za-z_]\w*=)")


def _integers(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split(","))


def _names(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(","))


def _yes_or_no(text: str) -> bool:
    return {"yes": True, "no": False}[text.strip().lower()]


OPTIONS: dict[str, tuple[Callable[[str], Any], str]] = {
    "layers": (_integers, "layers=2,3"),
    "revision": (str, "revision=COMMIT"),
    "detector": (str, "detector=NAME or detector=yunet:FILE"),
    "spec": (str, "spec=NAME or spec=FILE.json"),
    "outputs": (_names, "outputs=NAME,NAME"),
    "input": (str, "input=NAME"),
    "features": (str, "features=waveform or features=whisper"),
    "normalise": (_yes_or_no, "normalise=yes"),
    "sample_rate": (int, "sample_rate=16000"),
    "longest_s": (float, "longest_s=30"),
}
"""The options of teachers: how each value is read, and an example."""


def split_options(spec: str) -> tuple[str, str]:
    r"""Split a spec into the teacher's name and the text of its options.

    A path that exists is a name, whatever it contains.

    >>> split_options("openai/whisper-base:layers=2,3"), split_options("a=b/units.csv")
    (('openai/whisper-base', 'layers=2,3'), ('a=b/units.csv', ''))
    >>> split_options(r"C:\nets\mine.onnx:spec=C:\mine.json")
    ('C:\\nets\\mine.onnx', 'spec=C:\\mine.json')
    """
    if not (colon := _OPTIONS.search(spec)) or _exists(spec):
        return spec, ""
    return spec[: colon.start()], spec[colon.end() :]


def read_options(text: str, taken: Collection[str], teacher: str) -> dict[str, Any]:
    """Read the text of options that a teacher takes; `teacher` names it in errors.

    Raises `InputError` for an option that it doesn't take, for one given twice and for a value
    that can't be read.

    >>> read_options("layers=2,3,revision=main", OPTIONS, "an encoder")
    {'layers': (2, 3), 'revision': 'main'}
    """
    found: dict[str, Any] = {}
    for option in _NEXT_OPTION.split(text) if text else ():
        key, _, value = option.partition("=")
        if key not in taken:
            forms = "; ".join(OPTIONS[name][1] for name in taken) or "none"
            raise InputError(f"{teacher} takes no option {key!r}; its options: {forms}")
        if key in found:
            raise InputError(f"{teacher}: the option {key} is given twice; give it once")
        read, form = OPTIONS[key]
        try:
            found[key] = read(value) if value else None
        except (ValueError, KeyError):
            found[key] = None
        if found[key] is None:
            raise InputError(f"{teacher}: {option!r} can't be read; give it like {form}")
    return found


def _exists(path: str) -> bool:
    try:
        return Path(path).expanduser().exists()
    except (OSError, ValueError, RuntimeError):  # no file can have such a name
        return False
