"""Replies of transformers to prompts of different lengths: greedy, one prompt at a time, and by beam search.

python generate.py writes golden.json beside this file, from the models in ../models. Nothing is random.
"""
import json
from importlib.metadata import version
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM

HERE = Path(__file__).parent
MODELS = ["gemma2", "gemma3", "gpt2", "llama", "llama-bias", "llama-tied", "llama3-rope", "mistral", "phi3", "qwen2", "qwen3"]
NEW_TOKENS = 12
BEAMS = [
    {"num_beams": 2},
    {"num_beams": 4, "num_return_sequences": 3},
    {"num_beams": 3, "length_penalty": 0.0},
    {"num_beams": 3, "length_penalty": 2.0, "early_stopping": True},
    {"num_beams": 3, "length_penalty": 1.5, "early_stopping": "never"},
    {"num_beams": 3, "no_repeat_ngram_size": 2, "repetition_penalty": 1.3},
]


def prompts(vocabulary):
    return [[(7 * at + 5 * row + at * at) % vocabulary for at in range(length)] for row, length in enumerate((1, 9, 4, 14))]


def reply(model, prompt, **options):
    ids = torch.tensor([prompt])
    with torch.no_grad():
        made = model.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=NEW_TOKENS, do_sample=False,
                              pad_token_id=0, return_dict_in_generate=True, output_scores=True, **options)
    return made, made.sequences[:, len(prompt):].tolist()


def until(ids, ends):
    for at, one in enumerate(ids):
        if one in ends:
            return ids[:at + 1]
    return ids


def main():
    torch.set_grad_enabled(False)
    greedy, beams = {}, []
    for name in MODELS:
        model = AutoModelForCausalLM.from_pretrained(HERE.parent / "models" / name, dtype=torch.float32).eval()
        model.generation_config.eos_token_id = None
        cases = prompts(model.config.vocab_size)
        rows, margins = [], []
        for prompt in cases:
            made, [ids] = reply(model, prompt, eos_token_id=None)
            top = torch.stack(made.scores, 1)[0].topk(2, dim=-1).values
            rows.append(ids)
            margins.append(float((top[:, 0] - top[:, 1]).min()))
        greedy[name] = {"prompts": cases, "replies": rows, "least_margin": min(margins)}
        if name not in ("llama", "gemma2"):
            continue
        # Tokens that likely replies contain, so that beams end.
        ends = sorted({rows[1][3], rows[2][5]})
        for options in BEAMS:
            for prompt in cases[1:3]:
                made, found = reply(model, prompt, eos_token_id=ends, **options)
                beams.append({"model": name, "options": options, "eos": ends, "prompt": prompt,
                              "replies": [until(ids, ends) for ids in found], "scores": made.sequences_scores.tolist()})
    versions = {name: version(name) for name in ("torch", "transformers")}
    (HERE / "golden.json").write_text(json.dumps({"versions": versions, "new_tokens": NEW_TOKENS, "greedy": greedy, "beams": beams}))


main()
