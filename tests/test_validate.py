import re
from collections.abc import Sequence
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from stages.lib.artifacts import read_csv, read_json, write_csv, write_json, write_table
from stages.lib.curated_frames import Evidence, class_columns, sample_columns
from stages.lib.duplicate_findings import FoundPair
from stages.lib.errors import InputError
from stages.lib.image_issues import ISSUES
from stages.lib.image_properties import NAMES
from stages.validate import Params, run

# Great Expectations 1.24 imports sre_constants and sre_parse, which Python deprecated; nothing of ours does.
pytestmark = pytest.mark.filterwarnings("ignore:module 'sre_.*' is deprecated:DeprecationWarning")

BOUNDS = Params(
    label_issues_warning=0.1,
    label_issues_critical=0.5,
    conflicts_critical=0.05,
    quarantined_warning=0.01,
    dropped_warning=0.2,
    min_class_size_warning=3,
    imbalance_ratio_warning=2.0,
    image_issues_warning=0.1,
    outlier_spreads=3.0,
    blank_below=0.03,
    dark_below=0.33,
    overexposed_above=0.5,
    low_contrast_below=0.15,
    low_information_below=0.15,
    sharpness_below=0.2,
    odd_size_factor=3.0,
    odd_aspect_above=2.5,
    cue_warning=0.8,
    cue_draws=99,
    seed=0,
)
HOSTILE = "<script>alert(1)</script> ${HOME} $column"
USUAL = {"bright_level": 0.9, "dark_level": 0.1, "contrast": 0.8, "sharpness": 0.4, "saturation": 0.2}
PAIRS = ["sample_id_a", "sample_id_b", "score", "kind", "label_a", "label_b"]


def write_inputs(root: Path, labels: Sequence[str | None], **parts: Any) -> dict[str, Path]:
    """Write what the stage reads: samples s0, s1, …, all kept unless `status` and `reason` say otherwise."""
    n = len(labels)
    ids = parts.get("ids", [f"s{k}" for k in range(n)])
    folders = {
        name: root / name
        for name in ("ingest", "embed", "duplicates", "label_noise", "review", "curate", "class_balance")
    }
    text = {
        "sample_id": ids,
        "label": labels,
        "status": parts.get("status", ["keep"] * n),
        "reason": parts.get("reason", [""] * n),
        "source": [f"{sample_id}.png" for sample_id in ids],
        "split_hint": parts.get("hint", [None] * n),
        "mode": ["RGB"] * n,
        "group": [None] * n,
    }
    sides = {name: pa.array(parts.get(name, [8] * n), pa.int32()) for name in ("width", "height")}
    columns = {name: pa.array(values, pa.string()) for name, values in text.items()}
    write_table(folders["curate"] / "samples.parquet", pa.table(columns | sides))
    measured = {name: np.full(n, USUAL.get(name, 0.5)) for name in NAMES} | parts.get("properties", {})
    properties = {name: pa.array(column, pa.float32()) for name, column in measured.items()}
    ids_column = {"sample_id": pa.array(ids, pa.string())}
    write_table(folders["embed"] / "properties.parquet", pa.table(ids_column | properties))
    write_table(folders["duplicates"] / "groups.parquet", pa.table({"sample_id": [], "group_id": []}))
    doubted = {"sample_id": ids, "is_label_issue": parts.get("doubted", [False] * n)}
    write_table(folders["label_noise"] / "scores.parquet", pa.table(doubted))
    write_csv(folders["duplicates"] / "pairs.csv", PAIRS, parts.get("pairs", []))
    write_csv(folders["duplicates"] / "conflicts.csv", PAIRS, [])
    refused = [(name, "truncated", "", "") for name in parts.get("quarantined", [])]
    write_csv(folders["ingest"] / "quarantine.csv", ["file", "reason", "detail", "sha256"], refused)
    names = parts.get("classes", sorted({str(label) for label in labels}))
    counts = {name: {"n": list(labels).count(name)} for name in names}
    write_json(folders["class_balance"] / "plan.json", {"classes": counts})
    return folders


def verdicts(folder: Path) -> dict[str, dict[str, Any]]:
    return {entry["name"]: entry for entry in read_json(folder / "verdict.json")["expectations"]}


