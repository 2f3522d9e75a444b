"""Writes cases/adapters: the modules that PEFT selects with fields of adapter_config.json (targets.json), and adapters of
test/golden/models/llama with the logits of the model with each of them (logits.json; norms.json for adapters of the
type LN_TUNING, which a plugin reads).

    pip install torch transformers==5.24.0 peft==0.21.2
    python make_adapters.py
"""

import json
import shutil
from pathlib import Path

import torch
from peft import LNTuningConfig, LoraConfig, get_peft_model
from peft.tuners.tuners_utils import check_target_module_exists
from transformers import AutoModelForCausalLM

HERE = Path(__file__).parent
MODELS = HERE.parent / "golden" / "models"
OUT = HERE / "cases" / "adapters"

FIELDS = [
    {"target_modules": ["q_proj", "v_proj"]},
    {"target_modules": ["q_proj", "down_proj"], "layers_to_transform": 1},
    {"target_modules": ["q_proj", "lm_head"], "layers_to_transform": [0, 2]},
    {"target_modules": ["q_proj", "model.layers.0.mlp.up_proj"], "layers_to_transform": [2]},
    {"target_modules": ["q_proj"], "layers_to_transform": [1], "layers_pattern": "layers"},
    {"target_modules": ["q_proj"], "layers_to_transform": [1], "layers_pattern": ""},
    {"target_modules": ["q_proj"], "layers_to_transform": [1], "layers_pattern": ["blocks", "layers"]},
    {"target_modules": ["q_proj"], "layers_to_transform": [1], "layers_pattern": "h|layers"},
    {"target_modules": ["q_proj"], "layers_to_transform": []},
    {"target_modules": r".*\.layers\.[01]\..*(q|k)_proj"},
    {"target_modules": r"q_proj|model\.layers\.1\.self_attn\.v_proj"},
    {"target_modules": ["q_proj", "v_proj"], "exclude_modules": ["model.layers.0.self_attn.q_proj", "v_proj"]},
    {"target_modules": ["q_proj", "v_proj"], "exclude_modules": r".*\.1\..*"},
    {"target_modules": ["q_proj", "lm_head"], "modules_to_save": ["lm_head"]},
    {"target_modules": ["self_attn.q_proj", "mlp.up_proj", "proj"]},
]

IDS = [[1, 5, 3, 11, 7, 2], [4, 90, 9, 8, 12, 6]]
ADAPTERS = {
    "head": LoraConfig(r=2, lora_alpha=4, target_modules=["q_proj", "lm_head"]),
    "dora-embedding": LoraConfig(r=2, lora_alpha=4, use_dora=True, target_modules=["embed_tokens"]),
}


def write_adapters():
    logits = {}
    for name, config in ADAPTERS.items():
        model = get_peft_model(AutoModelForCausalLM.from_pretrained(MODELS / "llama", dtype=torch.float32), config).eval()
        generator = torch.Generator().manual_seed(7)
        with torch.no_grad():
            for key, parameter in sorted(model.named_parameters()):
                if "lora_" in key:
                    noise = torch.randn(parameter.shape, generator=generator)
                    parameter.copy_(parameter.abs() + noise.abs() * 0.1 if "magnitude" in key else noise * 0.3)
            logits[name] = [round(v, 6) for v in model(torch.tensor(IDS)).logits.flatten().tolist()]
        model.save_pretrained(OUT / name)
        (OUT / name / "README.md").unlink()
        file = OUT / name / "adapter_config.json"
        file.write_text(json.dumps({**json.loads(file.read_text()), "base_model_name_or_path": None}) + "\n")
        (OUT / name / "adapter_model.safetensors").chmod(0o644)
    (OUT / "logits.json").write_text(json.dumps({"ids": IDS, "logits": logits}) + "\n")


def write_norms():
    """Norms of a model whose norms are weights, and of one whose norms have biases, too."""
    logits = {}
    for base in ["llama", "gpt2"]:
        config = LNTuningConfig(task_type="CAUSAL_LM")
        model = AutoModelForCausalLM.from_pretrained(MODELS / base, dtype=torch.float32)
        model = get_peft_model(model, config).eval()
        generator = torch.Generator().manual_seed(7)
        with torch.no_grad():
            for _, parameter in sorted(model.named_parameters()):
                if parameter.requires_grad:
                    parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.3)
            logits[base] = [round(v, 6) for v in model(torch.tensor(IDS)).logits.flatten().tolist()]
        folder = OUT / f"norms-{base}"
        model.save_pretrained(folder)
        (folder / "README.md").unlink()
        file = folder / "adapter_config.json"
        file.write_text(json.dumps({**json.loads(file.read_text()), "base_model_name_or_path": None}) + "\n")
        (folder / "adapter_model.safetensors").chmod(0o644)
    (OUT / "norms.json").write_text(json.dumps({"ids": IDS, "logits": logits}) + "\n")


def main():
    shutil.rmtree(OUT, ignore_errors=True)
    write_adapters()
    write_norms()
    OUT.mkdir(parents=True, exist_ok=True)
    model = AutoModelForCausalLM.from_pretrained(MODELS / "llama")
    linear = [name for name, module in model.named_modules() if type(module).__name__ == "Linear"]
    cases = []
    for fields in FIELDS:
        config = LoraConfig(**fields)
        found = [name for name in linear if check_target_module_exists(config, name)]
        cases.append({"fields": fields, "modules": found})
    (OUT / "targets.json").write_text(json.dumps(cases, indent=1) + "\n")


main()
