"""`myqasr doctor`: what really works here? Kilobyte models are written, read back and run."""

from rich.markup import escape

from myqasr.cli.terminal.output import print_json, say, tell


def run(install: str | None, as_json: bool) -> None:
    """Print what works; exit code 1 when something that is installed doesn't.

    install: first make the environment of this runtime.
    """
    if install is not None:
        from myqasr.runtime_bench.devices.environments import install_environment

        say(f"installing {install}")
        say(f"installed in {install_environment(install)}")
    from myqasr.runtime_bench.diagnose.doctor import examine

    findings = examine()
    if as_json:
        print_json(findings)
    else:
        for finding in findings:
            absent = "[yellow]absent[/]" if finding.optional else "[red]fails[/]"
            mark = "[green]works[/]" if finding.works else absent
            version = f" {finding.version}" if finding.version else ""
            tell(f"{mark}  {finding.what}{version}: {escape(finding.detail)}")
            if finding.mend:
                tell(f"       {escape(finding.mend)}")
    if not all(finding.works or finding.optional for finding in findings):
        raise SystemExit(1)
