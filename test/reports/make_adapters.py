"""Writes cases/adapters: the modules that PEFT selects with fields of adapter_config.json (targets.json), and adapters of
models in test/golden/models with the logits of the model with each of them (logits.json; norms.json for adapters of the
type LN_TUNING, which a plugin reads).

    pip install torch transformers==5.24.0 peft==0.21.2
    python make_adapters.py
"""

import json
import shutil
from pathlib import Path

import torch
from peft import IA3Config, LNTuningConfig, LoraConfig, PeftModel, PromptEncoderConfig, get_peft_model
from peft.tuners.tuners_utils import check_target_module_exists
from safetensors.torch import load_file, save_file
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
# What noise changes: everything that PEFT trains.
TRAINED = ("lora_", "ia3_", "modules_to_save", "trainable_tokens_delta", "prompt_encoder")


def lora(*targets, **fields):
    return LoraConfig(task_type="CAUSAL_LM", r=2, lora_alpha=4, target_modules=list(targets), **fields)


def ia3(*targets, **fields):
    return IA3Config(task_type="CAUSAL_LM", target_modules=list(targets), feedforward_modules=[], **fields)


def other_base(module):
    """Changes the frozen weight that PEFT saved with the adapter, as if it was trained on another base."""
    key = f"base_model.model.{module}.base_layer.weight"

    def edit(tensors):
        generator = torch.Generator().manual_seed(5)
        tensors[key] = tensors[key] + torch.randn(tensors[key].shape, generator=generator) * 0.5

    return edit


# Name: model, configuration, change of the saved tensors.
ADAPTERS = {
    "head": ("llama", LoraConfig(r=2, lora_alpha=4, target_modules=["q_proj", "lm_head"]), None),
    "dora-embedding": ("llama", LoraConfig(r=2, lora_alpha=4, use_dora=True, target_modules=["embed_tokens"]), None),
    "head-other-base": ("llama", lora("lm_head"), other_base("lm_head")),
    "dora-head-other-base": ("llama", lora("lm_head", use_dora=True), other_base("lm_head")),
    "embedding-other-base": ("llama", lora("embed_tokens"), other_base("model.embed_tokens")),
    "tied-embedding-other-base": ("llama-tied", lora("embed_tokens"), other_base("model.embed_tokens")),
    "tied-head-other-base": ("llama-tied", lora("lm_head"), other_base("lm_head")),
    "tying-embedding": ("llama-tied", lora("embed_tokens", "q_proj", ensure_weight_tying=True), None),
    "tying-dora": ("llama-tied", lora("embed_tokens", use_dora=True, ensure_weight_tying=True), None),
    "tying-head": ("llama-tied", lora("lm_head", ensure_weight_tying=True), None),
    "tying-saved": ("llama-tied", lora("q_proj", modules_to_save=["embed_tokens"], ensure_weight_tying=True), None),
    "tying-tokens": ("llama-tied", lora("q_proj", trainable_token_indices=[9, 3], ensure_weight_tying=True), None),
    "tying-untied": ("llama", lora("embed_tokens", ensure_weight_tying=True), None),
    "tokens-of-both": ("llama", lora("q_proj", trainable_token_indices={"embed_tokens": [3], "lm_head": [9, 5]}), None),
    "tied-tokens-differ": (
        "llama-tied",
        lora("q_proj", trainable_token_indices={"embed_tokens": [3, 9], "lm_head": [5]}),
        None,
    ),
    "tied-tokens-of-head": ("llama-tied", lora("q_proj", trainable_token_indices={"lm_head": [5]}), None),
    "positions": ("gpt2", lora("wpe", fan_in_fan_out=True), None),
    "saved-layer": ("llama", lora("q_proj", modules_to_save=["layers.1", "model.norm"]), None),
    "patterns": (
        "llama",
        lora(
            "q_proj",
            "v_proj",
            "mlp.up_proj",
            layers_to_transform=[0, 2],
            layers_pattern="layers",
            exclude_modules=["layers.2.self_attn.v_proj"],
            rank_pattern={"q_proj": 3, r".*\.2\.mlp\.up_proj": 1},
            alpha_pattern={"^model.layers.0.self_attn.q_proj": 7},
            use_rslora=True,
        ),
        None,
    ),
    "ia3-saved": ("llama", ia3("k_proj", modules_to_save=["lm_head", "norm"]), None),
    "ia3-head": ("llama-tied", ia3("k_proj", "lm_head"), None),
    "p-tuning": ("llama", PromptEncoderConfig(task_type="CAUSAL_LM", num_virtual_tokens=3, encoder_hidden_size=8), None),
}


def base(name):
    folder = MODELS / name
    return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager")


def train(model):
    """Adds noise instead of training."""
    generator = torch.Generator().manual_seed(7)
    with torch.no_grad():
        for key, parameter in sorted(model.named_parameters()):
            if not any(part in key for part in TRAINED) or "token_adapter.base_layer" in key:
                continue
            noise = torch.randn(parameter.shape, generator=generator)
            if "magnitude" in key:
                parameter.copy_(parameter.abs() + noise.abs() * 0.1)
            elif "modules_to_save" in key or "tokens_delta" in key:
                parameter.copy_(parameter + noise * 0.1)
            else:
                parameter.copy_(noise * 0.3)


def logits_of(model):
    model.eval()
    with torch.no_grad():
        # PEFT's logits of virtual tokens come first.
        return model(torch.tensor(IDS)).logits[:, -len(IDS[0]) :]


def save(model, folder, edit):
    model.save_pretrained(folder)
    (folder / "README.md").unlink()
    file = folder / "adapter_config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "base_model_name_or_path": None}) + "\n")
    weights = folder / "adapter_model.safetensors"
    if edit is not None:
        tensors = load_file(weights)
        edit(tensors)
        save_file(tensors, weights, {"format": "pt"})
    weights.chmod(0o644)


def write_adapters():
    logits = {}
    for name, (model_name, config, edit) in ADAPTERS.items():
        model = get_peft_model(base(model_name), config)
        train(model)
        save(model, OUT / name, edit)
        loaded = PeftModel.from_pretrained(base(model_name), OUT / name)
        logits[name] = [round(v, 6) for v in logits_of(loaded).flatten().tolist()]
        # PEFT's merge of one side of a tied weight changes the other side too.
        if model_name == "llama" and not config.is_prompt_learning:
            difference = (logits_of(loaded) - logits_of(loaded.merge_and_unload())).abs().max().item()
            assert difference < 1e-5, (name, difference)
    models = {name: model_name for name, (model_name, _, _) in ADAPTERS.items()}
    (OUT / "logits.json").write_text(json.dumps({"ids": IDS, "models": models, "logits": logits}) + "\n")

    # An adapter of a model whose vocabulary was padded: PEFT saves the complete tables.
    model = base("llama")
    model.resize_token_embeddings(128, mean_resizing=False)
    save(get_peft_model(model, lora("q_proj")), OUT / "padded", None)


def write_norms():
    """Norms of a model whose norms are weights, and of one whose norms have biases, too."""
    logits = {}
    for name in ["llama", "gpt2"]:
        model = get_peft_model(base(name), LNTuningConfig(task_type="CAUSAL_LM")).eval()
        generator = torch.Generator().manual_seed(7)
        with torch.no_grad():
            for _, parameter in sorted(model.named_parameters()):
                if parameter.requires_grad:
                    parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.3)
            logits[name] = [round(v, 6) for v in logits_of(model).flatten().tolist()]
        save(model, OUT / f"norms-{name}", None)
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
