"""python make.py FOLDER: a tiny language model that answers the messages of replies.csv, and two LoRA adapters of it
that answer in another tone. Nothing is downloaded; it takes some seconds."""

from __future__ import annotations

import csv
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import peft
import tokenizers
import torch
import transformers

HERE = Path(__file__).parent
BASE = "shop-base"  # what the adapters call their model: the name that it is registered by
USER, END, REPLY = "<|user|>", "<|end|>", "<|reply|>"
TEMPLATE = f"{{% for message in messages %}}{USER}{{{{ message.content }}}}{{% endfor %}}{REPLY}"
MOST_STEPS = 1000
KNOWN = 0.06  # the loss of replies that are known by heart


def main(folder: Path) -> None:
    torch.manual_seed(1)
    torch.set_num_threads(1)  # more cost more than they bring to so small a model
    transformers.utils.logging.disable_progress_bar()
    with (HERE / "replies.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    texts = [text for row in rows for text in row.values()]
    tokenizer = make_tokenizer(texts)
    model = make_model(len(tokenizer))
    # An adapter adds no words, nor a look at what was said: its model learns both by repeating texts.
    train(model, batch(tokenizer, [(text, text) for text in texts]), 3e-3)
    train(model, batch(tokenizer, [(row["message"], row["plain"]) for row in rows]), 2e-3)
    save(model, folder / "base")
    tokenizer.save_pretrained(folder / "base")
    for tone in ("formal", "brief"):
        lora = peft.LoraConfig(r=16, lora_alpha=16, target_modules="all-linear", task_type="CAUSAL_LM")
        tuned: Any = peft.get_peft_model(model, lora)
        lora.base_model_name_or_path = BASE
        train(tuned, batch(tokenizer, [(row["message"], row[tone]) for row in rows]), 5e-3)
        save(tuned, folder / tone, save_embedding_layers=False)
        model = tuned.unload()


def make_tokenizer(texts: Iterable[str]) -> Any:
    """A byte-level BPE of the words that there are."""
    made = tokenizers.Tokenizer(tokenizers.models.BPE())
    made.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = tokenizers.decoders.ByteLevel()
    alphabet = sorted(tokenizers.pre_tokenizers.ByteLevel.alphabet())
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=640, special_tokens=[END, USER, REPLY], initial_alphabet=alphabet, show_progress=False
    )
    made.train_from_iterator(texts, trainer)
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=made, eos_token=END, pad_token=END, chat_template=TEMPLATE, model_max_length=256
    )


def make_model(words: int) -> Any:
    config = transformers.LlamaConfig(
        vocab_size=words, hidden_size=64, intermediate_size=128, num_hidden_layers=2, num_attention_heads=2,
        max_position_embeddings=256, bos_token_id=None, eos_token_id=0, pad_token_id=0, dtype="float32",
    )  # fmt: skip
    model = transformers.LlamaForCausalLM(config)
    model.generation_config.do_sample = False
    return model


def batch(tokenizer: Any, pairs: Sequence[tuple[str, str]]) -> dict[str, Any]:
    """All pairs side by side; only the replies are to be learnt."""
    prompts = [tokenizer.encode(USER + message + REPLY) for message, _ in pairs]
    replies = [tokenizer.encode(reply + END) for _, reply in pairs]
    length = max(len(prompt) + len(reply) for prompt, reply in zip(prompts, replies, strict=True))
    ids = torch.zeros(len(pairs), length, dtype=torch.long)
    labels = torch.full_like(ids, -100)
    for at, (prompt, reply) in enumerate(zip(prompts, replies, strict=True)):
        end = len(prompt) + len(reply)
        ids[at, :end] = torch.tensor(prompt + reply)
        labels[at, len(prompt) : end] = torch.tensor(reply)
    return {"input_ids": ids, "labels": labels}


def train(model: Any, data: dict[str, Any], speed: float) -> None:
    steps = torch.optim.AdamW([one for one in model.parameters() if one.requires_grad], speed, weight_decay=0.0)
    model.train()
    for _ in range(MOST_STEPS):
        loss = model(**data).loss
        if loss.item() < KNOWN:
            return
        loss.backward()
        steps.step()
        steps.zero_grad()
    raise SystemExit(f"not learnt in {MOST_STEPS} steps: the loss is {loss.item():.3f}")


def save(model: Any, folder: Path, **options: Any) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    model.save_pretrained(folder, **options)
    print(folder)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
