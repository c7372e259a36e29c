"""A name is always a local file, and nothing else is opened."""

import io
import os
import socket
from pathlib import Path

import numpy as np
import pytest

from liser.errors import MediaError
from liser.media.audio import load_audio, open_audio, probe
from liser.media.video import read_frames

NAMES = [
    "10:30.wav", "2026-11-27T10:30:00.wav", "file:other.wav", "http:x.wav", "pipe:0", "-x.wav",
    "concat:a.wav|b.wav", "clip%03d.wav", "a*?[b].wav", "data:audio,x", "lavfi.wav", "x.m3u8",
]  # fmt: skip


@pytest.fixture
def sound(chirp) -> np.ndarray:
    return chirp(0.5, 16_000)[None]


@pytest.mark.parametrize("name", NAMES)
def test_a_name_is_a_file_even_if_it_looks_like_an_address(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, write_audio, sound, name: str
) -> None:
    monkeypatch.chdir(tmp_path)
    written = write_audio(tmp_path / "written.wav", sound, 16_000)
    write_audio(tmp_path / "other.wav", 0 * sound, 16_000)
    expected = load_audio(written, 16_000)
    Path(name).write_bytes(written.read_bytes())
    np.testing.assert_array_equal(load_audio(name, 16_000), expected)
    Path("http:").mkdir()
    inside = Path("http:") / "localhost.wav"
    inside.write_bytes(written.read_bytes())
    np.testing.assert_array_equal(load_audio(inside, 16_000), expected)
    assert probe(inside).duration_s == 0.5


@pytest.fixture
def listener():
    """A port of this machine that records connections."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0.05)
        yield server


def playlists(other: Path, port: int) -> dict[str, bytes]:
    hls = "#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\n{}\n#EXT-X-ENDLIST\n"
    session = (
        "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=audio {} RTP/AVP 0\n"
    )
    dash = (
        '<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static" '
        'mediaPresentationDuration="PT9S"><Period><AdaptationSet mimeType="audio/mp4"><Representa'
        'tion id="1"><BaseURL>{}</BaseURL></Representation></AdaptationSet></Period></MPD>'
    )
    address = f"http://127.0.0.1:{port}/a.ts"
    return {
        "a.m3u8": hls.format(address).encode(),
        "b.m3u8": hls.format(other).encode(),
        "c.ffconcat": f"ffconcat version 1.0\nfile {other.name}\n".encode(),
        "d.sdp": session.format(port).encode(),
        "e.mpd": dash.format(address).encode(),
    }


def test_playlists_open_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, write_audio, sound, listener
) -> None:
    monkeypatch.chdir(tmp_path)
    other = write_audio(tmp_path / "other.wav", sound, 16_000)
    for name, text in playlists(other, listener.getsockname()[1]).items():
        Path(name).write_bytes(text)
        stream = io.BytesIO(text)
        stream.name = name
        for source in (name, stream):
            with pytest.raises(MediaError) as caught, open_audio(source) as (_, blocks):
                list(blocks)
            assert caught.value.reason == "not media" and "lists" in caught.value.detail
        with pytest.raises(MediaError):
            read_frames(name)
    with pytest.raises(TimeoutError):
        listener.accept()


def test_a_pipe_or_device_is_refused_at_once(tmp_path: Path) -> None:
    pipe = tmp_path / "talk.wav"
    os.mkfifo(pipe)
    for path in (pipe, Path("/dev/null")):
        for read in (lambda p: load_audio(p, 16_000), read_frames, probe):
            with pytest.raises(MediaError) as caught:
                read(path)
            assert caught.value.reason == "not a file"


def test_a_name_that_no_file_can_have_is_unreadable() -> None:
    with pytest.raises(MediaError) as caught:
        load_audio("talk\0.wav", 16_000)
    assert caught.value.reason == "unreadable"


class Odd(io.BytesIO):
    """Bytes that fail, in several ways, once they have been opened."""

    def __init__(self, content: bytes, answer: object) -> None:
        super().__init__(content)
        self.answer = answer

    def read(self, size: int | None = -1) -> bytes:
        if size is not None and 0 <= size <= 12:
            return super().read(size)
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer  # type: ignore[return-value]


@pytest.mark.parametrize("answer", [KeyError("x"), OSError("gone"), "text", None, bytes(1 << 20)])
def test_a_file_object_that_misbehaves_is_unreadable(
    tmp_path: Path, write_audio, sound, answer: object
) -> None:
    content = write_audio(tmp_path / "a.wav", sound, 16_000).read_bytes()
    with pytest.raises(MediaError) as caught, open_audio(Odd(content, answer)):
        pass
    assert caught.value.reason == "unreadable"


def test_metadata_in_another_encoding_are_no_fault(tmp_path: Path, write_audio, sound) -> None:
    path = write_audio(tmp_path / "a.flac", sound, 16_000)
    content = path.read_bytes()
    assert content.count(b"encoder=Lavf") == 1
    path.write_bytes(content.replace(b"encoder=Lavf", b"encoder=\xe9\xff\xe8f"))
    assert len(load_audio(path, 16_000)) == 8_000