class Links(HTMLParser):
    """Collect tags, and every address a page could load or lead to."""

    def __init__(self, page: Path) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.addresses: list[str] = []
        self.feed(page.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.addresses += [value or "" for name, value in attrs if name in ("href", "src", "action")]


def test_sound_data_passes_with_the_same_bytes_on_every_run_and_docs_without_a_network(
    tmp_path: Path,
) -> None:
    folders = write_inputs(tmp_path, [HOSTILE] * 5 + ["$HOME"] * 5)
    outs = [tmp_path / "one", tmp_path / "two"]
    metrics = [run(BOUNDS, **folders, out=out) for out in outs]
    assert metrics[0] == metrics[1]
    assert metrics[0]["n_passed"] == metrics[0]["n_expectations"]
    files = sorted(path.relative_to(outs[0]) for path in outs[0].rglob("*") if path.is_file())
    assert [path.as_posix() for path in files] == [
        "cues.csv",
        "docs/classes.html",
        "docs/files.html",
        "docs/index.html",
        "docs/properties.html",
        "docs/samples.html",
        "image_issues.csv",
        "verdict.json",
    ]
    for path in files:
        content = (outs[0] / path).read_bytes()
        assert content == (outs[1] / path).read_bytes()
        assert not re.search(rb"20\d\d-\d\d-\d\d|/tmp/|https?://", content)
    for path in (path for path in files if path.suffix == ".html"):
        page = Links(outs[0] / path)
        assert not {"script", "link", "img", "iframe"} & set(page.tags)
        for address in page.addresses:
            assert (outs[0] / "docs" / address.partition("#")[0]).is_file()


def test_every_planted_fault_is_told_with_its_rows_and_a_remedy(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    labels = ["Cat"] * 4 + ["cat"] * 2 + ["dog"] * 14
    pairs = [("s0", "s19", 1.0, "exact", "Cat", "dog")]
    folders = write_inputs(
        tmp_path,
        [*labels[:19], "bird"],
        ids=[*(f"s{k}" for k in range(18)), "s17", "s19"],
        classes=["Cat", "cat", "dog"],
        status=["keep"] * 15 + ["drop"] * 4 + ["keep"],
        doubted=[k < 9 for k in range(20)],
        pairs=pairs,
        quarantined=["=cmd.png"],
    )
    with pytest.raises(InputError) as caught:
        run(BOUNDS, **folders, out=tmp_path / "out")
    found = verdicts(tmp_path / "out")
    assert not read_json(tmp_path / "out" / "verdict.json")["passed"]
    failed = {
        name: (entry["severity"], entry["unexpected"]) for name, entry in found.items() if not entry["passed"]
    }
    assert failed == {
        "sample_ids_unique": ("critical", ["s17"]),
        "labels_known": ("critical", ["s19"]),
        "changes_explained": ("critical", ["s15", "s16", "s17"]),
        "exact_copies_agree": ("warning", ["s0", "s19"]),
        "few_exact_copies_disagree": ("critical", ["s0", "s19"]),
        "few_labels_doubted": ("warning", [f"s{k}" for k in range(9)]),
        "labels_mostly_believed": ("critical", [f"s{k}" for k in range(9)]),
        "few_quarantined": ("warning", ["=cmd.png"]),
        "classes_large_enough": ("warning", ["cat"]),
        "classes_balanced": ("warning", ["Cat", "cat"]),
        "class_names_distinct": ("warning", ["cat"]),
    }
    message = str(caught.value)
    assert message.startswith("5 critical expectation(s) failed")
    told = capsys.readouterr().err
    for name, (severity, rows) in failed.items():
        assert f"{severity}: {name}: " in (message if severity == "critical" else told)
        assert all(f'"{row}"' in (message if severity == "critical" else told) for row in rows)
    assert message.count("remedy: ") == 5
    page = (tmp_path / "out" / "docs" / "samples.html").read_text(encoding="utf-8")
    assert "<code>s17</code>" in page


@pytest.mark.parametrize("labels", [["cat"] * 5, []])
def test_l7_fewer_than_two_classes_stop_the_chain(tmp_path: Path, labels: list[str]) -> None:
    with pytest.raises(InputError, match=r"two_classes(.|\n)*two classes or more"):
        run(BOUNDS, **write_inputs(tmp_path, labels), out=tmp_path / "out")


def evidence(**samples: list[Any]) -> Evidence:
    n = len(samples["label"])
    defaults = {"sample_id": [f"s{k}" for k in range(n)], "status": ["keep"] * n, "reason": [""] * n}
    sides = {"width": [8] * n, "height": [8] * n, "source": ["x"] * n, "split_hint": [None] * n}
    doubts = {f"s{k}": True for k in range(n)}
    pairs = [FoundPair(0, k, 1.0, "exact") for k in range(1, n)]
    return Evidence(defaults | sides | samples, doubts, pairs, [], [], {"classes": {}})


def test_i20_copies_agree_again_once_curation_has_settled_them() -> None:
    labels = ["cat", "cat", "dog"]
    assert sample_columns(evidence(label=labels))["exact_copies"] == ["disagree"] * 3
    dropped = evidence(label=labels, status=["keep", "keep", "drop"], reason=["", "", "human"])
    assert sample_columns(dropped)["exact_copies"] == ["agree"] * 3


def test_i20_one_picture_in_two_official_parts_is_told_and_an_unofficial_copy_is_no_leak() -> None:
    labels = ["cat"] * 3
    leaky = evidence(label=labels, split_hint=["train", "test", None])
    assert sample_columns(leaky)["official_split"] == ["disagree", "disagree", "agree"]
    assert sample_columns(evidence(label=labels))["official_split"] == ["agree"] * 3
    settled = evidence(label=labels, split_hint=["train", "test", None], status=["drop", "keep", "keep"])
    assert sample_columns(settled)["official_split"] == ["agree"] * 3


def test_i20_an_exact_copy_across_official_parts_fails_its_expectation(tmp_path: Path) -> None:
    pair = [("s0", "s1", 1.0, "exact", "cat", "cat")]
    folders = write_inputs(tmp_path, ["cat", "cat", "dog", "dog"], pairs=pair, hint=["train", "test"] * 2)
    run(BOUNDS, **folders, out=tmp_path / "out")
    found = verdicts(tmp_path / "out")["no_exact_copy_leaks"]
    assert (found["passed"], found["severity"], found["unexpected"]) == (False, "warning", ["s0", "s1"])


def test_a_label_somebody_decided_on_is_no_longer_doubted() -> None:
    status, reason = ["keep", "relabel", "neutral"], ["human", "human", "conflicts"]
    decided = evidence(label=["cat", "dog", None], status=status, reason=reason)
    assert sample_columns(decided)["label_noise"] == [None, None, None]
    assert sample_columns(evidence(label=["cat", "dog", None]))["label_noise"] == ["doubted", "doubted", None]


def test_l3_spellings_of_one_class_are_named_and_l5_numbers_are_told_apart() -> None:
    names = ["cat", "Cat", "cat ", "001", "1", "1.0"]
    counts = {name: {"n": 2 if name == "cat" else 1} for name in names}
    found = class_columns(Evidence({}, {}, [], [], [], {"classes": counts}))
    assert found["spelling"] == ["its own", "like cat", "like cat", "its own", "its own", "its own"]


def test_faulty_pictures_are_told_as_warnings_with_their_rows(tmp_path: Path) -> None:
    labels = ["cat", "dog"] * 20
    sharpness, contrast = np.full(40, 0.4), np.full(40, 0.8)
    sharpness[:6], contrast[39] = 0.05, 0.0
    widths = [8] * 40
    widths[30] = 80
    folders = write_inputs(
        tmp_path,
        labels,
        properties={"sharpness": sharpness, "contrast": contrast},
        width=widths,
        height=widths,
    )
    metrics = run(BOUNDS, **folders, out=tmp_path / "out")
    found = verdicts(tmp_path / "out")
    failed = {name: entry["unexpected"] for name, entry in found.items() if not entry["passed"]}
    assert failed == {
        "few_blurry": [f"s{k}" for k in range(6)]
    }  # one blank of 40 is within the tenth allowed
    assert found["few_blank"]["unexpected"] == ["s39"]
    assert metrics["image_issues"] == {**dict.fromkeys(ISSUES, 0), "blurry": 6, "blank": 1, "odd_size": 1}
    rows = read_csv(tmp_path / "out" / "image_issues.csv")
    assert [(row["sample_id"], row["issue"]) for row in rows if row["issue"] != "blurry"] == [
        ("s39", "blank"),
        ("s30", "odd_size"),
    ]


def test_a_dropped_picture_is_no_longer_held_against_the_data(tmp_path: Path) -> None:
    sharpness = np.full(40, 0.4)
    sharpness[:6] = 0.05
    status, reason = ["drop"] * 6 + ["keep"] * 34, ["human"] * 6 + [""] * 34
    folders = write_inputs(
        tmp_path, ["cat", "dog"] * 20, properties={"sharpness": sharpness}, status=status, reason=reason
    )
    run(BOUNDS, **folders, out=tmp_path / "out")
    assert verdicts(tmp_path / "out")["few_blurry"]["passed"]


def test_a_property_that_gives_the_label_away_is_a_warning_and_none_on_shuffled_labels(
    tmp_path: Path,
) -> None:
    labels = np.array(["cat", "dog", "owl"] * 60)
    rng = np.random.default_rng(0)
    bright = rng.normal(0.4, 0.05, 180) + np.where(labels == "owl", 0.3, 0)
    for name, said in (("told", labels), ("shuffled", rng.permutation(labels))):
        folders = write_inputs(tmp_path / name, said.tolist(), properties={"brightness": bright})
        metrics = run(BOUNDS, **folders, out=tmp_path / name / "out")
        entry = verdicts(tmp_path / name / "out")["no_property_gives_the_label_away"]
        assert entry["passed"] == (name == "shuffled")
        assert entry["unexpected"] == (["brightness"] if name == "told" else [])
        assert metrics["cues"] == entry["unexpected"]
    row, *_ = read_csv(tmp_path / "told" / "out" / "cues.csv")
    assert (row["property"], row["class"], row["is_cue"]) == ("brightness", "owl", "true")
    assert float(row["balanced_accuracy"]) > 0.9


OWN = """
- name: bright_enough
  type: ExpectColumnMeanToBeBetween
  kwargs: {column: brightness, min_value: 0.2}
  severity: warning
  remedy: Turn the lamp on.
- name: wide_enough
  type: ExpectColumnValuesToBeBetween
  kwargs: {column: width, min_value: 9}
  severity: critical
  remedy: Ask <b>the sender</b> for the original.
"""


def test_a_users_own_critical_expectation_stops_the_chain_and_stands_in_the_docs(tmp_path: Path) -> None:
    widths = [8, 8] + [20] * 18
    folders = write_inputs(tmp_path, ["cat", "dog"] * 10, width=widths, height=widths)
    folders["review"].mkdir()
    (folders["review"] / "expectations.yaml").write_text(OWN, encoding="utf-8")
    with pytest.raises(InputError) as caught:
        run(BOUNDS, **folders, out=tmp_path / "out")
    message = str(caught.value)
    assert message.startswith("1 critical expectation(s) failed")
    for part in ("wide_enough", '"s0", "s1"', "remedy: Ask <b>the sender</b> for the original."):
        assert part in message
    found = verdicts(tmp_path / "out")
    assert found["bright_enough"]["passed"]
    assert found["bright_enough"]["observed"] == "0.5"
    page = (tmp_path / "out" / "docs" / "own.html").read_text(encoding="utf-8")
    assert "Ask &lt;b&gt;the sender&lt;/b&gt;" in page
    assert 'href="own.html"' in (tmp_path / "out" / "docs" / "index.html").read_text(encoding="utf-8")


def test_an_own_expectation_that_does_not_suit_its_column_is_told_with_its_entry(tmp_path: Path) -> None:
    folders = write_inputs(tmp_path, ["cat", "dog"] * 10)
    folders["review"].mkdir()
    text = OWN.replace("column: width", "column: label")
    (folders["review"] / "expectations.yaml").write_text(text, encoding="utf-8")
    with pytest.raises(
        InputError, match=r"expectations\.yaml, entry 2 \(wide_enough\): .*cannot be evaluated"
    ):
        run(BOUNDS, **folders, out=tmp_path / "out")
