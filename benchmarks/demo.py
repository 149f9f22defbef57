"""The figures of `myqasr demo`, and the same for every embedded user: people on Whisper, the others on the
embedded model.

python -m benchmarks.demo [--all-users] [--budget 0.2x]
"""

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from benchmarks.results import BUILD, ROOT, save_result
from myqasr.cli.commands.demo import EMBEDDED, WHISPER
from myqasr.runtime_bench.results.quality import labelled_errors, wer_difference
from myqasr.runtime_bench.results.report import latest_reports, load_report
from myqasr.speech.models import PEOPLE, embedded_users

FILES = ("float", "uniform 8 bit", "uniform 4 bit", "published method", "personalised")


def run_demo(
    user: str | None, budget: str | None, model: str | None = None
) -> list[dict[str, Any]]:
    """Rows of one user's table, by the command itself."""
    out = BUILD / f"demo-{user or 'default'}"
    command = [sys.executable, "-m", "myqasr.cli.main", "demo", "--out", str(out), "--json"]
    command += ["--user", user] if user is not None else []
    command += ["--model", model] if model is not None else []
    command += ["--budget", budget] if budget is not None else []
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    report = load_report(latest_reports(out / "bench")[0])
    expected = labelled_errors(report, report.baseline)
    bits = mean_bits(out)
    rows = []
    for system in report.systems:
        words, latency, startup = system.words, system.latency, system.startup
        assert words is not None and latency is not None
        more = wer_difference(labelled_errors(report, system.name), expected)
        rows.append(
            {
                "system": system.name,
                "size_bytes": system.size_bytes,
                "mean_bits": bits.get(system.sha256 or ""),
                "word_errors": words.errors,
                "words": words.reference_length,
                "wer": words.rate,
                "more_than_float": None if more is None else (more.value, more.low, more.high),
                "agreement": system.agreement,
                "rtf": latency.rtf,
                "median_ms": latency.median_ms,
                "load_ms": None if startup is None else startup.load_ms,
                "problems": report.problems,
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
    figures = {}
    for user, folder in embedded_users().items():
        rows = run_demo(user, options.budget, WHISPER if folder.parent == PEOPLE else EMBEDDED)
        figures[user] = {row["system"]: row for row in rows if row["system"] in FILES}
        print(user, {name: f"{100 * row['wer']:.1f} %" for name, row in figures[user].items()})
    print(save_result("users", "python -m benchmarks.demo --all-users", figures))


if __name__ == "__main__":
    main()
