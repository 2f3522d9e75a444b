import { Ajv2020 } from 'ajv/dist/2020.js';
import { expect, test } from 'vitest';
import { defaultsOf } from './index.js';

const schema = {
  type: 'object',
  required: ['model', 'retries'],
  additionalProperties: false,
  properties: {
    model: { type: 'string' },
    retries: { type: 'integer', default: 5 },
    seed: { type: ['integer', 'null'], default: null },
    mode: { enum: ['min', 'max'] },
    roles: { type: 'array', items: { type: 'string' }, default: ['user', 'assistant'] },
    gate: {
      type: 'object',
      default: { by: 'file' },
      properties: {
        by: { type: 'string' },
        limits: { type: 'object', default: {}, properties: { least: { type: 'number', default: 0.5 } } },
        none: { type: 'object', properties: { depth: { type: 'number', default: 1 } } },
      },
    },
    sources: {
      type: 'array',
      default: [{ path: 'a.jsonl' }, { path: 'b.jsonl', share: 2 }],
      items: {
        type: 'object',
        properties: { path: { type: 'string' }, share: { type: 'number', default: 1 } },
      },
    },
    weights: { type: 'object', additionalProperties: { type: 'number' }, default: { assistant: 1 } },
    unset: { type: 'object', properties: { depth: { type: 'number', default: 1 } } },
    balance: {
      type: ['object', 'null'],
      default: null,
      properties: { repeats: { type: 'integer', default: 3 } },
    },
    limit: {
      default: { least: 1 },
      anyOf: [{ type: 'null' }, { type: 'object', properties: { most: { type: 'number', default: 9 } } }],
    },
  },
} as const;

// What each keyword of the schema above says.
const expected = {
  retries: 5,
  seed: null,
  roles: ['user', 'assistant'],
  gate: { by: 'file', limits: { least: 0.5 } },
  sources: [
    { path: 'a.jsonl', share: 1 },
    { path: 'b.jsonl', share: 2 },
  ],
  weights: { assistant: 1 },
  balance: null,
  limit: { least: 1 },
};

test('the defaults of a schema include those of nested objects and of the items of lists', () => {
  expect(defaultsOf(schema)).toStrictEqual(expected);
});

test('validation with Ajv fills in the same values', () => {
  const filledIn = { model: 'tiny' };
  new Ajv2020({ useDefaults: true, strict: false }).validate(schema, filledIn);
  expect(filledIn).toStrictEqual({ model: 'tiny', ...defaultsOf(schema) });
});

test('the type of a default follows from the schema', () => {
  const { retries, seed, gate, sources } = defaultsOf(schema);
  const typed: [number, number | null, string | undefined, number | undefined] = [
    retries,
    seed,
    gate.by,
    sources[0]?.share,
  ];
  expect(typed).toEqual([5, null, 'file', 1]);
  // @ts-expect-error a key without a default
  expect(defaultsOf(schema).model).toBeUndefined();
});

test('each call returns a new object, so that a change does not reach the schema', () => {
  const first = defaultsOf(schema) as unknown as { roles: string[]; gate: { limits: { least: number } } };
  first.roles.push('tool');
  first.gate.limits.least = 0;
  expect(defaultsOf(schema)).toStrictEqual(expected);
  expect(schema.properties.roles.default).toEqual(['user', 'assistant']);
});

test('a schema without keys has no defaults', () => {
  expect(defaultsOf({ type: 'object' })).toStrictEqual({});
});
