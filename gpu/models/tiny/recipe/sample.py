"""Prints answers of the demo model, greedy and at temperature 0.8, to be read by a person.

    python sample.py ["a question"] [tokens]
"""

import sys
from pathlib import Path

import torch
from transformers import AutoTokenizer, LlamaForCausalLM

MODEL = Path(__file__).resolve().parent.parent


def main() -> None:
    question = sys.argv[1] if len(sys.argv) > 1 else "What is a batch?"
    count = int(sys.argv[2]) if len(sys.argv) > 2 else 120
    torch.set_num_threads(1)
    torch.manual_seed(0)
    tokenizer = AutoTokenizer.from_pretrained(MODEL)
    model = LlamaForCausalLM.from_pretrained(MODEL, dtype=torch.float32).eval()
    chat = [{"role": "user", "content": question}]
    ids = tokenizer.apply_chat_template(chat, add_generation_prompt=True, return_tensors="pt")
    mask = torch.ones_like(ids)
    for title, choice in {
        "greedy, past the end of text": {"do_sample": False, "min_new_tokens": count, "temperature": None, "top_k": None},
        "temperature 0.8": {"do_sample": True, "temperature": 0.8, "top_k": 0},
    }.items():
        out = model.generate(ids, attention_mask=mask, max_new_tokens=count, pad_token_id=1, **choice)
        print(f"--- {title}\n{tokenizer.decode(out[0][ids.shape[1]:])}")


if __name__ == "__main__":
    main()
