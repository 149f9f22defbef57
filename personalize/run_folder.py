"""The files of one run: what was measured and decided for one person, and what was written for them."""

from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

from myqasr.core.errors import BrokenFileError, UserError
from myqasr.core.locking import folder_lock
from myqasr.core.storage import load_record
from myqasr.personalize.measuring.method import ClipCosts
from myqasr.personalize.measuring.sensitivity import Measurement
from myqasr.personalize.planning.plan import LayerProfile, Plan, Profile
from myqasr.personalize.planning.shrinkage import known_to, shrunk
from myqasr.personalize.rounding.codes import AGAIN, Rounding, load_rounding

SCHEMA_VERSION = 1


@dataclass(frozen=True, slots=True)
class TuneClip:
    """A recording the model was fitted on. sha256: of its decoded samples, so copies are known again.

    window, row: as of `Clip`. cut_from: sha256 of the longer recording that it is a piece of.
    """

    path: str
    sha256: str
    seconds: float
    window: tuple[float, float] | None = None
    row: int | None = None
    cut_from: str | None = None


@dataclass(frozen=True, slots=True)
class RunSettings:
    """What the run is about. model: `default`, a folder or a hub id, as the user gave it.

    weights_hash: of the model that was measured, as adapted if it was. left_out: what lay among the
    recordings and wasn't used, each with the reason. float_hash: of the published weights, where those that
    were measured are adapted to this person.
    """

    schema_version: int
    model: str
    weights_hash: str
    audio_hash: str
    seed: int
    clips: tuple[TuneClip, ...]
    left_out: tuple[tuple[str, str], ...] = ()
    float_hash: str | None = None

    def __post_init__(self) -> None:
        if self.schema_version != SCHEMA_VERSION:
            raise UserError(
                f"run of schema {self.schema_version}, this version reads {SCHEMA_VERSION}; run "
                "`myqasr personalize` again"
            )


@dataclass(frozen=True, slots=True)
class PartialProfile:
    """Clips measured so far by a run that may yet be killed. key: hash of all that decides the costs."""

    key: str
    clips: dict[int, ClipCosts]


@dataclass(frozen=True, slots=True)
class PartialLayers:
    """Layers as seen on the clips, without costs. key: hash of all that decides them and their codes."""

    key: str
    layers: tuple[LayerProfile, ...]


@dataclass(frozen=True, slots=True)
class MeasuredOverhead:
    """Bytes of a written file that no choice of precision explains; makes the next prediction exact."""

    target: str
    weights_hash: str
    max_samples: int
    overhead_bytes: int


@dataclass(frozen=True, slots=True)
class KeptPrior:
    """What many speakers' costs were when this one's were mixed with them. profile_hash: of this one's."""

    profile_hash: str
    costs: Profile


@dataclass(frozen=True, slots=True)
class Fetched:
    """From which store a run comes: it has the codes of its plans, and none to make another plan with."""

    store: str
    person: str
    version: int


