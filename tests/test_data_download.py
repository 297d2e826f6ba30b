"""Downloads against a real server on this machine: whole, resumed, restarted, broken off, and wrong."""

import hashlib
import multiprocessing
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest

from t2h.data.download import RemoteFile, download
from t2h.errors import UserError

CONTENT = np.random.default_rng(0).bytes(300_000)


class Server(ThreadingHTTPServer):
    """Serves CONTENT; `ranges` says whether it can resume, `lies` that it answers a
    range with another one, `stop_after` how many bytes it sends before it hangs up."""

    ranges, lies, stop_after, asked = True, False, None, ()


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        wanted = self.headers.get("Range")
        self.server.asked += (wanted,)
        if self.path == "/absent":
            self.send_error(404)
            return
        start = int(wanted.removeprefix("bytes=").rstrip("-")) if wanted and self.server.ranges else 0
        body = CONTENT[start:]
        self.send_response(206 if start or self.server.lies else 200)
        if start or self.server.lies:
            self.send_header("Content-Range", f"bytes {start}-{len(CONTENT) - 1}/{len(CONTENT)}")
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(body[: self.server.stop_after])
        self.close_connection = True

    def log_message(self, *args):
        pass


@pytest.fixture
def server():
    with Server(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


MD5 = hashlib.md5(CONTENT).hexdigest()


def remote(server, path="file.bin", size=300_000, md5=MD5):
    return RemoteFile(f"http://127.0.0.1:{server.server_port}/{path}", size, md5)


def test_whole(server, tmp_path):
    target = tmp_path / "new" / "file.bin"
    download(remote(server), target)
    assert target.read_bytes() == CONTENT
    assert [path.name for path in target.parent.iterdir()] == ["file.bin"]


def test_of_many_processes_one_fetches_and_all_have_it(server, tmp_path):
    target, fork = tmp_path / "file.bin", multiprocessing.get_context("fork")
    start = fork.Barrier(4)

    def fetch():
        start.wait(30)
        download(remote(server), target)
        assert target.read_bytes() == CONTENT

    processes = [fork.Process(target=fetch) for _ in range(4)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
    assert [process.exitcode for process in processes] == [0] * 4
    assert server.asked == (None,)
    assert [path.name for path in tmp_path.iterdir()] == ["file.bin"]


def test_broken_off_then_resumed(server, tmp_path):
    target, part = tmp_path / "file.bin", tmp_path / "file.bin.part"
    server.stop_after = 100_000
    with pytest.raises(UserError, match="broke off after 100,000 of 300,000 bytes; run the same again"):
        download(remote(server), target)
    assert not target.exists()
    assert part.read_bytes() == CONTENT[:100_000]
    server.stop_after = None
    download(remote(server), target)
    assert server.asked == (None, "bytes=100000-")
    assert target.read_bytes() == CONTENT
    assert not part.exists()


def test_server_without_ranges_starts_again(server, tmp_path):
    server.ranges = False
    (tmp_path / "file.bin.part").write_bytes(CONTENT[:5000])
    download(remote(server), tmp_path / "file.bin")
    assert (tmp_path / "file.bin").read_bytes() == CONTENT


def test_server_that_answers_another_range(server, tmp_path):
    server.ranges, server.lies = False, True
    (tmp_path / "file.bin.part").write_bytes(CONTENT[:5000])
    download(remote(server), tmp_path / "file.bin")
    assert (tmp_path / "file.bin").read_bytes() == CONTENT


def test_whole_part_needs_no_server(tmp_path):
    (tmp_path / "file.bin.part").write_bytes(CONTENT)
    nobody = RemoteFile("http://127.0.0.1:9/file.bin", len(CONTENT), MD5)
    download(nobody, tmp_path / "file.bin")
    assert (tmp_path / "file.bin").read_bytes() == CONTENT


@pytest.mark.parametrize("part", [b"", b"some other beginning", b"x" * 400_000])
def test_foreign_part(server, tmp_path, part):
    """A beginning that is not this file's is found out by the md5 and thrown away, so the next call succeeds."""
    target = tmp_path / "file.bin"
    (tmp_path / "file.bin.part").write_bytes(part)
    if part == b"some other beginning":
        with pytest.raises(UserError, match="md5"):
            download(remote(server), target)
    download(remote(server), target)
    assert target.read_bytes() == CONTENT


@pytest.mark.parametrize("wrong", [{"md5": "0" * 32}, {"size": 299_999}])
def test_wrong_content_is_not_kept(server, tmp_path, wrong):
    (tmp_path / "file.bin").write_bytes(b"what was there before")
    with pytest.raises(UserError, match=r"got 300,000 bytes with md5 \w+, expected .* nothing was kept"):
        download(remote(server, **wrong), tmp_path / "file.bin")
    assert (tmp_path / "file.bin").read_bytes() == b"what was there before"
    assert not (tmp_path / "file.bin.part").exists()


def test_no_such_file(server, tmp_path):
    with pytest.raises(UserError, match="404"):
        download(remote(server, "absent"), tmp_path / "file.bin")
    assert list(tmp_path.iterdir()) == []


def test_no_server(server, tmp_path):
    nobody = RemoteFile("http://127.0.0.1:9/file.bin", 10, "0" * 32)
    with pytest.raises(UserError, match=r"file\.bin: .*refused.*or fetch it by hand"):
        download(nobody, tmp_path / "file.bin")
