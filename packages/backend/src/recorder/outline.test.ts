import { describe, expect, test } from 'vitest';
import type { Kernel } from '../kernels/kernel.js';
import { outline, type Outlined } from './outline.js';
import type { Program, Step } from './program.js';

const limits = { leastPeriod: 5, leastCount: 3, leastSaved: 10 };

const kernel = (name: string, more: Partial<Kernel> = {}): Kernel => ({
  name,
  inputs: 'list',
  rule: () => ({ outputs: [] }),
  tensorflow: (_, inputs) => inputs,
  ...more,
});
const kernels = Array.from({ length: 12 }, (_, index) => kernel(`op${index}`));
const effect = kernel('effect', { hasEffects: true });

/** Numbers below `below`, always the same for a seed (a linear congruence). */
function dice(seed: number): (below: number) => number {
  let state = seed;
  return (below) => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return Math.floor((state / 2 ** 32) * below);
  };
}

type Operation = readonly [
  kernel: Kernel | undefined,
  inputs: readonly number[],
  options?: { readonly outputs?: number; readonly after?: readonly number[] },
];

/** A program of `inputs` inputs; operations name tensors by their numbers. */
function programOf(
  inputs: number,
  operations: readonly Operation[],
  outputs: (last: number) => readonly number[],
): Program {
  let next = inputs;
  const steps = operations.map(([op = effect, operands, { outputs: count = 1, after } = {}]): Step => {
    const step = {
      kernel: op,
      parameters: [],
      inputs: operands,
      tensorInputs: operands.length,
      firstOutput: next,
      outputs: count,
      ...(after === undefined ? {} : { after }),
    };
    next += count;
    return step;
  });
  const types = Array.from({ length: next }, () => 'float32' as const);
  return {
    name: 'test',
    matmul: 'float32',
    inputTypes: types.slice(0, inputs),
    steps,
    types,
    outputs: outputs(next - 1),
  };
}

type Tensors = (string | undefined)[];

/** What a step computes, in words, once everything is there that it takes and waits for. */
function compute({ kernel: { name }, inputs, outputs, after = [] }: Step, tensors: Tensors): string[] {
  const operands = [...inputs, ...after].map((tensor) => tensors[tensor]);
  if (operands.includes(undefined)) throw new Error(`${name} comes before what it takes or waits for.`);
  // Folded, or words would grow with every step.
  const words = `${name}(${operands.slice(0, inputs.length).join()})`;
  const folded = Array.from(words).reduce((hash, letter) => (Math.imul(hash, 31) + letter.charCodeAt(0)) >>> 0, 7);
  return Array.from({ length: outputs }, (_, output) => `${folded}.${output}`);
}

function evaluate({ steps, outputs }: Program, given: readonly (string | undefined)[]): (string | undefined)[] {
  const tensors: Tensors = [...given];
  for (const step of steps)
    compute(step, tensors).forEach((result, offset) => (tensors[step.firstOutput + offset] = result));
  return outputs.map((tensor) => tensors[tensor]);
}

function evaluateOutlined({ steps, parts, outputs }: Outlined, given: readonly string[]): (string | undefined)[] {
  const tensors: Tensors = [...given];
  for (const entry of steps) {
    const made = 'step' in entry ? entry.step : entry.call;
    if ([...made.inputs, ...(made.after ?? [])].some((tensor) => tensors[tensor] === undefined))
      throw new Error(`Position ${entry.position} comes before what it takes or waits for.`);
    const results =
      'step' in entry
        ? compute(entry.step, tensors)
        : evaluate(
            parts[entry.call.part] as Program,
            entry.call.inputs.map((tensor) => tensors[tensor]),
          );
    if (results.length !== made.outputs) throw new Error(`Position ${entry.position} has ${results.length} results.`);
    results.forEach((result, offset) => (tensors[made.firstOutput + offset] = result));
  }
  return outputs.map((tensor) => tensors[tensor]);
}

