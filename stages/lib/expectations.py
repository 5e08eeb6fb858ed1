"""Run suites of expectations with Great Expectations, and keep of its results what is the same on every run.

Great Expectations stamps results with run times and random ids; here only its verdicts, its own wording of
each expectation and the unexpected rows are kept. Its analytics and progress bars are off, its context
lives in memory.
"""

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    import pandas as pd

Severity = Literal["critical", "warning"]

LONGEST_STATEMENT = 300
"""Characters of an expectation's wording: a set of 10,000 class names is no wording."""


@dataclass(frozen=True)
class Check:
    """One expectation: type and arguments as Great Expectations names them, and what to do on failure."""

    name: str
    type: str
    arguments: Mapping[str, Any]
    severity: Severity
    remedy: str


@dataclass(frozen=True)
class Outcome:
    """What became of a check: its wording, what was observed, and the names of unexpected rows."""

    check: Check
    statement: str
    passed: bool
    observed: str
    unexpected: tuple[str, ...]


@dataclass(frozen=True)
class Suite:
    """Checks of one frame; `index` is the column that names its rows."""

    name: str
    index: str
    frame: "pd.DataFrame"
    checks: Sequence[Check]


def run_suites(suites: Sequence[Suite]) -> dict[str, list[Outcome]]:
    """Return each suite's outcomes, in the order of its checks; RuntimeError if one cannot be evaluated."""
    # Read when the package is imported: with it on, every run would be reported to its makers.
    os.environ["GX_ANALYTICS_ENABLED"] = "False"
    import great_expectations as gx
    from great_expectations.data_context.types.base import ProgressBarsConfig

    context = gx.get_context(mode="ephemeral")
    context.variables.progress_bars = ProgressBarsConfig(globally=False)
    source = context.data_sources.add_pandas("assay")
    return {suite.name: _run(context, source, suite) for suite in suites}


def _run(context: Any, source: Any, suite: Suite) -> list[Outcome]:
    import great_expectations as gx

    batch = source.add_dataframe_asset(suite.name).add_batch_definition_whole_dataframe("all")
    expected = context.suites.add(gx.ExpectationSuite(name=suite.name))
    for check in suite.checks:
        kind = getattr(gx.expectations, check.type)
        expected.add_expectation(kind(**check.arguments, severity=check.severity, meta={"name": check.name}))
    definition = gx.ValidationDefinition(name=suite.name, data=batch, suite=expected)
    result = context.validation_definitions.add(definition).run(
        batch_parameters={"dataframe": suite.frame},
        result_format={"result_format": "COMPLETE", "unexpected_index_column_names": [suite.index]},
    )
    by_name = {item.expectation_config.meta["name"]: item for item in result.results}
    return [_outcome(check, by_name[check.name], suite.index) for check in suite.checks]


def _outcome(check: Check, item: Any, index: str) -> Outcome:
    if item.exception_info.get("raised_exception", False) or not item.result:
        raise RuntimeError(f"expectation {check.name} could not be evaluated: {item.exception_info}")
    result = item.result
    rows = result.get("unexpected_index_list") or []
    # Rows may repeat (both rows of a repeated id); their order is the frame's.
    names = dict.fromkeys(str(row[index]) for row in rows)
    return Outcome(check, _statement(item), bool(item.success), _observed(result), tuple(names))


def _observed(result: Mapping[str, Any]) -> str:
    if "observed_value" in result:
        return f"{result['observed_value']:,}"
    judged = result["element_count"] - result.get("missing_count", 0)
    return f"{result['unexpected_count']:,} unexpected of {judged:,}"


def _statement(item: Any) -> str:
    """Return Great Expectations' own sentence for the expectation, its values filled in."""
    item.render()
    sentences = [
        _filled(content.value.template, content.value.params)
        for content in item.expectation_config.rendered_content
        if content.value.template
    ]
    text = " ".join(sentences)
    return text if len(text) <= LONGEST_STATEMENT else text[: LONGEST_STATEMENT - 1] + "…"


def _filled(template: str, params: Mapping[str, Any]) -> str:
    # One pass: a class may itself be called "$column".
    return re.sub(r"\$(\w+)", lambda match: str(params[match[1]]["value"]), template)
