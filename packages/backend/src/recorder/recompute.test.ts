import { expect, test } from 'vitest';
import { kernels } from '../kernels/index.js';
import type { Program, Step } from './program.js';
import { recomputeCheap } from './recompute.js';

const FILLERS = 400;

/** Tensors 0 and 1 go in; `first` steps, then a long chain of squares, then `last` steps. Results are numbered 2, 3, … */
function program(first: readonly (readonly [name: string, ...inputs: number[]])[], last: (chain: number) => readonly (readonly [name: string, ...inputs: number[]])[]): Program {
  const begin = 2 + first.length;
  const chain = Array.from({ length: FILLERS }, (_, index): [string, number] => ['Square', index === 0 ? 0 : begin + index - 1]);
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
  const before = program([['Multiply', 0, 1], ['Sigmoid', 2]], (chain) => [['Add', 2, chain]]);
  const after = recomputeCheap(before);
  const [copy, use] = after.steps.slice(-2);
  const chain = 3 + FILLERS;
  expect(copy).toMatchObject({ kernel: { name: 'Multiply' }, inputs: [0, 1], after: [chain], firstOutput: before.types.length });
  expect(use).toMatchObject({ kernel: { name: 'Add' }, inputs: [before.types.length, chain] });
  expect(after.steps[1]).toMatchObject({ kernel: { name: 'Sigmoid' }, inputs: [2] });
  expect(after.types).toHaveLength(before.types.length + 1);
  // Errors name the operation that was recorded.
  expect(after.positions?.slice(-2)).toEqual([0, before.steps.length - 1]);
});

test('a product of what is not kept stays: one tensor would be kept for another', () => {
  const before = program([['Sigmoid', 0], ['Multiply', 2, 1]], (chain) => [['Add', 3, chain]]);
  expect(recomputeCheap(before)).toBe(before);
});

test('a product that leaves the program, and one that nothing late waits with, stay', () => {
  const leaving = program([['Multiply', 0, 1]], (chain) => [['Add', 2, chain]]);
  expect(recomputeCheap({ ...leaving, outputs: [2, ...leaving.outputs] }).steps).toHaveLength(leaving.steps.length);
  const alone = program([['Multiply', 0, 1]], () => [['Square', 2]]);
  expect(recomputeCheap(alone)).toBe(alone);
});
