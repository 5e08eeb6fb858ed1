"""A released model answers files and requests alike: right, bounded, and unsure where it should be."""

import csv
import http.client
import json
import os
import subprocess
import sys
import threading
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from stages.commands import predict, serve
from stages.lib.artifacts import read_json, write_json
from stages.lib.claims import read_scored
from stages.lib.classifier import NOT_SURE, Answer, open_classifier, reader
from stages.lib.dataset import load_dataset
from stages.lib.errors import InputError
from stages.lib.image_store import encode_png
from stages.lib.payload import CALIBRATION, CLASSES, SCORED
from stages.lib.signing import PUBLIC
from stages.lib.trusted_bundle import trusted_copy
from tests.release_fixture import Project

ROOT = Path(__file__).parents[2]


def scored_images(signed: Project, n: int) -> tuple[list[np.ndarray], np.ndarray]:
    """Return n pictures of the frozen test set and what the model said of them when it was released."""
    scored = read_scored(signed.bundle / SCORED)
    data = load_dataset(signed.data / "ingest", signed.data / "curate", signed.data / "split")
    rows = scored.part("test")[:n]
    at = {name: row for row, name in enumerate(data.sample_ids)}
    return [data.pixels[at[scored.sample_ids[row]]] for row in rows], scored.pred_probs[rows]


def answers(bundle: Path, paths: list[Path]) -> list[Answer]:
    with open_classifier(bundle) as classifier:
        return list(classifier.answers((str(path), reader(path)) for path in paths))


@pytest.fixture
def pictures(signed: Project, tmp_path: Path) -> list[Path]:
    images, _ = scored_images(signed, 70)
    paths = [tmp_path / "images" / f"{number:03}.png" for number in range(len(images))]
    paths[0].parent.mkdir()
    for path, image in zip(paths, images, strict=True):
        path.write_bytes(encode_png(image[..., 0]))
    return paths


def test_files_are_answered_as_the_test_set_was_scored(signed: Project, pictures: list[Path]) -> None:
    _, stated = scored_images(signed, 70)
    classes = read_json(signed.bundle / CLASSES)
    found = answers(signed.bundle, pictures)
    assert [answer.file for answer in found] == [str(path) for path in pictures]
    assert [answer.best for answer in found] == [classes[row] for row in stated.argmax(1)]


def test_below_the_threshold_the_model_is_not_sure(project: Project, pictures: list[Path]) -> None:
    found = answers(project.bundle, pictures)
    threshold = float(np.median([answer.confidence for answer in found]))
    calibration = read_json(project.bundle / CALIBRATION)
    write_json(project.bundle / CALIBRATION, calibration | {"abstain_below": threshold})
    for before, after in zip(found, answers(project.bundle, pictures), strict=True):
        assert after.answer == (before.best if before.confidence >= threshold else NOT_SURE)
        assert after.best == before.best


