"""A web server of images that can be paused: it stops a job at a known row, and counts requests."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from pictures import jpeg


@dataclass
class Images:
    """The server: images by number.

    Attributes:
        paused: Numbers of images whose requests wait.
        requests: How often each image was requested.
    """

    port: int = 0
    paused: range = range(0)
    requests: Counter[int] = field(default_factory=Counter)
    released: threading.Event = field(default_factory=threading.Event)

    def pause(self, first: int, last: int = 10**9) -> None:
        """Let requests for images of these numbers wait."""
        self.paused = range(first, last)
        self.released.clear()

    def release(self) -> None:
        """Answer all requests."""
        self.paused = range(0)
        self.released.set()

    def write(self, path: Path, first: int, rows: int, row_group: int) -> None:
        """Write a Parquet file of URLs of images."""
        path.parent.mkdir(parents=True, exist_ok=True)
        numbers = range(first, first + rows)
        urls = [f"http://127.0.0.1:{self.port}/{number}.jpg" for number in numbers]
        pq.write_table(pa.table({"id": list(numbers), "image": urls}), path, row_group_size=row_group)


@contextmanager
def serving_images() -> Iterator[Images]:
    """Start the server."""
    images = Images()

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *_: Any) -> None:
            pass

        def do_GET(self) -> None:
            number = int(self.path.strip("/").removesuffix(".jpg"))
            images.requests[number] += 1
            if number in images.paused:
                images.released.wait(120)
            body = jpeg(number, 40, 40)  # all are different: results of equal images would be cached
            try:
                self.send_response(200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)
            except OSError:
                pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    images.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield images
    finally:
        images.release()
        server.shutdown()
        server.server_close()
