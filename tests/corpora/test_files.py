"""Media below a folder: found by content, regular files only, each file once."""

import os
import socket
import wave
from pathlib import Path

import av
import numpy as np
import pytest

from liser.corpora import folder
from liser.corpora.files import find_media, kind_of, look_through, once
from liser.errors import MediaError, NotFoundError


def tone(file: Path, seconds: float = 0.5) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    with wave.open(str(file), "wb") as out:
        out.setnchannels(1)
        out.setsampwidth(2)
        out.setframerate(8_000)
        out.writeframes(np.arange(round(seconds * 8_000), dtype="<i2").tobytes())
    return file


def film(file: Path) -> Path:
    """Write a transport stream, whose .ts might be TypeScript as well."""
    with av.open(str(file), "w", format="mpegts") as out:
        stream = out.add_stream("mpeg2video", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        rng = np.random.default_rng(0)
        for _ in range(25):
            noise = rng.integers(0, 255, (48, 64, 3), np.uint8)
            out.mux(stream.encode(av.VideoFrame.from_ndarray(noise, format="rgb24")))
        out.mux(stream.encode(None))
    return file


OTHERS = {
    "notes.md": b"I heard him say so.",
    "spreadsheet.csv": "path;label\nä;b\n".encode("utf-16"),
    "program.ts": b"export const talk: string = 'no film'\n",
    "face.dat": b"\xff\xd8\xff\xe0" + bytes(100),
    "photo.heic": b"\0\0\0\x18ftypheic" + bytes(100),
    "picture.webp": b"RIFF\x24\0\0\0WEBPVP8 " + bytes(100),
    "data.npy": b"\x93NUMPY" + bytes(100),
    "noise": bytes(range(256)) * 8,
    "empty": b"",
}


def test_a_folder_gives_the_same_files_as_their_names(tmp_path: Path) -> None:
    for name in ("a.wav", "b.WAVE", "without", "odd.suffix", "take.2"):
        tone(tmp_path / name)
    film(tmp_path / "film.ts")
    for name, content in OTHERS.items():
        (tmp_path / name).write_bytes(content)
    found = find_media(tmp_path)
    assert {file.path.name: file.kind for file in found.media} == {
        **dict.fromkeys(("a.wav", "b.WAVE", "without", "odd.suffix", "take.2"), "audio"),
        "film.ts": "video",
    }
    assert {skip.id for skip in found.left_out} == set(OTHERS)
    assert {skip.reason for skip in found.left_out} == {"not media"}
    assert found.skipped == ()
    corpus = folder.load(tmp_path)
    ids = [u.id for u in corpus.utterances]
    assert ids == ["a", "b", "film", "odd", "take.2", "without"]
    assert corpus.left_out == found.left_out


def test_damaged_media_of_an_unknown_suffix_are_not_lost(tmp_path: Path) -> None:
    whole = tone(tmp_path / "whole.rec").read_bytes()
    (tmp_path / "cut.rec").write_bytes(b"fLaC" + whole[:20])
    tone(tmp_path / "ok.wav")
    names = {file.path.name for file in find_media(tmp_path).media}
    assert names == {"whole.rec", "cut.rec", "ok.wav"}


def test_pipes_and_the_like_are_named_and_never_opened(tmp_path: Path) -> None:
    tone(tmp_path / "ok.wav")
    os.mkfifo(tmp_path / "pipe.wav")  # opening it would hang
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(os.path.relpath(tmp_path / "socket.wav"))
    (tmp_path / "gone.wav").symlink_to(tmp_path / "nowhere.wav")
    (tmp_path / "self.wav").symlink_to("self.wav")
    (tmp_path / "null.wav").symlink_to("/dev/null")
    (tmp_path / "loop").symlink_to(tmp_path)
    (tmp_path / ".hidden.wav").write_bytes(b"")
    (tmp_path / ".git").mkdir()
    (tmp_path / ".git" / "x.wav").write_bytes(b"")
    found = look_through(tmp_path)
    assert [file.path.name for file in found.media] == ["ok.wav"]
    assert {skip.id: skip.reason for skip in found.skipped} == {
        "gone.wav": "broken link",
        "null.wav": "device",
        "pipe.wav": "named pipe",
        "self.wav": "broken link",
        "socket.wav": "socket",
    }
    assert [(skip.id, skip.reason) for skip in found.left_out] == [
        (".git", "hidden"),
        (".hidden.wav", "hidden"),
    ]


def test_an_unreadable_file_does_not_stop_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("ok.wav", "locked/x.wav", "secret.rec"):
        tone(tmp_path / name)
    scan, read = os.scandir, Path.open

    def scandir(path: str) -> object:
        if str(path).endswith("locked"):
            raise PermissionError(13, "Permission denied", str(path))
        return scan(path)

    def opened(self: Path, *arguments: str) -> object:
        if self.name == "secret.rec":
            raise PermissionError(13, "Permission denied", str(self))
        return read(self, *arguments)

    monkeypatch.setattr(os, "scandir", scandir)
    monkeypatch.setattr(Path, "open", opened)
    found = look_through(tmp_path)
    assert [file.path.name for file in found.media] == ["ok.wav"]
    assert {skip.id: skip.reason for skip in found.skipped} == {
        "locked": "unreadable",
        "secret.rec": "unreadable",
    }
    with pytest.raises(MediaError, match="Permission denied"):
        kind_of(tmp_path / "secret.rec")
    with pytest.raises(NotFoundError, match="cannot read the folder"):
        look_through(tmp_path / "locked")


def test_a_name_that_is_not_utf8_is_a_clip(tmp_path: Path) -> None:
    odd = os.fsdecode(b"caf\xe9")
    tone(tmp_path / odd / f"{odd}.wav")
    corpus = folder.load(tmp_path)
    ((u,), skipped) = corpus.utterances, corpus.skipped
    assert (u.id, u.speaker_id, skipped) == (r"caf\xe9/caf\xe9", r"caf\xe9", ())
    u.id.encode()
    assert u.audio is not None and u.audio.is_file()


def test_a_folder_without_media_is_refused_with_its_contents(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("x")
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(NotFoundError, match=r"no media.*1 named pipe, 1 not media"):
        find_media(tmp_path)
    for path in (tmp_path / "nowhere", tmp_path / ("x" * 300), Path("a\0b")):
        with pytest.raises(NotFoundError, match="no folder"):
            find_media(path)


def test_each_file_comes_once(tmp_path: Path) -> None:
    x, y = tone(tmp_path / "x.wav"), tone(tmp_path / "y.wav")
    (tmp_path / "link.wav").symlink_to(x)
    names = [str(x), f"{tmp_path}/./x.wav", str(y), os.path.relpath(x), str(tmp_path / "link.wav")]
    unique, again = once([*names, "a\0b"])
    assert unique == [str(x), str(y), "a\0b"]
    assert [skip.reason for skip in again] == ["same file"] * 3
