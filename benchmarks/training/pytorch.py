"""PyTorch with transformers as a contender: the likely alternative, with the defaults of its Trainer.

`BertForSequenceClassification` with the Trainer's defaults: AdamW (weight decay on all but biases and
normalisation), linear warm-up and decay, gradients clipped to norm 1, transformers' sampler and collator. Batches:

- `padded`: random, padded to 128;
- `dynamic`: random, padded to their longest row (the Trainer's default);
- `grouped`: sorted by length in stretches of 50 batches (its `train_sampling_strategy="group_by_length"`).

The batches of an epoch are the sampler's; they are taken in `evenly_mixed` order, so that a turn of some seconds has
about the same mix of lengths as an epoch. It runs under an interpreter with torch and transformers, without TensorFlow.
"""

import json
import os
from typing import Any, Callable, Iterator

import numpy as np
import torch
import transformers
from transformers.trainer_pt_utils import LengthGroupedSampler

from benchmarks.training import turns

# The first steps allocate the optimizer's state and choose kernels.
_WARM_UP_STEPS = 2
_WEIGHT_DECAY = 0.01
_MAX_GRADIENT_NORM = 1.0


def build_model(workload: turns.Workload) -> transformers.BertForSequenceClassification:
    """Builds a model of the encoder's sizes with random weights."""
    with open(os.path.join(workload.encoder, "encoder.json"), encoding="utf-8") as stream:
        card = json.load(stream)
    config = transformers.BertConfig(
        vocab_size=workload.table_rows or card["vocabulary"],
        hidden_size=card["hidden"],
        num_hidden_layers=card["layers"],
        num_attention_heads=card["heads"],
        intermediate_size=4 * card["hidden"],
        num_labels=2,
    )
    return transformers.BertForSequenceClassification(config)


def build_optimizer(model: torch.nn.Module, learning_rate: float) -> torch.optim.Optimizer:
    """Builds AdamW; fused, as the Trainer does with torch 2.8 or newer."""
    named = list(model.named_parameters())
    plain = [parameter for name, parameter in named if "bias" in name or "LayerNorm" in name]
    decayed = [parameter for name, parameter in named if not ("bias" in name or "LayerNorm" in name)]
    groups = [{"params": decayed, "weight_decay": _WEIGHT_DECAY}, {"params": plain, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=learning_rate, fused=True)


def epoch_batches(lengths: np.ndarray, batch_size: int, batching: str, generator: torch.Generator) -> list[list[int]]:
    """Splits an epoch's rows into batches; the rows after the last full one are dropped."""
    if batching == "grouped":
        order = list(LengthGroupedSampler(batch_size, lengths=lengths.tolist(), generator=generator))
    else:
        order = torch.randperm(len(lengths), generator=generator).tolist()
    return [order[i : i + batch_size] for i in range(0, len(order) - batch_size + 1, batch_size)]


def make_step(
    model: torch.nn.Module, optimizer: torch.optim.Optimizer, scheduler: Any, precision: str
) -> Callable[[dict[str, torch.Tensor]], torch.Tensor]:
    """Returns a function that trains on a batch and returns its loss."""
    device = next(model.parameters()).device

    def step(batch: dict[str, torch.Tensor]) -> torch.Tensor:
        with torch.autocast(device.type, torch.bfloat16, enabled=precision == "bfloat16"):
            loss = model(**{name: tensor.to(device) for name, tensor in batch.items()}).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), _MAX_GRADIENT_NORM)
        optimizer.step()
        scheduler.step()
        optimizer.zero_grad()
        return loss.detach()

    return step


def make_collator(workload: turns.Workload) -> transformers.DataCollatorWithPadding:
    """Makes transformers' collator, which pads to the longest row or to `max_length`."""
    tokenizer = transformers.BertTokenizer(vocab=os.path.join(workload.encoder, "preprocess", "assets", "vocab.txt"))
    padding = "max_length" if workload.batching == "padded" else "longest"
    return transformers.DataCollatorWithPadding(tokenizer, padding=padding, max_length=workload.max_length)


def read_examples(file: str) -> list[dict[str, Any]]:
    """Reads the rows' tokens and labels in the collator's format."""
    arrays = np.load(file)
    ids = arrays["word_ids"].tolist()
    rows = zip(*(arrays[name].tolist() for name in ("starts", "lengths", "labels")), strict=True)
    return [{"input_ids": ids[start : start + length], "label": label} for start, length, label in rows]


def endless_batches(examples: list[dict[str, Any]], workload: turns.Workload) -> Iterator[list[dict[str, Any]]]:
    """Yields the batches of one epoch after another."""
    lengths = np.array([len(example["input_ids"]) for example in examples])
    generator = torch.Generator().manual_seed(workload.seed)
    while True:
        epoch = epoch_batches(lengths, workload.batch_size, workload.batching, generator)
        costs = [int(lengths[rows].max()) for rows in epoch]
        for number in turns.evenly_mixed(costs):
            yield [examples[row] for row in epoch[number]]


def main() -> None:
    """Trains in each turn."""
    workload = turns.Workload.from_argument()
    torch.manual_seed(workload.seed)
    transformers.logging.set_verbosity_error()
    examples = read_examples(workload.tokens)
    model = build_model(workload).to("cuda" if torch.cuda.is_available() else "cpu").train()
    optimizer = build_optimizer(model, workload.learning_rate)
    steps = workload.epochs * (len(examples) // workload.batch_size)
    scheduler = transformers.get_linear_schedule_with_warmup(optimizer, steps // 10, steps)
    train, collate = make_step(model, optimizer, scheduler, workload.precision), make_collator(workload)
    batches = endless_batches(examples, workload)

    def step() -> torch.Tensor:
        return train(collate(next(batches)))

    for _ in range(_WARM_UP_STEPS):
        step()
    turns.work(step, torch.Tensor.item, workload.batch_size)


if __name__ == "__main__":
    main()
