import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from made_run import FOLDERS, MadeRun, small_run, write_predicted

from stages import evaluate
from stages.lib.artifacts import read_csv, read_json, write_json
from stages.lib.comparisons import holm_by_question, planned_pairs
from stages.lib.components import joined_groups
from stages.lib.errors import InputError
from stages.lib.leaks import Leak, write_leaks
from stages.lib.predictions import Predictions, read_predictions, write_predictions
from stages.lib.review_queue import QUEUE_COLUMNS

PARAMS = evaluate.Params(
    bootstrap_draws=500,
    confidence=0.95,
    ece_bins=10,
    seed=0,
    top_k=2,
    max_answered_error=0.02,
    min_slice_size=5,
)
# pandas is not among them: pyarrow itself imports it where it converts arrays.
HEAVY = ("torch", "sklearn", "matplotlib", "mlflow", "scipy", "cleanlab", "great_expectations", "faiss")


def run(made: MadeRun, out: Path) -> dict:
    return evaluate.run(PARAMS, **made.folders(), out=out)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return small_run(tmp_path_factory.mktemp("made"))


@pytest.fixture(scope="module")
def results(made, tmp_path_factory):
    return run(made, tmp_path_factory.mktemp("out"))


def test_every_prediction_gets_the_record_that_the_contract_names(results):
    wanted = {"n", "top1_accuracy", "top1_accuracy_ci", "balanced_accuracy", "macro_f1", "log_loss", "ece"}
    wanted |= {"topk_accuracy", "auroc", "brier", "ece_adaptive"}
    with_intervals = ("balanced_accuracy", "macro_f1", "auroc", "log_loss", "brier", "ece", "ece_adaptive")
    for split in ("val", "test"):
        assert {"dummy", "linear", "seed0", "seed1", "ensemble", "student"} <= set(results[split])
        also = {f"{name}_ci" for name in with_intervals} if split == "test" else set()
        assert all(set(record) == wanted | also for record in results[split].values())
    for record in results["test"].values():
        for name in with_intervals:
            low, high = record[f"{name}_ci"]
            assert low <= record[name] + 1e-12, name
            assert record[name] - 1e-12 <= high, name


def test_accuracy_and_n_are_those_of_a_plain_loop_over_the_file(made, results):
    predictions = read_predictions(made.root / "predict" / "predictions" / "seed1.parquet")
    label = dict(zip(made.sample_ids, made.labels, strict=True))
    right = [
        label[sample_id] == probs.argmax()
        for sample_id, split, probs in zip(
            predictions.sample_ids, predictions.split, predictions.pred_probs, strict=True
        )
        if split == "test"
    ]
    assert results["test"]["seed1"]["n"] == len(right)
    assert results["test"]["seed1"]["top1_accuracy"] == pytest.approx(np.mean(right))


def test_a_comparison_is_the_difference_of_the_accuracies_on_the_same_samples(results):
    found = results["comparisons"]["ensemble_minus_linear"]
    test = results["test"]
    expected = test["ensemble"]["top1_accuracy"] - test["linear"]["top1_accuracy"]
    assert found["difference"] == pytest.approx(expected)
    assert found["ci"][0] <= found["difference"] <= found["ci"][1]
    assert found["n"] == test["ensemble"]["n"]
    assert found["p_value"] <= found["p_value_holm"] <= 1


def test_the_comparisons_are_planned_from_names_alone():
    names = ["dummy", "linear", "seed0", "seed10", "seed0_tta", "ensemble", "ensemble_tta", "student"]
    assert [pair.name for pair in planned_pairs(names)] == [
        "ensemble_minus_dummy",
        "ensemble_minus_linear",
        "ensemble_minus_seed_mean",
        "ensemble_minus_seed0",
        "ensemble_minus_seed10",
        "seed0_tta_minus_seed0",
        "ensemble_tta_minus_ensemble",
        "student_minus_ensemble",
    ]


def test_p_values_are_corrected_for_the_comparisons_of_their_own_question():
    pairs = planned_pairs(["dummy", "linear", "seed0", "ensemble", "student"])
    assert [pair.question for pair in pairs] == ["baseline"] * 2 + ["ingredient"] * 3
    found = holm_by_question(pairs, [0.001, 0.02, 0.02, 0.5, 0.9])
    assert found == pytest.approx([0.002, 0.02, 0.06, 1.0, 1.0])


def test_seeds_are_told_as_mean_and_deviation_never_the_best(results):
    accuracies = [results["test"][name]["top1_accuracy"] for name in ("seed0", "seed1")]
    found = results["seeds"]["test"]["seed"]
    assert found["n_seeds"] == 2
    assert found["top1_accuracy_mean"] == pytest.approx(np.mean(accuracies))
    assert found["top1_accuracy_sd"] == pytest.approx(np.std(accuracies, ddof=1))


