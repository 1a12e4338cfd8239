"""Looks up known vulnerabilities of the packages in `requirements.lock`, with pip-audit.

    python -m scripts.audit                 # the data of the Python Package Index
    python -m scripts.audit -s osv          # other data: options are passed to pip-audit

The exit code is 1 if a vulnerability is known, otherwise 0, also if the data cannot be reached.
"""

import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from scripts import lock

PROBE_TIMEOUT_S, TIMEOUT_S = 30, 300
# A package for the question whether the data can be reached.
PROBE = "requests"


def look_up(
    packages: Sequence[lock.LockedPackage], options: Sequence[str], timeout_s: float
) -> list[dict[str, Any]] | None:
    """Looks up packages with pip-audit, those whose marker fits this machine.

    Args:
        packages: the packages; their hashes are needed, because nothing is resolved.
        options: further options of pip-audit.
        timeout_s: how long pip-audit may take.

    Returns:
        The packages for which there is an answer, in the format of `pip-audit --format json`; None
        if there is no answer at all.
    """
    with tempfile.TemporaryDirectory() as folder:
        requirements = Path(folder) / "requirements.txt"
        requirements.write_text("".join(f"{package.requirement}\n" for package in packages))
        command = [
            *(sys.executable, "-m", "pip_audit", "--requirement", str(requirements)),
            *("--disable-pip", "--progress-spinner", "off", "--timeout", "10"),
            *("--format", "json", *options),
        ]
        try:
            process = subprocess.run(
                command, capture_output=True, text=True, timeout=timeout_s, check=False
            )
            dependencies = json.loads(process.stdout)["dependencies"]
        except (subprocess.TimeoutExpired, json.JSONDecodeError):
            return None
    return [each for each in dependencies if "skip_reason" not in each] or None


def describe_findings(dependencies: Sequence[dict[str, Any]]) -> list[str]:
    """Returns one line for each known vulnerability."""
    lines = []
    for dependency in dependencies:
        for finding in dependency["vulns"]:
            fixed = ", ".join(finding["fix_versions"]) or "no version"
            names = " ".join([finding["id"], *finding["aliases"]])
            lines.append(
                f"{dependency['name']} {dependency['version']}: {names}, fixed in {fixed}. "
                f"{finding['description']}"
            )
    return lines


def main(options: Sequence[str]) -> int:
    """Prints the known vulnerabilities; returns the exit code."""
    packages = lock.parse_lock(lock.LOCK.read_text())
    probe = [package for package in packages if package.name == PROBE]
    answers = None
    if look_up(probe, options, PROBE_TIMEOUT_S) is not None:
        answers = look_up(packages, options, TIMEOUT_S)
    if answers is None:
        sys.stdout.write("Skipped: the data of pip-audit cannot be reached.\n")
        return 0
    findings = describe_findings(answers)
    sys.stdout.writelines(f"{line}\n" for line in findings)
    sys.stdout.write(
        f"Known vulnerabilities: {len(findings)}, in {len(answers)} packages that were looked up.\n"
    )
    return 1 if findings else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
