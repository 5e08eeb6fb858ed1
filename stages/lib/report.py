"""report.html: one self-contained page that says what the model is worth, and shows what every stage found.

Whole without a script: charts are inline SVG, pictures are data URIs. Scripts let plots zoom and tables sort
(`report_scripts.py`). The page's policy (Content-Security-Policy) names their hashes and forbids all else: a
hostile class or file name could not act even if escaping failed. Text passes jinja2 with autoescape. The
same artifacts give the same bytes: no clock, no path.

Each subject has its module and its template: report_results, report_errors, report_data, report_training.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from stages.lib import metrics, report_words
from stages.lib.pictures import pictures
from stages.lib.prior_findings import Findings, Folders, read_findings
from stages.lib.report_cards import MOST_PICTURES
from stages.lib.report_costs import costs_part
from stages.lib.report_data import data_part, pictured_findings
from stages.lib.report_errors import error_part
from stages.lib.report_leaks import leak_part, pictured_leaks
from stages.lib.report_references import references_part
from stages.lib.report_results import results_part, verdict_part
from stages.lib.report_scripts import script_part
from stages.lib.report_training import training_part
from stages.lib.report_trust import trust_part
from stages.lib.scored_rows import Evaluation, MainRows, main_rows, worst_errors

TEMPLATE = "report.html.jinja"
PARTS = {
    "stylesheet": "report.css.jinja",
    "results_template": "report_results.html.jinja",
    "errors_template": "report_errors.html.jinja",
    "data_template": "report_data.html.jinja",
    "labels_template": "report_labels.html.jinja",
    "pictures_template": "report_pictures.html.jinja",
    "trust_template": "report_trust.html.jinja",
    "training_template": "report_training.html.jinja",
    "notes_template": "report_notes.html.jinja",
}


def build_report(evaluation: Evaluation, folders: Folders) -> str:
    """Return the page."""
    findings = read_findings(folders)
    rows = main_rows(evaluation)
    shown = pictures(folders.ingest, _pictured(rows, findings))
    counts = metrics.confusion(rows.labels, rows.predicted, len(evaluation.truth.classes))
    return render(
        verdict_part(evaluation, rows, counts, findings)
        | results_part(evaluation)
        | leak_part(evaluation.results, findings, shown)
        | trust_part(evaluation)
        | costs_part(evaluation, folders)
        | references_part(folders.baseline)
        | error_part(evaluation, rows, counts, findings, shown)
        | data_part(findings, shown)
        | training_part(findings)
        | script_part()
    )


def render(page: Mapping[str, Any]) -> str:
    """Fill report.html.jinja; a name that the template asks for and the page lacks raises."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "percent": report_words.percent,
        "span": report_words.span,
        "points": report_words.points,
        "plural": report_words.plural,
        "p_text": report_words.p_text,
        "short": report_words.short,
        "code": report_words.code,
    }
    return environment.get_template(TEMPLATE).render(page, **PARTS)


def _pictured(rows: MainRows, findings: Findings) -> set[str]:
    errors = {rows.sample_ids[row] for row in worst_errors(rows)[:MOST_PICTURES]}
    return errors | pictured_findings(findings) | pictured_leaks(findings)
