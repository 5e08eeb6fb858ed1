import os
import socket
import threading
import unicodedata
from pathlib import Path

import pytest

from stages.lib.folder_scan import MAX_FILE_BYTES, Found, label_variants, name_collisions, read_regular, scan
from stages.lib.refusal import RefusalError


def touch(path: Path, data: bytes = b"x") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


def reasons(root: Path) -> dict[str, str]:
    return {item.file: item.reason for item in scan(root).quarantined}


def reason(path: Path) -> str:
    with pytest.raises(RefusalError) as caught:
        read_regular(path)
    return caught.value.reason


def test_the_class_is_the_first_folder_and_files_in_the_root_have_none(tmp_path: Path) -> None:
    for name in ("b/1.png", "a/deep/er/2.png", "a/1.png", "0.png"):
        touch(tmp_path / name)
    listed = scan(tmp_path)
    expected = [("0.png", None), ("a/1.png", "a"), ("a/deep/er/2.png", "a"), ("b/1.png", "b")]
    assert listed.found == [Found(*pair) for pair in expected]
    assert listed.class_folders == ["a", "b"]


@pytest.mark.parametrize(
    "name", ["NA", "001", "None", "a b", " edge ", "'q\"", "<script>", "猫", "-rf", "a,b", "x\ny"]
)
def test_class_names_are_kept_exactly(tmp_path: Path, name: str) -> None:
    touch(tmp_path / name / "1.png")
    assert scan(tmp_path).found == [Found(f"{name}/1.png", name)]


@pytest.mark.parametrize(
    "name", ["a\nb.jpg", "a\tb.jpg", "-rf.jpg", "a'\"b.jpg", "x" * 251 + ".jpg", "a.jpg "]
)
def test_I22_awkward_file_names_are_found(tmp_path: Path, name: str) -> None:
    touch(tmp_path / "c" / name)
    assert [item.name for item in scan(tmp_path).found] == [f"c/{name}"]
    assert read_regular(tmp_path / "c" / name) == b"x"


def test_I28_what_systems_leave_is_ignored_and_counted(tmp_path: Path) -> None:
    names = (
        ".DS_Store",
        "c/Thumbs.db",
        "c/._1.png",
        ".ipynb_checkpoints/1.png",
        "__MACOSX/c/1.png",
        "desktop.ini",
    )
    for name in (*names, "README.md", "set.dvc", "LICENSE"):
        touch(tmp_path / name)
    touch(tmp_path / "c" / "1.png")
    listed = scan(tmp_path)
    assert [item.name for item in listed.found] == ["c/1.png"]
    assert listed.n_ignored == 9
    assert listed.class_folders == ["c"]
    assert listed.quarantined == []


def test_a_readme_inside_a_class_is_not_a_note(tmp_path: Path) -> None:
    touch(tmp_path / "c" / "README.md")
    assert [item.name for item in scan(tmp_path).found] == ["c/README.md"]


def test_I24_links_are_never_followed(tmp_path: Path) -> None:
    root = tmp_path / "root"
    touch(root / "c" / "1.png")
    links = {"self": "self", "loop": "..", "dangling": "nowhere", "host": "/etc/hostname", "inside": "1.png"}
    for name, target in links.items():
        (root / "c" / name).symlink_to(target)
    (root / "class").symlink_to(root / "c")
    assert reasons(root) == {f"c/{name}": "symlink" for name in links} | {"class": "symlink"}
    assert [item.name for item in scan(root).found] == ["c/1.png"]
    assert reason(root / "c" / "host") == "symlink"


def test_I25_pipes_sockets_and_devices_are_never_opened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(touch(tmp_path / "c" / "1.png").parent)
    os.mkfifo("pipe.jpg")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind("socket.jpg")
        assert reasons(tmp_path) == {"c/pipe.jpg": "not_regular", "c/socket.jpg": "not_regular"}
        assert reason(tmp_path / "c" / "socket.jpg") == "not_regular"


def test_I25_a_pipe_put_in_a_files_place_does_not_wait(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.jpg")
    ended = threading.Event()
    reader = threading.Thread(target=lambda: (reason(tmp_path / "pipe.jpg"), ended.set()), daemon=True)
    reader.start()
    assert ended.wait(10)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may make device nodes")
def test_I25_a_device_is_refused(tmp_path: Path) -> None:
    device = tmp_path / "c" / "zero.jpg"
    device.parent.mkdir()
    os.mknod(device, 0o020666, os.makedev(1, 5))
    assert reasons(tmp_path) == {"c/zero.jpg": "not_regular"}
    assert reason(device) == "not_regular"


def test_I21_names_that_are_no_utf8_are_shown_escaped(tmp_path: Path) -> None:
    touch(tmp_path / "c" / "1.png")
    for name in (b"c/caf\xe9.jpg", b"cl\xe9/1.jpg"):
        path = os.fsencode(tmp_path) + b"/" + name
        os.makedirs(os.path.dirname(path), exist_ok=True)
        Path(os.fsdecode(path)).write_bytes(b"x")
    assert reasons(tmp_path) == {"c/caf\\xe9.jpg": "name_not_utf8", "cl\\xe9/1.jpg": "name_not_utf8"}
    assert scan(tmp_path).class_folders == ["c"]


def test_I27_a_file_that_vanished_is_refused(tmp_path: Path) -> None:
    assert reason(tmp_path / "gone.png") == "changed_during_ingest"


def test_I27_a_file_that_grows_while_it_is_read_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = touch(tmp_path / "1.png", b"x" * 1000)
    look = os.fstat

    def look_and_write(descriptor: int) -> os.stat_result:
        seen = look(descriptor)
        with path.open("ab") as file:
            file.write(b"y")
        return seen

    assert len(read_regular(path)) == 1000
    monkeypatch.setattr(os, "fstat", look_and_write)
    assert reason(path) == "changed_during_ingest"


def test_a_file_beyond_all_images_is_not_read(tmp_path: Path) -> None:
    path = touch(tmp_path / "1.png")
    os.truncate(path, MAX_FILE_BYTES + 1)
    assert reason(path) == "too_many_bytes"


def test_I23_names_that_collide_elsewhere_are_found() -> None:
    composed, split = "caf\u00e9.jpg", unicodedata.normalize("NFD", "caf\u00e9.jpg")
    names = ["A.jpg", "a.jpg", "b.jpg", composed, split]
    assert name_collisions(names) == {"A.jpg", "a.jpg", composed, split}


def test_labels_that_differ_by_case_space_or_form_are_proposed_for_merging() -> None:
    labels = ["Cat"] * 2 + ["cat"] * 5 + ["cat "] + ["big  dog", "big dog"] + ["other"] * 9
    assert label_variants(labels) == {"big  dog": ["big dog"], "cat": ["Cat", "cat "]}


def test_the_order_is_that_of_the_names_bytes(tmp_path: Path) -> None:
    for name in ("b/1", "a/10", "a/9", "ä/1", "Z/1"):
        touch(tmp_path / name)
    assert [item.name for item in scan(tmp_path).found] == ["Z/1", "a/10", "a/9", "b/1", "ä/1"]
