"""Tables of what decides a plan: costs, solving, allocation, codes, and whose recordings they are made
from."""

from typing import Any

from benchmarks.render.tables import interval, table

Figures = Any


def sensitivity(figures: Figures) -> str:
    """Every sensitivity method against brute force, mean over speakers."""
    methods: dict[tuple[str, int], list[Figures]] = {}
    for row in figures["rows"]:
        methods.setdefault((row["method"], row["draws"]), []).append(row)

    def mean(rows: list[Figures], key: str) -> float:
        return sum(row[key] for row in rows) / len(rows)

    rows = [
        [
            method if draws == 1 else f"{method}, {draws} draws a clip",
            *(f"{mean(found, key):.3f}" for key in ("kl", "kl_within_4_bit", "wer")),
            f"{mean(found, 'passes'):.1f}",
        ]
        for (method, draws), found in sorted(
            methods.items(), key=lambda item: -mean(item[1], "kl_within_4_bit")
        )
    ]
    header = ["method", "with true KL", "within 4 bit", "with WER", "forward passes"]
    changed = figures["pairs_that_change_a_word"]
    return (
        f"Spearman correlation over pairs of layer and precision, mean over {', '.join(changed)}; "
        f"{figures['clips']} clips each.\n\n" + table(header, rows)
    )


def allocation(figures: Figures) -> str:
    """Methods at equal bytes, by true divergence."""
    rows = [
        [
            f"{row['size_bytes']:,}",
            row["method"],
            f"{row['mean_bits']:.2f}",
            f"{row['kl']:.2e}",
            interval(row["ours_over_this"]),
            f"{row['expected']:.2e}",
            f"{100 * row['word_errors'] / row['words']:.1f} %",
        ]
        for row in figures["rows"]
    ]
    header = ["bytes", "method", "bits", "true nats a frame", "ours / this", "expected", "WER"]
    return f"{len(figures['speakers'])} speakers.\n\n" + table(header, rows)


def personalisation(figures: Figures) -> str:
    """Own, somebody else's and generic bits and codes; and by gender, whose file on whose clips."""
    rows = [
        [row["what"], f"{row['kl']:.2e}", interval(row["own_over_this"])] for row in figures["rows"]
    ]
    text = (
        f"{len(figures['speakers'])} speakers, {figures['tune_seconds']:.0f} s of speech each.\n\n"
        + table(["the file has", "true nats a frame", "own / this"], rows)
    )
    if "matrix" not in figures:
        return text
    genders = figures["genders"]

    def mean(tuned: str, tested: str) -> str:
        found = [
            cell["kl"]
            for cell in figures["matrix"]
            if cell["tuned_on"] != cell["tested_on"]
            and (genders[cell["tuned_on"]], genders[cell["tested_on"]]) == (tuned, tested)
        ]
        return f"{sum(found) / len(found):.2e}"

    def own(tested: str) -> str:
        found = [
            cell["kl"]
            for cell in figures["matrix"]
            if cell["tuned_on"] == cell["tested_on"] and genders[cell["tested_on"]] == tested
        ]
        return f"{sum(found) / len(found):.2e}"

    matrix = [
        [name, own(tested), mean("F", tested), mean("M", tested)]
        for name, tested in (("women", "F"), ("men", "M"))
    ]
    return f"{text}\n\n" + table(
        ["tested on", "own file", "another woman's", "another man's"], matrix
    )


def refining(figures: Figures) -> str:
    """Plans from one-pass costs against those from true divergences."""
    rows = [
        [row["method"], f"{row['tune']:.2e}", f"{row['test']:.2e}", interval(row["over_fisher"])]
        for row in figures["rows"]
    ]
    header = ["plan from", "its own clips", "test clips", "test clips, over fisher's"]
    return f"{len(figures['speakers'])} speakers; true nats a frame.\n\n" + table(header, rows)


def rounding(figures: Figures) -> str:
    """Ways to choose codes, scales and stored ranges."""
    rows = [
        [
            f"{row['way']['precision']}, {row['way']['rounding']}",
            f"{row['way']['scales']} scales, {row['way']['ranges']} ranges",
            f"{row['kl']:.2e}",
            interval(row["usual_over_this"]),
        ]
        for row in figures["rows"]
    ]
    header = ["layers", "chosen by", "true nats a frame", "usual / this"]
    return f"{len(figures['speakers'])} speakers.\n\n" + table(header, rows)


def measuring_cost(figures: Figures) -> str:
    """What measuring costs in forward passes."""
    once = figures["forward"]
    costs = figures["measure"] - figures["rounding"] - figures["observe"]
    rows = [
        ["one float forward pass over the clips", f"{once:.2f}", "1"],
        [
            "ranges and input moments",
            f"{figures['observe']:.2f}",
            f"{figures['observe'] / once:.1f}",
        ],
        ["costs of all layers at all precisions", f"{costs:.2f}", f"{costs / once:.1f}"],
        ["codes (GPTQ), whatever the clips", f"{figures['rounding']:.2f}", ""],
        ["brute force", "", f"{figures['pairs']}"],
    ]
    return (
        f"{figures['parameters'] / 1e6:.0f} M parameters, {figures['clips']} clips of "
        f"{figures['clip_seconds']:.0f} s, {figures['threads']} thread(s), {figures['pairs']} pairs of layer "
        "and precision, one draw of labels a clip.\n\n"
        + table(["", "seconds", "forward passes"], rows)
    )


def solving(figures: Figures) -> str:
    """Time of the exact allocation."""
    seconds = sorted(row["seconds"] for row in figures)
    gap = max(row["gap"] for row in figures)
    return (
        f"400 layers with 12 precisions each, {len(figures)} random instances: median "
        f"{seconds[len(seconds) // 2]:.2f} s, longest {seconds[-1]:.2f} s, largest gap {gap:.0e}."
    )
