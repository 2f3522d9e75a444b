import { readFile } from 'node:fs/promises';
import { Ajv2020 } from 'ajv/dist/2020.js';
import { beforeAll, describe, expect, it } from 'vitest';
import { editorSchema } from '@whetstone/core/config';
import { builtInPlugins } from '../packages/cli/src/built-ins.js';

type Run = Record<string, Record<string, unknown>>;

// An editor fills in no defaults: what a person wrote must fit as it stands.
describe('the schema for editors', () => {
  const validate = new Ajv2020({ strict: false, allErrors: true }).compile(
    editorSchema(builtInPlugins.map((plugin) => ({ use: plugin.name, plugin }))),
  );
  let text = '';
  beforeAll(async () => {
    text = await readFile(new URL('../examples/quickstart/run.json', import.meta.url), 'utf8');
  });
  const example = (): Run => JSON.parse(text) as Run;

  it('takes the example as it is written', () => {
    expect(validate(example()), JSON.stringify(validate.errors)).toBe(true);
  });

  it('takes stages, which then say themselves what they train on', () => {
    const { data: _data, strategy: _strategy, ...rest } = example();
    const stages = [
      { name: 'general', data: { train: 'a.jsonl' }, strategy: 'full' },
      {
        name: 'domain',
        data: { train: 'b.jsonl' },
        strategy: { use: 'lora', options: { rank: 4 } },
        optimizer: { learningRate: 1e-4 },
      },
    ];
    expect(validate({ ...rest, stages }), JSON.stringify(validate.errors)).toBe(true);
    expect(validate(rest)).toBe(false);
    expect(validate({ ...example(), data: {} })).toBe(false);
    for (const wrong of [{ strategy: { use: 'lora', options: { rnk: 4 } } }, { data: { trian: 'a' } }, { model: 'x' }])
      expect(validate({ ...rest, stages: [...stages, wrong] })).toBe(false);
  });

  it.each([
    ['of the frame', { optimzer: {} }],
    ['of a section', { data: { train: 'a.jsonl', maxLenght: 1 } }],
    ['of a plugin', { strategy: { use: 'lora', options: { rnk: 4 } } }],
    ['of the optimizer that is taken where none is named', { optimizer: { lr: 1 } }],
    ['of a callback', { callbacks: [{ use: 'early-stopping', options: { patiense: 1 } }] }],
  ])('refuses a misspelled key %s', (_, wrong) => {
    expect(validate({ ...example(), ...wrong })).toBe(false);
  });
});
