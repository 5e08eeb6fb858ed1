import io
import os
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import closing

import numpy as np
import pytest
from PIL import Image

from stages.lib import decode_pool
from stages.lib.decode_pool import DecodePool, Worker, WorkerLost, worker_command
from stages.lib.decode_worker import Rules, answer, pack, pack_many, unpack, unpack_many
from stages.lib.errors import MachineError
from stages.lib.refusal import RefusalError

RULES = Rules(10**6, 8, 20.0, 8, "pad", (255, 255, 255))

HOSTILE = """
import os, sys, time
from stages.lib.decode_worker import Rules, answer, serve
rules = Rules.from_json(sys.argv[1])
def respond(data):
    if data == b"ABORT": os.abort()
    if data == b"SLEEP": time.sleep(60)
    if data == b"SLOW": time.sleep(1)
    if data == b"RAISE": raise RuntimeError("a decoder's surprise")
    if data == b"PRINT": os.write(1, b"a C library talks on standard output")
    return answer(png if data in (b"SLOW", b"PRINT") else data, rules)
png = bytes.fromhex(sys.argv[2])
serve(respond)
"""


def png(value: int = 0, side: int = 8) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(np.full((side, side), value, np.uint8)).save(buffer, "PNG")
    return buffer.getvalue()


def hostile_command() -> list[str]:
    return [sys.executable, "-c", HOSTILE, RULES.to_json(), png(7).hex()]


@pytest.fixture(scope="module")
def pool() -> Iterator[DecodePool]:
    with closing(DecodePool(RULES, workers=2)) as pool:
        yield pool


def alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    return True


def test_images_come_back_in_order(pool: DecodePool) -> None:
    values = list(range(0, 250, 5))
    images = list(pool.ordered(pool.decode, [png(value, 8 + value % 3) for value in values]))
    assert [int(image.pixels[4, 4]) for image in images] == values
    assert (images[1].width, images[1].height, images[1].mode, images[1].format) == (10, 10, "L", "PNG")


def test_the_worker_answers_as_the_function_does(pool: DecodePool) -> None:
    parts = io.BytesIO(answer(png(9, 40), RULES))
    header, payload = unpack(parts.read)
    image = pool.decode(png(9, 40))
    assert image.pixels.tobytes() == payload
    assert image.findings == tuple(header["findings"])


def test_a_refusal_crosses_the_pipe_with_its_reason(pool: DecodePool) -> None:
    with pytest.raises(RefusalError, match="git lfs pull") as caught:
        pool.decode(b"version https://git-lfs.github.com/spec/v1")
    assert caught.value.reason == "not_an_image"


def test_an_image_smaller_than_the_stored_size_is_marked() -> None:
    rules = Rules(10**6, 8, 20.0, 16, "pad", (255, 255, 255))
    header, _ = unpack(io.BytesIO(answer(png(9, 12), rules)).read)
    assert header["findings"] == ["upscaled"]


@pytest.mark.parametrize(
    ("trap", "told"), [(b"ABORT", f"code -{signal.SIGABRT.value}"), (b"RAISE", "code 1")]
)
def test_I17_a_crash_costs_one_file_and_no_other(trap: bytes, told: str) -> None:
    with closing(DecodePool(RULES, hostile_command(), workers=2)) as pool:

        def outcome(data: bytes) -> str:
            try:
                return str(pool.decode(data).pixels[0, 0])
            except RefusalError as refusal:
                return f"{refusal.reason}: {refusal.detail}"

        outcomes = list(pool.ordered(outcome, [png(1), trap, png(2), trap, png(3)]))
    assert outcomes[::2] == ["1", "2", "3"]
    assert all(text.startswith("decoder_crash") and told in text for text in outcomes[1::2])


