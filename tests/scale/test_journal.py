"""A journal has what was appended before a kill, and nothing that isn't whole."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from liser.errors import StorageError
from liser.scale.journal import Journal

ODD = os.fsdecode(b"caf\xe9.wav")  # no UTF-8


def test_what_is_appended_is_read_again(tmp_path: Path) -> None:
    path = tmp_path / "new" / "done.jsonl"
    with Journal(path) as journal:
        assert len(journal) == 0
        journal.append("a", {"value": 1})
        journal.append(ODD, {"value": [1, "ü", None]})
        journal.append("a", {"value": 2})
    with Journal(path) as journal:
        assert len(journal) == 2 and "a" in journal and "b" not in journal
        assert journal["a"] == {"value": 2} and journal[ODD] == {"value": [1, "ü", None]}
    assert [json.loads(line)["key"] for line in path.read_text().splitlines()] == ["a", ODD, "a"]


@pytest.mark.parametrize(
    "damage",
    [
        lambda text: text[:-20],  # cut off by a kill
        lambda text: text.replace('"value": 2', '"value": 3'),
        lambda text: text.replace('"key": "b"', '"key": "c"'),
        lambda text: text.replace('{"key": "b"', "null"),
        lambda text: text + "[]\n",
    ],
)
def test_damaged_lines_do_not_count(
    damage, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "done.jsonl"
    with Journal(path) as journal:
        journal.append("a", {"value": 1})
    whole = path.read_text()
    with Journal(path) as journal:
        journal.append("b", {"value": 2})
    path.write_text(whole + damage(path.read_text().removeprefix(whole)))
    with Journal(path) as journal:
        assert "a" in journal and "c" not in journal
        assert "1 lines were damaged" in caplog.text
        journal.append("d", {"value": 4})
    with Journal(path) as journal:
        assert journal["d"] == {"value": 4}


KILLED = """
import sys, time
from pathlib import Path
from liser.scale.journal import Journal
with Journal(Path(sys.argv[1])) as journal:
    for number in range(10**6):
        journal.append(str(number), {"square": number**2})
        print(number, flush=True)
"""


def test_a_kill_loses_nothing(tmp_path: Path) -> None:
    path = tmp_path / "done.jsonl"
    process = subprocess.Popen(
        [sys.executable, "-c", KILLED, str(path)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    while (last := int(process.stdout.readline())) < 50:
        pass
    with pytest.raises(StorageError, match="another process"), Journal(path):
        pass
    process.kill()
    last = int([last, *process.communicate()[0].split()][-1])
    with Journal(path) as journal:
        assert all(journal[str(number)] == {"square": number**2} for number in range(last + 1))
        assert len(journal) <= last + 2


FULL = """
import resource, sys
from pathlib import Path
from liser.errors import StorageError
from liser.scale.journal import Journal
resource.setrlimit(resource.RLIMIT_FSIZE, (3000, 3000))
with Journal(Path(sys.argv[1])) as journal:
    try:
        for number in range(1000):
            journal.append(str(number), {})
    except StorageError as error:
        print(number, error)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="limits on file size are POSIX")
def test_a_full_disk_is_a_storage_error_and_the_rest_stays(tmp_path: Path) -> None:
    path = tmp_path / "done.jsonl"
    printed = subprocess.check_output([sys.executable, "-c", FULL, str(path)], text=True)
    number, message = printed.split(maxsplit=1)
    assert f"can't write {path}: File too large" in message
    with Journal(path) as journal:
        assert len(journal) == int(number) > 10


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no such device")
def test_a_device_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="a device"), Journal(Path("/dev/full")):
        pass
