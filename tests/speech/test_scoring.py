"""Word and character error rates that users compare across systems."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from myqasr.core.errors import UserError
from myqasr.speech.scoring import (
    NO_ERRORS,
    ErrorCounts,
    aligned_words,
    character_errors,
    normalize_text,
    utterance_word_errors,
    word_errors,
)

WORDS = st.lists(st.sampled_from(["red", "green", "blue", "ten", "nine"]), max_size=8).map(" ".join)


@pytest.mark.parametrize(
    ("text", "normal"),
    [
        ("HELLO, World!", "hello world"),
        ("  two\tspaces\n", "two spaces"),
        ("don’t DON'T dogs' 'tis", "don't don't dogs tis"),
        ("well-known", "well known"),
        ("ＦＵＬＬ　width ﬁ", "full width fi"),
        ("Straße ÉCOLE école", "strasse école école"),
        ("Cafe\u0301", "café"),
        ("a_b & c—d … “e”", "a b c d e"),
        ("हिन्दी", "हिन्दी"),
        ("¡¿?", ""),
        ("", ""),
    ],
)
def test_case_punctuation_and_width_do_not_count_as_errors(text: str, normal: str) -> None:
    assert normalize_text(text) == normal


@given(st.text())
def test_normalising_twice_changes_nothing(text: str) -> None:
    assert normalize_text(normalize_text(text)) == normalize_text(text)


def test_each_kind_of_word_error_is_counted() -> None:
    references = ["The cat sat", "one two three", "same"]
    hypotheses = ["the bat sat", "one three four five", "SAME."]
    assert word_errors(references[:1], hypotheses[:1]) == ErrorCounts(1, 0, 0, 3)
    total = word_errors(references, hypotheses)
    assert total == sum(utterance_word_errors(references, hypotheses), NO_ERRORS)
    assert total.reference_length == 7
    assert total.errors == 4
    assert total.rate == pytest.approx(4 / 7)


def test_character_errors_count_spaces() -> None:
    assert character_errors(["ab cd"], ["abcd"]) == ErrorCounts(0, 0, 1, 5)


def test_an_empty_transcript_deletes_every_word() -> None:
    assert word_errors(["one two", "three"], ["", "three"]) == ErrorCounts(0, 0, 2, 3)
    assert character_errors(["one"], [""]) == ErrorCounts(0, 0, 3, 3)


def test_words_heard_in_silence_are_insertions() -> None:
    assert word_errors(["", "three"], ["one two", "three"]) == ErrorCounts(0, 2, 0, 1)
    assert character_errors(["", "abc"], ["xy", "abc"]) == ErrorCounts(0, 2, 0, 3)


@pytest.mark.parametrize("references", [[], ["", "..."]])
def test_no_reference_words_is_an_error_not_a_perfect_score(references: list[str]) -> None:
    with pytest.raises(UserError, match="no reference words"):
        word_errors(references, ["word"] * len(references))
    with pytest.raises(UserError, match="no reference characters"):
        character_errors(references, ["word"] * len(references))


def test_unpaired_transcripts_are_refused() -> None:
    with pytest.raises(UserError, match="2 references but 1 transcripts"):
        word_errors(["a", "b"], ["a"])


@given(st.lists(st.tuples(WORDS, WORDS), min_size=1, max_size=5))
def test_error_counts_obey_the_edit_distance_bounds(pairs: list[tuple[str, str]]) -> None:
    references, hypotheses = ([side[i] for side in pairs] for i in (0, 1))
    for reference, hypothesis, counts in zip(
        references, hypotheses, utterance_word_errors(references, hypotheses), strict=True
    ):
        lengths = len(reference.split()), len(hypothesis.split())
        assert abs(lengths[0] - lengths[1]) <= counts.errors <= max(lengths)
        assert counts.insertions - counts.deletions == lengths[1] - lengths[0]
        assert (counts.errors == 0) == (reference == hypothesis)


def test_rate_without_reference_words() -> None:
    assert NO_ERRORS.rate == 0
    assert ErrorCounts(0, 1, 0, 0).rate == float("inf")


@given(WORDS, WORDS)
def test_an_alignment_holds_every_word_once_and_the_edits_that_are_counted(said, heard):
    steps = aligned_words(said, heard)
    assert " ".join(step.reference for step in steps if step.reference) == said
    assert " ".join(step.hypothesis for step in steps if step.hypothesis) == heard
    (counts,) = utterance_word_errors([said], [heard])
    edits = Counter(step.edit for step in steps)
    assert (edits["substitute"], edits["insert"], edits["delete"]) == (
        counts.substitutions,
        counts.insertions,
        counts.deletions,
    )


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ("auto\u00admobile", "automobile"),
        ("so\u200bon", "soon"),
        ("word\u2060joiner", "wordjoiner"),
        ("\ufeffhello", "hello"),
        (
            "\u0dc1\u0dca\u200d\u0dbb\u0dd3 \u0dbd\u0d82\u0d9a\u0dcf",
            "\u0dc1\u0dca\u0dbb\u0dd3 \u0dbd\u0d82\u0d9a\u0dcf",
        ),
        ("well <COMMA> yes <PERIOD>", "well yes"),
        ("well[laughter]yes", "well yes"),
        ("[breath] {SMACK} so <sil> on <unk>", "so on"),
        ("[laughter-yes] and [background noise] no", "yes and no"),
        ("a < b and c > d", "a b and c d"),
        ("[ 3 ] and {4} [5]", "3 and 4 5"),
    ],
)
def test_what_nobody_says_is_no_word(written: str, said: str) -> None:
    assert normalize_text(written) == said