def bomb() -> bytes:
    """A PNG that claims 60,000 x 60,000 pixels in a few bytes."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return len(data).to_bytes(4, "big") + kind + data + zlib.crc32(kind + data).to_bytes(4, "big")

    size = (60_000).to_bytes(4, "big")
    header = chunk(b"IHDR", size + size + bytes([1, 0, 0, 0, 0]))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(bytes(10**6))) + chunk(b"IEND", b"")


def test_what_cannot_be_read_is_refused_by_name_and_the_rest_answered(
    signed: Project, pictures: list[Path], tmp_path: Path
) -> None:
    hostile = {"bomb.png": bomb(), "empty.png": b"", "text.jpg": b"no image", "pickle.png": b"\x80\x04."}
    for name, content in hostile.items():
        (tmp_path / name).write_bytes(content)
    found = answers(
        signed.bundle, [*(tmp_path / name for name in hostile), tmp_path / "gone.png", pictures[0]]
    )
    *refused, last = found
    assert all(answer.refused and not answer.answer for answer in refused)
    assert last.refused == ""


def test_a_file_too_large_to_be_a_picture_is_not_read(signed: Project, tmp_path: Path) -> None:
    with (tmp_path / "huge.png").open("wb") as file:
        file.truncate(257 * 2**20)
    (answer,) = answers(signed.bundle, [tmp_path / "huge.png"])
    assert answer.refused.startswith("file_too_large")


def test_colour_pictures_of_other_sizes_are_prepared_as_at_ingest(signed: Project, tmp_path: Path) -> None:
    grey = np.full((40, 20, 3), 200, np.uint8)
    Image.fromarray(grey).save(tmp_path / "colour.png")
    (answer,) = answers(signed.bundle, [tmp_path / "colour.png"])
    assert answer.refused == ""


def run_predict(project: Project, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "stages.commands.main", "predict", str(project.bundle), *arguments]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    return subprocess.run(
        command, cwd=project.root.parent, env=environment, capture_output=True, text=True, check=False
    )


def test_the_command_writes_csv_json_and_a_table(signed: Project, pictures: list[Path]) -> None:
    key = ["--key", str(signed.keys / PUBLIC)]
    folder = str(pictures[0].parent)
    as_csv = run_predict(signed, folder, *key, "--form", "csv")
    assert as_csv.returncode == 0, as_csv.stderr
    rows = list(csv.DictReader(as_csv.stdout.splitlines()))
    assert [row["file"] for row in rows] == [str(path) for path in pictures]
    (pictures[0].parent / "broken.png").write_bytes(b"no image")
    as_json = run_predict(signed, folder, *key, "--form", "json")
    assert as_json.returncode == 1
    assert sum(bool(record["refused"]) for record in json.loads(as_json.stdout)) == 1


def test_the_command_answers_nothing_with_a_bundle_that_was_changed(
    project: Project, pictures: list[Path]
) -> None:
    write_json(project.bundle / CLASSES, ["owl", "cat", "dog | <b>"])
    done = run_predict(project, str(pictures[0]), "--key", str(project.keys / PUBLIC))
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    done = run_predict(project, str(pictures[0]))
    assert (done.returncode, done.stdout) == (2, "")


def test_nothing_to_classify_is_said(signed: Project, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="no file among"):
        predict.predict(signed.bundle, [tmp_path / "empty"], signed.keys / PUBLIC, "csv", None)
    with pytest.raises(InputError, match="no such file"):
        predict.predict(signed.bundle, [tmp_path / "gone"], signed.keys / PUBLIC, "csv", None)


@pytest.fixture
def port(signed: Project) -> Iterator[int]:
    """The port of a running server."""
    with (
        open_classifier(signed.bundle) as classifier,
        serve.Server(0, classifier, {"classes": list(classifier.classes)}) as server,
    ):
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server.server_port
        server.shutdown()
        thread.join()


def ask(
    port: int, method: str, path: str, body: bytes = b"", headers: dict[str, str] | None = None
) -> tuple[int, dict[str, object]]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    connection.request(method, path, body or None, headers or {})
    answer = connection.getresponse()
    content = json.loads(answer.read())
    connection.close()
    return answer.status, content


def test_a_request_is_answered_like_the_file(signed: Project, port: int, pictures: list[Path]) -> None:
    (expected,) = answers(signed.bundle, [pictures[0]])
    status, found = ask(port, "POST", "/predict", pictures[0].read_bytes())
    assert status == 200
    assert found == {
        "answer": expected.answer,
        "best": expected.best,
        "confidence": expected.confidence,
        "refused": "",
    }
    assert ask(port, "GET", "/")[1] == {"classes": read_json(signed.bundle / CLASSES)}


def test_requests_beyond_the_limits_are_refused_and_the_server_goes_on(
    port: int, pictures: list[Path]
) -> None:
    assert ask(port, "POST", "/elsewhere", b"x")[0] == 404
    assert ask(port, "GET", "/elsewhere")[0] == 404
    assert ask(port, "POST", "/predict", b"x", {"Content-Length": str(33 * 2**20)})[0] == 413
    assert ask(port, "POST", "/predict", b"x", {"Content-Length": "-1"})[0] == 411
    assert ask(port, "POST", "/predict", bomb())[0] == 422
    assert ask(port, "POST", "/predict", b"no image")[0] == 422
    assert ask(port, "POST", "/predict", pictures[0].read_bytes())[0] == 200


def test_one_request_too_many_is_told_to_come_again(signed: Project, pictures: list[Path]) -> None:
    with (
        open_classifier(signed.bundle) as classifier,
        serve.Server(0, classifier, {}) as server,
    ):
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        for _ in range(serve.AT_A_TIME):
            assert server.turns.acquire(blocking=False)
        assert ask(server.server_port, "POST", "/predict", pictures[0].read_bytes())[0] == 429
        server.turns.release()
        assert ask(server.server_port, "POST", "/predict", pictures[0].read_bytes())[0] == 200
        server.shutdown()
        thread.join()


def test_W10_W15_a_bundle_that_changes_after_its_check_changes_nothing(
    project: Project, pictures: list[Path]
) -> None:
    expected = answers(project.bundle, pictures[:3])
    with trusted_copy(project.bundle, project.keys / PUBLIC) as copy:
        for path in project.bundle.iterdir():
            path.write_bytes(b"")
        assert answers(copy, pictures[:3]) == expected
    assert not copy.exists()