@dataclass(frozen=True, slots=True)
class RunFolder:
    """Paths of a run.

    Each file is whole or absent and says the hash of its content, and what it was made from; both are
    checked when it is read, so what is read can be trusted.
    """

    path: Path

    @property
    def name(self) -> str:
        """Of the folder, however it was written; names the files. Raises UserError where there is none."""
        name = self.path.resolve().name
        if not name:
            raise UserError(f"{self.path} has no name; name a folder in it")
        return name

    def lock(self, doing: str, alone: bool = True) -> AbstractContextManager[None]:
        """Inside, no other process changes the run (`alone`), or none changes it while this one reads."""
        return folder_lock(self.path, doing, alone)

    @property
    def settings(self) -> Path:
        """`RunSettings`."""
        return self.path / "run.json"

    @property
    def adaptation(self) -> Path:
        """`Adaptation`: what learning from a teacher's text did."""
        return self.path / "adapted.json"

    @property
    def adapted(self) -> Path:
        """What it added to the float weights; absent when they stay as they are."""
        return self.path / "adapted.safetensors"

    @property
    def labels(self) -> Path:
        """`StoredLabels`: the teacher's text of every clip."""
        return self.path / "labels.json"

    def partial_learning(self, part: str) -> Path:
        """Training after its last epoch; gone once it is finished."""
        return self.path / f"learning.{part}.partial.safetensors"

    @property
    def profile(self) -> Path:
        """`Profile`."""
        return self.path / "profile.json"

    @property
    def partial_profile(self) -> Path:
        """`PartialProfile`; gone once the profile is complete."""
        return self.path / "profile.partial.json"

    def partial_layers(self, part: str) -> Path:
        """`PartialLayers`, of a run that has heard all clips; gone once the profile is complete."""
        return self.path / f"layers.{part}.partial.json"

    @property
    def partial_rounding(self) -> Path:
        """Folder of folders of codes, one file a layer; gone once the profile is complete."""
        return self.path / "rounding.partial"

    @property
    def prior(self) -> Path:
        """`KeptPrior`; absent when this one's costs are mixed with nobody's."""
        return self.path / "prior.json"

    @property
    def rounding(self) -> Path:
        """Codes and scales of every layer at every precision that was measured."""
        return self.path / "rounding.safetensors"

    def plan(self, target: str) -> Path:
        """`Plan` for one target."""
        return self.path / f"plan.{target}.json"

    def codes(self, target: str) -> Path:
        """Codes and scales of one target's plan."""
        return self.path / f"codes.{target}.safetensors"

    def overhead(self, target: str) -> Path:
        """`MeasuredOverhead` of one target."""
        return self.path / f"overhead.{target}.json"

    @property
    def partial_export(self) -> Path:
        """What an export has got that wasn't finished; gone once it is."""
        return self.path / "export.partial.json"

    @property
    def partial_bench(self) -> Path:
        """What a bench has got that wasn't finished; gone once it is."""
        return self.path / "bench.partial.json"

    @property
    def fetched(self) -> Path:
        """`Fetched`; absent when the run was measured here."""
        return self.path / "fetched.json"

    @property
    def exports(self) -> Path:
        """Folder of written files and their manifest."""
        return self.path / "exports"

    @property
    def bench(self) -> Path:
        """Folder of benchmark reports."""
        return self.path / "bench"

    @property
    def page(self) -> Path:
        """The newest result as a page."""
        return self.path / "report.html"

    @property
    def plots(self) -> Path:
        """Folder of the page's charts as pictures."""
        return self.path / "plots"

    def load_settings(self) -> RunSettings:
        """Raises UserError when this isn't a run folder."""
        if not self.settings.is_file():
            raise UserError(
                f"{self.path} is not a run: no run.json in it; make one with `myqasr personalize MODEL "
                f"AUDIO --budget SIZE --out {self.path}`"
            )
        return load_record(self.settings, RunSettings, AGAIN)

    def load_profile(self) -> Profile:
        """Raises UserError when the run was never measured."""
        if not self.profile.is_file():
            raise UserError(
                f"{self.path} has no profile.json: nothing was measured there, or the measuring was killed; "
                "run `myqasr personalize` (again: it goes on where it stopped)"
            )
        return load_record(self.profile, Profile, AGAIN)

    def load_rounding(self, profile: Profile) -> Rounding:
        """Raises UserError when it is missing, damaged, or not this profile's."""
        return load_rounding(self.rounding, rounding_key(profile))

    def load_costs(self) -> Profile:
        """The profile that plans are made from: mixed with the prior if there is one.

        Raises UserError when the run was never measured, or the files are of several runs.
        """
        profile = self.load_profile()
        about = self.load_settings()
        ours = (profile.weights_hash, profile.audio_hash, profile.seed)
        if (about.weights_hash, about.audio_hash, about.seed) != ours:
            raise BrokenFileError(
                f"{self.profile} is of other recordings, weights or seed than {self.settings}; {AGAIN}"
            )
        if not self.prior.is_file():
            return profile
        prior = load_record(self.prior, KeptPrior, AGAIN)
        if prior.profile_hash != profile.key:
            raise BrokenFileError(f"{self.prior} belongs to another run; {AGAIN}")
        return shrunk(known_to(prior.costs, profile), prior.costs)

    def load_measurement(self) -> Measurement:
        """Costs as plans use them, and codes; raises UserError when the run was never measured."""
        profile = self.load_costs()
        return Measurement(profile, self.load_rounding(profile))

    def load_plan(self, target: str, profile: Profile | None = None) -> Plan:
        """The plan for a target, made from this profile: that of `load_costs`, if not given.

        Raises UserError naming the targets that have a plan, or when it is of another run or target.
        """
        path = self.plan(target)
        if not path.is_file():
            planned = ", ".join(self.planned_targets()) or "none"
            raise UserError(
                f"{self.path} has no plan for {target} (plans: {planned}); run `myqasr personalize` "
                f"with --target {target}"
            )
        profile = self.load_costs() if profile is None else profile
        plan = load_record(path, Plan, AGAIN)
        if (plan.target, plan.profile_hash) != (target, profile.key):
            raise BrokenFileError(
                f"{path} was made for {plan.target} from profile {plan.profile_hash}, this run's is "
                f"{profile.key}; {AGAIN}"
            )
        if set(plan.layers) != {layer.shape.name for layer in profile.layers}:
            raise BrokenFileError(f"{path} names other layers than the run's profile; {AGAIN}")
        return plan

    def planned_targets(self) -> list[str]:
        """Targets that have a plan, by name."""
        return sorted(path.name.split(".")[1] for path in self.path.glob("plan.*.json"))


def rounding_key(profile: Profile) -> str:
    """What a profile and its codes have in common."""
    return f"{profile.weights_hash} {profile.audio_hash} {profile.seed} {profile.rounding}"