def test_the_ensemble_over_its_seed_mean_is_the_mean_of_its_differences_to_each(results):
    comparisons = results["comparisons"]
    each = [comparisons[f"ensemble_minus_seed{k}"]["difference"] for k in (0, 1)]
    assert comparisons["ensemble_minus_seed_mean"]["difference"] == pytest.approx(np.mean(each))


def test_the_headline_is_chosen_on_val_alone():
    def scores(val, test):
        return {
            split: {
                name: {"top1_accuracy": value}
                for name, value in zip(("ensemble", "ensemble_tta"), pair, strict=True)
            }
            for split, pair in (("val", val), ("test", test))
        }

    assert evaluate.headline_name(scores((0.9, 0.8), (0.5, 0.99))) == "ensemble"
    assert evaluate.headline_name(scores((0.9, 0.91), (0.99, 0.5))) == "ensemble_tta"
    assert evaluate.headline_name(scores((0.9, 0.9), (0.5, 0.99))) == "ensemble"


def test_samples_that_share_a_copy_or_a_user_group_are_one_group():
    found = joined_groups(["a", "a", None, None, "b"], [None, "u", "u", None, None])
    assert found.tolist() == [0, 0, 0, 1, 2]


@pytest.fixture
def own(tmp_path):
    return small_run(tmp_path / "own")


def break_predictions(made: MadeRun, change) -> None:
    path = made.root / "predict" / "predictions" / "seed0.parquet"
    write_predictions(path, change(read_predictions(path)))


def test_a_prediction_that_lacks_a_sample_is_refused(own, tmp_path):
    break_predictions(own, lambda p: Predictions(p.sample_ids[1:], p.split[1:], p.pred_probs[1:]))
    with pytest.raises(InputError, match=r"seed0\.parquet: 1 val or test samples are missing"):
        run(own, tmp_path / "out")


def test_a_prediction_of_a_train_sample_is_refused(own, tmp_path):
    train = own.sample_ids[int(np.flatnonzero(own.split == "train")[0])]
    break_predictions(own, lambda p: Predictions((train, *p.sample_ids[1:]), p.split, p.pred_probs))
    with pytest.raises(InputError, match=f"in neither val nor test, the first is {train}"):
        run(own, tmp_path / "out")


def test_a_prediction_that_says_another_split_is_refused(own, tmp_path):
    swap = {"val": "test", "test": "val"}
    break_predictions(own, lambda p: Predictions(p.sample_ids, tuple(swap[s] for s in p.split), p.pred_probs))
    with pytest.raises(InputError, match=r"is called .*, but splits.csv says"):
        run(own, tmp_path / "out")


def test_a_prediction_over_other_classes_is_refused(own, tmp_path):
    write_json(own.root / "split" / "classes.json", [*own.classes, "zebra"])
    with pytest.raises(InputError, match="3 probabilities a row for 4 classes"):
        run(own, tmp_path / "out")


def test_the_order_of_rows_in_a_prediction_file_does_not_matter(own, tmp_path):
    before = run(own, tmp_path / "a")
    break_predictions(own, lambda p: Predictions(p.sample_ids[::-1], p.split[::-1], p.pred_probs[::-1]))
    assert run(own, tmp_path / "b") == before


def test_people_may_have_annotated_only_some_images(own, tmp_path):
    rows = np.flatnonzero(own.split == "test")[::2]
    truth = np.eye(3)[own.labels[rows]]
    write_predicted(own, own.root / "baseline" / "predictions" / "human.parquet", rows, truth)
    results = run(own, tmp_path / "out")
    assert results["test"]["human"]["n"] == len(rows)
    assert results["comparisons"]["ensemble_minus_human"]["n"] == len(rows)
    assert "human" not in results["val"]


def test_plots_say_what_the_metrics_say(own, tmp_path):
    results = run(own, tmp_path / "out")
    rows = read_csv(tmp_path / "out" / "confusion.csv")
    right = sum(row["actual"] == row["predicted"] for row in rows)
    main = evaluate.headline_name(results)
    assert right / len(rows) == pytest.approx(results["test"][main]["top1_accuracy"])
    accuracy = {
        row["name"]: float(row["top1_accuracy"]) for row in read_csv(tmp_path / "out" / "accuracy.csv")
    }
    assert accuracy == {name: record["top1_accuracy"] for name, record in results["test"].items()}
    bins = read_csv(tmp_path / "out" / "calibration.csv")
    assert sum(int(row["n"]) for row in bins) == len(rows)


