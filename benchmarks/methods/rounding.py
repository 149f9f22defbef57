"""How codes, scales and stored ranges are best chosen: true divergence on unheard clips, everything else
equal.

python -m benchmarks.methods.rounding [--speakers embedded|real] [--most 8] [--workers 3]

Per speaker, every way makes the codes of two files: all layers at 4 bits where they can (per channel), and
all convolutions with static int8 activations with the rest in float.
"""

import argparse
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch

from benchmarks.results import save_result
from benchmarks.speakers import load_speaker, ratio, speakers_and_workers
from myqasr.exporters.target import load_target, measured_together
from myqasr.personalize.measuring.operating_point import true_divergence
from myqasr.personalize.measuring.sensitivity import ROUNDINGS
from myqasr.personalize.planning.plan import LayerProfile, LayerShape, QuantSpec
from myqasr.personalize.rounding.layers import SCALES, round_model
from myqasr.personalize.rounding.observe import observe
from myqasr.personalize.rounding.ranges import RANGES
from myqasr.speech.datasets import evenly
from myqasr.speech.models import load_model

INT4 = QuantSpec(4, activation="int8-dynamic")
STATIC = QuantSpec(8, activation="int8-static")


@dataclass(frozen=True, slots=True)
class Way:
    """precision: of the layers that have it, the others are float."""

    precision: QuantSpec
    rounding: str = "nearest"
    scales: str = "mse"
    ranges: str = "percentile"


WAYS = (
    *(Way(INT4, "nearest", scales) for scales, how in SCALES.items() if not how.by_inputs),
    *(Way(INT4, "gptq", scales) for scales in SCALES),
    Way(INT4, "gptq-differences"),
    *(Way(STATIC, ranges=ranges) for ranges in RANGES),
)


@dataclass(frozen=True, slots=True)
class Row:
    """One way over all speakers. kl: nats per frame. usual_over_this: that of mse scales and percentile
    ranges with the same rounding over this, with a 95 % interval over speakers."""

    way: Way
    kl: float
    usual_over_this: tuple[float, float, float]


def only(spec: QuantSpec) -> Callable[[LayerShape], Sequence[QuantSpec]]:
    """A menu of one precision."""
    target = load_target("xnnpack")
    return lambda shape: [each for each in target.menu(shape) if each == spec]


def one_speaker(name: str) -> list[float]:
    """True divergence on the test clips by the way."""
    torch.set_num_threads(1)
    model, speaker = load_model("default"), load_speaker(name)
    seen = {
        (rounding, ranges): observe(
            model, speaker.tune, "cpu", lambda: None, ROUNDINGS[rounding], ranges
        )
        for rounding, ranges in {(way.rounding, way.ranges) for way in WAYS}
    }
    found = []
    for way in WAYS:
        observed = seen[way.rounding, way.ranges]
        menu = only(way.precision)
        rounding = round_model(
            model, observed, menu, measured_together().scale_dtype, SCALES[way.scales]
        )
        codes = {
            layer: rounding.codes(LayerProfile(o.shape, layer, {}, o.statistics), way.precision)
            for layer, o in observed.items()
            if menu(o.shape)
        }
        found.append(true_divergence(model, speaker.test, codes))
    print(name, [f"{each:.2e}" for each in found], flush=True)
    return found


def usual(way: Way) -> int:
    """Where the way with the usual scales and ranges stands."""
    rounding = "gptq" if way.rounding.startswith("gptq") else way.rounding
    return WAYS.index(Way(way.precision, rounding))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--most", type=int, default=8, help="so many speakers, evenly chosen")
    options, names = speakers_and_workers(parser)
    names = evenly(names, options.most)
    with ProcessPoolExecutor(options.workers) as pool:
        found = np.array(list(pool.map(one_speaker, names)))  # [speakers, ways]
    rows = [
        Row(way, float(kls.mean()), ratio(found[:, usual(way)], kls))
        for way, kls in zip(WAYS, found.T, strict=True)
    ]
    for row in rows:
        print(row)
    figures = {"speakers": names, "rows": rows}
    command = (
        f"python -m benchmarks.methods.rounding --speakers {options.speakers} --most {options.most}"
    )
    print(save_result("rounding", command, figures))


if __name__ == "__main__":
    main()
