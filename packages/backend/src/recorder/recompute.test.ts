import { expect, test } from 'vitest';
import { kernels } from '../kernels/index.js';
import type { Program, Step } from './program.js';
import { recomputeCheap } from './recompute.js';

const FILLERS = 400;

/**
 * Tensors 0 and 1 go in; `first` steps, then a long chain of squares, then `last` steps. Results are numbered 2, 3, …
 */
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

test('a product used again far behind is computed a second time, when what it is needed with is there', () => {
  const before = program(
    [
      ['Multiply', 0, 1],
      ['Sigmoid', 2],
    ],
    (chain) => [['Add', 2, chain]],
  );
  const after = recomputeCheap(before);
  const [copy, use] = after.steps.slice(-2);
  const chain = 3 + FILLERS;
  expect(copy).toMatchObject({
    kernel: { name: 'Multiply' },
    inputs: [0, 1],
    after: [chain],
    firstOutput: before.types.length,
  });
  expect(use).toMatchObject({ kernel: { name: 'Add' }, inputs: [before.types.length, chain] });
  expect(after.steps[1]).toMatchObject({ kernel: { name: 'Sigmoid' }, inputs: [2] });
  expect(after.types).toHaveLength(before.types.length + 1);
  // Errors name the operation that was recorded.
  expect(after.positions?.slice(-2)).toEqual([0, before.steps.length - 1]);
});

test('a product of what is not kept stays: one tensor would be kept for another', () => {
  const before = program(
    [
      ['Sigmoid', 0],
      ['Multiply', 2, 1],
    ],
    (chain) => [['Add', 3, chain]],
  );
  expect(recomputeCheap(before)).toBe(before);
});

test('a product that leaves the program, and one that nothing late waits with, stay', () => {
  const leaving = program([['Multiply', 0, 1]], (chain) => [['Add', 2, chain]]);
  expect(recomputeCheap({ ...leaving, outputs: [2, ...leaving.outputs] }).steps).toHaveLength(leaving.steps.length);
  const alone = program([['Multiply', 0, 1]], () => [['Square', 2]]);
  expect(recomputeCheap(alone)).toBe(alone);
});

test(
  'attention is computed again where memory is dear, with what is made of its result: what needs it waits with ' +
    'the first of them',
  () => {
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
    expect(recomputeCheap(before)).toBe(before);
    const after = recomputeCheap(before, true);
    const chain = 4 + FILLERS;
    const [attention, transposed, ...uses] = after.steps.slice(-4);
    expect(attention).toMatchObject({ kernel: { name: 'WhetstoneAttention' }, inputs: [0, 1, 0, 1], after: [chain] });
    expect(transposed).toMatchObject({
      kernel: { name: 'Transpose' },
      inputs: [attention?.firstOutput],
      after: [chain],
    });
    expect(uses).toMatchObject([
      { inputs: [transposed?.firstOutput, chain] },
      { inputs: [attention?.firstOutput, chain] },
    ]);
    expect(after.positions?.slice(-4)).toEqual([0, 1, before.steps.length - 2, before.steps.length - 1]);
    expect(after.steps[2]).toMatchObject({ kernel: { name: 'Sigmoid' }, inputs: [3] });
  },
);

test(
  'what is only turned round stays where its operand is kept, and attention where one tensor would be kept for ' +
    'another',
  () => {
    const turned = program([['Transpose', 0]], (chain) => [['Add', 2, chain]]);
    expect(recomputeCheap(turned, true)).toBe(turned);
    const made = program(
      [
        ['Sigmoid', 0],
        ['WhetstoneAttention', 2, 1, 1, 1],
      ],
      (chain) => [['Add', 3, chain]],
    );
    expect(recomputeCheap(made, true)).toBe(made);
    // A mask that all layers look at is kept for all of them.
    const shared = program(
      [['Sigmoid', 0], ...Array.from({ length: 4 }, (): [string, ...number[]] => ['WhetstoneAttention', 0, 1, 1, 2])],
      (chain) => [['Add', 3, chain]],
    );
    expect(recomputeCheap(shared, true).steps).toHaveLength(shared.steps.length + 1);
  },
);
