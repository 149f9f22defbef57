"""From a model and codes to an .mlpackage in its place."""

import json
import shutil
import uuid
from pathlib import Path
from typing import Any

import coremltools as ct
from coremltools.models import MLModel

from myqasr.core.errors import UserError
from myqasr.core.placing import replacing_folder
from myqasr.exporters.checks import check_layers
from myqasr.exporters.coreml.carry import carry
from myqasr.exporters.coreml.convert import DEPLOYMENT, float_packages, layer_names
from myqasr.exporters.coreml.mlpackage import (
    MAIN,
    MODEL,
    STRIDE_KEY,
    WEIGHTS,
    read_programs,
    weights_file,
)
from myqasr.exporters.coreml.read import LAYERS_KEY, stored_layers
from myqasr.exporters.graph.methods import methods
from myqasr.exporters.target import ExportOptions
from myqasr.personalize.rounding.codes import LayerCodes
from myqasr.speech.models.base import SpeechModel

_AUTHOR = "com.apple.CoreML"
_AT = "@model_path/weights/"

FUNCTIONS = {"forward": MAIN}
"""Method -> name of its function, where that is another."""


def write_package(
    model: SpeechModel,
    codes: dict[str, LayerCodes],
    path: Path,
    options: ExportOptions,
    target: str,
) -> tuple[str, ...]:
    """Write the package, whole or not at all; returns layer names in the order the program runs them.

    Raises UserError when codes and model don't fit, or coremltools can't convert the model.
    """
    check_layers(model, codes)
    wide = frozenset(name for name, layer in codes.items() if layer.spec.bits == 32)
    weights = {name: module.weight for name, module in model.layers().items()}
    by_method = methods(model, options)
    if len(by_method) > 1 and DEPLOYMENT[target] < ct.target.iOS18:
        raise UserError(
            f"{model.model_id} writes token by token: that takes two functions in a package, hence iOS 18; "
            "use --target coreml"
        )
    functions: dict[str, MLModel] = {}
    names: dict[str, dict[str, str]] = {}
    for method, package in float_packages(model, options, target, wide).items():
        constants = layer_names(model, by_method[method].module)
        function = FUNCTIONS.get(method, method)
        functions[function], names[function] = carry(package, constants, weights, codes)  # type: ignore[arg-type]
    found = [name for each in names.values() for name in each.values()]
    missing = set(codes) - set(found)
    if missing or len(found) > len(codes):
        odd = min(missing) if missing else max(found, key=found.count)
        raise UserError(
            f"{model.model_id}: layer {odd} isn't in Core ML's program exactly once; it can't be exported"
        )
    stride = model.stride_samples if options.lengths else None
    with replacing_folder(path) as draft:
        save(functions, names, draft, stride)
        programs = read_programs(draft)
        if options.lengths and programs[MAIN].lengths != options.lengths:
            raise UserError(
                f"the package takes inputs of {programs[MAIN].lengths} samples, not {options.lengths}; "
                "report this with the model's class"
            )
    return tuple(
        names[function][value]
        for function, program in programs.items()
        for value, _ in stored_layers(program)
    )


def save(
    functions: dict[str, MLModel],
    names: dict[str, dict[str, str]],
    folder: Path,
    stride_samples: int | None = None,
) -> None:
    """Fill a folder with the package; the same models give the same bytes.

    functions: by name; one is `main`, several make a package of several functions, each with its own file of
    constants. names: of the values that are layers' weights, by function. stride_samples: what whoever
    fills the input up needs to know of the output.
    """
    (folder / WEIGHTS).parent.mkdir(parents=True)
    spec = merged(functions)
    for function, model in functions.items():
        shutil.copyfile(Path(model.weights_dir) / WEIGHTS.name, folder / weights_file(function))
        listed = "\n".join(sorted(names[function]))
        spec.description.metadata.userDefined[f"{LAYERS_KEY}.{function}"] = listed
    if stride_samples is not None:
        spec.description.metadata.userDefined[STRIDE_KEY] = str(stride_samples)
    (folder / MODEL).write_bytes(spec.SerializeToString(deterministic=True))
    items = {
        _identity("model"): ("model.mlmodel", "CoreML Model Specification"),
        _identity("weights"): ("weights", "CoreML Model Weights"),
    }
    manifest = {
        "fileFormatVersion": "1.0.0",
        "itemInfoEntries": {
            identity: {
                "author": _AUTHOR,
                "description": description,
                "name": name,
                "path": f"{_AUTHOR}/{name}",
            }
            for identity, (name, description) in items.items()
        },
        "rootModelIdentifier": _identity("model"),
    }
    (folder / "Manifest.json").write_text(json.dumps(manifest, indent=4) + "\n")


def merged(functions: dict[str, MLModel]) -> Any:
    """The specification of a package with these functions; the first is the default."""
    spec = next(iter(functions.values())).get_spec()
    if list(functions) == [MAIN]:
        return spec
    described = {name: model.get_spec() for name, model in functions.items()}
    del spec.mlProgram.functions[MAIN]
    for field in ("input", "output"):
        spec.description.ClearField(field)
    spec.description.defaultFunctionName = next(iter(functions))
    for name, each in described.items():
        program = each.mlProgram.functions[MAIN]
        _point_to(program, f"{_AT}{weights_file(name).name}")
        spec.mlProgram.functions[name].CopyFrom(program)
        entry = spec.description.functions.add(name=name)
        entry.input.extend(each.description.input)
        entry.output.extend(each.description.output)
    return spec


def _point_to(program: Any, file: str) -> None:
    """Make all constants of a function be read from this file."""
    for block in program.block_specializations.values():
        for operation in block.operations:
            values = [
                binding.value for each in operation.inputs.values() for binding in each.arguments
            ]
            for value in (*values, *operation.attributes.values()):
                if value.WhichOneof("value") == "blobFileValue":
                    value.blobFileValue.fileName = file


def _identity(item: str) -> str:
    """What the manifest calls an item of the package."""
    return str(uuid.uuid5(uuid.NAMESPACE_URL, f"mlpackage:{item}"))
