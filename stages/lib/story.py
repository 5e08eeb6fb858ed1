"""What an evaluation says in sentences: the same words and roundings in the report and in the terminal.

They are made once, by `evaluate`, and stand in metrics.json under `story`; whoever shows results shows these.
"""

from collections.abc import Mapping
from typing import Any

from stages.lib import report_words
from stages.lib.report_trust_words import abstention_sentence, slices_sentence, truth_sentence

Record = Mapping[str, Any]

ORDER = (
    "headline",
    "figures",
    "compared",
    "seeds",
    "people",
    "wrong_labels",
    "abstention",
    "slices",
    "duplicate_tax",
)


def story(results: Mapping[str, Any], main: str, human: Record, confidence: float) -> dict[str, Any]:
    """Return {subject: sentence, or sentences}; empty where there is nothing to say on a subject."""
    record = results["test"][main]
    return {
        "headline": report_words.headline(main, record),
        "figures": figures_sentence(main, record, confidence),
        "compared": compared(results, main, confidence),
        "seeds": report_words.seeds_sentence(results["seeds"]["test"]),
        "people": report_words.people_sentence(human),
        "wrong_labels": truth_sentence(results["noise_corrected"]),
        "abstention": abstention_sentence(results["abstention"]),
        "slices": slices_sentence(results["slices"]),
        "duplicate_tax": results["duplicate_tax"]["meaning"],
    }


def figures_sentence(main: str, record: Record, confidence: float) -> str:
    """Return the four headline figures with their intervals, as the report rounds them."""
    percent, span = report_words.percent, report_words.span
    low, high = record["log_loss_ci"]
    shares = (
        ("accuracy", "top1_accuracy"),
        ("balanced accuracy", "balanced_accuracy"),
        ("calibration error", "ece"),
    )
    told = [f"{name} {percent(record[key])} ({span(record[f'{key}_ci'])})" for name, key in shares]
    told.append(f"log loss {record['log_loss']:.3f} ({low:.3f} to {high:.3f})")
    return f"{main}: {', '.join(told)}; {percent(confidence, 0)} intervals, n = {record['n']:,}."


def compared(results: Mapping[str, Any], main: str, confidence: float) -> list[str]:
    """Return what the model is held against: blind guesses, a linear model, people."""
    test, comparisons = results["test"], results["comparisons"]
    found = [
        report_words.against(
            main, other, comparisons.get(f"ensemble_minus_{other}"), test.get(other), confidence
        )
        for other in ("dummy", "linear", "human")
    ]
    return [sentence for sentence in found if sentence]


def sentences(told: Mapping[str, Any]) -> list[str]:
    """Return all sentences of a story in a reader's order: a file keeps its keys in that of the alphabet."""
    found = [told[subject] for subject in ORDER if subject in told]
    lists = [[value] if isinstance(value, str) else value for value in found]
    return [sentence for each in lists for sentence in each if sentence]
