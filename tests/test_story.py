"""The report, the terminal and the plots tell one story: the same sentences, the same numbers."""

import html
import re
from pathlib import Path

import pytest
import yaml
from made_run import small_run

from stages import evaluate
from stages.commands.summary import summary
from stages.lib.artifacts import read_csv, write_json
from stages.lib.report_words import percent, span
from stages.lib.story import ORDER, sentences

PARAMS = evaluate.Params(
    bootstrap_draws=200,
    confidence=0.95,
    ece_bins=10,
    seed=0,
    top_k=2,
    max_answered_error=0.02,
    min_slice_size=5,
)
ROOT = Path(__file__).parent.parent


def plain(text):
    """Return text as a reader sees it: no tags, entities, or differing spaces."""
    without_scripts = re.sub(r"<(script|style)>.*?</\1>", " ", text, flags=re.DOTALL)
    return " ".join(html.unescape(re.sub(r"<[^>]*>", "", without_scripts)).split())


@pytest.fixture(scope="module")
def told(tmp_path_factory):
    """Return (results, the page's text, what the terminal shows, the folder)."""
    folder = tmp_path_factory.mktemp("told")
    out = folder / "out"
    results = evaluate.run(PARAMS, **small_run(folder / "made").folders(), out=out)
    write_json(out / "metrics.json", results)
    return results, plain((out / "report.html").read_text()), out


@pytest.fixture
def printed(told, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "400")
    summary(told[2])
    return plain(capsys.readouterr().out.replace("<", "&lt;"))


def test_the_terminal_says_every_sentence_of_the_story(told, printed):
    found = [" ".join(sentence.split()) for sentence in sentences(told[0]["story"])]
    assert len(found) >= 9
    places = [printed.index(sentence) for sentence in found]
    assert places == sorted(places)
    assert set(told[0]["story"]) == set(ORDER)


def test_the_report_says_every_sentence_of_the_story_but_draws_the_figures(told):
    results, page, _ = told
    for subject, value in results["story"].items():
        if subject != "figures":
            for sentence in sentences({subject: value}):
                assert " ".join(sentence.split()) in page, subject


def test_the_four_headline_figures_are_rounded_alike_in_the_report_and_the_terminal(told, printed):
    results, page, _ = told
    verdict = page[page.index("evaluation report") : page.index("What to do next")]
    figures = results["story"]["figures"]
    numbers = re.findall(r"\d+\.\d+", figures)
    assert len(numbers) == 12
    for number in numbers:
        assert number in verdict
    assert " ".join(figures.split()) in printed


def test_every_accuracy_is_the_same_in_the_report_the_terminal_and_the_plot(told, printed):
    results, page, out = told
    plotted = {row["name"]: row for row in read_csv(out / "accuracy.csv")}
    assert plotted.keys() == results["test"].keys()
    for name, record in results["test"].items():
        row = plotted[name]
        assert float(row["top1_accuracy"]) == record["top1_accuracy"]
        assert [float(row["ci_low"]), float(row["ci_high"])] == record["top1_accuracy_ci"]
        assert int(row["n"]) == record["n"]
        shown = " ".join(f"{percent(record['top1_accuracy'])} {span(record['top1_accuracy_ci'])}".split())
        assert shown.split(" %", 1)[0] in printed
        assert f"{' '.join(span(record['top1_accuracy_ci']).split())}" in page
        assert f"{' '.join(span(record['top1_accuracy_ci']).split())}" in printed


def test_what_dvc_plots_draws_are_columns_of_the_tables_beside_the_report(told):
    plots = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]["evaluate"]["plots"]
    assert len(plots) >= 5
    for plot in plots:
        ((path, axes),) = plot.items()
        columns = read_csv(told[2] / Path(path).name)[0].keys()
        assert {axes["x"], axes["y"]} <= columns, path


def test_a_result_of_before_there_was_a_story_is_still_summed_up(told, tmp_path, capsys):
    write_json(tmp_path / "metrics.json", {key: value for key, value in told[0].items() if key != "story"})
    summary(tmp_path)
    assert "ensemble" in capsys.readouterr().out
