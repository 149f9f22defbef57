"""Commands for many people, declared beside those for one: `main.py` adds them."""

from pathlib import Path
from typing import Annotated

import typer

from myqasr.cli.terminal.options import Json, Run
from myqasr.cli.terminal.output import reports_user_errors

store_app = typer.Typer(no_args_is_help=True, help="What people's models hold, each thing once.")

Store = Annotated[
    str, typer.Option("--store", help="Folder, or a URL that fsspec knows, as s3://bucket/people.")
]
Person = Annotated[str, typer.Argument(help="Name that the run was stored under.")]


def add_people_commands(app: typer.Typer) -> None:
    """Add them to the program."""
    app.add_typer(store_app, name="store")


@store_app.command("put")
@reports_user_errors
def put(
    run_folder: Run,
    store: Store,
    name: Annotated[
        str | None, typer.Option("--as", help="Name of the person; default: the run folder's.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Keep a run's plans and their codes in a store; what is there already isn't written again."""
    from myqasr.cli.commands.store import put

    put(run_folder, store, name, as_json)


@store_app.command("get")
@reports_user_errors
def get(
    person: Person,
    store: Store,
    out: Annotated[Path, typer.Option(help="Run folder to make.")],
    version: Annotated[int | None, typer.Option(help="Default: the newest.", min=1)] = None,
    export: Annotated[
        bool, typer.Option("--export", help="Also write the files, and compare their sha256.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Make a run folder of what a store holds; `myqasr export` writes the same files from it."""
    from myqasr.cli.commands.store import get

    get(person, store, out, version, export, as_json)


@store_app.command("list")
@reports_user_errors
def list_people(store: Store, as_json: Json = False) -> None:
    """Who is in a store, in which versions, and how many bytes are theirs alone."""
    from myqasr.cli.commands.store import list_people

    list_people(store, as_json)


@store_app.command("check")
@reports_user_errors
def check(store: Store, as_json: Json = False) -> None:
    """Read everything and name what is damaged, missing or foreign; exit code 2 if anything is."""
    from myqasr.cli.commands.store import check

    check(store, as_json)


@store_app.command("gc")
@reports_user_errors
def collect(
    store: Store,
    keep_versions: Annotated[
        int | None, typer.Option(help="Also remove versions older than so many newest.", min=1)
    ] = None,
    hours: Annotated[
        float, typer.Option(help="Leave what was written in so many last hours.", min=0)
    ] = 24.0,
    as_json: Json = False,
) -> None:
    """Remove objects that nobody's model names."""
    from myqasr.cli.commands.store import collect

    collect(store, keep_versions, hours, as_json)
