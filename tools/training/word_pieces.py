"""A tokenizer of word pieces made from a list, for models of random weights."""

from pathlib import Path

from tokenizers import Tokenizer, decoders, pre_tokenizers
from tokenizers.models import Unigram
from transformers import PreTrainedTokenizerFast


def save_pieces(pieces: list[str], folder: Path) -> None:
    """Write a tokenizer whose ids are the places in `pieces`; the list holds `<unk>` first and `<pad>`."""
    tokenizer = Tokenizer(Unigram([(piece, -1.0) for piece in pieces], unk_id=0))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, unk_token="<unk>", pad_token="<pad>"
    ).save_pretrained(folder)
