import base64
import hashlib
import json
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from made_run import small_run

from stages import evaluate
from stages.lib import charts, report_words
from stages.lib.metrics import CalibrationBin
from stages.lib.prior_findings import Curve
from stages.lib.report_training import curve_charts

PARAMS = evaluate.Params(
    bootstrap_draws=200,
    confidence=0.95,
    ece_bins=10,
    seed=0,
    top_k=2,
    max_answered_error=0.02,
    min_slice_size=5,
)
LIB = Path(charts.__file__).parent
MLFLOW = "http://127.0.0.1:5000/"  # followed when somebody presses it, never loaded
SCRIPT = re.compile("<script>(.*?)</script>", re.DOTALL)
VOID = {"meta", "link", "img", "br", "hr", "input", "base"}

PAYLOADS = [
    "<script>alert(1)</script>",
    "</script><script>alert(1)</script>",
    "</title><script>alert(1)</script>",
    "</style><script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "' onmouseover='alert(1)",
    "<svg/onload=alert(1)>",
    "</svg><script>alert(1)</script>",
    "<!-- --><script>alert(1)</script>",
    "]]><script>alert(1)</script>",
    "{{ 7 * 7 }}{% raw %}",
    "javascript:alert(1)",
    "<iframe src=https://example.org></iframe>",
    "<base href=https://example.org>",
    "=HYPERLINK(1)&amp;\u202egnp",
]


