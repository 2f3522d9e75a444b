import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, test } from 'vitest';
import { createConversationSource } from '@whetstone/data';
import { fetchModel } from '../packages/cli/src/fetched-models.js';
import { rawConfigOf, readConfigFile } from '../packages/core/src/config/read-config.js';
import { weightOf } from '../packages/data/src/examples/supervision.js';
import { formatOf } from '../packages/data/src/reading/read-rows.js';
import { readShape } from '../packages/models/src/architectures/read-shape.js';
import { mapWeight } from '../packages/models/src/gguf/weights.js';
import { goldenPath } from './support/golden.js';

/** The members that every object of JavaScript has: a table must not find them. */
const MEMBERS = ['constructor', 'valueOf', 'toString', 'hasOwnProperty', '__proto__'];

const folder = mkdtempSync(join(tmpdir(), 'whetstone-names-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

describe.each(MEMBERS)('the name "%s" from outside', (name) => {
  test('is a role like any other', async () => {
    const read = async (row: string): Promise<unknown[]> => {
      const file = join(folder, 'roles.jsonl');
      writeFileSync(file, `${row}\n`);
      const source = await createConversationSource({ path: file, roles: { a: 'user' } }, folder);
      const found: unknown[] = [];
      for await (const { messages } of source.conversations()) found.push(messages);
      return [...found, ...source.unreadable.map(({ reason }) => reason)];
    };
    expect(await read(`{"messages":[{"role":"${name}","content":"a"}]}`)).toEqual([[{ role: name, content: 'a' }]]);
    expect(await read(`{"conversations":[{"from":"${name}","value":"a"}]}`)).toEqual([
      expect.stringContaining(`unknown role "${name}"`),
    ]);
    expect(weightOf({ role: name, content: 'a' }, { roleWeights: { user: 0 } })).toBe(1);
  });

  test('is no extension, no published model and no architecture', async () => {
    expect(formatOf(`file.${name}`)).toBe('json');
    await expect(fetchModel(name)).rejects.toMatchObject({ code: 'MODEL_NOT_FOUND' });
    const tensor = { name: 'a', shape: [1] } as never;
    expect(() => mapWeight('a.gguf', { architecture: name } as never, tensor)).toThrow(
      expect.objectContaining({ code: 'GGUF_UNSUPPORTED' }) as Error,
    );
  });

  test('is no kind of rotary table', () => {
    const config = JSON.parse(readFileSync(goldenPath('models', 'llama', 'config.json'), 'utf8')) as object;
    expect(() => readShape({ ...config, rope_parameters: { rope_type: name } })).toThrow(
      expect.objectContaining({ code: 'MODEL_CONFIG_INVALID', found: `"${name}"` }) as Error,
    );
  });
});

test('a field of config.json cannot hide in the prototype', () => {
  const { hidden_size, ...config } = JSON.parse(
    readFileSync(goldenPath('models', 'llama', 'config.json'), 'utf8'),
  ) as Record<string, number>;
  const text = JSON.stringify(config).slice(0, -1);
  const hostile = JSON.parse(`${text}, "__proto__": {"hidden_size": ${hidden_size}}}`) as Record<string, number>;
  expect(Object.keys(hostile)).toContain('__proto__');
  expect(() => readShape(hostile)).toThrow(/invalid/);
});

describe('sizes of config.json are bounded before anything is allocated', () => {
  const fields = ['head_dim', 'hidden_size', 'intermediate_size', 'num_attention_heads', 'num_key_value_heads'];
  const config = JSON.parse(readFileSync(goldenPath('models', 'llama', 'config.json'), 'utf8')) as object;
  test.each([...fields, 'num_hidden_layers', 'vocab_size'])('%s', (field) => {
    for (const size of [4_294_967_296, 2 ** 31, 9e15, -1, 0.5, 1e300])
      expect(() => readShape({ ...config, [field]: size }), String(size)).toThrow(
        expect.objectContaining({ code: 'MODEL_CONFIG_INVALID' }) as Error,
      );
  });

  test('partial_rotary_factor', () => {
    for (const factor of [1e9, -2, 1e300])
      expect(() => readShape({ ...config, partial_rotary_factor: factor })).toThrow(
        expect.objectContaining({ code: 'MODEL_CONFIG_INVALID' }) as Error,
      );
  });
});

describe('nesting is bounded', () => {
  const deep = `${'{"a":'.repeat(5000)}1${'}'.repeat(5000)}`;

  test('of a configuration file, with the position', async () => {
    const file = join(folder, 'run.json');
    writeFileSync(file, `{\n"callbacks": ${deep}}`);
    await expect(readConfigFile(file)).rejects.toMatchObject({
      code: 'CONFIG_UNREADABLE',
      place: { file, line: 2 },
      expected: 'at most 200 objects and lists in each other',
    });
  });

  test('of a configuration given as an object', () => {
    expect(() => rawConfigOf(JSON.parse(deep), folder)).toThrow(
      expect.objectContaining({ code: 'CONFIG_UNREADABLE' }) as Error,
    );
  });
});
