import { cpSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { createConversationSource } from '@whetstone/data';
import { importGguf, loadTokenizer } from '@whetstone/models';
import { builtInPlugins } from '../../packages/cli/src/built-ins.js';
import { parseRunState } from '../../packages/core/src/checkpoint/run-state.js';
import { readJson, verifyCheckpoint } from '../../packages/core/src/checkpoint/manifest.js';
import { readConfigFile, resolveConfig } from '../../packages/core/src/config/index.js';
import { clusterOfEnvironment } from '../../packages/core/src/distributed/tf-config.js';
import { createRegistry, loadPlugin } from '../../packages/core/src/plugins/index.js';
import { openSafetensors } from '../../packages/core/src/safetensors/index.js';
import { readJsonObject } from '../../packages/core/src/files/index.js';
import { WhetstoneError } from '@whetstone/core/contract';
import { compileTemplate } from '../../packages/models/src/chat-template/template.js';
import { createRenderer } from '../../packages/models/src/chat-template/renderer.js';
import { readOutline } from '../../packages/models/src/load-language-model.js';
import { readFields } from '../../packages/strategies/src/adapters/adapter-files.js';
import { formatOf, strategyOfAdapter } from '../../packages/strategies/src/adapters/formats.js';
import { goldenPath } from '../support/golden.js';
import { ggufSeed } from './gguf-seed.js';

/** A reader of files from outside, with valid files to start from. */
export interface Target {
  readonly name: string;
  readonly seeds: readonly Uint8Array[];
  readonly isJson?: boolean;
  /** The part of the runs that a slow target gets. */
  readonly share?: number;
  /** Reads a file. Throws a `WhetstoneError` for invalid ones. */
  read(bytes: Uint8Array): Promise<void>;
}

const testData = fileURLToPath(new URL('../../packages/data/test-data/', import.meta.url));
const saved = fileURLToPath(new URL('../versions/0.1.0/', import.meta.url));
const utf8 = (text: string): Uint8Array => new TextEncoder().encode(text);
const textOf = (bytes: Uint8Array): string => Buffer.from(bytes).toString('utf8');

const rows = utf8(
  [
    {
      messages: [
        { role: 'user', content: 'Hi' },
        { role: 'assistant', content: 'Grüße, 世界', weight: 0.5 },
      ],
      topic: 'a',
    },
    {
      conversations: [
        { from: 'human', value: 'a' },
        { from: 'gpt', value: 'b' },
      ],
      tools: '[{"name": "f"}]',
    },
    { prompt: 'a', completion: 'b' },
    { instruction: 'a', input: '', output: '1.50' },
    { text: 'plain', n: 2 ** 60 },
  ]
    .map((row) => `${JSON.stringify(row)}\n`)
    .join(''),
);
const table = utf8('prompt,completion,topic\n"a ""quoted"" text","b\nc",1\nd,e,2\n');
const templates = ['llama', 'qwen-bpe']
  .flatMap((name) => [goldenPath('tokenizers', name, 'chat_template.jinja')])
  .flatMap((file) => {
    try {
      return [readFileSync(file)];
    } catch {
      return [];
    }
  });
const ownTemplate = utf8(
  "{% for m in messages %}{% if m.role == 'user' %}{{ m.content|trim|replace('a', 'b') ~ loop.index }}{% else %}" +
    "{{ '%s-%5.2f' % (m.content, 1.5) }}{{ m|tojson(indent=2) }}{{ m.content.split('x')[0][1:3].center(9) }}" +
    "{% endif %}{% endfor %}{% macro f(a, b=1) %}{{ a * b }}{% endmacro %}{{ f('x', 3) }} " +
    "{% set n = namespace(x=[]) %}{% set n.x = n.x + [range(3)|list] %}{{ n.x|map('sum')|join(',') }}" +
    "{{ '{:>5}'.format(1) }}",
);

/** Reads all conversations of a data file. */
async function readData(folder: string, name: string, bytes: Uint8Array): Promise<void> {
  const file = join(folder, name);
  writeFileSync(file, bytes);
  const source = await createConversationSource({ path: file }, folder);
  let count = 0;
  for await (const { messages } of source.conversations()) count += messages.length;
  if (count < 0) throw new Error('unreachable');
}

/** Creates the targets, which write their files into a folder. */
export function createTargets(folder: string): readonly Target[] {
  const write = (name: string, bytes: Uint8Array): string => {
    const file = join(folder, name);
    writeFileSync(file, bytes);
    return file;
  };
  const copyOf = (source: string, name: string): string => {
    cpSync(source, join(folder, name), { recursive: true });
    return join(folder, name);
  };
  const model = copyOf(goldenPath('models', 'llama'), 'model');
  const tokenizer = copyOf(goldenPath('tokenizers', 'qwen-bpe'), 'tokenizer');
  const checkpoint = copyOf(join(saved, 'run', 'checkpoint-3'), 'checkpoint-3');
  const registry = createRegistry(builtInPlugins);
  const states = readdirSync(checkpoint).filter((name) => name.endsWith('.json'));
  return [
    {
      name: 'safetensors',
      seeds: [readFileSync(join(goldenPath('peft', 'lora-llama'), 'adapter_model.safetensors'))],
      async read(bytes) {
        const reader = await openSafetensors(write('a.safetensors', bytes));
        try {
          for (const name of reader.tensors.keys()) await reader.read(name);
        } finally {
          await reader.close();
        }
      },
    },
    {
      name: 'GGUF',
      seeds: [ggufSeed()],
      async read(bytes) {
        const out = join(folder, 'imported');
        rmSync(out, { recursive: true, force: true });
        await importGguf(write('a.gguf', bytes), out);
      },
    },
    {
      name: 'tokenizer.json',
      isJson: true,
      seeds: ['qwen-bpe', 'unigram', 'wordpiece', 'llama2-bpe'].map((name) =>
        readFileSync(goldenPath('tokenizers', name, 'tokenizer.json')),
      ),
      async read(bytes) {
        writeFileSync(join(tokenizer, 'tokenizer.json'), bytes);
        const loaded = await loadTokenizer(tokenizer);
        const { ids } = loaded.encodeWithSpans('Hello <|im_start|> 世界!  12\n');
        loaded.decode([...ids]);
      },
    },
    {
      name: 'config.json',
      isJson: true,
      seeds: ['llama', 'gemma3', 'gpt2'].map((name) => readFileSync(goldenPath('models', name, 'config.json'))),
      async read(bytes) {
        writeFileSync(join(model, 'config.json'), bytes);
        await readOutline(model);
      },
    },
    {
      name: 'adapter_config.json',
      isJson: true,
      seeds: ['lora-llama', 'ia3-llama', 'lora-patterns-llama', 'prefix-llama'].map((name) =>
        readFileSync(goldenPath('peft', name, 'adapter_config.json')),
      ),
      async read(bytes) {
        const file = write('adapter_config.json', bytes);
        const invalid = (message: string): WhetstoneError =>
          new WhetstoneError('ADAPTER_INVALID', `The file ${message}`, { place: { file } });
        const config = await readJsonObject(file, { missing: () => invalid('is missing.'), invalid });
        const files = { config, tensors: new Map(), folder };
        readFields(files).stringOrStrings('target_modules');
        strategyOfAdapter(folder);
        formatOf(files as never, builtInPlugins);
      },
    },
    {
      name: 'template',
      seeds: [ownTemplate, ...templates],
      async read(bytes) {
        const messages = [
          { role: 'user', content: 'abc' },
          {
            role: 'assistant',
            content: 'x </think> y',
            tool_calls: [{ function: { name: 'f', arguments: '{"a": 1}' } }],
          },
        ];
        const template = textOf(bytes);
        compileTemplate(template).run({ messages, variables: { tools: null }, now: new Date(0) });
        createRenderer(template, { specialTokens: {}, tokenizer: { eosTokenId: null } as never }).render(messages);
        await Promise.resolve();
      },
    },
    {
      name: 'run.json',
      isJson: true,
      share: 0.1,
      seeds: [readFileSync(join(saved, 'run.json')), readFileSync(join(saved, 'staged.json'))],
      async read(bytes) {
        const raw = await readConfigFile(write('run.json', bytes));
        await resolveConfig(raw, {
          load: (kind, use) => loadPlugin(kind, use, { registry, baseFolder: folder }),
        });
      },
    },
    { name: 'JSONL', isJson: true, seeds: [rows], read: (bytes) => readData(folder, 'a.jsonl', bytes) },
    {
      name: 'JSON',
      isJson: true,
      seeds: [utf8(`[${textOf(rows).trim().replaceAll('\n', ',')}]`)],
      read: (bytes) => readData(folder, 'a.json', bytes),
    },
    { name: 'CSV', seeds: [table], read: (bytes) => readData(folder, 'a.csv', bytes) },
    {
      name: 'Parquet',
      seeds: readdirSync(testData)
        .filter((name) => name.endsWith('.parquet') && !name.startsWith('nested'))
        .map((name) => readFileSync(testData + name)),
      read: (bytes) => readData(folder, 'a.parquet', bytes),
    },
    {
      name: 'checkpoint',
      isJson: true,
      seeds: states.map((name) => readFileSync(join(checkpoint, name))),
      async read(bytes) {
        const file = join(checkpoint, 'manifest.json');
        writeFileSync(file, bytes);
        parseRunState(await readJson(file), file);
        await verifyCheckpoint(checkpoint);
      },
    },
    {
      name: 'TF_CONFIG',
      isJson: true,
      seeds: [
        utf8('{"cluster": {"chief": ["a:1"], "worker": ["b:2222", "c:2222"]}, "task": {"type": "worker", "index": 1}}'),
      ],
      async read(bytes) {
        clusterOfEnvironment({ TF_CONFIG: textOf(bytes) });
        await Promise.resolve();
      },
    },
  ];
}
