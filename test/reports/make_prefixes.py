"""Writes cases/prefixes: tiny models with sliding windows, prefixes and prompts of PEFT, the logits of documents, and
their continuations. Those of test/golden/peft are continued, too.

    pip install torch transformers==5.24.0 peft==0.21.2 safetensors
    python make_prefixes.py
"""

import json
import shutil
from pathlib import Path

import torch
from peft import PeftModel, PrefixTuningConfig, PromptTuningConfig, get_peft_model
from transformers import AutoConfig, AutoModelForCausalLM

OUT = Path(__file__).parent / "cases" / "prefixes"
GOLDEN = Path(__file__).parent.parent / "golden"
DOCUMENTS = [[1, 5, 3, 11, 7, 2, 8, 4, 10], [4, 9, 9, 12, 6, 3], [2, 8, 1, 1, 5, 10, 12, 7]]
VIRTUAL = 3
NEW_TOKENS = 10
SIZES = {
    "vocab_size": 13, "hidden_size": 8, "intermediate_size": 12, "num_hidden_layers": 2, "num_attention_heads": 2,
    "num_key_value_heads": 1, "head_dim": 4, "max_position_embeddings": 64, "pad_token_id": 0, "bos_token_id": 1,
    "eos_token_id": 2, "sliding_window": 5,
}
TYPES = {"layer_types": ["sliding_attention", "full_attention"]}
MODELS = {
    "mistral": {},
    "phi3": {"rope_scaling": None},
    "qwen2": {**TYPES, "use_sliding_window": True, "max_window_layers": 0},
    "qwen3": {**TYPES, "use_sliding_window": True, "max_window_layers": 0},
    "gemma2": {**TYPES, "query_pre_attn_scalar": 4},
    "gemma3_text": {**TYPES, "query_pre_attn_scalar": 4},
}


def fill(model, seed):
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for _, parameter in sorted(model.named_parameters()):
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.5)


def continuations(base, adapter):
    """Returns the likeliest continuations. Those with PEFT's cache must be those without."""
    model = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(
        base, dtype=torch.float32, attn_implementation="eager"), adapter).eval()
    results = []
    for ids in DOCUMENTS:
        prompt = torch.tensor([ids])
        text = list(ids)
        with torch.no_grad():
            for _ in range(NEW_TOKENS):
                text.append(int(model(torch.tensor([text])).logits[0, -1].argmax()))
            cached = model.generate(
                input_ids=prompt, attention_mask=torch.ones_like(prompt), max_new_tokens=NEW_TOKENS,
                min_new_tokens=NEW_TOKENS, do_sample=False, eos_token_id=None, pad_token_id=0)[0].tolist()
        assert cached == text, (base, adapter)
        results.append(text[len(ids):])
    return results


def write_continuations():
    folders = {f"{kind}/{method}": (OUT / kind, OUT / kind / method)
               for kind in MODELS for method in ("prefix", "prompt")}
    golden = {f"{method}-{kind}": (GOLDEN / "models" / kind, GOLDEN / "peft" / f"{method}-{kind}")
              for kind in ("llama", "gpt2") for method in ("prefix", "prompt-tuning")}
    generated = {name: continuations(*pair) for name, pair in {**folders, **golden}.items()}
    (OUT / "generated.json").write_text(json.dumps(generated) + "\n")


def main():
    shutil.rmtree(OUT, ignore_errors=True)
    logits = {}
    for kind, extra in MODELS.items():
        config = AutoConfig.for_model(kind, **SIZES, **extra)
        base = AutoModelForCausalLM.from_config(config, attn_implementation="eager")
        fill(base, 1)
        base.save_pretrained(OUT / kind)
        shared = {"task_type": "CAUSAL_LM", "num_virtual_tokens": VIRTUAL}
        for method, peft_config in (("prefix", PrefixTuningConfig(**shared)), ("prompt", PromptTuningConfig(**shared))):
            model = get_peft_model(AutoModelForCausalLM.from_pretrained(
                OUT / kind, dtype=torch.float32, attn_implementation="eager"), peft_config).eval()
            fill(model.prompt_encoder, 2)
            model.save_pretrained(OUT / kind / method)
            with torch.no_grad():
                logits[f"{kind}/{method}"] = [
                    [round(v, 6) for v in model(torch.tensor([ids])).logits[0, -len(ids):].flatten().tolist()]
                    for ids in DOCUMENTS
                ]
    for unused in [*OUT.rglob("README.md"), *OUT.rglob("generation_config.json")]:
        unused.unlink()
    for file in OUT.rglob("*"):
        file.chmod(0o755 if file.is_dir() else 0o644)
    for file in OUT.rglob("adapter_config.json"):
        content = json.loads(file.read_text())
        file.write_text(json.dumps({**content, "base_model_name_or_path": None}) + "\n")
    (OUT / "logits.json").write_text(json.dumps({"documents": DOCUMENTS, "logits": logits}) + "\n")
    write_continuations()


main()