class Page(HTMLParser):
    """What a browser would find: tags with attributes, and the text; every tag must be closed in order."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.open, self.text = [], [], ""
        self.feed(text)
        self.close()
        assert not self.open, f"never closed: {self.open}"

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        if tag not in VOID:
            assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data


def page_of(tmp_path, **how):
    made = small_run(tmp_path / "made", **how)
    evaluate.run(PARAMS, **made.folders(), out=tmp_path / "out")
    return (tmp_path / "out" / "report.html").read_text()


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    return page_of(tmp_path_factory.mktemp("plain"))


@pytest.mark.parametrize("payload", PAYLOADS)
def test_hostile_names_stand_in_the_page_as_literal_text(payload, tmp_path, plain):
    text = page_of(tmp_path, classes=(payload, f"{payload} two", "owl"), word=payload)
    page, harmless = Page(text), Page(plain)
    allowed = {tag for tag, _ in harmless.tags}
    assert {tag for tag, _ in page.tags} <= allowed
    assert not [attrs for _, attrs in page.tags if any(name.startswith("on") for name in attrs)]
    assert page.text.count(payload) >= 10
    assert f"{payload} two" in page.text


def test_nothing_is_loaded_from_elsewhere(plain):
    page = Page(plain)
    assert not {"link", "iframe", "object", "embed", "form"} & {tag for tag, _ in page.tags}
    for tag, attrs in page.tags:
        for name in ("src", "srcset", "href", "action", "data"):
            value = attrs.get(name)
            local = (
                value is None
                or value.startswith(("#", "data:image/png;base64,", "data:image/jpeg;base64,"))
                or (tag == "a" and value in ("../validate/docs/index.html", MLFLOW))
            )
            assert local, (tag, name, value)
    assert not re.search(r"url\(|@import|https?://", SCRIPT.sub("", plain).replace(MLFLOW, ""))


def test_the_scripts_are_the_projects_files_byte_for_byte(tmp_path, plain):
    hostile = page_of(tmp_path, classes=(PAYLOADS[1], "owl"), word=PAYLOADS[1])
    library, *own = SCRIPT.findall(plain)
    assert SCRIPT.findall(hostile) == [library, *own]
    assert own == [(LIB / name).read_text() for name in ("report_charts.js", "report_tables.js")]
    assert library.endswith((LIB / "uplot.min.js").read_text())
    assert "Permission is hereby granted" in library
    assert not [script for script in [library, *own] if re.search(r"innerHTML|eval\(|Function\(", script)]


def test_the_plotting_library_is_the_published_file():
    # npm pack uplot@1.6.32: package/dist/uPlot.iife.min.js
    digest = hashlib.sha256((LIB / "uplot.min.js").read_bytes()).hexdigest()
    assert digest == "19c8d4c6ad88929a79f4ae49d6f7161566dfd0ba3d15cc495e974f787eb78f1f"


def test_the_page_forbids_everything_that_it_does_not_use(plain):
    policies = [attrs["content"] for _, attrs in Page(plain).tags if "http-equiv" in attrs]
    digests = [hashlib.sha256(script.encode()).digest() for script in SCRIPT.findall(plain)]
    allowed = " ".join(f"'sha256-{base64.b64encode(digest).decode()}'" for digest in digests)
    assert len(digests) == 3
    assert policies == [
        f"default-src 'none'; script-src {allowed}; img-src data:; style-src 'unsafe-inline'; "
        "base-uri 'none'; form-action 'none'"
    ]


def test_every_picture_has_words_and_every_table_has_headers(plain):
    page = Page(plain)
    images = [attrs for tag, attrs in page.tags if tag == "img"]
    assert images
    assert all(attrs.get("alt") for attrs in images)
    assert all(attrs.get("aria-label") for tag, attrs in page.tags if tag == "svg")
    headers = [attrs for tag, attrs in page.tags if tag == "th"]
    assert all(attrs.get("scope") in ("row", "col", "rowgroup") for attrs in headers)
    assert sum(tag == "h1" for tag, _ in page.tags) == 1


def test_every_link_inside_the_page_has_its_target(plain):
    page = Page(plain)
    ids = [attrs["id"] for _, attrs in page.tags if "id" in attrs]
    assert len(ids) == len(set(ids))
    targets = {attrs["href"][1:] for tag, attrs in page.tags if tag == "a" and attrs["href"].startswith("#")}
    assert targets <= set(ids)


def test_the_page_shows_no_path_of_this_machine(plain, tmp_path):
    assert str(tmp_path.parent) not in plain
    assert "/tmp" not in plain


def luminance(colour):
    channels = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def test_text_has_the_contrast_that_wcag_asks_for_in_light_and_dark(plain):
    themes = re.findall(r":root \{(.*?)\}", plain, re.DOTALL)
    assert len(themes) == 3  # light, dark, print
    for theme in themes:
        colour = dict(
            re.findall(
                r"--(\w+): (#[0-9a-f]{6})",
                re.sub(r"#([0-9a-f])([0-9a-f])([0-9a-f]);", r"#\1\1\2\2\3\3;", theme),
            )
        )
        for ground in ("paper", "tint"):
            for ink in ("ink", "soft", "accent", "good", "bad", "warn"):
                light, dark = sorted((luminance(colour[ground]), luminance(colour[ink])), reverse=True)
                assert (light + 0.05) / (dark + 0.05) >= 4.5, (ink, ground)


@pytest.mark.parametrize("n_classes", [2, 40])
def test_few_and_many_classes_both_give_a_page(n_classes, tmp_path):
    page = Page(page_of(tmp_path, classes=tuple(f"class {k}" for k in range(n_classes))))
    matrix = any(attrs.get("aria-label") == "Confusion matrix" for _, attrs in page.tags)
    assert matrix == (n_classes == 2)


def test_ticks_are_round_and_within_the_range():
    assert charts.ticks(0.0, 1.0) == pytest.approx([0, 0.2, 0.4, 0.6, 0.8, 1.0])
    assert charts.ticks(0.973, 1.0) == pytest.approx([0.98, 0.99, 1.0])
    assert charts.ticks(3, 3) == [3]


def test_close_ticks_are_told_apart():
    x = np.array([0.0, 1.0])
    text = charts.line_chart([charts.Series("y", x, np.array([0.9991, 1.0]), "first")], "x", "y", "s")
    shown = re.findall(r'class="tick end"[^>]*>([^<]+)<', text)
    assert len(shown) == len(set(shown)) > 2


def test_a_line_with_gaps_and_a_flat_line_are_drawn():
    x = np.arange(4.0)
    gap = charts.Series("<b>", x, np.array([1.0, np.nan, 2.0, 3.0]), "first")
    text = charts.line_chart([gap, charts.Series("flat", x, np.ones(4), "second")], "x", "y", 'a "summary"')
    assert text.count("M") == 3
    assert "nan" not in text
    assert "&lt;b&gt;" in text
    Page(text)


def test_a_chart_carries_the_numbers_it_was_drawn_from():
    x = np.array([1.0, 2.0, 4.0])
    first = charts.Series("one", x, np.array([0.123456789, np.nan, 2.0]), "first")
    other = charts.Series("other", x[:2], np.array([5.0, 6.0]), "bound")
    page = Page(charts.line_chart([first, other], "epoch", '"loss"', "s"))
    told = json.loads(page.tags[0][1]["data-chart"])
    assert told["x"] == [1, 2, 4]
    assert told["labels"] == ["epoch", '"loss"']
    assert [line["y"] for line in told["lines"]] == [[0.123457, None, 2], [5, 6, None]]
    assert told["frame"][:2] == [1, 4]


def test_the_curves_of_a_run_show_loss_accuracy_and_regularisation_each_by_its_own_scale(plain):
    summaries = [
        attrs["aria-label"] for tag, attrs in Page(plain).tags if tag == "svg" and "data-chart" in attrs
    ]
    for run in ("seed 0", "seed 1", "student"):
        told = [said for said in summaries if said.startswith(f"{run}: ") and "over epochs" in said]
        assert [said.split(": ")[1].split(" over")[0] for said in told] == [
            "loss",
            "accuracy on val",
            "regularisation loss",
        ]
        assert "regularisation_loss ends at 6.93" in told[-1]
    bare = Curve("student", {"val_loss": np.array([2.0, 1.0])})
    assert len(curve_charts(bare)) == 1


def test_a_mark_of_the_reliability_chart_tells_its_n():
    text = charts.reliability_chart([CalibrationBin(0.9, 1.0, 7, 0.95, 0.857)], "s")
    assert "confidence 95.0%, accuracy 85.7%, n = 7" in text


@pytest.mark.parametrize(
    ("ci", "p", "word"),
    [
        ((0.01, 0.03), 0.01, "better"),
        ((-0.03, -0.01), 0.01, "worse"),
        ((-0.01, 0.03), 0.01, "no difference shown"),
        ((0.01, 0.03), 0.2, "no difference shown"),
        ((0.0, 0.0), 0.01, "no difference shown"),
    ],
)
def test_a_gain_is_claimed_only_when_interval_and_corrected_p_value_agree(ci, p, word):
    assert report_words.comparison_word({"ci": ci, "p_value_holm": p}, 0.95) == word


def test_predictions_stand_from_blind_guess_to_student():
    shuffled = ["student", "seed10", "ensemble", "linear", "mine", "seed2_tta", "dummy", "seed2"]
    assert report_words.in_order(shuffled) == [
        "dummy",
        "linear",
        "seed2",
        "seed2_tta",
        "seed10",
        "mine",
        "ensemble",
        "student",
    ]


def test_what_people_say_is_told_with_the_interval_of_one_person() -> None:
    human = {
        "measured": True,
        "agreement_with_others": 0.943,
        "n": 1200,
        "one_person": {"accuracy": 0.951, "interval": [0.94, 0.962], "n": 400},
        "agreement": {"krippendorff_alpha": 0.874},
    }
    told = report_words.people_sentence(human).replace("\u00a0", " ")
    assert "94.3 % of 1,200 judgements" in told
    assert "about 95.1 % (94.0 % to 96.2 %; n = 400" in told
    assert "alpha is 0.87" in told
    human["agreement"] = {"krippendorff_alpha": None}
    assert "alpha" not in report_words.people_sentence(human)
    assert "because" in report_words.people_sentence({"measured": False, "reason": "because"})
