"""A run folder into a store and back: whoever fetches it exports the same bytes."""

import lzma
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from myqasr.core.children import scratch_folder
from myqasr.core.errors import BrokenFileError, UserError
from myqasr.core.placing import replacing_folder, write_bytes
from myqasr.core.reading import reading
from myqasr.core.storage import record_hash, save_record
from myqasr.exporters.command import export_targets
from myqasr.exporters.manifest import MANIFEST_NAME, load_manifest
from myqasr.fleet.objects import ObjectRef, Objects, object_path
from myqasr.fleet.people import (
    SCHEMA_VERSION,
    FileRef,
    Person,
    Version,
    check_name,
    find_person,
    save_person,
)
from myqasr.personalize.measuring.sensitivity import Measurement, round_plan
from myqasr.personalize.planning.plan import LayerProfile, Plan, QuantSpec
from myqasr.personalize.rounding.codes import (
    Precisions,
    Rounding,
    load_rounding,
    save_codes,
    save_rounding,
)
from myqasr.personalize.run_folder import Fetched, RunFolder, rounding_key
from myqasr.speech.models.base import SAMPLE_RATE

_IN_OBJECT = "layer"
"""Every layer is called so within its object: two layers of the same codes are one object."""
_MOST_DOCUMENT = 1 << 30
"""Bytes that a document may have; what claims more is damaged."""


@dataclass(frozen=True, slots=True)
class Put:
    """What a run added to a store. bytes: of its objects; new: of those that weren't there."""

    version: Version
    is_new: bool
    objects: int
    size_bytes: int
    new_objects: int
    new_bytes: int


def put_run(
    store: Objects,
    run: RunFolder,
    name: str | None = None,
    made_from: str = "",
) -> Put:
    """Keep a run's plans with their codes, and what is needed to export them again.

    name: of the person; the run folder's if it is None. Only what the plans use is kept: codes at other
    precisions, recordings and their texts are not. Raises UserError when the run isn't complete.
    """
    name = check_name(run.name if name is None else name)
    run.load_settings()
    with run.lock("`myqasr store put`", alone=False), scratch_folder("store") as scratch:
        settings, measured = run.load_settings(), run.load_measurement()
        targets = run.planned_targets()
        if not targets:
            raise UserError(f"{run.path} has no plan; run `myqasr personalize` first")
        writer = _Writer(store, scratch)
        layers: dict[str, dict[str, ObjectRef]] = {}
        for target in targets:
            plan = run.load_plan(target, measured.profile)
            layers[target] = {
                layer.shape.name: writer.layer(measured.rounding, layer, plan)
                for layer in measured.profile.layers
                if plan.layers[layer.shape.name].scheme != "float"
            }
        person = Person(
            SCHEMA_VERSION, name, settings.model, settings.weights_hash,
            {path.name: writer.document(path) for path in _documents(run, targets)},
            {run.adapted.name: writer.bytes(run.adapted.read_bytes())} if settings.float_hash else {},
            layers, _files(run, targets), made_from,
        )  # fmt: skip
    version, is_new = save_person(store, person)
    for ref in person.objects().values():  # somebody may have collected garbage in between
        if store.size_of(object_path(ref.sha256)) != ref.size_bytes:
            raise UserError(
                f"{store.url}: object {ref.sha256} went while {name} was put: `myqasr store gc` ran; "
                "put the run again"
            )
    return Put(
        version, is_new, len(person.objects()),
        sum(ref.size_bytes for ref in person.objects().values()), writer.new_objects, writer.new_bytes,
    )  # fmt: skip


def get_run(store: Objects, name: str, out: Path, number: int | None = None) -> Person:
    """Make a run folder of what a store holds of a person; `myqasr export` writes its files again.

    number: version; the last if it is None. Raises UserError when `out` is there already or something is
    missing, BrokenFileError when something isn't what was put; then nothing is written.
    """
    version, person = find_person(store, name, number)
    if out.exists():
        raise UserError(f"{out} is there already; name another folder for the run")
    with replacing_folder(out) as folder:
        run = RunFolder(folder)
        for document, ref in person.documents.items():
            what = f"{document} of {name}"
            data = _expanded(store.get(ref, what), f"{store.url}: {what}")
            write_bytes(_inside(folder, document), data)
        for file, ref in person.rest.items():
            write_bytes(_inside(folder, file), store.get(ref, f"{file} of {name}"))
        profile = run.load_costs()
        shapes = {layer.shape.name: layer for layer in profile.layers}
        plans = {target: run.load_plan(target, profile) for target in person.layers}
        found: dict[str, Precisions] = {}
        with scratch_folder("store") as scratch:
            for target, plan in plans.items():
                for layer_name, ref in person.layers[target].items():
                    spec = plan.layers.get(layer_name)
                    if spec is None:
                        raise BrokenFileError(
                            f"{store.url}: {name}'s plan for {target} has no layer {layer_name}"
                        )
                    pair = _layer(store, ref, shapes[layer_name], spec, name, scratch)
                    found.setdefault(layer_name, {}).update(pair)
        rounding = Rounding(found)
        measured = Measurement(profile, rounding)
        save_rounding(rounding, rounding_key(run.load_profile()), run.rounding)
        for target, plan in plans.items():
            save_codes(round_plan(measured, plan), record_hash(plan), run.codes(target))
        save_record(Fetched(store.url, version.name, version.number), run.fetched)
    return person


