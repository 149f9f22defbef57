"""Train the embedded CTC model from scratch on a CPU, in about an hour and a half.

    python -m tools.training.make_synthetic_users speech/default_users
    python -m tools.training.training_data
    python -m tools.training.train_default_model --run build/train/default
    python -m tools.training.train_default_model --run build/train/default --export speech/default_model

Utterances grow from one to three digits to full sentences, because CTC on full sentences from
scratch stays on its plateau of blanks for a very long time. Killed at any moment, the first
command goes on from its last checkpoint. The averaged weights are evaluated and exported.
"""

import argparse
import json
import math
import os
import sys
import time
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import DataLoader
from transformers import Wav2Vec2Config, Wav2Vec2ForCTC

from tools.training.filter_bank import filter_bank
from tools.training.training_batches import TOKENS, Batch, Stage, TrainingBatches
from tools.training.training_evaluation import dev_clips, user_clips, word_errors

STRIDE_SAMPLES = 640


def make_model(model_config: dict[str, Any]) -> Wav2Vec2ForCTC:
    """Return a freshly initialised model; raise ValueError if its stride isn't 640 samples.

    The first convolution starts as band-pass filters: see `tools.training.filter_bank`.
    """
    stride = math.prod(model_config["conv_stride"])
    if stride != STRIDE_SAMPLES:
        raise ValueError(f"conv_stride multiplies to {stride} samples; need {STRIDE_SAMPLES}")
    config = Wav2Vec2Config(
        vocab_size=len(TOKENS), pad_token_id=0, ctc_loss_reduction="mean", **model_config
    )
    config.bos_token_id = None
    config.eos_token_id = None
    model = Wav2Vec2ForCTC(config)
    with torch.no_grad():
        first = model.wav2vec2.feature_extractor.conv_layers[0].conv.weight
        first.copy_(filter_bank(first.shape[0], first.shape[2]))
    return model


def _move_off_the_training_cores(_worker: int) -> None:
    """Run the data worker on cores that the trainer was not given (`taskset`), if there are any."""
    others = set(range(os.cpu_count() or 1)) - os.sched_getaffinity(0)
    if others:
        os.sched_setaffinity(0, others)


def learning_rate(step: int, cycles: list[dict[str, Any]]) -> float:
    """Linear warm-up, then a cosine down to 1 % of the peak; once per cycle.

    A cycle may end (`until_step`) before its cosine does (`cosine_steps`).
    """
    start = 0
    for cycle in cycles:
        if step < cycle["until_step"]:
            break
        start = cycle["until_step"]
    peak, warmup = cycle["peak_learning_rate"], cycle["warmup_steps"]
    if step - start < warmup:
        return float(peak * (step - start + 1) / warmup)
    length = cycle.get("cosine_steps", cycle["until_step"] - start)
    done = min(1.0, (step - start - warmup) / max(1, length - warmup))
    return float(peak * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * done))))


def ctc_loss(model: Wav2Vec2ForCTC, batch: Batch) -> torch.Tensor:
    """Return the CTC loss per label, averaged over the batch."""
    logits = model(batch.audio).logits  # [batch, frames, vocab]
    log_probs = logits.float().log_softmax(-1).transpose(0, 1)  # [frames, batch, vocab]
    frames = model._get_feat_extract_output_lengths(batch.lengths)
    return torch.nn.functional.ctc_loss(
        log_probs, batch.labels, frames, batch.label_lengths, blank=0, zero_infinity=True
    )


