"""Constants outside the layers that float16 holds exactly lie in the file as float16.

Whisper's weights were published in it: its table of positions, the largest thing beside the layers, is half
as large and every value is still what it was. Norms and biases are too small to be worth an operator.
"""

import torch
from torch import fx
from torch.export import ExportedProgram

from myqasr.exporters.checks import fits_half
from myqasr.exporters.graph.layers import INDEX_SELECT, LayerEditor, constant_value


def halve_constants(program: ExportedProgram, layers: set[str]) -> None:
    """Replace such constants in place, cast up where they are read.

    layers: state-dict keys of layers' weights, which aren't meant.
    """
    signature = program.graph_signature
    named = {**signature.inputs_to_parameters, **signature.inputs_to_buffers}
    for index, node in enumerate([n for n in program.graph.nodes if n.op == "placeholder"]):
        target = named.get(node.name)
        if target is None or target in layers or not node.users:
            continue
        values = constant_value(program, node)
        if fits_half(values):
            _halve(program, node, values.half(), f"half{index}")


def _halve(program: ExportedProgram, node: fx.Node, halves: torch.Tensor, prefix: str) -> None:
    editor = LayerEditor(program, node, prefix)
    stored = editor.constant("constant", halves)
    for user in list(node.users):
        with program.graph.inserting_before(user):
            if user.target is INDEX_SELECT and user.args[0] is node:
                # Only the rows that are read are cast.
                rows = editor.call(INDEX_SELECT, stored, *user.args[1:])
                user.replace_all_uses_with(editor.cast(rows, torch.float32))
                program.graph.erase_node(user)
            else:
                user.replace_input_with(node, editor.cast(stored, torch.float32))
    editor.drop_float_constant(node)
