"""The scripts of the report: plots that zoom and tables that sort, on a page that is whole without them.

Everything is inside the page, and its policy names the SHA-256 of each script: nothing else can run, whatever
a class or a file is called. uPlot 1.6.32 (MIT, 51 kB, no dependency) is the npm package's own minified file.
"""

import base64
import hashlib
from pathlib import Path
from typing import Any

from markupsafe import Markup

HERE = Path(__file__).parent
LIBRARY, LIBRARY_LICENSE, LIBRARY_STYLE = "uplot.min.js", "uplot.license.txt", "uplot.min.css"
OWN = ("report_charts.js", "report_tables.js")

POLICY = (
    "default-src 'none'; script-src {}; img-src data:; style-src 'unsafe-inline'; "
    "base-uri 'none'; form-action 'none'"
)


def script_part() -> dict[str, Any]:
    """Return the scripts, in order, the library's style, and the policy that lets only these scripts run."""
    # The licence asks that its notice goes along with every copy, and each report is one.
    notice = f"/*! uPlot\n{_read(LIBRARY_LICENSE)}*/\n"
    scripts = [notice + _read(LIBRARY), *(_read(name) for name in OWN)]
    return {
        "policy": POLICY.format(" ".join(f"'{_digest(script)}'" for script in scripts)),
        "scripts": [Markup(script) for script in scripts],  # noqa: S704 (files of this package, no data)
        "library_style": Markup(_read(LIBRARY_STYLE)),  # noqa: S704 (likewise)
    }


def _read(name: str) -> str:
    return (HERE / name).read_text(encoding="utf-8")


def _digest(script: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(script.encode("utf-8")).digest()).decode("ascii")
