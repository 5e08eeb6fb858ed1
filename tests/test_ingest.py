import hashlib
import json
import os
import shutil
import subprocess
import sys
import unicodedata
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import yaml
from PIL import Image
from sklearn.datasets import load_digits

from bench.peak_memory import forget_peak, peak_mib
from stages import ingest
from stages.lib import decode_pool
from stages.lib.artifacts import read_csv
from stages.lib.config import load_section
from stages.lib.errors import InputError
from stages.lib.image_store import read_pixels
from stages.lib.intake import MANIFEST
from tests.folder_fixture import write_class_folders
from tests.ingest_project import ROOT, SHIPPED, Project


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return Project(tmp_path)


def some(project: Project) -> list[Path]:
    return write_class_folders(project.set, {"cat": 12, "dog": 12})


# ---- digits


def test_digits_are_all_there_with_their_pixels_and_labels(project: Project) -> None:
    metrics = project.run(source="digits", image_size=8)
    theirs = load_digits()
    stored = read_pixels(project.out)
    assert stored.array.shape == (1797, 8, 8, 1)
    np.testing.assert_array_equal(stored.array[..., 0], np.floor(theirs.images * 255 / 16 + 0.5))
    rows = project.manifest()
    assert [row["label"] for row in rows] == [str(digit) for digit in theirs.target]
    assert stored.sample_ids == tuple(row["sample_id"] for row in rows)
    assert len(set(stored.sample_ids)) == 1797
    assert (metrics["n_accepted"], metrics["n_classes"], metrics["channels"]) == (1797, 10, 1)
    assert rows[0]["sha256"] == hashlib.sha256(theirs.images[0].astype(np.uint8).tobytes()).hexdigest()
    assert rows[0]["sample_id"] == rows[0]["sha256"][:16]


def test_digits_can_be_stored_larger(project: Project) -> None:
    project.run(source="digits", image_size=16)
    assert read_pixels(project.out).array.shape == (1797, 16, 16, 1)


@pytest.mark.parametrize("source", ["digits", "folder"])
def test_the_same_input_gives_the_same_bytes(project: Project, source: str) -> None:
    some(project)
    project.put("cat/bad.png", b"no")
    digests = []
    for _ in range(2):
        project.run(source=source)
        digests.append({path.name: path.read_bytes() for path in sorted(project.out.iterdir())})
    assert digests[0] == digests[1]
    assert list(digests[0]) == ["images.parquet", "manifest.parquet", "quarantine.csv"]


def test_no_path_of_this_machine_is_in_an_out(project: Project) -> None:
    some(project)
    project.put("cat/bad.png", b"no")
    metrics = json.dumps(project.run()).encode()
    for data in (metrics, *(path.read_bytes() for path in project.out.iterdir())):
        assert str(project.root).encode() not in data


# ---- folders


def test_a_folder_of_class_folders_is_taken_in(project: Project) -> None:
    paths = some(project)
    metrics = project.run()
    assert project.labels() == {"cat": 12, "dog": 12}
    assert [row["source"] for row in project.manifest()] == sorted(
        path.relative_to(project.set).as_posix() for path in paths
    )
    stored = read_pixels(project.out)
    lossless = [index for index, row in enumerate(project.manifest()) if row["source"].endswith(".png")]
    for index in lossless:
        original = np.asarray(Image.open(project.set / project.manifest()[index]["source"]))
        np.testing.assert_array_equal(stored.array[index], original)
    assert (metrics["channels"], metrics["modes"], metrics["median_width"]) == (3, {"RGB": 24}, 16.0)
    assert pq.read_schema(project.out / "manifest.parquet").equals(MANIFEST)


def test_images_in_the_root_have_no_class(project: Project) -> None:
    paths = some(project)
    shutil.copy(paths[0], project.set / "loose.png")
    assert project.run()["n_unlabelled"] == 1
    assert project.labels()[None] == 1


