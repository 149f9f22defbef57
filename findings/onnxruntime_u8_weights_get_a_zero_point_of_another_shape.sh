#!/usr/bin/env bash
# onnxruntime 1.32.0: int8 weights with a scale for every channel and no zero points fail under
# `session.x64quantprecision`.
#
# Guess: the zero points of DequantizeLinear may be left out, they are then zeros; the option only chooses slower,
# exact kernels. The model runs with it as without it, to the same numbers.
# Seen: with the option set to 1 the session is made and `run` fails: "For per axis quantization, x_zero_point must
# be null or 1D tensor with size 4". The pass that turns int8 weights into uint8 (those with a code beyond 64) adds
# one zero point, 128, where one for every channel is wanted.
# Way out: zero points written out (a byte for every channel), or Cast and Mul instead of DequantizeLinear.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3.11 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet onnx==1.23.2 onnxruntime==1.32.0
cat > "$folder/try.py" <<'PYTHON'
import numpy as np
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

weight = numpy_helper.from_array(np.arange(0, 120, 5, dtype=np.int8).reshape(4, 2, 3), "weight")
scales = numpy_helper.from_array(np.full(4, 0.5, np.float32), "scales")
graph = helper.make_graph(
    [
        helper.make_node("DequantizeLinear", ["weight", "scales"], ["kernel"], axis=0),
        helper.make_node("Conv", ["x", "kernel"], ["y"]),
    ],
    "one",
    [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 2, 8])],
    [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 4, 6])],
    [weight, scales],
)
model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
for setting in "01":
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.add_session_config_entry("session.x64quantprecision", setting)
    session = onnxruntime.InferenceSession(model.SerializeToString(), options)
    try:
        session.run(None, {"x": np.ones((1, 2, 8), np.float32)})
        print(setting, "runs")
    except Exception as error:
        print(setting, "fails" if "x_zero_point must be null or 1D" in str(error) else error)
PYTHON
found=$("$folder/venv/bin/python" "$folder/try.py" 2>/dev/null)
echo "$found"
test "$found" = $'0 runs\n1 fails'