def export_again(
    person: Person, out: Path, say: Callable[[str], None] = lambda text: None
) -> list[Path]:
    """Write the files of a run that `get_run` made, for the same input as those that were stored.

    Raises BrokenFileError naming both hashes when a file isn't the one that was stored: other versions of the
    packages that write it are installed.
    """
    run = RunFolder(out)
    written = []
    for target, file in person.files.items():
        lengths = [samples / SAMPLE_RATE for samples in file.lengths]
        (again,) = export_targets(run, [target], file.max_samples / SAMPLE_RATE, lengths, say)
        if again.artifact.sha256 != file.sha256:
            raise BrokenFileError(
                f"{again.path} has sha256 {again.artifact.sha256}; when {person.name} was stored it had "
                f"{file.sha256}: install the packages that wrote it, or personalize again"
            )
        written.append(again.path)
    return written


class _Writer:
    """Puts a run's pieces, and counts what was new."""

    def __init__(self, store: Objects, scratch: Path) -> None:
        self._store, self._scratch = store, scratch
        self.new_objects = self.new_bytes = 0

    def bytes(self, data: bytes) -> ObjectRef:
        ref, is_new = self._store.put(data)
        self.new_objects += is_new
        self.new_bytes += ref.size_bytes * is_new
        return ref

    def document(self, path: Path) -> ObjectRef:
        return self.bytes(lzma.compress(path.read_bytes(), preset=6))

    def layer(self, rounding: Rounding, layer: LayerProfile, plan: Plan) -> ObjectRef:
        codes = rounding.codes(layer, plan.layers[layer.shape.name])
        assert codes.codes is not None and codes.scales is not None  # not a float layer
        path = self._scratch / "layer.safetensors"
        pair = (codes.codes, codes.scales)
        save_rounding(Rounding({_IN_OBJECT: {codes.spec.stored.label: pair}}), "", path)
        return self.bytes(path.read_bytes())


def _documents(run: RunFolder, targets: list[str]) -> list[Path]:
    """JSON files that an export reads."""
    needed = [run.settings, run.profile, *map(run.plan, targets)]
    perhaps = [run.prior, run.adaptation, *map(run.overhead, targets)]
    return [*needed, *(path for path in perhaps if path.is_file())]


def _files(run: RunFolder, targets: list[str]) -> dict[str, FileRef]:
    """The exported files, if they are of these plans."""
    if not (run.exports / MANIFEST_NAME).is_file():
        return {}
    return {
        each.target: FileRef(
            each.file,
            each.sha256,
            each.size_bytes,
            each.budget_bytes,
            each.max_samples,
            each.lengths,
        )
        for each in load_manifest(run.exports).artifacts
        if each.target in targets and each.plan_hash == record_hash(run.load_plan(each.target))
    }


def _expanded(data: bytes, what: str) -> bytes:
    with reading(what, "can't be unpacked", "put the run again"):
        unpacker = lzma.LZMADecompressor(lzma.FORMAT_XZ)
        found = unpacker.decompress(data, _MOST_DOCUMENT)
        if not unpacker.eof:
            raise ValueError("it is cut off or too large")
        return found


def _inside(folder: Path, name: str) -> Path:
    """A file of the run by its plain name; raises BrokenFileError for what would lie elsewhere."""
    if Path(name).name != name or name.startswith("."):
        raise BrokenFileError(f"a store names the file {name!r}, which belongs to no run")
    return folder / name


def _layer(
    store: Objects, ref: ObjectRef, layer: LayerProfile, spec: QuantSpec, person: str, scratch: Path
) -> Precisions:
    """A layer's codes and scales; raises BrokenFileError when they are of another layer or precision."""
    what = f"layer {layer.shape.name} of {person}"
    path = scratch / "layer.safetensors"
    path.write_bytes(store.get(ref, what))
    with reading(f"{store.url}: {what} (object {ref.sha256})", "isn't codes", "put the run again"):
        held = load_rounding(path, "").layers[_IN_OBJECT]
        codes, _ = held[spec.stored.label]
        if tuple(codes.shape) != layer.shape.weight_shape:
            raise ValueError(
                f"shape {tuple(codes.shape)}, the layer's is {layer.shape.weight_shape}"
            )
    return held
