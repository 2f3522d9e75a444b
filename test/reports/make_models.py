"""Writes cases/models: tiny model folders as others save them, and the logits of transformers for each.

    pip install torch transformers==5.24.0 safetensors
    python make_models.py
"""

import json
import shutil
import tempfile
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from transformers import AutoConfig, AutoModelForCausalLM
from transformers.quantizers.auto import AUTO_QUANTIZATION_CONFIG_MAPPING

OUT = Path(__file__).parent / "cases" / "models"
IDS = [[1, 5, 3, 11, 7, 2], [4, 4, 9, 0, 12, 6]]
SIZES = {
    "vocab_size": 13, "hidden_size": 8, "intermediate_size": 12, "num_hidden_layers": 2, "num_attention_heads": 2,
    "num_key_value_heads": 1, "head_dim": 4, "max_position_embeddings": 16, "pad_token_id": 0,
}
LLAMA = {**SIZES, "model_type": "llama", "tie_word_embeddings": True}
GPT2 = {"model_type": "gpt2", "vocab_size": 13, "n_embd": 8, "n_layer": 1, "n_head": 2, "n_positions": 16}


def random_tensors(config, seed):
    """All tensors that transformers saves for a configuration, with values large enough to show differences."""
    with tempfile.TemporaryDirectory() as folder:
        AutoModelForCausalLM.from_config(AutoConfig.for_model(**config)).save_pretrained(folder)
        tensors = load_file(Path(folder) / "model.safetensors")
    generator = torch.Generator().manual_seed(seed)
    return {name: torch.randn(t.shape, generator=generator) * 0.5 for name, t in sorted(tensors.items())}


def head(tensors, embedding, **changes):
    """The tensors with an lm_head of their own; `changes` replaces or removes tensors."""
    generator = torch.Generator().manual_seed(99)
    own = torch.randn(tensors[embedding].shape, generator=generator) * 0.5
    return {**tensors, "lm_head.weight": own, **changes}


def descriptions():
    """What config.json contains for each method of quantisation, with the defaults of transformers."""
    needed = {"gptq": {"bits": 4}, "bitsandbytes_4bit": {"load_in_4bit": True}, "bitsandbytes_8bit": {"load_in_8bit": True}}
    found = {}
    for method, config in AUTO_QUANTIZATION_CONFIG_MAPPING.items():
        try:
            found[method] = config(**needed.get(method, {})).to_dict()
        except (ImportError, TypeError, ValueError, NameError):
            found[method] = {"quant_method": method}  # its package is not installed
        found[method]["quant_method"] = method.removesuffix("_4bit").removesuffix("_8bit")
    return found


def main():
    shutil.rmtree(OUT, ignore_errors=True)
    llama = random_tensors(LLAMA, 1)
    gpt2 = random_tensors(GPT2, 2)
    embedding = "model.embed_tokens.weight"
    gemma = {**SIZES, "model_type": "gemma"}
    gemma2 = {**SIZES, "model_type": "gemma2", "query_pre_attn_scalar": 4}
    only_head = {**llama, "lm_head.weight": llama[embedding]}
    del only_head[embedding]
    cases = {
        "gemma-gelu": ({**gemma, "hidden_act": "gelu"}, random_tensors(gemma, 3)),
        "gemma-gelu-null": ({**gemma, "hidden_act": "gelu", "hidden_activation": None}, random_tensors(gemma, 3)),
        "gemma2-hidden-act": ({**gemma2, "hidden_act": "gelu"}, random_tensors(gemma2, 4)),
        "gemma2-gelu": ({**gemma2, "hidden_activation": "gelu"}, random_tensors(gemma2, 4)),
        "llama-hidden-activation": ({**LLAMA, "hidden_activation": "gelu"}, llama),
        "tied-equal-head": (LLAMA, {**llama, "lm_head.weight": llama[embedding].clone()}),
        "tied-other-head": (LLAMA, head(llama, embedding)),
        "tied-only-head": (LLAMA, only_head),
        "gpt2-other-head": (GPT2, head(gpt2, "transformer.wte.weight")),
    }
    logits = {}
    for name, (config, tensors) in cases.items():
        folder = OUT / name
        folder.mkdir(parents=True)
        (folder / "config.json").write_text(json.dumps({**config, "dtype": "float32"}))
        save_file(tensors, folder / "model.safetensors", {"format": "pt"})
        model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager")
        with torch.no_grad():
            logits[name] = [round(v, 6) for v in model(torch.tensor(IDS)).logits.flatten().tolist()]
    (OUT / "logits.json").write_text(json.dumps({"ids": IDS, "logits": logits}) + "\n")
    (OUT / "quantization.json").write_text(json.dumps(descriptions(), indent=1, default=str, sort_keys=True) + "\n")


main()
