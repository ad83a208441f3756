"""The tokenizer: byte-level BPE in lower case, single digits, and the chat template."""

from __future__ import annotations

from collections.abc import Iterable

from conversations import Turn
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

PAD, SYSTEM, USER, ASSISTANT, END = SPECIAL = ("<|pad|>", "<|system|>", "<|user|>", "<|assistant|>", "<|end|>")
# Labels with an underscore are one token each; the capital words let answers begin as sentences do, since all
# other text is lower case inside the model.
WHOLE = ("cancel_order", "delivery_status", "technical_issue", "account_access", "product_question")
CAPITALS = ("I", "Sorry", "Thank", "Ask")
CHAT_TEMPLATE = (
    "{% for message in messages %}"
    "{{ '<|' + (message['role'] if message['role'] in ('system', 'assistant') else 'user') + '|>' }}"
    "{{ message['content'] | trim }}{{ '<|end|>' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}"
)


def train_tokenizer(texts: Iterable[str], vocab_size: int) -> Tokenizer:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.NFKC(), normalizers.Replace(Regex("[\u2018\u2019]"), "'"), normalizers.Lowercase()]
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    added = len(WHOLE) + len(CAPITALS)
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size - added,
        special_tokens=list(SPECIAL),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.add_tokens([AddedToken(word, normalized=False, single_word=True) for word in (*WHOLE, *CAPITALS)])
    return tokenizer


def rendered(turns: list[Turn]) -> list[str]:
    """One text per turn, joined as the chat template joins them."""
    return [f"<|{turn.role}|>{turn.content.strip()}<|end|>" for turn in turns]


def encode(tokenizer: Tokenizer, turns: list[Turn]) -> tuple[list[int], list[bool]]:
    """Token ids, and for each whether it is to be learned: what the assistant says, with its end."""
    ids: list[int] = []
    learned: list[bool] = []
    for turn, encoding in zip(turns, tokenizer.encode_batch(rendered(turns)), strict=True):
        ids += encoding.ids
        learned += [turn.role == "assistant" and at > 0 for at in range(len(encoding.ids))]
    return ids, learned
