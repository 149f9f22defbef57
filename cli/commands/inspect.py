"""`myqasr inspect`: what a file really holds."""

from dataclasses import dataclass
from pathlib import Path

from myqasr.cli.terminal.output import console, print_json, say


@dataclass(frozen=True, slots=True)
class Row:
    """One weight-bearing layer found in the file."""

    layer: str
    kernel: str
    precision: str
    weights: int
    payload_bytes: int


def run(file: Path, as_json: bool) -> None:
    """List the layers found in the file; names come from the manifest when there is one."""
    rows = inspect_file(file)
    if as_json:
        print_json(rows)
        return
    from rich.table import Table

    from myqasr.core.storage import size_of
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
    console.print(f"{len(rows)} layers, {format_bytes(total)} of weights and scales.")


def inspect_file(file: Path) -> list[Row]:
    """Rows in program order. Raises UserError when the file can't be read or isn't the exported one."""
    from myqasr.exporters.manifest import MANIFEST_NAME, load_artifact
    from myqasr.exporters.target import load_target, target_for_file

    names: list[str] = []
    if (file.parent / MANIFEST_NAME).is_file():
        _, artifact = load_artifact(file)
        names, target = list(artifact.layers), load_target(artifact.target)
    else:
        say("no manifest.json beside the file: layers are numbered in program order")
        target = target_for_file(file)
    stored = target.read(file)
    if not names:
        names = [f"#{index}" for index in range(len(stored))]
    rows = []
    for name, layer in zip(names, stored, strict=True):
        held = layer.codes.codes if layer.codes.codes is not None else layer.weight
        weights = 0 if held is None else held.numel()
        rows.append(Row(name, layer.kernel, layer.codes.spec.label, weights, layer.payload_bytes))
    return rows
