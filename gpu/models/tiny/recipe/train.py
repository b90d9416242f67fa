"""Makes the demo model: tokenizer, training, and the Hugging Face folder above this one.

    python train.py [--steps N] [--untrained]

Everything that is random comes from one seed. With `--untrained` the folder is written with the
initial weights, which is enough to test an engine.
"""

import argparse
import json
import math
import random
import time
from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import LlamaConfig, LlamaForCausalLM

import corpus

SEED = 20
OUT = Path(__file__).resolve().parent.parent
VOCABULARY = 1280
CONTEXT = 2048
BATCH_TOKENS = 2048
LENGTHS = [512] * 6 + [1024, 2048]  # drawn for each step, so that long contexts stay readable
PEAK_RATE, FLOOR = 3e-3, 0.05

# `~` joins strings in Jinja and in its Rust reimplementations alike.
CHAT_TEMPLATE = (
    "{{- bos_token -}}"
    "{%- for message in messages -%}"
    "{{- '<|' ~ message.role ~ '|>' ~ message.content -}}"
    "{%- if message.role == 'assistant' -%}{{- eos_token -}}{%- endif -%}"
    "{%- endfor -%}"
    "{%- if add_generation_prompt -%}{{- '<|assistant|>' -}}{%- endif -%}"
)


def make_tokenizer() -> Tokenizer:
    """A byte-level BPE over the corpus: any text has tokens, and ours has few."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=corpus.SPECIALS,
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    texts = list(corpus.prose().values())
    texts += [body for turns in corpus.dialogues() for _, body in turns]
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{corpus.BOS} $A",
        pair=f"{corpus.BOS} $A $B",
        special_tokens=[(corpus.BOS, tokenizer.token_to_id(corpus.BOS))],
    )
    return tokenizer


def make_model(tokenizer: Tokenizer) -> LlamaForCausalLM:
    """The shape of the demo model: grouped queries, tied embeddings, heads of 32."""
    config = LlamaConfig(
        vocab_size=tokenizer.get_vocab_size(),
        hidden_size=192,
        intermediate_size=512,
        num_hidden_layers=4,
        num_attention_heads=6,
        num_key_value_heads=2,
        head_dim=32,
        max_position_embeddings=CONTEXT,
        rope_theta=10000.0,
        rms_norm_eps=1e-5,
        tie_word_embeddings=True,
        bos_token_id=tokenizer.token_to_id(corpus.BOS),
        eos_token_id=tokenizer.token_to_id(corpus.EOS),
        use_cache=False,
    )
    return LlamaForCausalLM(config)


class Stream:
    """An endless stream of tokens: one epoch after another, documents back to back."""

    def __init__(self, tokenizer: Tokenizer):
        self.tokenizer, self.rng = tokenizer, random.Random(SEED)
        self.tokens, self.epochs = [], 0

    def take(self, count: int) -> list[int]:
        while len(self.tokens) < count:
            self.epochs += 1
            for text in corpus.epoch(self.rng):
                self.tokens += self.tokenizer.encode(text, add_special_tokens=False).ids
        taken, self.tokens = self.tokens[:count], self.tokens[count:]
        return taken


def train(model: LlamaForCausalLM, tokenizer: Tokenizer, steps: int) -> dict:
    """Trains for this many steps and returns what the README tells about the run."""
    stream, rng = Stream(tokenizer), random.Random(SEED + 1)
    decayed = [p for p in model.parameters() if p.dim() > 1]
    plain = [p for p in model.parameters() if p.dim() == 1]
    groups = [{"params": decayed, "weight_decay": 0.05}, {"params": plain, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=PEAK_RATE, betas=(0.9, 0.95))
    model.train()
    began, recent = time.time(), []
    for step in range(steps):
        warm = min(1.0, (step + 1) / 50)
        cosine = FLOOR + (1 - FLOOR) * 0.5 * (1 + math.cos(math.pi * step / steps))
        for group in optimizer.param_groups:
            group["lr"] = PEAK_RATE * warm * cosine
        length = rng.choice(LENGTHS)
        ids = torch.tensor(stream.take(BATCH_TOKENS)).view(-1, length)
        loss = model(input_ids=ids, labels=ids).loss
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        recent = (recent + [loss.item()])[-50:]
        if step % 20 == 0 or step + 1 == steps:
            mean = sum(recent) / len(recent)
            print(f"step {step} loss {mean:.3f} epoch {stream.epochs} {time.time() - began:.0f} s", flush=True)
    return {
        "steps": steps,
        "epochs": stream.epochs,
        "loss_last_50": round(sum(recent) / max(1, len(recent)), 4),
        "seconds": round(time.time() - began),
    }


def save(model: LlamaForCausalLM, tokenizer: Tokenizer) -> None:
    """Writes the folder as a Llama checkpoint in bfloat16."""
    model = model.to(torch.bfloat16)
    model.config.use_cache = True
    model.save_pretrained(OUT, safe_serialization=True)
    (OUT / "model.safetensors").chmod(0o644)
    ids = {"bos_token_id": model.config.bos_token_id, "eos_token_id": model.config.eos_token_id}
    write("generation_config.json", ids | {"do_sample": True, "temperature": 0.8})
    tokenizer.save(str(OUT / "tokenizer.json"))
    write(
        "tokenizer_config.json",
        {
            "tokenizer_class": "PreTrainedTokenizerFast",
            "bos_token": corpus.BOS,
            "eos_token": corpus.EOS,
            "model_max_length": CONTEXT,
            "clean_up_tokenization_spaces": False,
            "chat_template": CHAT_TEMPLATE,
        },
    )


def write(name: str, value: dict) -> None:
    (OUT / name).write_text(json.dumps(value, indent=2) + "\n")


def main() -> None:
    options = argparse.ArgumentParser()
    options.add_argument("--steps", type=int, default=1000)
    options.add_argument("--untrained", action="store_true")
    chosen = options.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(SEED)
    tokenizer = make_tokenizer()
    model = make_model(tokenizer)
    tokens = sum(len(tokenizer.encode(t).ids) for t in corpus.epoch(random.Random(SEED)))
    print(f"vocabulary {tokenizer.get_vocab_size()}, parameters {model.num_parameters()}, tokens per epoch {tokens}")
    if not chosen.untrained:
        print(json.dumps(train(model, tokenizer, chosen.steps)))
    save(model, tokenizer)


if __name__ == "__main__":
    main()