/** Outlines a program, sees that it computes the same, and gives it. */
function outlined(program: Program): Outlined | null {
  const made = outline(program, limits);
  if (made === null) return null;
  const given = program.inputTypes.map((_, input) => `input${input}`);
  expect(evaluateOutlined(made, given)).toEqual(evaluate(program, given));
  // Every step is there once, in the order in which it was.
  const positions = made.steps.flatMap((entry) =>
    'step' in entry
      ? [entry.position]
      : (made.parts[entry.call.part]?.steps ?? []).map((_, offset) => entry.position + offset),
  );
  expect(positions).toEqual(program.steps.map((_, position) => position));
  return made;
}

const calls = ({ steps }: Outlined) => steps.flatMap((entry) => ('call' in entry ? [entry.call] : []));

/**
 * Layers of six operations that end in a sum with what came in; `weight` says which tensor a layer takes at each of two
 * places.
 */
const layers = (count: number, inputs: number, weight: (layer: number) => readonly [number, number]): Operation[] =>
  Array.from({ length: count }, (_, layer): Operation[] => {
    const first = inputs + 6 * layer;
    const x = layer === 0 ? 0 : first - 1;
    const [a, b] = weight(layer);
    return [
      [kernels[0], [x]],
      [kernels[1], [first, a]],
      [kernels[2], [first + 1]],
      [kernels[3], [first + 2, b]],
      [kernels[4], [first + 3]],
      [kernels[5], [x, first + 4]],
    ];
  }).flat();

