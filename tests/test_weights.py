"""Known weights are fetched once, checked, and can be put in place by hand."""

import hashlib
import http.server
import threading

import pytest

from liser import weights
from liser.errors import InputError, NotFoundError
from liser.weights import KNOWN, Weights, resolve

BYTES = b"weights " * 5000


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("LISER_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    return tmp_path / "cache"


@pytest.fixture
def server():
    """Serve /good, and /bad with other bytes; counts what was asked for."""
    asked = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append(self.path)
            known = {"/good": BYTES, "/bad": b"something else"}
            if self.path not in known:
                self.send_error(404)
                return
            self.send_response(200)
            self.send_header("Content-Length", str(len(known[self.path])))
            self.end_headers()
            self.wfile.write(known[self.path])

        def log_message(self, *_):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as httpd:
        thread = threading.Thread(target=httpd.serve_forever, args=(0.02,))
        thread.start()
        yield f"http://127.0.0.1:{httpd.server_port}", asked
        httpd.shutdown()
        thread.join()


@pytest.fixture
def known(monkeypatch):
    def make(url):
        entry = Weights(
            "net.onnx", url, len(BYTES), hashlib.sha256(BYTES).hexdigest(), "MIT", "https://a.test"
        )
        monkeypatch.setitem(weights.KNOWN, "net", entry)

    return make


def test_a_known_name_is_downloaded_once_with_a_message(cache, server, known, capsys):
    base, asked = server
    known(f"{base}/good")
    path = resolve("net", "test net")
    assert path == cache / "net.onnx" and path.read_bytes() == BYTES
    printed = capsys.readouterr().err
    assert f"{base}/good" in printed and "40,000 bytes" in printed and "MIT" in printed
    assert resolve("net", "test net") == path and asked == ["/good"]
    assert capsys.readouterr().err == ""
    assert [p.name for p in cache.iterdir()] == ["net.onnx"], "no part files stay"
    (cache / "any").touch()
    assert path.stat().st_mode == (cache / "any").stat().st_mode, "others may read it, too"


def test_a_download_must_have_the_known_checksum(cache, server, known):
    known(f"{server[0]}/bad")
    with pytest.raises(InputError, match="another file than expected"):
        resolve("net", "test net")
    assert not (cache / "net.onnx").exists()


@pytest.mark.parametrize("url", ["http://127.0.0.1:9/nobody", None, "{server}/missing"])
def test_without_a_download_the_file_can_be_put_in_place(cache, server, known, url):
    known(url and url.format(server=server[0]))
    with pytest.raises(NotFoundError) as caught:
        resolve("net", "test net")
    message = str(caught.value)
    assert "net.onnx" in message and str(cache) in message and "SHA-256" in message
    cache.mkdir(exist_ok=True)
    (cache / "net.onnx").write_bytes(BYTES)
    assert resolve("net", "test net").read_bytes() == BYTES


def test_a_file_put_in_place_by_hand_is_checked(cache, known):
    known("http://127.0.0.1:9/nobody")
    cache.mkdir()
    (cache / "net.onnx").write_bytes(b"not this one")
    with pytest.raises(InputError, match="Delete it"):
        resolve("net", "test net")
    assert (cache / "net.onnx").exists(), "nothing of the user's is deleted"


def test_a_path_is_used_as_it_is(tmp_path, cache):
    own = tmp_path / "mine.onnx"
    own.write_bytes(b"mine")
    assert resolve(own, "net") == own and resolve(str(own), "net") == own
    assert resolve(tmp_path, "net") == tmp_path
    with pytest.raises(NotFoundError, match="yunet"):
        resolve(tmp_path / "missing.onnx", "net")


def test_the_table_is_complete():
    for name, entry in KNOWN.items():
        assert len(entry.sha256) == 64 and entry.size > 1000 and entry.licence, name
        assert entry.source.startswith("https://")
        assert entry.url is None or entry.url.endswith(entry.file)
    assert len({entry.file for entry in KNOWN.values()}) == len(KNOWN)


@pytest.mark.shared
def test_the_table_agrees_with_the_files(shared):
    for name, file in {
        "yunet": "yunet/yunet_n_640_640.onnx",
        "face-api-expression": "face-api-expression/model.onnx",
    }.items():
        data = (shared / "models" / file).read_bytes()
        assert len(data) == KNOWN[name].size
        assert hashlib.sha256(data).hexdigest() == KNOWN[name].sha256
