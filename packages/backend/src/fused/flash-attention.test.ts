import { readFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { ModuleBuilder, type Hlo } from '../engines/xla/stablehlo/builder.js';
import { lowerFlashAttention, lowerFlashAttentionGradient } from './flash-attention.js';

interface Call {
  readonly name: string;
  readonly rows: number;
  readonly length: number;
  readonly heads: number;
  readonly keyValueHeads: number;
  readonly headDim: number;
  readonly window: number;
  readonly segments: number;
  /** The custom calls of JAX's module: forward, backward. */
  readonly lines: readonly string[];
}

const golden = JSON.parse(
  readFileSync(new URL('../../../../test/golden/cudnn/golden.json', import.meta.url), 'utf8'),
) as { readonly calls: readonly Call[] };

/** Parses a custom call in MLIR's custom or generic form. */
function read(line: string): Readonly<Record<string, unknown>> {
  const one = (pattern: RegExp): string => {
    const found = pattern.exec(line)?.[1];
    if (found === undefined) throw new Error(`${pattern} does not match ${line}`);
    return found;
  };
  // MLIR escapes a character with a backslash and itself, or with a backslash and two hexadecimal digits.
  const config = one(/backend_config = "((?:[^"\\]|\\.)*)"/).replaceAll(/\\([0-9A-F]{2}|.)/g, (_, code: string) =>
    code.length === 2 ? String.fromCharCode(parseInt(code, 16)) : code,
  );
  return {
    target: one(/(__cudnn\$\w+)/),
    version: one(/api_version = (\d+ : i32)/),
    config: JSON.parse(config) as unknown,
    operandLayouts: one(/operand_layouts = (\[.*?\]), /),
    resultLayouts: one(/result_layouts = (\[.*\])[}>]/),
    types: one(/ : (\(tensor.*)$/),
  };
}

const input = (number: number, shape: readonly number[], type: Hlo['type'] = 'float32'): Hlo => ({
  type,
  shape,
  name: null,
  input: number,
  values: null,
});

/** Returns Whetstone's custom calls for the same shapes. */
function lower({ rows, length, heads, keyValueHeads, headDim, window, segments }: Call): string[] {
  const b = new ModuleBuilder({});
  const tensor = (number: number, count: number): Hlo => input(number, [rows, length, count, headDim]);
  const [query, key, value, gradient] = [
    tensor(0, heads),
    tensor(1, keyValueHeads),
    tensor(2, keyValueHeads),
    tensor(3, heads),
  ] as const;
  const packing =
    segments === 1
      ? []
      : [
          input(4, [rows, segments], 'int32'),
          input(5, [rows, segments + 1], 'int32'),
          input(6, [rows, segments + 1], 'int32'),
        ];
  const [result, statistics] = lowerFlashAttention(b, [query, key, value, ...packing], window) as [Hlo, Hlo];
  expect(result).toMatchObject({ type: 'float32', shape: query.shape });
  expect(statistics).toMatchObject({ type: 'float32', shape: [rows * segments, heads, length] });
  const gradients = lowerFlashAttentionGradient(
    b,
    [gradient, query, key, value, result, statistics, ...packing],
    window,
  );
  expect(gradients.map(({ type, shape }) => ({ type, shape }))).toEqual(
    [query, key, value].map(({ type, shape }) => ({ type, shape })),
  );
  const inputs = [query, key, value, gradient, ...packing];
  const { text } = b.finish(
    inputs,
    inputs.map(({ type }) => type),
    [...gradients, result],
  );
  return text.split('\n').filter((line) => line.includes('custom_call'));
}

describe('flash attention lowers to the custom calls of JAX for CUDA', () => {
  test.each(golden.calls.map((call) => [call.name, call] as const))('%s', (_, call) => {
    expect(call.lines).toHaveLength(2);
    expect(lower(call).map(read)).toEqual(call.lines.map(read));
  });
});