def test_a_name_follows_its_bytes_and_repeats_are_numbered(project: Project) -> None:
    paths = some(project)
    data = paths[0].read_bytes()
    project.put("dog/zz.png", data)
    project.put("dog/zzz.png", data)
    project.run()
    same = [
        row["sample_id"] for row in project.manifest() if row["sha256"] == hashlib.sha256(data).hexdigest()
    ]
    name = hashlib.sha256(data).hexdigest()[:16]
    assert same == [name, f"{name}-2", f"{name}-3"]
    before = {
        row["sha256"]: row["sample_id"] for row in project.manifest() if row["source"] == "cat/0003.jpg"
    }
    (project.set / "cat" / "0003.jpg").rename(project.set / "dog" / "moved.jpg")
    project.run()
    after = {
        row["sha256"]: row["sample_id"] for row in project.manifest() if row["source"] == "dog/moved.jpg"
    }
    assert before == after


def test_grey_files_give_a_grey_store_and_one_colour_file_a_colour_store(project: Project) -> None:
    rng = np.random.default_rng(0)
    for number in range(6):
        (project.set / "a").mkdir(exist_ok=True)
        grey = rng.integers(0, 256, (16, 16), dtype=np.uint8)
        image = grey if number % 2 else grey[..., None].repeat(3, 2)
        Image.fromarray(image).save(project.set / "a" / f"{number}.png")
    assert project.run()["channels"] == 1
    assert project.run(background=(9, 9, 9))["channels"] == 1
    Image.fromarray(rng.integers(0, 256, (16, 16, 3), dtype=np.uint8)).save(project.set / "a" / "colour.png")
    assert project.run()["channels"] == 3
    stored = read_pixels(project.out).array
    assert stored.shape == (7, 16, 16, 3)
    np.testing.assert_array_equal(stored[1, ..., 0], np.asarray(Image.open(project.set / "a" / "1.png")))


NAMES = [
    "cat dog",
    "'q\"",
    "<script>alert(1)</script>".replace("/", "∕"),
    "猫",
    "NA",
    "001",
    "None",
    "=1+1",
    "a,b",
]


def test_class_names_are_kept_as_text(project: Project) -> None:
    write_class_folders(project.set, dict.fromkeys(NAMES, 2))
    assert project.run()["n_classes"] == len(NAMES)
    assert project.labels() == dict.fromkeys(NAMES, 2)


def test_a_class_of_one_image_is_accepted(project: Project) -> None:
    write_class_folders(project.set, {"many": 5, "one": 1})
    project.run()
    assert project.labels() == {"many": 5, "one": 1}


