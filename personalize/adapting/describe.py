"""What adapting did, in words, for people."""

from myqasr.personalize.adapting.adapt import Adaptation, told
from myqasr.speech.scoring import ErrorCounts


def in_words(found: Adaptation) -> list[str]:
    """A few sentences: what was learned from, what it did on clips held back, and what is kept."""
    left_out = f"; left out: {told(found.left_out)}" if found.left_out else ""
    sentences = [
        f"{found.teacher} labelled {found.labelled} of {found.clips} clips{left_out}. "
        f"{found.held_back} of them were held back from learning."
    ]
    if found.start is not None:
        sentences.append(f"Learning began with the weights of {found.start}.")
    choice, before, after = found.choice, found.words_before, found.words_after
    held_back = (
        f"held-back loss {choice.before:.3f} -> {choice.after:.3f} nats a token "
        f"({choice.change.low:+.3f} to {choice.change.high:+.3f}, 95 %), words other than the teacher's "
        f"{_rate(before)} -> {_rate(after)}"
    )
    took = f"It took {found.took_seconds:.0f} s."
    if found.adapted_hash is None:
        why = "the float weights stay: what was learned isn't better on the held-back clips"
        return [*sentences, f"Not adapted, {why} ({held_back}). {took}"]
    if not found.epochs:
        stay = f"The weights of {found.start} stay as they are, and are better than the float ones"
        return [*sentences, f"{stay}: {held_back}. {took}"]
    epochs = "1 epoch" if found.epochs == 1 else f"{found.epochs} epochs"
    again = ", then once more on all of them" if found.retrained else ""
    return [
        *sentences,
        f"Adapted in {epochs} at {found.choice.strength:g} of full strength{again}: {held_back}. {took}",
    ]


def _rate(words: ErrorCounts) -> str:
    return f"{100 * words.rate:.1f} %"
