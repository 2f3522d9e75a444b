"""Writes cases/rendered.json and cases/numbers.parquet: what Python reads and transformers renders for the cases.

    pip install transformers==5.24.0 jinja2==3.1.6 pyarrow
    python make_rendered.py
"""

import datetime
import decimal
import json
from pathlib import Path

import jinja2
import pyarrow as pa
import pyarrow.parquet as pq
import transformers
from transformers.utils import chat_template_utils
from transformers.utils.chat_template_utils import render_jinja_template

NOW = "2024-03-07T09:05:02"


class FrozenDate(datetime.datetime):
    @classmethod
    def now(cls, tz=None):
        return cls.fromisoformat(NOW)


chat_template_utils.datetime = FrozenDate

HERE = Path(__file__).parent
CASES = HERE / "cases"
GOLDEN = HERE.parent / "golden" / "chat-templates"

TOJSON = (
    "{% for t in tools or [] %}{{ t | tojson }}\n{% endfor %}"
    "{% for m in messages %}{{ m.role }}: {{ m.content }}"
    "{% for c in m.tool_calls or [] %}{{ c.function.arguments | tojson }}|{{ c.function.arguments }}|"
    "{% for k, v in c.function.arguments.items() %}{{ k }}={{ v }};{% endfor %}{% endfor %}\n{% endfor %}"
)
TEMPLATES = {"tojson": TOJSON, "kw": (CASES / "kw.jinja").read_text()}
for name in ("qwen3", "gptoss", "nemotron_3_nano"):
    TEMPLATES[name] = json.loads((GOLDEN / f"{name}.json").read_text())["template"]


def rows_of(name):
    return [json.loads(line) for line in (CASES / name).read_text().splitlines()]


def parsed(row):
    """Tool arguments that are JSON text become what they contain."""
    for message in row["messages"]:
        for call in message.get("tool_calls") or []:
            if isinstance(call["function"]["arguments"], str):
                call["function"]["arguments"] = json.loads(call["function"]["arguments"])
    return row


def contents_of(message):
    """A part of the content that is reasoning becomes the field that templates read; text parts are joined."""
    if isinstance(message.get("content"), list):
        parts = message["content"]
        message = {**message, "content": "".join(p["text"] for p in parts if p["type"] == "text")}
        reasoning = [p["thinking"] for p in parts if p["type"] == "thinking"]
        if reasoning:
            message["reasoning_content"] = "".join(reasoning)
    return message


def render(row, template):
    texts, _ = render_jinja_template(
        [[contents_of(m) for m in row["messages"]]],
        tools=row.get("tools"),
        chat_template=TEMPLATES[template],
        **row.get("chat_template_kwargs", {}),
    )
    return texts[0]


WANTED = {
    "c08_numbers.jsonl": ("tojson", "qwen3", "nemotron_3_nano"),
    "c07_meant.jsonl": ("tojson", "qwen3"),
    "c06_stringargs.jsonl": ("tojson", "qwen3"),
    "c51_reasoning.jsonl": ("qwen3", "gptoss", "nemotron_3_nano"),
    "c52_kwargs.jsonl": ("kw",),
}

# Parquet: the arguments of one call, with the types that lose digits or their type in JavaScript.
ARGUMENTS = {
    "big": (pa.int64(), 9007199254740993),
    "unsigned": (pa.uint64(), 18446744073709551615),
    "small": (pa.int32(), 7),
    "whole": (pa.float64(), 1.0),
    "negative": (pa.float64(), -0.0),
    "large": (pa.float64(), 1e22),
    "half": (pa.float64(), 0.5),
    "single": (pa.float32(), 2.0),
    "list": (pa.list_(pa.float64()), [1.0, 2.5]),
    "absent": (pa.string(), None),
    "map": (pa.map_(pa.string(), pa.float64()), [("x", 3.0), ("y", None)]),
}
PRICE = decimal.Decimal("12345678901234567890.50")


def write_parquet():
    arguments = pa.struct([(key, kind) for key, (kind, _) in ARGUMENTS.items()] + [("price", pa.decimal128(30, 2))])
    call = pa.struct([("type", pa.string()), ("function", pa.struct([("name", pa.string()), ("arguments", arguments)]))])
    message = pa.struct([("role", pa.string()), ("content", pa.string()), ("tool_calls", pa.list_(call))])
    values = {key: value for key, (_, value) in ARGUMENTS.items()} | {"price": PRICE}
    row = [
        {"role": "user", "content": "Set it.", "tool_calls": None},
        {"role": "assistant", "content": "", "tool_calls": [{"type": "function", "function": {"name": "set", "arguments": values}}]},
    ]
    table = pa.table({"messages": pa.array([row], pa.list_(message)), "id": pa.array([9007199254740993], pa.int64())})
    pq.write_table(table, CASES / "numbers.parquet")
    # A decimal prints all digits; Python's json has no decimals, so its place is filled afterwards.
    meant = {key: dict(value) if key == "map" else value for key, (_, value) in ARGUMENTS.items() if value is not None}
    return json.dumps(meant | {"price": "PRICE"}).replace('"PRICE"', str(PRICE))


def main():
    rendered = []
    for name, templates in WANTED.items():
        for line, row in enumerate(rows_of(name), 1):
            for template in templates:
                rendered.append({"file": name, "line": line, "template": template, "text": render(parsed(row), template)})
    fixture = {
        "provenance": f"transformers {transformers.__version__}, Jinja2 {jinja2.__version__}, pyarrow {pa.__version__}",
        "now": NOW,
        "templates": TEMPLATES,
        "rendered": rendered,
        "parquetArguments": write_parquet(),
    }
    (CASES / "rendered.json").write_text(json.dumps(fixture, indent=1, ensure_ascii=False) + "\n")


main()
