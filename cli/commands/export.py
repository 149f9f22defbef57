"""`myqasr export`: the planned file, written and proven."""

from pathlib import Path

from myqasr.cli.terminal.output import print_json, say, tell


def run(
    run_folder: Path, target_name: str | None, max_seconds: float, lengths: str, as_json: bool
) -> None:
    """Export one target, or every target that has a plan."""
    from myqasr.api import Listener, export
    from myqasr.cli.terminal.rules import seconds_of

    written = export(
        run_folder,
        target=target_name,
        max_seconds=max_seconds,
        lengths=seconds_of(lengths),
        listener=Listener(say),
    )
    if as_json:
        print_json([item.artifact for item in written])
        return
    for item in written:
        artifact = item.artifact
        tell(
            f"[bold]{item.path}[/]  {artifact.size_bytes:,} bytes of {artifact.budget_bytes:,} "
            f"allowed, {artifact.mean_bits:.2f} bits a weight, sha256 {artifact.sha256[:12]}",
        )
        tell(
            f"Read back: all {len(artifact.layers)} layers hold the planned codes, bit for bit.",
        )
