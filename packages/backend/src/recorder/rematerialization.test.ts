import { expect, test } from 'vitest';
import { kernels } from '../kernels/index.js';
import type { Program, Step } from './program.js';
import { rematerialize } from './rematerialization.js';

const FILLERS = 400;

/** Returns `first` steps, a long chain of squares, then `last` steps. Inputs are 0 and 1, results 2, 3, … */
function program(
  first: readonly (readonly [name: string, ...inputs: number[]])[],
  last: (chain: number) => readonly (readonly [name: string, ...inputs: number[]])[],
): Program {
  const begin = 2 + first.length;
  const chain = Array.from({ length: FILLERS }, (_, index): [string, number] => [
    'Square',
    index === 0 ? 0 : begin + index - 1,
  ]);
  const all = [...first, ...chain, ...last(begin + FILLERS - 1)];
  const steps = all.map(([name, ...inputs], index): Step => {
    const kernel = kernels.find((record) => record.name === name);
    if (kernel === undefined) throw new Error(`no kernel ${name}`);
    return { kernel, parameters: [], inputs, tensorInputs: inputs.length, firstOutput: 2 + index, outputs: 1 };
  });
  const types = Array.from({ length: 2 + steps.length }, () => 'float32' as const);
  return { name: 'test', matmul: 'float32', inputTypes: types.slice(0, 2), steps, types, outputs: [1 + steps.length] };
}

test('a product with a distant second use is recomputed after the other operand of that use', () => {
  const before = program(
    [
      ['Multiply', 0, 1],
      ['Sigmoid', 2],
    ],
    (chain) => [['Add', 2, chain]],
  );
  const after = rematerialize(before);
  const [copy, use] = after.steps.slice(-2);
  const chain = 3 + FILLERS;
  expect(copy).toMatchObject({
    kernel: { name: 'Multiply' },
    inputs: [0, 1],
    controlInputs: [chain],
    firstOutput: before.types.length,
  });
  expect(use).toMatchObject({ kernel: { name: 'Add' }, inputs: [before.types.length, chain] });
  expect(after.steps[1]).toMatchObject({ kernel: { name: 'Sigmoid' }, inputs: [2] });
  expect(after.types).toHaveLength(before.types.length + 1);
  // Errors name the recorded operation.
  expect(after.positions?.slice(-2)).toEqual([0, before.steps.length - 1]);
});

test('a product of a temporary operand is not recomputed, because that operand would be kept instead', () => {
  const before = program(
    [
      ['Sigmoid', 0],
      ['Multiply', 2, 1],
    ],
    (chain) => [['Add', 3, chain]],
  );
  expect(rematerialize(before)).toBe(before);
});

test('a product that the program returns, or that is used without a late operand, is not recomputed', () => {
  const returned = program([['Multiply', 0, 1]], (chain) => [['Add', 2, chain]]);
  expect(rematerialize({ ...returned, outputs: [2, ...returned.outputs] }).steps).toHaveLength(returned.steps.length);
  const alone = program([['Multiply', 0, 1]], () => [['Square', 2]]);
  expect(rematerialize(alone)).toBe(alone);
});

test('attention and its transposed result are recomputed on request, both before the first late use', () => {
  const before = program(
    [
      ['WhetstoneAttention', 0, 1, 0, 1],
      ['Transpose', 2],
      ['Sigmoid', 3],
    ],
    (chain) => [
      ['Add', 3, chain],
      ['Add', 2, chain],
    ],
  );
  expect(rematerialize(before)).toBe(before);
  const after = rematerialize(before, true);
  const chain = 4 + FILLERS;
  const [attention, transposed, ...uses] = after.steps.slice(-4);
  expect(attention).toMatchObject({
    kernel: { name: 'WhetstoneAttention' },
    inputs: [0, 1, 0, 1],
    controlInputs: [chain],
  });
  expect(transposed).toMatchObject({
    kernel: { name: 'Transpose' },
    inputs: [attention?.firstOutput],
    controlInputs: [chain],
  });
  expect(uses).toMatchObject([
    { inputs: [transposed?.firstOutput, chain] },
    { inputs: [attention?.firstOutput, chain] },
  ]);
  expect(after.positions?.slice(-4)).toEqual([0, 1, before.steps.length - 2, before.steps.length - 1]);
  expect(after.steps[2]).toMatchObject({ kernel: { name: 'Sigmoid' }, inputs: [3] });
});

test('a transposed input stays, and so does attention of a temporary operand', () => {
  const transposed = program([['Transpose', 0]], (chain) => [['Add', 2, chain]]);
  expect(rematerialize(transposed, true)).toBe(transposed);
  const made = program(
    [
      ['Sigmoid', 0],
      ['WhetstoneAttention', 2, 1, 1, 1],
    ],
    (chain) => [['Add', 3, chain]],
  );
  expect(rematerialize(made, true)).toBe(made);
  // A mask that all layers use is kept anyway.
  const shared = program(
    [['Sigmoid', 0], ...Array.from({ length: 4 }, (): [string, ...number[]] => ['WhetstoneAttention', 0, 1, 1, 2])],
    (chain) => [['Add', 3, chain]],
  );
  expect(rematerialize(shared, true).steps).toHaveLength(shared.steps.length + 1);
});
