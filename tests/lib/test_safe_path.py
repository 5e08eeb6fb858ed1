from pathlib import Path, PurePosixPath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stages.lib.safe_path import leaves_root, plain

N1 = [
    "../../etc/passwd",
    "a/../../b",
    "a/../b",
    "..",
    "%2e%2e/x",
    "%2e%2e%2fetc%2fpasswd",
    "..%2f..%2fx",
    "%252e%252e%252fx",
    "%25252e%25252e/x",
    "..\\..\\windows",
    "a\\b.jpg",
    "%5c..%5cx",
    "\uff0e\uff0e/x",
    "a/\u2025/x",
    "x\0.jpg",
    "x%00.jpg",
]
N2 = [
    "/etc/passwd",
    "//server/share/x",
    "\\\\server\\share\\x",
    "C:\\x.jpg",
    "c:/x.jpg",
    "~/x.jpg",
    "~root/x",
    "file:///etc/passwd",
    "FILE://x",
    "https://example.org/x.jpg",
    "s3://bucket/x",
    "data:image/png;base64,AAAA",
    "%2fetc%2fpasswd",
    "\uff0fetc/passwd",
]
SAFE = [
    "x.jpg",
    "images/x.jpg",
    "a b/c-d_e.png",
    "café/猫.jpg",
    "./x.jpg",
    "100%.jpg",
    "a..b.jpg",
    "x...jpg",
    "-rf.png",
    "a,b'\"<c>.png",
    "time 12:30.jpg",
]


@pytest.mark.parametrize("text", N1)
def test_N1_a_path_that_climbs_plain_or_encoded_leaves_the_root(text: str) -> None:
    assert leaves_root(text) is not None


@pytest.mark.parametrize("text", N2)
def test_N2_an_absolute_path_an_address_a_share_or_a_home_leaves_the_root(text: str) -> None:
    assert leaves_root(text) is not None


@pytest.mark.parametrize("text", SAFE)
def test_ordinary_names_stay_inside(text: str) -> None:
    assert leaves_root(text) is None


@given(st.text(st.sampled_from("./\\~%2eEfF5cC:ab0"), max_size=12))
def test_N1_what_passes_resolves_inside_the_root(text: str) -> None:
    if leaves_root(text) is None:
        root = Path("/root/of/table")
        assert not {"..", "/"} & set(PurePosixPath(plain(text)).parts)
        assert (root / plain(text)).is_relative_to(root)


def test_needless_parts_are_taken_out() -> None:
    assert plain("./a//b/./c.jpg") == "a/b/c.jpg"
