"""A stand-in for the servers of weights: sends files, interrupts and pauses on request."""

import re
import threading
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

CHUNK_BYTES = 4096


@dataclass
class WeightsServer:
    """The behaviour of the server, which a test may change between two requests.

    Attributes:
        url: the address of the folder with the files.
        files: name -> content.
        etag: the ETag of all files; None: the server states no version.
        supports_ranges: whether a range request is answered with the requested part.
        cuts: for each of the next responses, the number of bytes after which the connection breaks.
        status: the status of an answer without a file; None: files are sent.
        hold_at: the position in a file from which the server sends a byte a second until `release`;
            None: nowhere.
        release: lets the server send the rest of a file.
        requests: the headers Range and If-Range of all requests.
    """

    url: str = ""
    files: dict[str, bytes] = field(default_factory=dict)
    etag: str | None = '"first"'
    supports_ranges: bool = True
    cuts: list[int] = field(default_factory=list)
    status: int | None = None
    hold_at: int | None = None
    release: threading.Event = field(default_factory=threading.Event)
    requests: list[tuple[str | None, str | None]] = field(default_factory=list)

    @property
    def ranges(self):
        return [requested for requested, _ in self.requests]


@contextmanager
def running_weights_server():
    """Runs a server on a free port of this machine."""
    state = WeightsServer()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            requested, if_range = self.headers["Range"], self.headers["If-Range"]
            state.requests.append((requested, if_range))
            content = state.files.get(self.path.rpartition("/")[2])
            if state.status is not None or content is None:
                self.send_error(state.status or 404)
                return
            start = int(re.fullmatch(r"bytes=(\d+)-", requested)[1]) if requested else 0
            if not state.supports_ranges or if_range not in (None, state.etag):
                start = 0
            if start and start >= len(content):
                self.send_error(416)
                return
            self.send_response(206 if start else 200)
            self.send_header("Content-Length", str(len(content) - start))
            if start:
                end = len(content) - 1
                self.send_header("Content-Range", f"bytes {start}-{end}/{len(content)}")
            if state.etag is not None:
                self.send_header("ETag", state.etag)
            self.end_headers()
            end = start + state.cuts.pop(0) if state.cuts else len(content)
            with suppress(ConnectionError):  # the client has cancelled the download
                position = start
                while position < end:
                    is_held = state.hold_at is not None and position >= state.hold_at
                    # A single byte from time to time keeps the client from giving up.
                    n_bytes = 1 if is_held and not state.release.wait(1) else CHUNK_BYTES
                    self.wfile.write(content[position : min(position + n_bytes, end)])
                    position += n_bytes
            self.close_connection = True

        def log_message(self, *_):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        state.url = f"http://127.0.0.1:{server.server_address[1]}/files"
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        yield state
        state.release.set()
        server.shutdown()
