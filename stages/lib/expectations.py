"""Run suites of expectations with Great Expectations, and keep of its results what is the same on every run.

Great Expectations stamps results with run times and random ids; here only its verdicts, its own wording of
each expectation and the unexpected rows are kept. Its analytics and progress bars are off, its context
lives in memory.
"""

import json
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from stages.lib.errors import InputError

if TYPE_CHECKING:
    import pandas as pd

Severity = Literal["critical", "warning"]

LONGEST_STATEMENT = 300
"""Characters of an expectation's wording: a set of 10,000 class names is no wording."""


@dataclass(frozen=True)
class Check:
    """One expectation: type and arguments as Great Expectations names them, and what to do on failure.

    `origin` says where a user wrote it; empty for our own.
    """

    name: str
    type: str
    arguments: Mapping[str, Any]
    severity: Severity
    remedy: str
    origin: str = ""


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
    """Return each suite's outcomes, in the order of its checks.

    A check that cannot be evaluated is an InputError where a user wrote it, else a RuntimeError.
    """
    gx = _great_expectations()
    from great_expectations.data_context.types.base import ProgressBarsConfig

    context = gx.get_context(mode="ephemeral")
    context.variables.progress_bars = ProgressBarsConfig(globally=False)
    source = context.data_sources.add_pandas("assay")
    return {suite.name: _run(context, source, suite) for suite in suites}


def _great_expectations() -> Any:
    # Read when the package is imported: with it on, every run would be reported to its makers.
    os.environ["GX_ANALYTICS_ENABLED"] = "False"
    import great_expectations

    return great_expectations


def expectation_types() -> list[str]:
    """Return the names of the expectations that the installed Great Expectations has."""
    found = vars(_great_expectations().expectations)
    return sorted(name for name in found if name.startswith("Expect") and name != "Expectation")


def refusals(kind: str, arguments: Mapping[str, Any]) -> list[str]:
    """Say why an expectation of this type does not take these arguments; empty where it does."""
    from pydantic.v1 import ValidationError

    try:
        getattr(_great_expectations().expectations, kind)(**arguments)
    except ValidationError as error:
        return list(dict.fromkeys(_refusal(detail) for detail in error.errors()))
    except (TypeError, ValueError) as error:
        return [f"kwargs: {error}"]
    return []


def _refusal(detail: Mapping[str, Any]) -> str:
    place = ".".join(str(part) for part in detail["loc"] if part != "__root__")
    return f"kwargs{'.' + place if place else ''}: {detail['msg']}"


def _run(context: Any, source: Any, suite: Suite) -> list[Outcome]:
    gx = _great_expectations()
    asset = source.add_dataframe_asset(suite.name)
    batch = asset.add_batch_definition_whole_dataframe("all").get_batch({"dataframe": suite.frame})
    expected = context.suites.add(gx.ExpectationSuite(name=suite.name))
    for check in suite.checks:
        kind = getattr(gx.expectations, check.type)
        expected.add_expectation(kind(**check.arguments, severity=check.severity, meta={"name": check.name}))
    wanted = {"result_format": "COMPLETE", "unexpected_index_column_names": [suite.index]}
    # Not through a validation definition: it stores results as JSON, which fails on NumPy's own numbers.
    result = batch.validate(expected, result_format=wanted)
    by_name = {item.expectation_config.meta["name"]: item for item in result.results}
    return [_outcome(check, by_name[check.name], suite.index) for check in suite.checks]


def _outcome(check: Check, item: Any, index: str) -> Outcome:
    fault = _exception(item.exception_info)
    if fault and check.origin:
        raise InputError(f"{check.origin}: {check.type} cannot be evaluated on this column: {fault}")
    if fault:
        raise RuntimeError(f"expectation {check.name} could not be evaluated: {fault}")
    result = item.result or {}
    rows = result.get("unexpected_index_list") or []
    # Rows may repeat (both rows of a repeated id); their order is the frame's.
    names = dict.fromkeys(str(row[index]) for row in rows)
    statement = _statement(item) or f"{check.type} with {json.dumps(dict(check.arguments), sort_keys=True)}"
    return Outcome(check, statement, bool(item.success), _observed(result, bool(item.success)), tuple(names))


def _exception(info: Mapping[str, Any]) -> str:
    """Return the first exception's message; Great Expectations keeps one, or one for each metric."""
    found = [info] if "raised_exception" in info else list(info.values())
    raised = [entry for entry in found if entry.get("raised_exception")]
    return str(raised[0].get("exception_message") or "no reason given") if raised else ""


def _observed(result: Mapping[str, Any], passed: bool) -> str:
    value = result.get("observed_value")
    if value is not None:
        return _shortened(_plain(value))
    if "unexpected_count" not in result:
        return "as expected" if passed else "not so"
    judged = result.get("element_count", 0) - result.get("missing_count", 0)
    of_all = f" of {judged:,}" if judged else ""
    return f"{result['unexpected_count']:,} unexpected{of_all}"


def _plain(value: Any) -> str:
    """Return an observed value as text: numbers with thousands, NumPy's own as plain ones."""
    number = value.item() if hasattr(value, "item") else value
    if isinstance(number, int) and not isinstance(number, bool):
        return f"{number:,}"
    if isinstance(number, float):
        return f"{number:.6g}"
    return number if isinstance(number, str) else json.dumps(number, default=str, ensure_ascii=False)


def _shortened(text: str) -> str:
    return text if len(text) <= LONGEST_STATEMENT else text[: LONGEST_STATEMENT - 1] + "…"


def _statement(item: Any) -> str:
    """Return Great Expectations' own sentence, its values filled in; "" where it has none."""
    item.render()
    sentences = [
        _filled(content.value.template, content.value.params or {})
        for content in item.expectation_config.rendered_content
        if content.value.template
    ]
    return _shortened(" ".join(sentences))


def _filled(template: str, params: Mapping[str, Any]) -> str:
    # One pass: a class may itself be called "$column".
    return re.sub(
        r"\$(\w+)", lambda match: str(params[match[1]]["value"]) if match[1] in params else match[0], template
    )