def test_class_names_that_look_alike_are_told_and_not_merged(
    project: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    write_class_folders(project.set, {"cat": 3, "Cat": 1, "dog": 2})
    metrics = project.run()
    assert metrics["label_variants"] == {"cat": ["Cat"]}
    assert metrics["n_label_variants"] == 1
    assert metrics["n_classes"] == 3
    assert "'cat' looks like 'Cat'" in capsys.readouterr().err


def test_a_class_that_lost_all_its_images_is_told(
    project: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    some(project)
    project.put("bird/1.png", b"no")
    (project.set / "empty").mkdir()
    assert project.run()["classes_without_images"] == ["bird", "empty"]
    assert "class 'bird' has no usable image" in capsys.readouterr().err


def test_photographs_that_shrink_hard_are_told(project: Project, capsys: pytest.CaptureFixture[str]) -> None:
    write_class_folders(project.set, {"a": 3}, size=80)
    project.run()
    assert "raise it to keep detail" in capsys.readouterr().err
    project.run(image_size=32)
    assert "raise it to keep detail" not in capsys.readouterr().err


# ---- what is refused


def test_bad_files_are_quarantined_with_reason_and_hash(project: Project) -> None:
    paths = some(project)
    jpeg = paths[1].read_bytes()
    bad = {
        "cat/I1.jpg": (jpeg[:-2], "truncated"),
        "cat/I3.jpg": (b"", "empty"),
        "cat/I4.jpg": (b"<html>404</html>", "not_an_image"),
        "dog/I6.jpg": (b"%PDF-1.7", "format_not_allowed"),
        "dog/I18.svg": (b"<svg></svg>", "format_not_supported"),
    }
    for name, (data, _) in bad.items():
        project.put(name, data)
    metrics = project.run(max_quarantine_fraction=0.5)
    assert project.reasons() == {name: reason for name, (_, reason) in bad.items()}
    for row in project.quarantine():
        assert row["sha256"] == hashlib.sha256(bad[row["file"]][0]).hexdigest()
        assert (project.set / row["file"]).read_bytes() == bad[row["file"]][0]
    assert metrics["quarantine_by_reason"] == {reason: 1 for _, reason in bad.values()}
    assert project.labels() == {"cat": 12, "dog": 12}


def test_I14_an_image_above_the_pixel_limit_is_quarantined(project: Project) -> None:
    some(project)
    Image.new("1", (200, 200)).save(project.set / "cat" / "large.png")
    project.run(max_pixels=39_999)
    assert project.reasons() == {"cat/large.png": "too_many_pixels"}
    project.run(max_pixels=40_000)
    assert project.reasons() == {}


def test_I5_I11_findings_are_in_the_manifest_and_counted(project: Project) -> None:
    paths = some(project)
    project.put("cat/png.jpg", paths[0].read_bytes())
    frames = [Image.open(path) for path in paths[:4:2]]
    frames[0].save(project.set / "cat" / "film.gif", save_all=True, append_images=frames[1:])
    metrics = project.run(image_size=32)
    findings = {row["source"]: row["findings"] for row in project.manifest()}
    assert findings["cat/png.jpg"] == "extension_mismatch,upscaled"
    assert findings["cat/film.gif"] == "multi_frame,upscaled"
    assert findings["cat/0000.png"] == "upscaled"
    assert metrics["findings"] == {"extension_mismatch": 1, "multi_frame": 1, "upscaled": 26}


def test_I21_I24_I25_what_is_no_plain_file_is_quarantined_and_the_rest_goes_on(project: Project) -> None:
    some(project)
    os.mkfifo(project.set / "cat" / "pipe.jpg")
    (project.set / "cat" / "link.jpg").symlink_to("/etc/hostname")
    (project.set / "cat" / "loop").symlink_to("..")
    Path(os.fsdecode(os.fsencode(project.set) + b"/cat/caf\xe9.jpg")).write_bytes(b"x")
    project.run(max_quarantine_fraction=0.2)
    assert project.reasons() == {
        "cat/caf\\xe9.jpg": "name_not_utf8",
        "cat/link.jpg": "symlink",
        "cat/loop": "symlink",
        "cat/pipe.jpg": "not_regular",
    }


def test_I22_awkward_names_come_back_from_the_tables(project: Project) -> None:
    paths = some(project)
    names = ["cat/a\nb.png", "cat/a\tb.png", "cat/-rf.png", "cat/a'\"b.png", "cat/x" + "x" * 250 + ".png"]
    names += ["=cmd/1.png"]
    for name in names:
        project.put(name, paths[0].read_bytes())
        project.put(name.replace(".png", ".jpg"), b"bad")
    project.run(max_quarantine_fraction=0.5)
    assert set(names) <= {row["source"] for row in project.manifest()}
    assert set(project.reasons()) == {name.replace(".png", ".jpg") for name in names}


def test_I23_names_that_collide_on_other_systems_are_findings(project: Project) -> None:
    paths = some(project)
    for name in ("A.png", "a.png", "caf\u00e9.png", unicodedata.normalize("NFD", "caf\u00e9.png")):
        project.put(f"cat/{name}", paths[0].read_bytes())
    assert project.run()["findings"] == {"name_collision": 4}


def test_I28_hidden_files_are_counted_and_are_no_class(project: Project) -> None:
    some(project)
    for name in (".DS_Store", ".ipynb_checkpoints/1.png", "__MACOSX/x.png", "cat/Thumbs.db"):
        project.put(name, b"x")
    metrics = project.run()
    assert (metrics["n_ignored"], metrics["n_quarantined"], metrics["n_classes"]) == (4, 0, 2)


ROGUE = """
import os, sys, time
from stages.lib.decode_worker import Rules, answer, serve
rules = Rules.from_json(sys.argv[1])
def respond(data):
    if data == b"ABORT": os.abort()
    return answer(data, rules)
serve(respond)
"""


def test_I17_a_decoder_crash_is_quarantined_and_the_others_go_on(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    some(project)
    project.put("cat/crash.jpg", b"ABORT")
    rogue = lambda rules: (sys.executable, "-c", ROGUE, rules.to_json())  # noqa: E731
    monkeypatch.setattr(decode_pool, "worker_command", rogue)
    project.run()
    assert project.reasons() == {"cat/crash.jpg": "decoder_crash"}
    assert project.labels() == {"cat": 12, "dog": 12}


# ---- what stops the run


def test_too_many_bad_files_stop_the_run_and_leave_nothing(project: Project) -> None:
    some(project)
    for number in range(12):
        project.put(f"cat/bad{number:02}.jpg", b"no" if number else b"")
    with pytest.raises(InputError) as caught:
        project.run(max_quarantine_fraction=0.3)
    message = str(caught.value)
    assert "12 of 36 files cannot be used (not_an_image 11, empty 1)" in message
    assert "'cat/bad00.jpg': empty" in message
    assert "and 2 more" in message
    assert "max_quarantine_fraction is 0.3" in message
    assert list(project.out.iterdir()) == []
    whole_list = Path(message.split("The whole list: ")[1].split(".csv")[0] + ".csv")
    assert whole_list.is_relative_to(os.environ["ASSAY_STATE"])
    assert len(read_csv(whole_list)) == 12


def test_ignored_files_do_not_dilute_the_share_of_bad_ones(project: Project) -> None:
    some(project)
    for number in range(100):
        project.put(f"cat/.hidden{number}", b"x")
    for number in range(6):
        project.put(f"cat/bad{number}.jpg", b"no")
    with pytest.raises(InputError, match="6 of 30 files"):
        project.run(max_quarantine_fraction=0.1)


@pytest.mark.parametrize("ignored", [0, 3])
def test_a_folder_with_no_images_is_an_error_that_says_what_to_do(project: Project, ignored: int) -> None:
    for number in range(ignored):
        project.put(f"cat/.hidden{number}", b"x")
    with pytest.raises(InputError, match="put one folder per class there"):
        project.run()


def test_only_bad_files_are_an_error_whatever_the_limit(project: Project) -> None:
    project.put("cat/1.jpg", b"")
    with pytest.raises(InputError, match="1 of 1 files cannot be used"):
        project.run(max_quarantine_fraction=1.0)


def test_a_path_that_cannot_be_used_is_an_error_that_says_what_to_do(project: Project) -> None:
    some(project)
    outside = project.root / "elsewhere"
    outside.mkdir()
    (project.raw / "link").symlink_to(outside)
    cases = {
        str(project.raw / "missing"): "does not exist",
        str(project.set / "cat" / "0000.png"): "is a file",
        str(outside): "is outside",
        str(project.raw / ".." / "raw" / "set"): "is outside",
        str(project.raw / "link"): "is outside",
        "/etc": "is outside",
    }
    for path, said in cases.items():
        with pytest.raises(InputError, match=said):
            project.run(path=path)


# ---- as a program


def program(root: Path, *prefix: str, **changes: Any) -> "subprocess.CompletedProcess[str]":
    params = {
        "ingest": json.loads(SHIPPED.model_dump_json()) | {"source": "folder", "path": "data/raw"} | changes
    }
    (root / "params.yaml").write_text(yaml.safe_dump(params))
    out = root / "out"
    command = [*prefix, sys.executable, "-m", "stages.ingest", "--raw", "data/raw", "--out", str(out)]
    own = {"PYTHONPATH": str(ROOT), "ASSAY_STATE": str(root / "state"), "ASSAY_TRACKING": "off"}
    environment = os.environ | own | {"PYTHONDONTWRITEBYTECODE": "1"}
    return subprocess.run(
        command, cwd=root, env=environment, capture_output=True, text=True, timeout=60, check=False
    )


def test_I26_unreadable_files_and_folders_are_quarantined_with_user_and_mode(tmp_path: Path) -> None:
    raw = tmp_path / "data" / "raw"
    write_class_folders(raw, {"a": 20, "closed": 3})
    (raw / "a" / "0001.jpg").chmod(0)
    (raw / "closed").chmod(0)
    lost = "-dac_override,-dac_read_search"  # what lets root read everything
    prefix = ["setpriv", f"--bounding-set={lost}", f"--inh-caps={lost}"] if os.geteuid() == 0 else []
    try:
        done = program(tmp_path, *prefix, image_size=16)
    finally:
        (raw / "closed").chmod(0o700)
    assert done.returncode == 0, done.stderr
    rows = read_csv(tmp_path / "out" / "quarantine.csv")
    assert [(row["file"], row["reason"]) for row in rows] == [
        ("a/0001.jpg", "permission"),
        ("closed/", "permission"),
    ]
    assert all(f"user {os.geteuid()} " in row["detail"] and "mode 0000" in row["detail"] for row in rows)


def test_a_fault_of_the_input_ends_with_code_2_and_no_traceback(tmp_path: Path) -> None:
    (tmp_path / "data" / "raw").mkdir(parents=True)
    done = program(tmp_path)
    assert done.returncode == 2
    assert "no images in data/raw" in done.stderr
    assert "Traceback" not in done.stderr
    assert list((tmp_path / "out").iterdir()) == []


def test_the_program_writes_its_metrics_and_exits_well(tmp_path: Path) -> None:
    write_class_folders(tmp_path / "data" / "raw", {"a": 5, "b": 5})
    done = program(tmp_path, image_size=16)
    assert done.returncode == 0, done.stderr
    assert json.loads((tmp_path / "out" / "metrics.json").read_text())["n_accepted"] == 10
    assert "10 images in 2 classes" in done.stderr


P8_MATRIX: list[dict[str, str]] = [
    {"PYTHONHASHSEED": "1", "LC_ALL": "C", "TZ": "Asia/Kathmandu", "OMP_NUM_THREADS": "1"},
    {"PYTHONHASHSEED": "2", "LC_ALL": "C.UTF-8", "TZ": "UTC", "OMP_NUM_THREADS": "7"},
]


def test_P8_the_environment_changes_no_byte_of_a_table_or_its_outs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    raw = tmp_path / "data" / "raw"
    write_class_folders(raw, {"caf\u00e9": 3, "b": 3})
    names = sorted(path.relative_to(raw).as_posix() for path in raw.glob("*/*"))
    rows = [f"{name},{name[0]}\n" for name in names] + ["lost.png,\u00e9\n"]
    (raw / "t.csv").write_text("file,label\n" + "".join(rows), encoding="utf-8")
    columns = {"source": "table", "path": "data/raw/t.csv", "image": "file", "label": "label"}
    outs = []
    for environment in P8_MATRIX:
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        done = program(tmp_path, **columns, image_size=16, max_quarantine_fraction=0.5)
        assert done.returncode == 0, done.stderr
        outs.append({path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()})
    assert outs[0] == outs[1]


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("lable", "x"),
        ("annotators", "a"),
        ("annotators", [1]),
        ("label", 7),
        ("missing_label", "drop"),
        ("unmatched", True),
        ("image_size", 0),
        ("max_pixels", "5e7"),
        ("max_quarantine_fraction", 1.5),
        ("neutral_labels", None),
    ],
)
def test_P1_P2_P3_P7_a_wrong_param_of_ingest_names_its_key(tmp_path: Path, key: str, value: Any) -> None:
    values = json.loads(SHIPPED.model_dump_json()) | {key: value}
    (tmp_path / "params.yaml").write_text(yaml.safe_dump({"ingest": values}))
    with pytest.raises(InputError, match=rf"ingest\.{key}"):
        load_section(ingest.Params, "ingest", tmp_path / "params.yaml")


@pytest.mark.slow
def test_memory_does_not_grow_with_the_number_of_files(project: Project) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (700, 700, 3), dtype=np.uint8)
    for number in range(400):
        pixels[0, 0] = (number % 256, number // 256, 7)
        (project.set / f"c{number % 3}").mkdir(exist_ok=True)
        Image.fromarray(pixels).save(project.set / f"c{number % 3}" / f"{number}.bmp")
    before = forget_peak()
    project.run(image_size=32)
    grown = peak_mib() - before
    assert grown < 150, f"{grown:.0f} MiB for 588 MB of files"
