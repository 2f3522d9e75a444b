"""Writes cases/adapters/targets.json: the modules that PEFT selects with fields of adapter_config.json.

    pip install torch transformers==5.24.0 peft==0.21.2
    python make_adapters.py
"""

import json
from pathlib import Path

from peft import LoraConfig
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


def main():
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
