"""From a skeleton and a plan's codes to ONNX files."""

from pathlib import Path

from onnx import ModelProto, helper

from myqasr.core.errors import UserError
from myqasr.core.placing import replacing_folder, write_bytes
from myqasr.exporters.onnx.layers import (
    CONTRIB,
    DOMAIN,
    Layer,
    functions,
    layer_constants,
    layer_nodes,
)
from myqasr.exporters.onnx.skeleton import Skeleton, skeletons
from myqasr.exporters.target import ExportOptions
from myqasr.personalize.rounding.codes import LayerCodes
from myqasr.speech.models.base import SpeechModel

MOST_BYTES = 2**31 - 1
"""So much fits into a protobuf message."""


def write_model(
    model: SpeechModel, codes: dict[str, LayerCodes], path: Path, options: ExportOptions
) -> tuple[str, ...]:
    """A file, or a folder with one for each method; layer names in the order they run.

    Raises UserError when a file would be larger than the format allows.
    """
    drawn = skeletons(model, options)
    layers = _layers(model, codes)
    files = {name: filled(skeleton, layers) for name, skeleton in drawn.items()}
    for name, file in files.items():
        if file.ByteSize() > MOST_BYTES:
            raise UserError(
                f"{model.model_id}: {name} takes {file.ByteSize():,} bytes, an ONNX file holds "
                f"{MOST_BYTES:,}; ask for a smaller --budget"
            )
    if len(files) == 1:
        (only,) = files.values()
        write_bytes(path, only.SerializeToString(deterministic=True))
    else:
        with replacing_folder(path) as folder:
            for name, file in files.items():
                (folder / f"{name}.onnx").write_bytes(file.SerializeToString(deterministic=True))
    return tuple(name for method in sorted(drawn) for name in drawn[method].layers.values())


def filled(skeleton: Skeleton, layers: dict[str, Layer]) -> ModelProto:
    """A copy of the skeleton with its layers put in."""
    file = ModelProto()
    file.CopyFrom(skeleton.model)
    graph = file.graph
    graph.ClearField("node")
    stored = set()
    for place, node in enumerate(skeleton.model.graph.node):
        if place not in skeleton.layers:
            graph.node.append(node)
            continue
        layer = layers[skeleton.layers[place]]
        graph.node.extend(layer_nodes(node, layer))
        owner = layers[layer.constants_of]
        if owner.name not in stored:
            graph.initializer.extend(layer_constants(owner))
            stored.add(owner.name)
    used = {(node.domain, node.op_type) for node in graph.node}
    if any(domain == CONTRIB for domain, _ in used):
        file.opset_import.append(helper.make_opsetid(CONTRIB, 1))
    ours = [functions()[name] for domain, name in sorted(used) if domain == DOMAIN]
    if ours:
        file.functions.extend(ours)
        file.opset_import.append(helper.make_opsetid(DOMAIN, 1))
    return file


def _layers(model: SpeechModel, codes: dict[str, LayerCodes]) -> dict[str, Layer]:
    """By name. Layers with one matrix and one way to store it read the same constants."""
    found = {}
    for name, module in model.layers().items():
        owner = getattr(module, "matrix_of", "") or name
        if owner != name and not _same_stored(codes[owner], codes[name]):
            owner = name
        weight = module.weight
        found[name] = Layer(name, weight.detach(), codes[name], owner)  # type: ignore[operator]
    return found


def _same_stored(one: LayerCodes, other: LayerCodes) -> bool:
    """Whether two layers with the same float matrix have the same constants."""
    if one.spec.stored != other.spec.stored:
        return False
    pairs = ((one.codes, other.codes), (one.scales, other.scales))
    return all(a is b or (a is not None and b is not None and a.equal(b)) for a, b in pairs)
