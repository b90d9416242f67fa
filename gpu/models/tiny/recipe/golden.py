"""Writes ../../../tests/golden/*.json: what transformers computes for the demo model.

The weights are the saved bfloat16 ones, widened to float32; all arithmetic is float32 on the CPU
with eager attention. The engine keeps its KV cache in bfloat16, so each file has two sets of
logits: `logits`, with keys (after RoPE) and values rounded to bfloat16 before attention, and
`logits_f32_kv`, as transformers computes them untouched.
"""

import json
from contextlib import contextmanager
from pathlib import Path

import torch
import transformers
from tokenizers import Tokenizer
from transformers import LlamaForCausalLM
from transformers.models.llama import modeling_llama

MODEL = Path(__file__).resolve().parent.parent
GOLDEN = MODEL.parents[1] / "tests" / "golden"

PROMPTS = {
    "short": "<|bos|><|user|>What is a batch?<|assistant|>",
    "forty": "<|bos|><|system|>You explain Batchmind in simple words.<|user|>What happens to the old "
    "key?<|assistant|>When the move is final, the key of the old epoch is dead. The ledger refuses",
    "blocks": "<|bos|><|user|>Tell me a story about a batch.<|assistant|>Once there was a small batch "
    "that lived in the memory of an operator in the east. It was born in the morning, when a woman "
    "asked a long question about the history of bridges. The engine read her question, block by block, "
    "and laid the pages on the shelf. Then the batch began to speak, one token at a time, and the woman "
    "began to read.\n\nThe place was good, but it became crowded. More and more",
}
# A first choice that leads by less could fall to the second by one rounding of the cache.
SMALLEST_LEAD = 0.5


@contextmanager
def kv_in_bfloat16():
    """Inside, attention sees keys (after RoPE) and values as a bfloat16 cache would return them."""
    plain = modeling_llama.eager_attention_forward

    def rounded(module, query, key, value, *args, **kwargs):
        key, value = (x.to(torch.bfloat16).to(x.dtype) for x in (key, value))
        return plain(module, query, key, value, *args, **kwargs)

    modeling_llama.eager_attention_forward = rounded
    try:
        yield
    finally:
        modeling_llama.eager_attention_forward = plain


def logits(model: LlamaForCausalLM, ids: list[int]) -> torch.Tensor:
    with torch.no_grad():
        return model(input_ids=torch.tensor([ids]), use_cache=False).logits[0]


def greedy(model: LlamaForCausalLM, ids: list[int], count: int) -> tuple[list[int], float]:
    """The next `count` ids, past an end of text too, and the smallest lead of a first over a second choice."""
    chosen, lead = [], float("inf")
    for _ in range(count):
        top = logits(model, ids + chosen)[-1].topk(2)
        lead = min(lead, (top.values[0] - top.values[1]).item())
        chosen.append(top.indices[0].item())
    return chosen, lead


def rows(values: torch.Tensor) -> list[list[float]]:
    return [[float(f"{x:.6g}") for x in row] for row in values.tolist()]


def main() -> None:
    torch.set_num_threads(1)
    tokenizer = Tokenizer.from_file(str(MODEL / "tokenizer.json"))
    model = LlamaForCausalLM.from_pretrained(MODEL, dtype=torch.float32, attn_implementation="eager").eval()
    GOLDEN.mkdir(parents=True, exist_ok=True)
    for name, text in PROMPTS.items():
        ids = tokenizer.encode(text, add_special_tokens=False).ids
        positions = list(range(len(ids) - 4, len(ids)))
        plain = logits(model, ids)[positions]
        with kv_in_bfloat16():
            rounded = logits(model, ids)[positions]
            following, lead = greedy(model, ids, 32)
        apart = (plain - rounded).abs().max().item()
        assert 0 < apart, "the rounding of the cache had no effect"
        assert lead > SMALLEST_LEAD, f"{name}: the greedy path is too close to call ({lead:.2g})"
        golden = {
            "text": text,
            "prompt_ids": ids,
            "positions": positions,
            "greedy_next_ids": following,
            "transformers_version": transformers.__version__,
            "torch_version": torch.__version__,
            "tolerance_note": f"logits and logits_f32_kv differ by at most {apart:.2g}. Along the greedy path "
            f"the first choice leads the second by at least {lead:.2g}. A float32 engine with a bfloat16 "
            "cache differs from logits by the order of its sums, and where a sum lies near the middle of "
            "two bfloat16 values, by one rounding of the cache.",
            "logits": rows(rounded),
            "logits_f32_kv": rows(plain),
        }
        (GOLDEN / f"{name}.json").write_text(json.dumps(golden) + "\n")
        print(f"{name}: {len(ids)} tokens, cache rounding {apart:.2g}, lead {lead:.2g}")
        print("   ", repr(tokenizer.decode(following)))


if __name__ == "__main__":
    main()
