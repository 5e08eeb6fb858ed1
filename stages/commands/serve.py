"""Answer one image a request on loopback, with the same code and limits as `assay predict`.

POST /predict with an image file's bytes as the body answers JSON; GET / says what model this is. Bounded: the
size of a body, how many are answered at a time, how long a client may take to send one.
"""

import json
from dataclasses import asdict
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import BoundedSemaphore
from typing import Any

from stages.lib.artifacts import read_json
from stages.lib.classifier import Answer, Classifier, open_classifier
from stages.lib.payload import CLAIMS
from stages.lib.progress import say
from stages.lib.trusted_bundle import trusted_copy

MAX_BODY_BYTES = 32 * 2**20
AT_A_TIME = 4
"""Requests that are decoded at once; others are told to come again."""

SECONDS = 20.0
"""The longest that a client may be silent while sending."""


class Server(ThreadingHTTPServer):
    """A loopback server with one classifier."""

    daemon_threads = True

    def __init__(self, port: int, classifier: Classifier, about: dict[str, Any]) -> None:
        super().__init__(("127.0.0.1", port), Handler)
        self.classifier, self.about = classifier, about
        self.turns = BoundedSemaphore(AT_A_TIME)


class Handler(BaseHTTPRequestHandler):
    """One request."""

    server: Server
    timeout = SECONDS
    server_version, sys_version = "assay", ""
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        """Say what model answers here."""
        if self.path == "/":
            self._say(HTTPStatus.OK, self.server.about)
        else:
            self._say(HTTPStatus.NOT_FOUND, {"error": "GET / or POST /predict"})

    def do_POST(self) -> None:
        """Classify the body."""
        length = self.headers.get("Content-Length", "")
        if self.path != "/predict":
            self._refuse(HTTPStatus.NOT_FOUND, "POST /predict")
        elif not length.isascii() or not length.isdigit():
            self._refuse(HTTPStatus.LENGTH_REQUIRED, "the length of the body must be given")
        elif len(length) > 12 or int(length) > MAX_BODY_BYTES:
            self._refuse(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"at most {MAX_BODY_BYTES} bytes")
        elif not self.server.turns.acquire(blocking=False):
            self._refuse(HTTPStatus.TOO_MANY_REQUESTS, f"{AT_A_TIME} images are being answered: try again")
        else:
            try:
                self._classify(int(length))
            finally:
                self.server.turns.release()

    def _classify(self, length: int) -> None:
        try:
            body = self.rfile.read(length)
        except TimeoutError:
            self._refuse(HTTPStatus.REQUEST_TIMEOUT, f"nothing was sent for {SECONDS:g} seconds")
            return
        (answer,) = self.server.classifier.answers([("body", lambda: body)])
        self._say(HTTPStatus.UNPROCESSABLE_ENTITY if answer.refused else HTTPStatus.OK, _record(answer))

    def _refuse(self, status: HTTPStatus, message: str) -> None:
        self.close_connection = True  # the body was not read: nothing after it can be understood
        self._say(status, {"error": message})

    def _say(self, status: HTTPStatus, record: dict[str, Any]) -> None:
        content = json.dumps(record, sort_keys=True).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.send_header("X-Content-Type-Options", "nosniff")
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 (http.server's name)
        """Keep quiet: requests are the user's own."""


def _record(answer: Answer) -> dict[str, Any]:
    return {key: value for key, value in asdict(answer).items() if key != "file"}


def serve(bundle: Path, key: Path | None, port: int) -> None:
    """Serve until interrupted."""
    with trusted_copy(bundle, key) as copy, open_classifier(copy) as classifier:
        claims = read_json(copy / CLAIMS)["claims"]
        about = {"classes": list(classifier.classes), "test": claims["test"]}
        with Server(port, classifier, about) as server:
            say(f"POST an image to http://127.0.0.1:{server.server_port}/predict; Ctrl-C ends")
            try:
                server.serve_forever()
            except KeyboardInterrupt:
                say("ended")
