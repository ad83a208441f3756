"""Conversations to learn from: messages under many wordings of the task, with the answers that are wanted."""

from __future__ import annotations

import json
from dataclasses import dataclass
from random import Random

from grammar import Grammar, read
from messages import INTENTS, PHRASES, SENTIMENTS, Message, Messages

MEANINGS = {
    "refund": "money back or a return",
    "cancel_order": "stop an order, a booking or a subscription",
    "delivery_status": "where a parcel is and when it comes",
    "technical_issue": "something does not work",
    "billing": "charges, invoices and payments",
    "account_access": "login, password and account",
    "product_question": "features, sizes, stock and use of a product",
    "feedback": "praise, complaints and suggestions",
}
REPLIES = {
    "refund": "I have noted your refund request and will check it.",
    "cancel_order": "I have noted your cancellation and will confirm it.",
    "delivery_status": "I will look up your delivery and send you an update.",
    "technical_issue": "I have noted the problem and will ask a technician to help.",
    "billing": "I will check the bill and get back to you.",
    "account_access": "I will help you to get back into your account.",
    "product_question": "I will ask our product team and send you the details.",
    "feedback": "I will pass your feedback on to the team.",
}
FEELING = {"negative": "Sorry for the trouble. ", "positive": "Thank you for your kind words. ", "neutral": ""}
ABOUT = "I am a very small model that labels customer messages. Ask me for the intent or the sentiment of one."
KEYS = ("intent", "intent", "label", "category", "class", "topic")
TASKS = ("intent", "sentiment", "both", "json intent", "json sentiment", "reply", "about")
SHARES = (41, 26, 16, 6, 3, 6, 2)


@dataclass(frozen=True)
class Turn:
    role: str
    content: str


class Conversations:
    """Makes conversations without end; every assistant turn is an answer to learn."""

    def __init__(self) -> None:
        self.messages = Messages()
        lists, self.wordings = read(PHRASES / "prompts.txt")
        self.lists = lists

    def make(self, rng: Random) -> list[Turn]:
        task = rng.choices(TASKS, SHARES)[0]
        count = rng.choices((1, 2, 3, 6, 10), (38, 12, 12, 20, 18))[0]
        if task == "about":
            return [Turn("user", self.messages.chatter(rng)), Turn("assistant", ABOUT)]
        messages = [self.messages.make(rng) for _ in range(count)]
        labels = offered(rng, {m.intent for m in messages})
        if task == "reply":
            return self.replies(rng, messages[:2])
        form = task.removeprefix("json ")
        key = rng.choice(KEYS) if form == "intent" else form
        as_json = self.say(f"json {'both' if form == 'both' else 'intent'}", rng, labels, key=key)
        instruct = as_json if task == "both" or task.startswith("json") else ""
        if rng.random() < 0.62:
            return self.with_system(rng, form, messages, labels, instruct, key if instruct else "")
        return self.without_system(rng, form, messages, labels, instruct, key if instruct else "")

    def with_system(
        self, rng: Random, form: str, messages: list[Message], labels: str, instruct: str, key: str
    ) -> list[Turn]:
        system = cased(" ".join((self.say(f"{form} system", rng, labels), instruct)).strip(), rng)
        if rng.random() < 0.15:
            system = system.replace(". ", ".\n")
        turns = [Turn("system", system)]
        wording = rng.choice(self.wordings["sentiment user" if form == "sentiment" else "intent user"])
        if rng.random() < 0.45 or form == "both":
            wording = self.wordings["intent user"][0]
        for message in messages:
            asked = self.fill(wording, rng, labels, message.text, key)
            turns += [Turn("user", asked), Turn("assistant", wanted(form, message, key))]
        return turns

    def without_system(
        self, rng: Random, form: str, messages: list[Message], labels: str, instruct: str, key: str
    ) -> list[Turn]:
        turns = []
        if rng.random() < 0.25:
            turns.append(Turn("system", cased(self.say("reply system", rng, ""), rng)))
        for message in messages[:2]:
            asked = self.fill(rng.choice(self.wordings[f"{form} alone"]), rng, labels, message.text, key)
            asked = f"{asked}\n{instruct}" if rng.random() < 0.6 or not instruct else f"{instruct}. {asked}"
            turns += [Turn("user", cased(asked.strip(), rng)), Turn("assistant", wanted(form, message, key))]
        if turns[0].role == "user" and rng.random() < 0.1:  # a prompt of one part is often sent as the system's
            turns[0] = Turn("system", turns[0].content)
        return turns

    def replies(self, rng: Random, messages: list[Message]) -> list[Turn]:
        turns = [Turn("system", cased(self.say("reply system", rng, ""), rng))] if rng.random() < 0.7 else []
        for message in messages:
            answer = FEELING[message.sentiment] + REPLIES[message.intent]
            turns += [Turn("user", message.text), Turn("assistant", answer)]
        return turns

    def say(self, section: str, rng: Random, labels: str, key: str = "") -> str:
        return self.fill(rng.choice(self.wordings[section]), rng, labels, "", key)

    def fill(self, wording, rng: Random, labels: str, text: str, key: str) -> str:
        values = {
            "labels": lambda _: labels,
            "text": lambda _: "\0",
            "key": lambda _: key,
            "sentiments": lambda r: listed(r, list(SENTIMENTS), plain=True),
        }
        return Grammar(self.lists, values).expand(wording, rng).replace("\0", text)


def wanted(form: str, message: Message, key: str) -> str:
    """The answer: bare, or JSON when there is a key."""
    if form == "both":
        return json.dumps({"intent": message.intent, "sentiment": message.sentiment})
    value = message.intent if form == "intent" else message.sentiment
    return json.dumps({key: value}) if key else value


def offered(rng: Random, needed: set[str]) -> str:
    """A list of labels as a prompt would give it: all or some, in any order, now and then with meanings."""
    names = list(INTENTS) if rng.random() < 0.7 else sorted(needed | set(rng.sample(INTENTS, rng.randint(2, 6))))
    if rng.random() < 0.7:
        rng.shuffle(names)
    if rng.random() < 0.08:
        return "\n" + "\n".join(f"- {name}: {MEANINGS[name]}" for name in names) + "\n"
    return listed(rng, names)


def listed(rng: Random, names: list[str], plain: bool = False) -> str:
    names = list(names)
    rng.shuffle(names) if plain else None
    form = rng.random()
    if form < 0.6:
        return ", ".join(names)
    if form < 0.75:
        return ", ".join(names[:-1]) + " or " + names[-1]
    if form < 0.82:
        return json.dumps(names)
    if form < 0.9:
        return " | ".join(names) if rng.random() < 0.5 else " / ".join(names)
    return "\n" + "\n".join(f"- {name}" for name in names) + "\n"


def cased(text: str, rng: Random) -> str:
    return text[0].upper() + text[1:] if rng.random() < 0.7 else text