def test_the_same_inputs_give_the_same_bytes(own, tmp_path):
    for name in ("a", "b"):
        write_json(tmp_path / name / "metrics.json", run(own, tmp_path / name))
    files = sorted(path.name for path in (tmp_path / "a").iterdir())
    tables = ["accuracy", "calibration", "classes", "confusion", "gains", "risk_coverage", "robustness"]
    tables.append("slices")
    assert files == sorted([*(f"{name}.csv" for name in tables), "metrics.json", "report.html"])
    for file in files:
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes(), file


def test_a_whole_evaluation_imports_nothing_heavy(own, tmp_path):
    code = (
        "import sys\n"
        f"for name in {HEAVY!r}: sys.modules[name] = None\n"
        "from pathlib import Path\n"
        "from stages import evaluate\n"
        f"params = evaluate.Params(**{PARAMS.model_dump()!r})\n"
        f"folders = {{name: Path({str(own.root)!r}) / name for name in {FOLDERS!r}}}\n"
        f"evaluate.run(params, **folders, out=Path({str(tmp_path / 'out')!r}))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "out" / "report.html").exists()


def test_ten_thousand_draws_over_ten_thousand_samples_cost_seconds():
    import time

    from stages.lib.intervals import paired_intervals

    differences = np.random.default_rng(0).choice([-1.0, 0.0, 1.0], size=(10_000, 12))
    started = time.process_time()
    paired_intervals(differences, np.arange(10_000), 1_000, 0.95, np.random.default_rng(0))
    assert time.process_time() - started < 2.0  # a tenth of the draws in a tenth of the 20 s that are allowed


def test_the_summary_names_every_prediction_with_interval_and_n(own, tmp_path, capsys):
    from stages.commands.summary import summary

    out = tmp_path / "out"
    results = run(own, out)
    write_json(out / "metrics.json", results)
    summary(out)
    printed = capsys.readouterr().out
    assert all(name in printed for name in results["test"])
    assert f"{100 * results['test']['ensemble']['top1_accuracy']:.1f}" in printed
    assert str(out / "report.html") in printed
    assert read_json(out / "metrics.json") == results


def test_the_summary_counts_how_often_the_test_set_was_scored(own, tmp_path, capsys):
    from stages.commands.summary import summary

    out = tmp_path / "out"
    for _ in range(2):
        write_json(out / "metrics.json", run(own, out))
    summary(out)
    assert "was scored once" in capsys.readouterr().out
    break_predictions(own, lambda p: Predictions(p.sample_ids, p.split, p.pred_probs[:, ::-1]))
    write_json(out / "metrics.json", run(own, out))
    summary(out)
    assert "was scored 2 times" in capsys.readouterr().out


def test_a_summary_of_nothing_says_what_to_run(tmp_path):
    from stages.commands.summary import summary

    with pytest.raises(InputError, match="make repro"):
        summary(tmp_path)


def test_accuracy_under_change_is_told_by_kind_and_strength(own, tmp_path):
    found = run(own, tmp_path)
    rows = read_csv(tmp_path / "robustness.csv")
    assert [(row["kind"], row["strength"]) for row in rows] == [
        ("jpeg", "50.0"),
        ("jpeg", "10.0"),
        ("blur", "0.1"),
    ]
    assert rows[0]["top1_accuracy"] == "1.0"
    assert all(int(row["n"]) == found["test"]["ensemble"]["n"] for row in rows)
    assert found["robustness"] == {"jpeg": float(rows[1]["top1_accuracy"]), "blur": 1.0}
    assert "jpeg" in (tmp_path / "report.html").read_text()


def test_where_nothing_leaks_the_evaluation_says_why(made, results, tmp_path):
    found = results["duplicate_tax"]
    assert "because the split was made so that none has" in found["meaning"]
    assert all(record["n_leaked"] == 0 for record in found["predictions"].values())
    run(made, tmp_path)
    assert "because the split was made so that none has" in (tmp_path / "report.html").read_text()


def test_i20_leaked_test_samples_are_taken_out_of_the_accuracy_and_the_report_shows_both(own, tmp_path):
    test = [name for name, split in zip(own.sample_ids, own.split, strict=True) if split == "test"]
    train = own.sample_ids[int(np.flatnonzero(own.split == "train")[0])]
    val = own.sample_ids[int(np.flatnonzero(own.split == "val")[0])]
    leaks = [Leak(name, "test", train, "train", "near", 0.1) for name in test[:5]]
    leaks += [Leak(test[6], "test", val, "val", "near", 0.1), Leak(val, "val", train, "train", "group", None)]
    write_leaks(own.root / "split" / "leaks.csv", leaks)
    found = run(own, tmp_path)
    record = found["duplicate_tax"]["predictions"]["linear"]
    predictions = read_predictions(own.root / "baseline" / "predictions" / "linear.parquet")
    label = dict(zip(own.sample_ids, own.labels, strict=True))
    right = [
        label[name] == probs.argmax()
        for name, probs in zip(predictions.sample_ids, predictions.pred_probs, strict=True)
        if name in test[5:]
    ]
    assert (record["n"], record["n_leaked"]) == (len(test), 5)
    assert record["without_leaked"]["n"] == len(right)
    assert record["without_leaked"]["top1_accuracy"] == pytest.approx(np.mean(right))
    assert record["with_leaked"]["top1_accuracy"] == found["test"]["linear"]["top1_accuracy"]
    page = (tmp_path / "report.html").read_text()
    assert "5 of" in found["duplicate_tax"]["meaning"]
    assert "accuracies with and without leaked test images" in page
    sheet = page[page.index("Test images and what they resemble in train") : page.index("Where it errs")]
    assert sheet.count('<div class="pair">') == 5
    assert sheet.count("<img ") == 10
    assert all(name in sheet for name in (*test[:5], train))


def test_the_students_agreement_with_the_ensemble_is_that_of_a_plain_loop(made, results):
    files = [
        read_predictions(made.root / "predict" / "predictions" / f"{name}.parquet")
        for name in ("student", "ensemble")
    ]
    pairs = zip(*(one.pred_probs.argmax(1) for one in files), files[0].split, strict=True)
    same = [a == b for a, b, split in pairs if split == "test"]
    found = results["student_agreement"]["test"]
    assert (found["agreement"], found["n"]) == (pytest.approx(np.mean(same)), len(same))
    low, high = found["agreement_ci"]
    assert 0 <= low < found["agreement"] < high <= 1


def test_the_report_sets_what_a_network_costs_beside_what_it_is_worth(own, tmp_path):
    run(own, tmp_path)
    page = (tmp_path / "report.html").read_text()
    table = page[page.index("What does it cost?") :]
    table = table[: table.index("</table>")]
    for row in (
        "<td>1</td><td>4,000</td><td>5.0</td>",
        "<td>2</td><td>8,000</td><td>10.0</td>",
        "<td>1</td><td>1,000</td><td>1.5</td>",
    ):
        assert row in table, row
    assert "says what the ensemble says for" in table
    (own.root / "train" / "seed1" / "network.json").unlink()
    run(own, tmp_path)
    assert "<td>1,000</td><td>1.5</td>" in (tmp_path / "report.html").read_text()


def test_the_report_says_what_val_chose_for_the_references_and_where_they_were_bounded(own, tmp_path):
    chosen = {"space": "embedding", "val_top1_accuracy": 0.9}
    found = {
        "n_train": 40_000,
        "knn": chosen | {"k": 9, "metric": "cosine", "n_train": 40_000, "capped": False},
        "svc": chosen | {"c": 10.0, "n_train": 4_997, "capped": True},
    }
    write_json(own.root / "baseline" / "metrics.json", found)
    run(own, tmp_path)
    page = (tmp_path / "report.html").read_text()
    assert "For knn, val chose the embedding and 9 neighbours, cosine." in page
    assert "It learned from 4,997 of 40,000 train images, as baseline.svc_max_train bounds its cost" in page
    found["svc"] = {"measured": False, "reason": "train has 300 classes"}
    write_json(own.root / "baseline" / "metrics.json", found)
    run(own, tmp_path)
    assert "svc was not measured: train has 300 classes." in (tmp_path / "report.html").read_text()


def test_every_choice_of_val_has_its_words_in_the_report(own, tmp_path):
    from typing import get_args

    from stages.lib.combining import Kind, Soup
    from stages.lib.report_trust_words import COMBINATIONS, chosen_sentence

    assert set(COMBINATIONS) == {*get_args(Kind), *get_args(Soup)}
    combination = {"name": "mean", "soup_refused": "there is one network only"}
    chosen = {"views": {"name": "none"}, "combination": combination}
    write_json(own.root / "predict" / "metrics.json", {"n_views": 5, "chosen": chosen})
    found = run(own, tmp_path)["chosen_on_val"]
    assert chosen_sentence(found).endswith("were not averaged: there is one network only.")


def test_a_sheet_shows_what_waits_for_a_person_and_of_many_only_the_most_useful(own, tmp_path):
    header = ",".join(QUEUE_COLUMNS)
    rows = [f"{name},,,,,,cat,0.5,1.0,0.4,dog,low_quality,there" for name in own.sample_ids[:30]]
    (own.root / "predict" / "review_queue.csv").write_text("\n".join([header, *rows]) + "\n")
    run(own, tmp_path)
    page = (tmp_path / "report.html").read_text()
    sheet = page[page.index('id="queue"') : page.index("Class balance")]
    assert "30 images set aside as neutral" in sheet
    assert "24 of 30" in sheet
    assert sheet.count("<img ") == 24
    assert own.sample_ids[0] in sheet
    assert own.sample_ids[24] not in sheet
