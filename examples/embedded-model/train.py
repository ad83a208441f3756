"""Train the model: conversations made on the fly, no phrase of the held-out files among them."""

from __future__ import annotations

import argparse
import json
import math
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from random import Random

import torch
from conversations import Conversations
from heldout import HeldOut
from model import Decoder, Shape
from tokenizers import Tokenizer
from tokens import encode, train_tokenizer
from torch import Tensor
from torch.nn import functional as F

HERE = Path(__file__).parent
REFUSED = ("dev.jsonl", "heldout.jsonl")  # fresh.jsonl was written after the training


@dataclass(frozen=True)
class Recipe:
    seed: int = 7
    steps: int = 3300
    batch_tokens: int = 4096
    peak: float = 3e-3
    matrix_peak: float = 0.02
    warmup: int = 100
    drop: float = 0.0
    replaced: float = 0.06
    decay: float = 0.05
    average: float = 0.998


def batches(
    tokenizer: Tokenizer, make: Conversations, held_out: HeldOut, rng: Random, recipe: Recipe
) -> Iterator[tuple[Tensor, Tensor]]:
    """Batches of like length: ids and targets, -100 where nothing is learned."""
    while True:
        pool = []
        while len(pool) < 2048:
            turns = make.make(rng)
            if all(held_out.allows(turn.content) for turn in turns if turn.role != "assistant"):
                pool.append(encode(tokenizer, turns))
        pool = sorted((item for item in pool if len(item[0]) <= 400), key=lambda item: len(item[0]))
        groups: list[list[tuple[list[int], list[bool]]]] = [[]]
        for item in pool:
            if groups[-1] and (len(groups[-1]) + 1) * len(item[0]) > recipe.batch_tokens:
                groups.append([])
            groups[-1].append(item)
        rng.shuffle(groups)
        for group in groups:
            yield padded(group)


def padded(group: list[tuple[list[int], list[bool]]]) -> tuple[Tensor, Tensor]:
    longest = max(len(ids) for ids, _ in group)
    ids = torch.zeros(len(group), longest, dtype=torch.long)
    targets = torch.full((len(group), longest), -100)
    for row, (tokens, learned) in enumerate(group):
        ids[row, : len(tokens)] = torch.tensor(tokens)
        kept = torch.tensor([token if keep else -100 for token, keep in zip(tokens, learned, strict=True)])
        targets[row, : len(tokens) - 1] = kept[1:]
    return ids, targets


def optimizers(model: Decoder, recipe: Recipe) -> list[torch.optim.Optimizer]:
    """Muon for the matrices of the layers, AdamW for embeddings and norms."""
    matrices = [p for name, p in model.named_parameters() if p.dim() == 2 and "embed" not in name]
    others = [p for name, p in model.named_parameters() if p.dim() != 2 or "embed" in name]
    return [
        torch.optim.Muon(matrices, lr=recipe.matrix_peak, weight_decay=recipe.decay, momentum=0.95),
        torch.optim.AdamW(others, lr=recipe.peak, betas=(0.9, 0.95), weight_decay=recipe.decay),
    ]


def rate(step: int, recipe: Recipe) -> float:
    """Share of the peak rate: up, then down along a cosine."""
    if step < recipe.warmup:
        return (step + 1) / recipe.warmup
    done = (step - recipe.warmup) / max(1, recipe.steps - recipe.warmup)
    return 0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * min(1.0, done)))


def loss_of(model: Decoder, ids: Tensor, targets: Tensor, recipe: Recipe) -> Tensor:
    """Only answers are scored, so only their positions pay for the output matrix. Some tokens of the prompt are
    replaced at random: a single word should not decide."""
    answers = F.pad(targets[:, :-1], (1, 0), value=-100) != -100
    noise = (torch.rand(ids.shape) < recipe.replaced) & ~answers & (ids > 4)
    ids = torch.where(noise, torch.randint(5, model.shape.vocab_size, ids.shape), ids)
    wanted = targets != -100
    return F.cross_entropy(model.logits(model.hidden(ids)[wanted]), targets[wanted])


def train(out: Path, recipe: Recipe, shape: Shape) -> None:
    torch.set_num_threads(1)
    torch.manual_seed(recipe.seed)
    rng, make = Random(recipe.seed), Conversations()
    held_out = HeldOut([HERE / name for name in REFUSED])
    texts = (turn.content for _ in range(40_000) for turn in make.make(rng))
    tokenizer = train_tokenizer(texts, shape.vocab_size)
    out.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(out / "tokenizer.json"))
    model = Decoder(shape, recipe.drop)
    average = {name: value.detach().clone() for name, value in model.state_dict().items()}
    rules = optimizers(model, recipe)
    peaks = [group["lr"] for rule in rules for group in rule.param_groups]
    seen, running, began = 0, 0.0, time.process_time()
    for step, (ids, targets) in enumerate(batches(tokenizer, make, held_out, rng, recipe)):
        if step == recipe.steps:
            break
        for rule, peak in zip(rules, peaks, strict=True):
            rule.param_groups[0]["lr"] = peak * rate(step, recipe)
        model.train()
        loss = loss_of(model, ids, targets, recipe)
        loss.backward()
        for rule in rules:
            rule.step()
            rule.zero_grad(set_to_none=True)
        keep = min(recipe.average, (step + 1) / (step + 10))
        with torch.no_grad():
            for name, value in model.state_dict().items():
                average[name].lerp_(value, 1 - keep)
        seen += ids.numel()
        running = 0.98 * running + 0.02 * loss.item() if step else loss.item()
        if step % 100 == 0 or step == recipe.steps - 1:
            spent = time.process_time() - began
            print(f"step {step} loss {running:.4f} tokens {seen / 1e6:.1f}M cpu {spent:.0f}s", flush=True)
        if (step + 1) % 500 == 0 or step == recipe.steps - 1:
            torch.save(average, out / "average.pt")
    facts = {
        "recipe": asdict(recipe),
        "shape": asdict(shape),
        "parameters": sum(p.numel() for p in model.parameters()),
        "tokens": seen,
        "refused_messages": held_out.refused,
        "cpu_seconds": round(time.process_time() - began),
    }
    (out / "training.json").write_text(json.dumps(facts, indent=2) + "\n")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("build/embedded-model"))
    parser.add_argument("--steps", type=int, default=Recipe.steps)
    parser.add_argument("--seed", type=int, default=Recipe.seed)
    args = parser.parse_args()
    train(args.out, Recipe(steps=args.steps, seed=args.seed), Shape())
