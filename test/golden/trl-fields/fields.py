"""Writes the fields of TRL's and transformers' configurations and of PEFT's adapters, with types and defaults.

python fields.py > fields.json
"""

import dataclasses
import json
import os

import peft
import transformers
import trl
from trl.scripts.utils import ScriptArguments

CLASSES = [
    transformers.TrainingArguments,
    trl.SFTConfig,
    trl.ModelConfig,
    ScriptArguments,
    peft.LoraConfig,
    peft.IA3Config,
    peft.PrefixTuningConfig,
    peft.PromptTuningConfig,
    peft.PromptEncoderConfig,
]


def default(field):
    if field.default is not dataclasses.MISSING:
        return field.default
    if field.default_factory is not dataclasses.MISSING:
        return field.default_factory()
    return None


def plain(value):
    return dataclasses.asdict(value) if dataclasses.is_dataclass(value) else value


def described(field):
    kind = field.type if isinstance(field.type, str) else getattr(field.type, "__name__", str(field.type))
    return {"type": str(field.type) if "|" in str(field.type) else kind, "default": plain(default(field))}


classes = {c.__name__: {f.name: described(f) for f in dataclasses.fields(c)} for c in CLASSES}
versions = {"transformers": transformers.__version__, "trl": trl.__version__, "peft": peft.__version__}
text = json.dumps({"versions": versions, "classes": classes}, indent=1, sort_keys=True, default=str)
assert os.path.expanduser("~") not in text
print(text)
