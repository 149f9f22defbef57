#!/usr/bin/env bash
# executorch 1.5.1: `to_edge` writes into the configuration that it is given.
#
# Guess: an EdgeCompileConfig is an input. One object with `preserve_ops=[aten.linear]` serves any number of
# `to_edge` calls.
# Seen: every call makes that list four times as long (1, 4, 16, 64, 256 entries): the verifier extends the
# list given to it by the configuration's, in place, twice a call, and the two are one object. A process that
# lowers many programs with one configuration soon needs all memory there is for that list.
# Way out: a new EdgeCompileConfig for each call.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3.11 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet executorch==1.5.1 torch==2.13.0
cat > "$folder/try.py" <<'PYTHON'
import torch
from executorch.exir import EdgeCompileConfig, to_edge

config = EdgeCompileConfig(preserve_ops=[torch.ops.aten.linear.default])
sizes = [len(config.preserve_ops)]
for _ in range(4):
    program = torch.export.export(torch.nn.Linear(4, 4).eval(), (torch.ones(1, 4),))
    to_edge(program, compile_config=config)
    sizes.append(len(config.preserve_ops))
print(sizes)
PYTHON
found=$("$folder/venv/bin/python" "$folder/try.py" 2>/dev/null)
echo "entries of preserve_ops after 0, 1, 2, 3, 4 calls: $found"
test "$found" = "[1, 4, 16, 64, 256]"
