"""Compare what is installed for a Python with the published advisories: `python .ci/audit.py PYTHON`.

Fails where a package has a known vulnerability. Where the advisories cannot be reached, it says so and
succeeds.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path


def main() -> int:
    """Audit, print what was found, and return the exit code."""
    python = sys.argv[1]
    freeze = ["uv", "pip", "freeze", "--quiet", "--python", python]
    installed = subprocess.run(freeze, check=True, capture_output=True, text=True).stdout
    with tempfile.TemporaryDirectory() as folder:
        requirements = Path(folder) / "installed.txt"
        lines = [line for line in installed.splitlines() if not line.startswith("headrace")]
        requirements.write_text("\n".join(lines), encoding="utf-8")
        audit = [
            "uv",
            "tool",
            "run",
            "--quiet",
            "pip-audit",
            "--no-deps",
            "--disable-pip",
            "--format",
            "json",
        ]
        audit += ["--progress-spinner", "off", "--requirement", str(requirements)]
        report = subprocess.run(audit, check=False, capture_output=True, text=True).stdout
    try:
        found = json.loads(report)["dependencies"]
    except ValueError:
        print("not audited: the advisories cannot be reached")
        return 0
    audited = [each for each in found if "vulns" in each]
    known = [each for each in audited if each["vulns"]]
    print(f"{len(audited)} of {len(found)} packages audited, {len(known)} with known vulnerabilities")
    for each in known:
        print(
            each["name"], each["version"], ", ".join(vulnerability["id"] for vulnerability in each["vulns"])
        )
    return 1 if known else 0


if __name__ == "__main__":
    sys.exit(main())
