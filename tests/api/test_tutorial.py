"""The tutorial does what it says, block by block, in a folder of its own."""

import re
from pathlib import Path

from myqasr.core.errors import BudgetError

PAGE = Path(__file__).parents[2] / "docs" / "tutorial.md"


def test_every_block_of_the_tutorial_runs_as_it_stands(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.S)
    assert len(blocks) == 6
    names: dict[str, object] = {}
    for block in blocks:
        exec(compile(block, str(PAGE), "exec"), names)
    said = capsys.readouterr().out
    assert BudgetError.__name__ in said and "smallest plan for xnnpack" in said
    assert (tmp_path / "out" / "ada" / "exports" / "manifest.json").is_file()
