"""`myqasr inspect`: what a file really holds."""

from pathlib import Path

from myqasr.cli.terminal.output import console, print_json, say


def run(file: Path, as_json: bool) -> None:
    """List the layers found in the file; names come from the manifest when there is one."""
    from myqasr.api import Listener, inspect

    rows = inspect(file, listener=Listener(say))
    if as_json:
        print_json(rows)
        return
    from rich.table import Table

    from myqasr.core.storage import size_of
    from myqasr.exporters.executorch.operators import operators_of
    from myqasr.personalize.planning.budget import format_bytes

    table = Table(title=f"{file}: {size_of(file):,} bytes")
    for column in ("layer", "kernel", "precision"):
        table.add_column(column, overflow="fold")
    for column in ("weights", "bytes"):
        table.add_column(column, justify="right")
    for row in rows:
        cells = (row.layer, row.kernel, row.precision, f"{row.weights:,}", f"{row.payload_bytes:,}")
        table.add_row(*cells)
    console.print(table)
    total = sum(row.payload_bytes for row in rows)
    operators = operators_of(file)
    if operators:
        say(f"The runtime needs: {', '.join(operators)}")
    console.print(f"{len(rows)} layers, {format_bytes(total)} of weights and scales.")
