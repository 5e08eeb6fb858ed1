"""A tree object from a stranger is taken only if it could have been written by DVC."""

import hashlib
import json

import pytest

from stages.lib.errors import InputError
from stages.lib.tree_object import read_tree

MD5 = "0123456789abcdef" * 2


def named(content: bytes) -> tuple[str, bytes]:
    return hashlib.md5(content, usedforsecurity=False).hexdigest() + ".dir", content


def tree(*paths: str) -> tuple[str, bytes]:
    return named(json.dumps([{"md5": MD5, "relpath": path} for path in paths]).encode())


def test_a_sound_tree_is_read() -> None:
    assert read_tree(*tree("a.txt", "deep/b.txt", "name with space", "…")) == dict.fromkeys(
        ["a.txt", "deep/b.txt", "name with space", "…"], MD5
    )


@pytest.mark.parametrize(
    ("path", "told"),
    [
        ("/etc/passwd", "no relative path"),
        ("../outside", "leads elsewhere"),
        ("a/../../outside", "leads elsewhere"),
        ("./a", "leads elsewhere"),
        ("a//b", "leads elsewhere"),
        ("", "no relative path"),
        ("C:\\windows", "no relative path"),
        ("C:evil", "no relative path"),
        ("a\\..\\b", "no relative path"),
        (".git/hooks/pre-commit", "of git or DVC"),
        ("deep/.GIT/config", "of git or DVC"),
        (".dvc/config", "of git or DVC"),
        ("a\x00b", "control characters"),
        ("a\nb", "control characters"),
    ],
)
def test_F27_a_path_that_leads_out_is_refused(path: str, told: str) -> None:
    with pytest.raises(InputError, match=told):
        read_tree(*tree("fine.txt", path))


def test_F27_a_tree_under_another_name_is_refused() -> None:
    oid, content = tree("a")
    with pytest.raises(InputError, match="not those that its name stands for"):
        read_tree("0" * 32 + ".dir", content)
    with pytest.raises(InputError, match="not those that its name stands for"):
        read_tree(oid, content + b" ")


@pytest.mark.parametrize(
    "content",
    [
        b"{}",
        b"no json",
        b"\xff",
        b"[" * 200_000,
        b"[3]",
        b'[{"md5": 3, "relpath": "a"}]',
        b'[{"md5": "short", "relpath": "a"}]',
        b'[{"relpath": "a"}]',
    ],
)
def test_F27_what_is_no_tree_is_refused(content: bytes) -> None:
    with pytest.raises(InputError):
        read_tree(*named(content))


def test_F27_a_path_twice_is_refused() -> None:
    with pytest.raises(InputError, match="there twice"):
        read_tree(*tree("a", "a"))
