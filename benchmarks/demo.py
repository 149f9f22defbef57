"""The figures of `myqasr demo`, and the same for every embedded user.

python -m benchmarks.demo [--all-users] [--budget 0.18x]
"""

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from benchmarks.results import BUILD, ROOT, save_result

FILES = ("float", "uniform 8 bit", "uniform 4 bit", "personalised")


def run_demo(user: str | None, budget: str | None) -> list[dict[str, Any]]:
    """Rows of one user's table, by the command itself."""
    out = BUILD / f"demo-{user or 'default'}"
    command = [sys.executable, "-m", "myqasr.cli.main", "demo", "--out", str(out), "--json"]
    command += ["--user", user] if user is not None else []
    command += ["--budget", budget] if budget is not None else []
    report = json.loads(subprocess.run(command, cwd=ROOT, check=True, capture_output=True).stdout)
    bits = mean_bits(out)
    rows = []
    for system in report["systems"]:
        words = system["words"]
        errors = words["substitutions"] + words["insertions"] + words["deletions"]
        rows.append(
            {
                "system": system["name"],
                "size_bytes": system["size_bytes"],
                "mean_bits": bits.get(system["sha256"]),
                "word_errors": errors,
                "words": words["reference_length"],
                "wer": errors / words["reference_length"],
                "agreement": system["agreement"],
                "rtf": system["latency"]["rtf"],
                "median_ms": system["latency"]["median_ms"],
                "load_ms": None if system["startup"] is None else system["startup"]["load_ms"],
                "problems": report["problems"],
            }
        )
    return rows


def mean_bits(run: Path) -> dict[str, float]:
    """Mean bits by file hash, from the run's manifests."""
    manifests = (run / "exports" / "manifest.json", run / "controls" / "manifest.json")
    return {
        artifact["sha256"]: artifact["mean_bits"]
        for path in manifests
        for artifact in json.loads(path.read_text())["artifacts"]
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--all-users", action="store_true")
    parser.add_argument("--budget")
    options = parser.parse_args()
    if not options.all_users:
        rows = run_demo(None, options.budget)
        print(save_result("demo", "python -m benchmarks.demo", rows))
        return
    users = sorted(p.name for p in (ROOT / "speech" / "default_users").iterdir() if p.is_dir())
    figures = {}
    for user in users:
        rows = run_demo(user, options.budget)
        figures[user] = {row["system"]: row for row in rows if row["system"] in FILES}
        print(user, {name: f"{100 * row['wer']:.1f} %" for name, row in figures[user].items()})
    print(save_result("users", "python -m benchmarks.demo --all-users", figures))


if __name__ == "__main__":
    main()
