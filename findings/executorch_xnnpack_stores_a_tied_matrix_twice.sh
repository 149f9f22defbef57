#!/usr/bin/env bash
# executorch 1.5.1: a matrix that a token embedding and the output layer share lies in an XNNPACK file twice.
#
# Guess: one parameter of the model is one piece of data of the file, whoever reads it. Without a delegate it
# is: the file is as large as the matrix.
# Seen: with XNNPACK the file is as large as two. The linear layer's copy goes into the data that delegates
# share by name, the embedding's, which runs on ExecuTorch's own kernels, into the segment of constants. In
# Whisper tiny the matrix is half of the weights.
# Way out: the file's own numbers allow one copy: the segment of constants may reach over a delegate's data,
# and a constant's offset may point into it.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3.11 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet executorch==1.5.1 torch==2.13.0
cat > "$folder/try.py" <<'PYTHON'
import torch
from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
from executorch.exir import to_edge_transform_and_lower


class Tied(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.table = torch.nn.Embedding(4096, 64)
        self.head = torch.nn.Linear(64, 4096, bias=False)
        self.head.weight = self.table.weight

    def forward(self, ids):
        return self.head(self.table(ids))


model = Tied().eval()
matrix = model.table.weight.nbytes
for partitioner in ([], [XnnpackPartitioner()]):
    program = torch.export.export(model, (torch.zeros(1, 1, dtype=torch.int64),))
    lowered = to_edge_transform_and_lower(program, partitioner=partitioner)
    print(round(len(lowered.to_executorch().buffer) / matrix, 1), end=" ")
PYTHON
found=$("$folder/venv/bin/python" "$folder/try.py" 2>/dev/null)
echo "file over matrix, without a delegate and with XNNPACK: $found"
test "$found" = "1.0 2.0 "