def test_I17_a_crash_in_a_batch_costs_one_file_and_no_other() -> None:
    with closing(DecodePool(RULES, hostile_command(), workers=1)) as pool:
        results = pool.decode_many([png(1), b"no image", b"ABORT", png(3)])
    assert [getattr(result, "reason", "stored") for result in results] == [
        "stored",
        "not_an_image",
        "decoder_crash",
        "stored",
    ]


def test_I17_a_hanging_decoder_is_ended_in_bounded_time() -> None:
    with closing(DecodePool(RULES, hostile_command(), workers=1, seconds=0.3)) as pool:
        assert pool.decode(png(1)).pixels[0, 0] == 1
        started = time.monotonic()
        with pytest.raises(RefusalError, match=r"took longer than 1\.2 s, twice") as caught:
            pool.decode(b"SLEEP")
        assert time.monotonic() - started < 10
        assert caught.value.reason == "decoder_crash"
        assert pool.decode(png(2)).pixels[0, 0] == 2


def test_a_slow_file_gets_a_second_longer_chance() -> None:
    with closing(DecodePool(RULES, hostile_command(), workers=1, seconds=0.6)) as pool:
        assert pool.decode(b"SLOW").pixels[0, 0] == 7


def test_what_a_library_prints_does_not_disturb_the_answers() -> None:
    with closing(DecodePool(RULES, hostile_command(), workers=1)) as pool:
        assert pool.decode(b"PRINT").pixels[0, 0] == 7
        assert pool.decode(png(3)).pixels[0, 0] == 3


def test_closing_ends_workers_in_the_middle_of_a_file() -> None:
    pool = DecodePool(RULES, hostile_command(), workers=1)
    waiting = pool._threads.submit(pool.decode, b"SLEEP")
    while pool._workers[0]._process is None:
        time.sleep(0.01)
    process = pool._workers[0]._process.pid
    time.sleep(0.5)
    started = time.monotonic()
    pool.close()
    assert time.monotonic() - started < 5
    assert not alive(process)
    with pytest.raises(RefusalError):
        waiting.result()


def test_a_decoder_that_cannot_start_is_a_fault_of_the_environment() -> None:
    pool = DecodePool(RULES, [sys.executable, "-c", "raise SystemExit(3)"], workers=1)
    with closing(pool), pytest.raises(MachineError, match="ended with code 3"):
        pool.decode(png())


def test_a_worker_is_started_anew_after_a_loss() -> None:
    worker = Worker(worker_command(RULES))
    worker.ask([png(1)], 60)
    assert worker._process is not None
    os.kill(worker._process.pid, signal.SIGKILL)
    with pytest.raises(WorkerLost, match="code -9"):
        worker.ask([png(1)], 60)
    (frame,) = worker.ask([png(2)], 60)
    assert unpack(io.BytesIO(frame).read)[0]["mode"] == "L"
    worker.clear()


def test_frames_survive_the_way() -> None:
    frame = pack({"a": 1, "text": "ü\n"}, b"\0\1\2")
    assert unpack(io.BytesIO(frame).read) == ({"a": 1, "text": "ü\n"}, b"\0\1\2")


def test_parts_that_do_not_fill_their_frame_are_refused() -> None:
    assert unpack_many(*unpack(io.BytesIO(pack_many([b"", b"ab", b"c"])).read)) == [b"", b"ab", b"c"]
    with pytest.raises(EOFError):
        unpack_many({"sizes": [2, 9]}, b"ab")


def test_heavy_items_wait_by_their_bytes(pool: DecodePool) -> None:
    taken: list[int] = []
    results = pool.ordered(taken.append, range(10), lambda _: decode_pool.IN_FLIGHT_BYTES)
    next(results)
    assert max(taken) <= 2
    assert len(list(results)) == 9


def test_only_a_bounded_number_of_files_is_read_ahead(pool: DecodePool) -> None:
    taken = []
    results = pool.ordered(taken.append, range(1000))
    next(results)
    assert max(taken) < 2 * decode_pool.IN_FLIGHT_PER_WORKER
    assert len(list(results)) == 999
