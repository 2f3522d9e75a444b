"""Writes golden.json beside this file: what TRL's SFTTrainer makes of pairs of prompt and completion. Needs torch, transformers, trl and datasets."""
import json
from pathlib import Path

import transformers
import trl
from datasets import Dataset
from transformers import AutoModelForCausalLM, AutoTokenizer
from trl import SFTConfig, SFTTrainer

here = Path(__file__).parent
tokenizer = AutoTokenizer.from_pretrained(here.parent / 'tokenizers' / 'qwen-bpe')
model = AutoModelForCausalLM.from_pretrained(here.parent / 'trajectories' / 'sft-model')


def turn(role, content):
    return {'role': role, 'content': content}


chats = [
    {'prompt': [turn('user', 'Where is my parcel?')], 'completion': [turn('assistant', 'It will arrive tomorrow.')]},
    {
        'prompt': [turn('system', 'Be brief.'), turn('user', 'Hello'), turn('assistant', 'Hi! How can I help?'), turn('user', '订单什么时候到？')],
        'completion': [turn('assistant', '两天之内。')],
    },
    {
        'prompt': [turn('user', 'Count.'), turn('assistant', 'One.'), turn('user', 'Go on.')],
        'completion': [turn('assistant', 'Two.'), turn('user', 'And then?'), turn('assistant', 'Three.')],
    },
]
texts = [
    {'prompt': 'The capital of France is', 'completion': ' Paris.'},
    {'prompt': '2 + 2 =', 'completion': ' 4'},
    {'prompt': '春天来了，', 'completion': '花儿都开了。'},
]
cases = []
for kind, rows in (('chat', chats), ('text', texts)):
    for completion in (None, True, False):
        # assistant_only_loss is for conversations alone.
        for assistant in (False, True) if kind == 'chat' else (False,):
            config = SFTConfig(output_dir='unused', report_to=[], use_cpu=True, completion_only_loss=completion, assistant_only_loss=assistant, max_length=1024)
            prepared = SFTTrainer(model=model, args=config, train_dataset=Dataset.from_list(rows), processing_class=tokenizer).train_dataset
            cases.append({
                'kind': kind, 'completion_only_loss': completion, 'assistant_only_loss': assistant,
                'input_ids': [list(row['input_ids']) for row in prepared], 'labels': [list(row['labels']) for row in prepared],
            })
versions = {'trl': trl.__version__, 'transformers': transformers.__version__}
golden = {'versions': versions, 'tokenizer': 'tokenizers/qwen-bpe', 'rows': {'chat': chats, 'text': texts}, 'cases': cases}
(here / 'golden.json').write_text(json.dumps(golden, ensure_ascii=False))
