"""Reads ../corpus and turns it into documents: lists of (role, text), or plain text.

The corpus has two forms. `dialogues*.txt` holds conversations: blocks of lines `role: text`
separated by an empty line. A user's line may offer several wordings, separated by ` | `, and `\\n`
stands for a new line. Every other file is prose. Each prose file also serves as the answer to a
request to explain its subject at length, so that the model can write long answers.
"""

import random
from pathlib import Path

CORPUS = Path(__file__).resolve().parent.parent / "corpus"

BOS, EOS = "<|bos|>", "<|eos|>"
SPECIALS = [BOS, EOS, "<|system|>", "<|user|>", "<|assistant|>"]

SYSTEMS = [
    "You are a helpful assistant.",
    "You explain Batchmind in simple words.",
    "Answer in short sentences.",
    "You are an assistant for the operators of a consortium.",
]

LONG_REQUESTS = [
    "Explain {} in detail.",
    "Tell me everything about {}.",
    "Write a long text about {}.",
    "Please explain {} at length.",
    "Give me a long explanation of {}.",
]


def prose() -> dict[str, str]:
    """The prose files by name."""
    files = [p for p in sorted(CORPUS.glob("*.txt")) if not p.name.startswith("dialogues")]
    return {p.stem: p.read_text().strip() for p in files}


def dialogues() -> list[list[tuple[str, str]]]:
    """The conversations, with every wording of a question still in place."""
    found = []
    for path in sorted(CORPUS.glob("dialogues*.txt")):
        for block in path.read_text().strip().split("\n\n"):
            turns = [line.split(": ", 1) for line in block.splitlines()]
            assert all(role in ("user", "assistant") for role, _ in turns), block
            found.append([(role, text.replace("\\n", "\n")) for role, text in turns])
    return found


def render(turns: list[tuple[str, str]]) -> str:
    """What the chat template makes of these turns."""
    text = "".join(f"<|{role}|>{body}" + (EOS if role == "assistant" else "") for role, body in turns)
    return BOS + text


def epoch(rng: random.Random) -> list[str]:
    """Every document once, in a fresh order and with fresh wordings."""
    documents = []
    for name, text in prose().items():
        documents.append(BOS + text + EOS)
        title, body = text.split("\n\n", 1)
        subject = rng.choice([title[0].lower() + title[1:], name])
        request = rng.choice(LONG_REQUESTS).format(subject)
        documents.append(render(system(rng) + [("user", request), ("assistant", body)]))
    for turns in dialogues():
        said = [(role, wording(rng, body) if role == "user" else body) for role, body in turns]
        if rng.random() < 0.06:
            said[0] = ("user", f"{reading(rng)}\n\n{said[0][1]}")
        documents.append(render(system(rng) + said))
    rng.shuffle(documents)
    return documents


def system(rng: random.Random) -> list[tuple[str, str]]:
    """A system turn in front of every fourth conversation."""
    return [("system", rng.choice(SYSTEMS))] if rng.random() < 0.25 else []


def reading(rng: random.Random) -> str:
    """One to three texts to stand before a question, so that long prompts are nothing new."""
    return "\n\n".join(rng.sample(list(prose().values()), rng.choice([1, 1, 2, 3])))


def wording(rng: random.Random, body: str) -> str:
    """One of the wordings; now and then as a hurried person types it."""
    text = rng.choice(body.split(" | "))
    if rng.random() < 0.15:
        text = text.lower().rstrip("?.")
    return text
