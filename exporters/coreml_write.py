"""From a model and codes to an .mlpackage in its place."""

import json
import shutil
import uuid
from pathlib import Path

from coremltools.models import MLModel

from exporters.coreml_carry import carry
from exporters.coreml_convert import float_package, layer_names, only_method
from exporters.coreml_read import LAYERS_KEY, stored_layers
from exporters.lowering import check_layers
from exporters.mlpackage import MODEL, WEIGHTS, read_program
from exporters.target import ExportOptions
from personalize.codes import LayerCodes
from speech.models.base import SpeechModel
from speech.storage import replacing_folder

_AUTHOR = "com.apple.CoreML"


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
    package = float_package(model, options, target, wide)
    constants = layer_names(model, only_method(model, options).module)
    weights = {name: module.weight for name, module in model.layers().items()}
    carried, names = carry(package, constants, weights, codes)  # type: ignore[arg-type]
    with replacing_folder(path) as draft:
        save(carried, names, draft)
    return tuple(names[value] for value, _ in stored_layers(read_program(path)))


def save(carried: MLModel, names: dict[str, str], folder: Path) -> None:
    """Fill a folder with the package; the same model gives the same bytes.

    names: of the values that are layers' weights.
    """
    spec = carried.get_spec()
    spec.description.metadata.userDefined[LAYERS_KEY] = "\n".join(sorted(names))
    (folder / WEIGHTS).parent.mkdir(parents=True)
    (folder / MODEL).write_bytes(spec.SerializeToString(deterministic=True))
    shutil.copyfile(Path(carried.weights_dir) / WEIGHTS.name, folder / WEIGHTS)
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


def _identity(item: str) -> str:
    """What the manifest calls an item of the package."""
    return str(uuid.uuid5(uuid.NAMESPACE_URL, f"mlpackage:{item}"))
