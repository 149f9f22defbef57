"""`myqasr report`: a run as one page."""

from pathlib import Path

from myqasr.cli.terminal.output import print_json, tell


def run(run_folder: Path, as_json: bool) -> None:
    """Write the page of a run's newest result and its plots."""
    from myqasr.personalize.run_folder import RunFolder
    from myqasr.runtime_bench.page.page import write_page

    page, plots = write_page(RunFolder(run_folder))
    if as_json:
        print_json({"page": str(page), "plots": [str(path) for path in plots]})
        return
    tell(f"Page: {page}")
    for path in plots:
        tell(f"Plot: {path}")
