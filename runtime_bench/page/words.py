"""The page's summary in words. The same figures are in the tables."""

from myqasr.personalize.planning.budget import format_bytes
from myqasr.runtime_bench.page.figures import interval, percent, points, speed
from myqasr.runtime_bench.page.story import Story
from myqasr.runtime_bench.results.compare import Difference
from myqasr.runtime_bench.results.report import BenchReport, SystemResult


def key_figures(story: Story, name: str) -> list[tuple[str, str]]:
    """The figures that matter most, with what they are."""
    system = story.report.system(name)
    base = story.report.system(story.report.baseline)
    figures = []
    if system.size_bytes is not None:
        figures.append((format_bytes(system.size_bytes), "file"))
    if story.report.task == "classification":
        figures.append((percent(story.report.accuracy(name)), "accuracy"))
    elif system.words is not None and base.words is not None:
        figures.append((percent(system.words.rate), f"WER, float {percent(base.words.rate)}"))
    if system.latency is not None:
        figures.append((f"{speed(system.latency.speed)}x", "real time"))
    if system.startup is not None:
        figures.append((format_bytes(system.startup.model_rss_bytes), "memory"))
    return figures


def summary(story: Story, name: str) -> list[str]:
    """A few sentences on one system: its file, its errors, its times."""
    report, system = story.report, story.report.system(name)
    artifact, difference = system.artifact, story.differences.get(name)
    sentences = []
    if artifact is not None:
        share = artifact.size_bytes / max(story.profile.float_weight_bytes, 1)
        sentences.append(
            f"{name} is a file of {artifact.size_bytes:,} bytes for {artifact.target}, "
            f"{artifact.mean_bits:.2f} bits a weight: {100 * share:.0f} % of the model's float weights."
        )
    if difference is not None:
        sentences += [_errors(report, system, difference), _times(report, system, difference)]
    if system.startup is not None:
        startup = system.startup
        sentences.append(
            f"It loads in {startup.load_ms:.0f} ms and adds {format_bytes(startup.model_rss_bytes)} of "
            "memory at its peak."
        )
    return [sentence for sentence in sentences if sentence]


def _errors(report: BenchReport, system: SystemResult, difference: Difference) -> str:
    base = report.system(report.baseline)
    flips = f"{percent(system.flips.share)} of its tokens are other than the float model's"
    if system.words is None or base.words is None or difference.wer is None:
        return f"The clips have no transcripts; {flips}."
    if report.task == "classification":
        return f"Its accuracy is {percent(report.accuracy(system.name))}; {flips}."
    if difference.wer_differs:
        real = "the difference is real" if difference.wer.value > 0 else "it is really better"
    else:
        real = "the two can't be told apart"
    kept = (
        "" if system.not_worse is None else f" {percent(system.not_worse)} of clips got no worse;"
    )
    return (
        f"On {len(report.utterances)} clips ({report.audio_seconds:.0f} s) it gets "
        f"{percent(system.words.rate)} of words wrong, the float model {percent(base.words.rate)}: "
        f"by paired bootstrap {real} "
        f"({points(difference.wer)} points, 95 %).{kept} {flips}."
    )


def _times(report: BenchReport, system: SystemResult, difference: Difference) -> str:
    latency = system.latency
    if latency is None or difference.time is None:
        return ""
    told = (
        f"It runs {speed(latency.speed)} times faster than real time on {report.threads_in_words} and takes "
        f"{interval(difference.time)} of the time of {report.baseline} in the same run."
    )
    return told if difference.time_problem is None else f"{told} These times are not valid."
