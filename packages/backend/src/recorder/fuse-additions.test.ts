import { expect, test } from 'vitest';
import { kernels } from '../kernels/index.js';
import type { Kernel, Parameters } from '../kernels/kernel.js';
import { fuseAdditions } from './fuse-additions.js';
import type { Program, Step } from './program.js';

const kernel = (name: string): Kernel => {
  const found = kernels.find((record) => record.name === name);
  if (found === undefined) throw new Error(`no kernel ${name}`);
  return found;
};

/** A program over `inputs` float32 tensors; steps are numbered after them. */
function program(inputs: number, steps: readonly (readonly [name: string, inputs: readonly number[], parameters?: Parameters])[], outputs: readonly number[]): Program {
  const made = steps.map(([name, operands, parameters = [true]], index): Step => ({ kernel: kernel(name), parameters, inputs: operands, tensorInputs: operands.length, firstOutput: inputs + index, outputs: 1 }));
  const types = Array.from({ length: inputs + steps.length }, () => 'float32' as const);
  return { name: 'test', matmul: 'float32', inputTypes: types.slice(0, inputs), steps: made, types, outputs };
}

const summary = ({ steps }: Program): unknown[] => steps.map((step) => [step.kernel.name, ...step.inputs]);

test('a chain becomes one sum in the same order, and steps still know which operation they stand for', () => {
  const fused = fuseAdditions(program(4, [['Add', [0, 1]], ['Add', [2, 4]], ['Add', [5, 3]]], [6]));
  expect(summary(fused)).toEqual([['AddN', 0, 1, 2, 3]]);
  expect(fused.positions).toEqual([2]);
  expect(fused.steps[0]?.firstOutput).toBe(6);
});

test('sums that somebody else needs, that leave the program, or that broadcast stay', () => {
  const needed = program(3, [['Add', [0, 1]], ['Add', [3, 2]], ['Square', [3], []]], [4, 5]);
  expect(fuseAdditions(needed)).toBe(needed);
  const leaving = program(3, [['Add', [0, 1]], ['Add', [3, 2]]], [3, 4]);
  expect(fuseAdditions(leaving)).toBe(leaving);
  const broadcasting = program(3, [['Add', [0, 1], [false]], ['Add', [3, 2]]], [4]);
  expect(fuseAdditions(broadcasting)).toBe(broadcasting);
});

test('two sums that are added up stay two: another order would change bits', () => {
  const fused = fuseAdditions(program(4, [['Add', [0, 1]], ['Add', [2, 3]], ['Add', [4, 5]]], [6]));
  expect(summary(fused)).toEqual([['Add', 2, 3], ['AddN', 0, 1, 5]]);
});

test('a sum has eight terms at most', () => {
  const steps = Array.from({ length: 11 }, (_, index) => ['Add', [index === 0 ? 0 : 11 + index, index + 1]] as const);
  expect(summary(fuseAdditions(program(12, steps, [22])))).toEqual([['AddN', 0, 1, 2, 3, 4, 5, 6, 7], ['AddN', 18, 8, 9, 10, 11]]);
});