describe('outline', () => {
  test('layers become calls of one part, cut where one result goes on to the next', () => {
    const made = outlined(
      programOf(
        9,
        layers(4, 9, (layer) => [1 + 2 * layer, 2 + 2 * layer]),
        (last) => [last],
      ),
    );
    expect(made?.parts).toHaveLength(1);
    expect(made?.parts[0]).toMatchObject({ inputTypes: ['float32', 'float32', 'float32'], outputs: [3 + 5] });
    expect(calls(made as Outlined).map(({ inputs, outputs }) => [inputs.length, outputs])).toEqual([
      [3, 1],
      [3, 1],
      [3, 1],
      [3, 1],
    ]);
    expect(made?.steps).toHaveLength(4);
  });

  test('what one layer takes twice and another does not is two inputs; what all share is one', () => {
    const shared = outlined(
      programOf(
        9,
        layers(4, 9, () => [1, 1]),
        (last) => [last],
      ),
    );
    expect(shared?.parts[0]?.inputTypes).toHaveLength(2);
    const once = outlined(
      programOf(
        9,
        layers(4, 9, (layer) => (layer === 2 ? [3, 3] : [1, 2])),
        (last) => [last],
      ),
    );
    expect(once?.parts[0]?.inputTypes).toHaveLength(3);
    expect(calls(once as Outlined)[2]?.inputs.slice(1)).toEqual([3, 3]);
  });

  test('a result that one layer leaves to others, or to the program, is an output of all', () => {
    // The second result of the second layer, and the third one of the third.
    const [toOther, toProgram] = [9 + 6 + 1, 9 + 12 + 2];
    const made = outlined(
      programOf(9, [...layers(4, 9, () => [1, 2]), [kernels[6], [toOther]]], (last) => [
        last - 1,
        toProgram,
        last,
        toProgram,
      ]),
    );
    expect(made?.parts[0]?.outputs).toHaveLength(3);
    expect(made?.steps).toHaveLength(5);
  });

  test('what is left at the end, what has effects and what is there twice stay as they are', () => {
    const made = outlined(programOf(9, layers(4, 9, () => [1, 2]).slice(0, -2), (last) => [last]));
    expect(made?.steps.map((entry) => 'call' in entry)).toEqual([true, true, true, false, false, false, false]);
    const withEffects = layers(4, 9, () => [1, 2]).map(([op, inputs]): Operation => [
      op === kernels[2] ? effect : op,
      inputs,
    ]);
    expect(outlined(programOf(9, withEffects, (last) => [last]))).toBeNull();
    expect(
      outlined(
        programOf(
          9,
          layers(2, 9, () => [1, 2]),
          (last) => [last],
        ),
      ),
    ).toBeNull();
  });

  test('sums that have nothing to do with one another stay: calls would take more than they save', () => {
    const sums = Array.from({ length: 40 }, (_, index): Operation => [kernels[0], [index, index + 1]]);
    expect(outlined(programOf(41, sums, (last) => Array.from({ length: 40 }, (_, index) => last - index)))).toBeNull();
  });

  test('the order of waiting is kept: within a layer by its steps, from outside by its call', () => {
    const waiting = layers(4, 9, () => [1, 2]).map(([op, inputs], position): Operation => {
      const first = 9 + position - (position % 6);
      if (position % 6 === 4) return [op, inputs, { after: [first + 1] }];
      return position % 6 === 3 ? [op, inputs, { after: [position < 6 ? 8 : first - 3] }] : [op, inputs];
    });
    const made = outlined(programOf(9, waiting, (last) => [last]));
    expect(made?.parts[0]?.steps.map(({ after }) => after?.length ?? 0).toSorted((a, b) => a - b)).toEqual([
      0, 0, 0, 0, 0, 1,
    ]);
    expect(calls(made as Outlined).map(({ after }) => after?.length)).toEqual([1, 1, 1, 1]);
  });

  test('two runs of the same layers share a part', () => {
    const one = layers(4, 9, () => [1, 2]);
    const other = one.map(([op, inputs]): Operation => [
      op,
      inputs.map((tensor) => (tensor < 9 ? tensor : tensor + 26)),
    ]);
    const made = outlined(
      programOf(9, [...one, [kernels[8], [3]], [kernels[9], [4]], ...other], (last) => [last, 9 + 23]),
    );
    expect(made?.parts).toHaveLength(1);
    expect(calls(made as Outlined)).toHaveLength(8);
  });

  test('any program computes the same outlined', () => {
    let found = 0;
    for (let seed = 1; seed <= 150; seed++) {
      const roll = dice(seed);
      const inputs = 4;
      const operations: Operation[] = [];
      let next = inputs;
      const add = (
        op: Kernel | undefined,
        operands: readonly number[],
        outputs: number,
        after?: readonly number[],
      ): void => {
        operations.push([op, operands, after === undefined ? { outputs } : { outputs, after }]);
        next += outputs;
      };
      for (let run = 0; run < 2; run++) {
        for (let step = roll(4); step > 0; step--) add(kernels[roll(12)], [roll(next)], 1);
        // What the steps of a layer take: a result of the layer, or anything from outside of it.
        const layer = Array.from({ length: 5 + roll(6) }, (_, step) => ({
          op: kernels[roll(12)],
          outputs: 1 + roll(2),
          waits: roll(6),
          operands: Array.from({ length: 1 + roll(3) }, () => (step > 0 && roll(3) > 0 ? roll(step) : -1)),
        }));
        for (let repetition = roll(7); repetition > 0; repetition--) {
          const firsts: number[] = [];
          const outside = next;
          for (const { op, outputs, operands, waits } of layer) {
            const after =
              waits === 0 ? [roll(outside)] : waits === 1 && firsts.length > 0 ? [firsts.at(-1) ?? 0] : undefined;
            firsts.push(next);
            add(
              op,
              operands.map((step) => (step < 0 ? Math.max(0, outside - 1 - roll(outside)) : (firsts[step] ?? 0))),
              outputs,
              after,
            );
          }
        }
      }
      if (operations.length === 0) continue;
      const leaving = Array.from({ length: 1 + roll(8) }, () => roll(next));
      if (outlined(programOf(inputs, operations, (last) => [last, ...leaving])) !== null) found++;
    }
    expect(found).toBeGreaterThan(75);
  });
});
