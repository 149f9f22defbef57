"""`myqasr export`: the planned file, written and proven."""

from pathlib import Path

from myqasr.cli.terminal.output import print_json, say, tell


def run(
    run_folder: Path, target_name: str | None, max_seconds: float, lengths: str, as_json: bool
) -> None:
    """Export one target, or every target that has a plan."""
    from myqasr.cli.terminal.rules import seconds_of
    from myqasr.exporters.export import export_run
    from myqasr.exporters.target import load_target
    from myqasr.personalize.planning.budget import format_bytes
    from myqasr.personalize.run_folder import RunFolder
    from myqasr.speech.models import load_model

    folder = RunFolder(run_folder)
    settings = folder.load_settings()
    names = [target_name] if target_name is not None else folder.planned_targets()
    targets = [load_target(name) for name in names]
    plans = [folder.load_plan(target.name) for target in targets]
    listed = seconds_of(lengths)
    measured = folder.load_measurement()
    written = []
    for target, plan in zip(targets, plans, strict=True):
        # A fresh model each time: tracing may leave cached tables behind.
        model = load_model(settings.model)
        say(f"writing {format_bytes(plan.predicted_bytes)} for {target.name}")
        written.append(export_run(folder, model, measured, target, max_seconds, say, listed))
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
