"""Customer messages, made from the lists in ``phrases/``: an intent, a sentiment, and a text that carries both."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from random import Random

from grammar import Grammar, Node, read

INTENTS = (
    "refund",
    "cancel_order",
    "delivery_status",
    "technical_issue",
    "billing",
    "account_access",
    "product_question",
    "feedback",
)
SENTIMENTS = ("positive", "negative", "neutral")
PHRASES = Path(__file__).parent / "phrases"

KINDS = ("facts", "questions", "acts", "you", "nouns", "clauses", "loose")
WEIGHTS = (28, 22, 12, 9, 6, 11, 12)


@dataclass(frozen=True)
class Message:
    text: str
    intent: str
    sentiment: str


class Messages:
    """Makes messages without end; the same ``Random`` gives the same messages."""

    def __init__(self) -> None:
        words, _ = read(PHRASES / "words.txt")
        grammar = Grammar(words, MADE)
        self.grammars: dict[str, Grammar] = {}
        self.cores: dict[str, dict[str, list[Node]]] = {}
        for intent in INTENTS:
            lists, self.cores[intent] = read(PHRASES / f"{intent}.txt")
            self.grammars[intent] = grammar.extended(lists)
        self.frames = read(PHRASES / "frames.txt")[1]
        clauses = read(PHRASES / "clauses.txt")[1]
        self.frames["clauses"] = clauses.pop("frames")
        for intent, listed in clauses.items():
            self.cores[intent]["clauses"] = listed
        self.fragments = read(PHRASES / "fragments.txt")[1]
        lists, self.context = read(PHRASES / "context.txt")
        self.around = grammar.extended(lists)
        self.plain = grammar
        self.feelings = read(PHRASES / "feelings.txt")[1]
        self.resolved = read(PHRASES / "resolved.txt")[1]
        self.offtopic = read(PHRASES / "offtopic.txt")[1][""]
        self.synonyms = synonym_table((PHRASES / "synonyms.txt").read_text(encoding="utf-8"))

    def make(self, rng: Random, intent: str | None = None) -> Message:
        intent = intent or rng.choice(INTENTS)
        sentiment = rng.choices(SENTIMENTS, (20, 27, 53))[0]
        sentences = [self.core(rng, intent, sentiment)]
        if rng.random() < 0.14:
            sentences = [drop_words(sentences[0], rng)]
        if rng.random() < 0.12:
            sentences.append(self.core(rng, intent, sentiment))
        if sentiment == "negative" and rng.random() < 0.2:
            sentences[0] = re.sub(
                r"\b(my|your|this|the) (?=[a-z]{4})", rf"\1 {self.word('harsh', rng)} ", sentences[0], count=1
            )
        if sentiment != "neutral" and (intent != "feedback" or rng.random() < 0.25):
            for _ in range(rng.choice((1, 1, 1, 2))):
                feeling = self.plain.expand(rng.choice(self.feelings[sentiment]), rng)
                front = not feeling.startswith(("and ", "which ")) and rng.random() < (
                    0.65 if sentiment == "positive" else 0.4
                )
                sentences.insert(0 if front else len(sentences), feeling)
        if rng.random() < 0.25:
            sentences.insert(rng.choice((0, 0, len(sentences))), self.story(rng))
        if rng.random() < 0.05:
            sentences.insert(0, self.aside(rng, intent))
        text = self.dress(join(sentences, rng), rng)
        return Message(rough(self.swap(text, rng), rng), intent, sentiment)

    def core(self, rng: Random, intent: str, sentiment: str) -> str:
        """The sentence that carries the intent."""
        grammar, sections = self.grammars[intent], self.cores[intent]
        kind = rng.choices(KINDS, WEIGHTS)[0]
        if kind == "loose":
            return self.loose(rng, sentiment if intent == "feedback" else intent)
        if intent == "feedback":
            return grammar.expand(rng.choice(sections[sentiment]), rng)
        core = grammar.expand(rng.choice(sections[kind]), rng)
        if kind == "questions":
            return core + rng.choice(("?", "?", "?", "", "??"))
        if kind == "facts":
            return core
        frame = self.plain.expand(rng.choice(self.frames[kind]), rng)
        return frame.replace(HOLE, core)

    def loose(self, rng: Random, section: str) -> str:
        """Two or three fragments with hardly any grammar: what counts is which words come together."""
        pick = self.fragments[section][0]
        text = self.plain.expand(pick, rng)
        for _ in range(rng.choice((1, 1, 2, 2, 3))):
            glue = rng.choice(GLUE)
            if rng.random() < 0.3:
                glue = f"{glue}{self.word(rng.choice(('the_item', 'thing', 'when', 'a_item', 'nonsense_word')), rng)} "
            text += glue + self.plain.expand(pick, rng)
        if rng.random() < 0.35:
            text = f"{rng.choice(OPENINGS)} {text}"
        return text

    def aside(self, rng: Random, intent: str) -> str:
        """Names another intent only to set it aside."""
        other = rng.choice([name for name in INTENTS[:-1] if name != intent])
        said = self.plain.expand(rng.choice(self.resolved[other]), rng)
        return said + rng.choice((", but", ", however", ". now", ", just", ", this is something else:", "."))

    def story(self, rng: Random) -> str:
        """What people tell besides."""
        if rng.random() < 0.4:
            return self.word("story", rng)
        return self.around.expand(rng.choice(self.context["facts"]), rng)

    def dress(self, text: str, rng: Random) -> str:
        """Greeting, hesitation and good-bye, which say nothing about the intent."""
        if rng.random() < 0.16:
            text = f"{self.word('lead', rng)}{rng.choice((', ', ' ', ': ', '... '))}{text}"
        if rng.random() < 0.22:
            text = f"{self.word('greet', rng)}{rng.choice((', ', ' ', '! ', '. ', ' - '))}{text}"
        if rng.random() < 0.12:
            text = f"{text}{rng.choice((' ', ', ', '. '))}{self.word('bye', rng)}"
        return text

    def chatter(self, rng: Random) -> str:
        """Something that is no customer message."""
        return rough(self.plain.expand(rng.choice(self.offtopic), rng), rng)

    def swap(self, text: str, rng: Random) -> str:
        if rng.random() < 0.6:
            return text
        return " ".join(
            rng.choice(self.synonyms[w]) if w in self.synonyms and rng.random() < 0.3 else w for w in text.split(" ")
        )

    def word(self, name: str, rng: Random) -> str:
        return self.plain.expand(self.plain.lists[name], rng)


def synonym_table(text: str) -> dict[str, list[str]]:
    groups = [line.split() for line in text.splitlines() if line and not line.startswith("#")]
    return {word: [w for w in group if w != word] for group in groups for word in group}


def join(sentences: list[str], rng: Random) -> str:
    mark = rng.choice((". ", ". ", "! ", ", ", " ", " - ", "\n", "... ", " and "))
    if mark == " and " and len(sentences) > 1:
        return " and ".join(sentences)
    text = sentences[0]
    for sentence in sentences[1:]:
        if sentence.startswith(("and ", "which ")):
            text += rng.choice((" ", ", ")) + sentence
            continue
        text += (" " if text[-1] in "?!.,:" else mark) + sentence
    return text + ("" if text[-1] in "?!" else rng.choice(("", "", ".", ".", "!", "..", "!!")))


def rough(text: str, rng: Random) -> str:
    """What real typing does: case, lost apostrophes, slips of the finger."""
    if rng.random() < 0.3:
        text = text.replace("'", "")
    if rng.random() < 0.16:
        text = " ".join(slip(word, rng) if rng.random() < 0.12 else word for word in text.split(" "))
    case = rng.random()
    if case < 0.6:
        text = re.sub(r"(^|[.!?] +)([a-z])", lambda m: m.group(1) + m.group(2).upper(), text)
        text = re.sub(r"\bi\b", "I", text)
    elif case < 0.64:
        text = text.upper()
    return text


def drop_words(text: str, rng: Random) -> str:
    words = text.split(" ")
    kept = [word for word in words if rng.random() > 0.1]
    return " ".join(kept) if len(kept) >= 2 else text


def slip(word: str, rng: Random) -> str:
    if len(word) < 4:
        return word
    at = rng.randrange(1, len(word) - 1)
    kind = rng.randrange(4)
    if kind == 0:
        return word[:at] + word[at + 1 :]
    if kind == 1:
        return word[:at] + word[at] + word[at:]
    if kind == 2:
        return word[:at] + word[at + 1] + word[at] + word[at + 2 :]
    return word[:at] + rng.choice("abcdefghijklmnoprstuvwy") + word[at + 1 :]


def nonsense(rng: Random) -> str:
    """A word that does not exist: the name of a thing should not decide the intent."""
    return "".join(
        rng.choice(ONSETS) + rng.choice("aeiou") + rng.choice(CODAS) for _ in range(rng.choice((1, 2, 2, 3)))
    )


ONSETS = "b c d f g h j k l m n p r s t v w z br cl dr fl gr pl st tr sh ch th sp".split()
CODAS = ["", "", "", "n", "r", "l", "s", "t", "m", "ck", "nd", "st", "x"]
HOLE = "\0"
GLUE = (
    " ",
    " ",
    " and ",
    ", ",
    " but ",
    " because ",
    ". ",
    " for ",
    " with ",
    " when ",
    " after ",
    " so ",
    " the ",
    " my ",
)
GLUE += (
    " i ",
    " on ",
    " to ",
    " is ",
    " was ",
    " it ",
    " or ",
    " if ",
    " since ",
    " about ",
    " in ",
    " - ",
    "? ",
    " not ",
)
OPENINGS = (
    "i my the we it could can please is does why how when what where your there just still also this our did".split()
)
MADE = {
    "x": lambda rng: HOLE,
    "nonsense": nonsense,
    "digits": lambda rng: str(rng.randrange(10 ** rng.choice((3, 4, 5, 6)))),
    "int": lambda rng: str(rng.randrange(1, rng.choice((10, 60, 300)))),
    "cents": lambda rng: f"{rng.randrange(100):02d}",
    "letter": lambda rng: rng.choice("abcdefghkmnprstxz"),
    "when_soon": lambda rng: rng.choice(("today", "now", "asap", "quickly", "before friday", "this week", "soon")),
}
