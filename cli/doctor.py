"""`myqasr doctor`: does each target really work here? A kilobyte model is written, read back and run."""

from dataclasses import dataclass

from cli.output import print_json, say, tell


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was tried. mend: what to do when it doesn't work.

    optional: it needs something that isn't installed, which is no fault.
    """

    what: str
    works: bool
    detail: str
    mend: str = ""
    optional: bool = False


def run(install: str | None, as_json: bool) -> None:
    """Print what works; exit code 1 when a target doesn't.

    install: first make the environment of this runtime.
    """
    if install is not None:
        from runtime_bench.environments import install_environment

        say(f"installing {install}")
        say(f"installed in {install_environment(install)}")
    findings = [_torch(), *_targets(), _default_model()]
    if as_json:
        print_json(findings)
    else:
        for finding in findings:
            absent = "[yellow]absent[/]" if finding.optional else "[red]fails[/]"
            mark = "[green]works[/]" if finding.works else absent
            tell(f"{mark}  {finding.what}: {finding.detail}")
            if finding.mend:
                tell(f"       {finding.mend}")
    if not all(finding.works or finding.optional for finding in findings):
        raise SystemExit(1)


def _torch() -> Finding:
    """Where profiles are measured."""
    import torch

    cuda = torch.cuda.is_available()
    where = torch.cuda.get_device_name() if cuda else f"CPU, {torch.get_num_threads()} threads"
    mend = "" if cuda else "measuring on a GPU is faster; a CPU does the same work"
    return Finding("measuring (torch)", True, f"torch {torch.__version__} on {where}", mend)


def _targets() -> list[Finding]:
    """Each target with its runner, tried for real."""
    from exporters.target import TARGETS
    from runtime_bench.probe import probe_target
    from speech.errors import NotInstalledError, UserError

    findings = []
    for name in TARGETS:
        try:
            detail = probe_target(name)
            findings.append(Finding(f"target {name}", True, detail))
        except NotInstalledError as error:
            findings.append(Finding(f"target {name}", False, str(error), optional=True))
        except (UserError, ImportError, RuntimeError, OSError) as error:
            line = (str(error).splitlines() or [type(error).__name__])[0]
            findings.append(
                Finding(
                    f"target {name}",
                    False,
                    line,
                    "reinstall with the pinned versions: pip install --force-reinstall myqasr",
                )
            )
    return findings


def _default_model() -> Finding:
    """The embedded model loads and its weights are whole."""
    from speech.errors import UserError
    from speech.models import load_model

    try:
        model = load_model("default")
    except UserError as error:
        return Finding("embedded model", False, str(error), "reinstall myqasr")
    count = sum(parameter.numel() for parameter in model.module.parameters())
    return Finding("embedded model", True, f"{count / 1e6:.1f} M parameters")