class Trainer:
    """Model, averaged weights, optimiser and step, with an atomic checkpoint."""

    def __init__(self, config: dict[str, Any], run: Path) -> None:
        self.config, self.training, self.run = config, config["training"], run
        torch.manual_seed(self.training["seed"])
        self.model = make_model(config["model"])
        self.average = {k: v.detach().clone() for k, v in self.model.state_dict().items()}
        decay = [p for p in self.model.parameters() if p.ndim > 1]
        plain = [p for p in self.model.parameters() if p.ndim <= 1]
        self.optimiser = torch.optim.AdamW(
            [
                {"params": decay, "weight_decay": self.training["weight_decay"]},
                {"params": plain, "weight_decay": 0.0},
            ],
            betas=(0.9, 0.98),
        )
        self.step = 0

    def save(self) -> None:
        """Write the checkpoint under a temporary name, then rename it."""
        state = {
            "step": self.step,
            "model": self.model.state_dict(),
            "average": self.average,
            "optimiser": self.optimiser.state_dict(),
        }
        torch.save(state, self.run / "checkpoint.tmp")
        os.replace(self.run / "checkpoint.tmp", self.run / "checkpoint.pt")

    def resume(self) -> None:
        """Load the run's checkpoint, if there is one."""
        path = self.run / "checkpoint.pt"
        if path.is_file():
            state = torch.load(path, weights_only=True)
            self.step, self.average = state["step"], state["average"]
            self.model.load_state_dict(state["model"])
            self.optimiser.load_state_dict(state["optimiser"])
            self._forget_log_after(self.step)

    def _forget_log_after(self, step: int) -> None:
        """Drop what a killed run logged after its last checkpoint: those steps are taken again."""
        log = self.run / "log.jsonl"
        if log.is_file():
            kept = [
                line for line in log.read_text().splitlines() if json.loads(line)["step"] <= step
            ]
            log.write_text("".join(f"{line}\n" for line in kept))

    def update(self, batch: Batch) -> tuple[float, float]:
        """Take one step; return loss and gradient norm."""
        rate = learning_rate(self.step, self.training["cycles"])
        for group in self.optimiser.param_groups:
            group["lr"] = rate
        loss = ctc_loss(self.model, batch)
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(
            self.model.parameters(), self.training["gradient_clip"]
        )
        if torch.isfinite(norm):
            self.optimiser.step()
        decay = min(self.training["average_decay"], (1 + self.step) / (10 + self.step))
        for name, value in self.model.state_dict().items():
            self.average[name].lerp_(value, 1 - decay)
        self.step += 1
        return float(loss.detach()), float(norm)

    def averaged_model(self) -> Wav2Vec2ForCTC:
        """Return a copy of the model with the averaged weights, in evaluation mode."""
        model = make_model(self.config["model"])
        model.load_state_dict(self.average)
        return model.eval()


def train(config: dict[str, Any], run: Path) -> None:
    """Train to `total_steps`, going on from the run's checkpoint."""
    training = config["training"]
    torch.set_num_threads(training["threads"])
    torch.set_flush_denormal(True)
    run.mkdir(parents=True, exist_ok=True)
    trainer = Trainer(config, run)
    trainer.resume()
    stages = [Stage(**stage) for stage in training["stages"]]
    corpus = Path(config["corpus"]["folder"])
    batches = TrainingBatches(corpus, stages, training["total_steps"], training["seed"])
    todo = range(trainer.step, training["total_steps"])
    loader = DataLoader(
        batches,
        batch_size=None,
        sampler=todo,
        num_workers=1,
        prefetch_factor=6,
        worker_init_fn=_move_off_the_training_cores,
    )
    users, dev = user_clips("tune"), dev_clips(corpus)
    log = (run / "log.jsonl").open("a", encoding="utf-8")
    started, loss_sum, norm_max, audio_seconds = time.monotonic(), 0.0, 0.0, 0.0
    trainer.model.train()
    for batch in loader:
        loss, norm = trainer.update(batch)
        loss_sum, norm_max = loss_sum + loss, max(norm_max, norm)
        audio_seconds += float(batch.lengths.sum()) / 16_000
        entry: dict[str, float | str] = {}
        if trainer.step % 25 == 0:
            entry = {"step": trainer.step, "loss": loss_sum / 25, "gradient_norm": norm_max}
            entry["audio_seconds_per_step"] = audio_seconds / 25
            entry["seconds_per_step"] = (time.monotonic() - started) / 25
            started, loss_sum, norm_max, audio_seconds = time.monotonic(), 0.0, 0.0, 0.0
        if trainer.step % training["checkpoint_every"] == 0 or trainer.step == len(batches):
            trainer.save()
        if trainer.step % training["evaluate_every"] == 0 or trainer.step == len(batches):
            model = trainer.averaged_model()
            for name, clips in (("users_tune", users), ("real_dev", dev)):
                errors, words, example = word_errors(model, clips)
                entry[f"wer_{name}"] = errors / words
                entry[f"example_{name}"] = example
            started = time.monotonic()
        if entry:
            log.write(json.dumps(entry) + "\n")
            log.flush()
    log.close()


def main() -> int:
    """Command line: train, or export a run's averaged weights."""
    parser = argparse.ArgumentParser(description="Train or export the default model.")
    parser.add_argument(
        "--config", type=Path, default=Path("tools/training/default_model_config.json")
    )
    parser.add_argument("--run", type=Path, default=Path("build/train/default"))
    parser.add_argument("--export", type=Path, help="write the Hugging Face folder and stop")
    arguments = parser.parse_args()
    config = json.loads(arguments.config.read_text())
    if arguments.export is None:
        train(config, arguments.run)
        return 0
    from tools.training.export_default_model import export

    trainer = Trainer(config, arguments.run)
    trainer.resume()
    if trainer.step == 0:
        print(f"error: no checkpoint in {arguments.run}: train first", file=sys.stderr)
        return 2
    size_bytes = export(trainer.averaged_model(), arguments.run, arguments.export)
    print(f"step {trainer.step}: {size_bytes:,} bytes in {arguments.export}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
