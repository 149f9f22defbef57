"""`myqasr store`: people's models in and out of a store, and looking after it."""

from pathlib import Path

from myqasr.cli.terminal.output import console, print_json, say, tell


def put(run_folder: Path, url: str, name: str | None, as_json: bool) -> None:
    """Keep a run."""
    from myqasr.fleet.objects import open_store
    from myqasr.fleet.runs import put_run
    from myqasr.personalize.run_folder import RunFolder

    run = RunFolder(run_folder)
    run.load_settings()  # before a store is made
    done = put_run(open_store(url, make=True), run, name)
    if as_json:
        print_json(done)
        return
    state = "stored" if done.is_new else "was stored before"
    tell(
        f"{done.version.name} {state} as version {done.version.number}: {done.objects} objects of "
        f"{done.size_bytes:,} bytes; new in the store: {done.new_objects} of {done.new_bytes:,} bytes"
    )


def get(person: str, url: str, out: Path, version: int | None, export: bool, as_json: bool) -> None:
    """Fetch a run, and write its files if asked to."""
    from myqasr.fleet.objects import open_store
    from myqasr.fleet.runs import export_again, get_run

    found = get_run(open_store(url), person, out, version)
    written = export_again(found, out, say) if export else []
    if as_json:
        print_json(found)
        return
    targets = ", ".join(sorted(found.layers))
    tell(
        f"{found.name}'s run with plans for {targets} is in [bold]{out}[/]; every hash was checked"
    )
    for path in written:
        tell(f"[bold]{path}[/]  {path.stat().st_size:,} bytes")
    if not export:
        tell(f"Next: myqasr export {out}")


def list_people(url: str, as_json: bool) -> None:
    """Print a table."""
    from rich.table import Table

    from myqasr.fleet.care import list_people
    from myqasr.fleet.objects import open_store

    found = list_people(open_store(url))
    if as_json:
        print_json(found)
        return
    table = Table(
        "person", "version", "targets", "file bytes", "in the store", "of these only theirs"
    )
    for each in found:
        files = ", ".join(f"{each.file_bytes[t]:,}" for t in each.targets if t in each.file_bytes)
        table.add_row(
            each.name, str(each.version), ", ".join(each.targets), files,
            f"{each.size_bytes:,}", f"{each.own_bytes:,}",
        )  # fmt: skip
    console.print(table)


def check(url: str, as_json: bool) -> None:
    """Print what is wrong; raises UserError when anything is."""
    from rich.markup import escape

    from myqasr.core.errors import BrokenFileError
    from myqasr.fleet.care import check_store
    from myqasr.fleet.objects import open_store

    found = check_store(open_store(url))
    if as_json:
        print_json(found)
    else:
        for problem in found.problems:
            tell(escape(problem))
        tell(
            f"{found.people} versions, {found.objects} objects of {found.size_bytes:,} bytes, "
            f"{found.unused} that nobody names"
        )
    if found.problems:
        raise BrokenFileError(
            f"{url} has {len(found.problems)} problems, the first: {found.problems[0]}"
        )


def collect(url: str, keep_versions: int | None, hours: float, as_json: bool) -> None:
    """Remove what nobody names."""
    from myqasr.fleet.care import collect_garbage
    from myqasr.fleet.objects import open_store

    done = collect_garbage(open_store(url), keep_versions, hours)
    if as_json:
        print_json(done)
        return
    young = f"; {done.young} younger than {hours:g} hours stay" if done.young else ""
    tell(f"Removed {done.removed} objects of {done.removed_bytes:,} bytes, kept {done.kept}{young}")
