import { fnv1a } from '@whetstone/core/util';
import { describe, expect, test } from 'vitest';
import type { Kernel } from '../kernels/kernel.js';
import { extractFunctions, type ExtractedProgram } from './function-extraction.js';
import type { Program, Step } from './program.js';
import { seededIntegers } from './test-support.js';

const limits = { minPeriod: 5, minCount: 3, minSaved: 10 };

const kernel = (name: string, more: Partial<Kernel> = {}): Kernel => ({
  name,
  inputs: 'list',
  rule: () => ({ outputs: [] }),
  tensorflow: (_, inputs) => inputs,
  ...more,
});
const kernels = Array.from({ length: 12 }, (_, index) => kernel(`op${index}`));
const sideEffect = kernel('effect', { hasSideEffects: true });

type Operation = readonly [
  kernel: Kernel | undefined,
  inputs: readonly number[],
  options?: { readonly outputs?: number; readonly controlInputs?: readonly number[] },
];

/** Returns a program with `inputs` inputs. Operations refer to tensors by number. */
function programOf(
  inputs: number,
  operations: readonly Operation[],
  outputs: (last: number) => readonly number[],
): Program {
  let next = inputs;
  const steps = operations.map(([op = sideEffect, operands, { outputs: count = 1, controlInputs } = {}]): Step => {
    const step: Step = {
      kernel: op,
      parameters: [],
      inputs: operands,
      tensorInputs: operands.length,
      firstOutput: next,
      outputs: count,
      controlInputs,
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

/** Returns a text for each result of a step. Throws if an input or control input does not exist yet. */
function compute({ kernel: { name }, inputs, outputs, controlInputs = [] }: Step, tensors: Tensors): string[] {
  const operands = [...inputs, ...controlInputs].map((tensor) => tensors[tensor]);
  if (operands.includes(undefined)) throw new Error(`${name} runs before one of its inputs.`);
  // Hashed, because the text would grow with every step.
  const call = `${name}(${operands.slice(0, inputs.length).join()})`;
  const hash = fnv1a(Array.from(call, (character) => character.charCodeAt(0)));
  return Array.from({ length: outputs }, (_, output) => `${hash}.${output}`);
}

function evaluate({ steps, outputs }: Program, given: readonly (string | undefined)[]): (string | undefined)[] {
  const tensors: Tensors = [...given];
  for (const step of steps)
    compute(step, tensors).forEach((result, offset) => (tensors[step.firstOutput + offset] = result));
  return outputs.map((tensor) => tensors[tensor]);
}

function evaluateExtracted(
  { steps, functions, outputs }: ExtractedProgram,
  given: readonly string[],
): (string | undefined)[] {
  const tensors: Tensors = [...given];
  for (const entry of steps) {
    const made = 'step' in entry ? entry.step : entry.call;
    if ([...made.inputs, ...(made.controlInputs ?? [])].some((tensor) => tensors[tensor] === undefined))
      throw new Error(`Position ${entry.position} runs before one of its inputs.`);
    const results =
      'step' in entry
        ? compute(entry.step, tensors)
        : evaluate(
            functions[entry.call.callee] as Program,
            entry.call.inputs.map((tensor) => tensors[tensor]),
          );
    if (results.length !== made.outputs) throw new Error(`Position ${entry.position} has ${results.length} results.`);
    results.forEach((result, offset) => (tensors[made.firstOutput + offset] = result));
  }
  return outputs.map((tensor) => tensors[tensor]);
}

/** Extracts functions and checks that the program still computes the same. */
function extract(program: Program): ExtractedProgram | null {
  const made = extractFunctions(program, limits);
  if (made === null) return null;
  const given = program.inputTypes.map((_, input) => `input${input}`);
  expect(evaluateExtracted(made, given)).toEqual(evaluate(program, given));
  // Every step occurs once, in the original order.
  const positions = made.steps.flatMap((entry) =>
    'step' in entry
      ? [entry.position]
      : (made.functions[entry.call.callee]?.steps ?? []).map((_, offset) => entry.position + offset),
  );
  expect(positions).toEqual(program.steps.map((_, position) => position));
  return made;
}

const calls = ({ steps }: ExtractedProgram) => steps.flatMap((entry) => ('call' in entry ? [entry.call] : []));

/**
 * Returns layers of six operations, the last of which adds the layer's input. `weight` returns the tensors of a layer's
 * two weights.
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

describe('extractFunctions', () => {
  test('layers become calls of one function, cut where one result crosses', () => {
    const made = extract(
      programOf(
        9,
        layers(4, 9, (layer) => [1 + 2 * layer, 2 + 2 * layer]),
        (last) => [last],
      ),
    );
    expect(made?.functions).toHaveLength(1);
    expect(made?.functions[0]).toMatchObject({ inputTypes: ['float32', 'float32', 'float32'], outputs: [3 + 5] });
    expect(calls(made as ExtractedProgram).map(({ inputs, outputs }) => [inputs.length, outputs])).toEqual([
      [3, 1],
      [3, 1],
      [3, 1],
      [3, 1],
    ]);
    expect(made?.steps).toHaveLength(4);
  });

  test('operands that are equal in only some layers are two inputs, a shared operand is one', () => {
    const shared = extract(
      programOf(
        9,
        layers(4, 9, () => [1, 1]),
        (last) => [last],
      ),
    );
    expect(shared?.functions[0]?.inputTypes).toHaveLength(2);
    const once = extract(
      programOf(
        9,
        layers(4, 9, (layer) => (layer === 2 ? [3, 3] : [1, 2])),
        (last) => [last],
      ),
    );
    expect(once?.functions[0]?.inputTypes).toHaveLength(3);
    expect(calls(once as ExtractedProgram)[2]?.inputs.slice(1)).toEqual([3, 3]);
  });

  test('a result of one layer that is used outside is an output of every call', () => {
    // The second result of the second layer and the third result of the third layer.
    const [usedLater, returned] = [9 + 6 + 1, 9 + 12 + 2];
    const made = extract(
      programOf(9, [...layers(4, 9, () => [1, 2]), [kernels[6], [usedLater]]], (last) => [
        last - 1,
        returned,
        last,
        returned,
      ]),
    );
    expect(made?.functions[0]?.outputs).toHaveLength(3);
    expect(made?.steps).toHaveLength(5);
  });

  test('incomplete layers, steps with side effects and segments that occur twice stay', () => {
    const made = extract(programOf(9, layers(4, 9, () => [1, 2]).slice(0, -2), (last) => [last]));
    expect(made?.steps.map((entry) => 'call' in entry)).toEqual([true, true, true, false, false, false, false]);
    const withSideEffects = layers(4, 9, () => [1, 2]).map(([op, inputs]): Operation => [
      op === kernels[2] ? sideEffect : op,
      inputs,
    ]);
    expect(extract(programOf(9, withSideEffects, (last) => [last]))).toBeNull();
    expect(
      extract(
        programOf(
          9,
          layers(2, 9, () => [1, 2]),
          (last) => [last],
        ),
      ),
    ).toBeNull();
  });

  test('unconnected sums stay, because calls would cost more than they save', () => {
    const sums = Array.from({ length: 40 }, (_, index): Operation => [kernels[0], [index, index + 1]]);
    expect(extract(programOf(41, sums, (last) => Array.from({ length: 40 }, (_, index) => last - index)))).toBeNull();
  });

  test('control inputs within a layer belong to its steps, those from outside to its call', () => {
    const controlled = layers(4, 9, () => [1, 2]).map(([op, inputs], position): Operation => {
      const first = 9 + position - (position % 6);
      if (position % 6 === 4) return [op, inputs, { controlInputs: [first + 1] }];
      return position % 6 === 3 ? [op, inputs, { controlInputs: [position < 6 ? 8 : first - 3] }] : [op, inputs];
    });
    const made = extract(programOf(9, controlled, (last) => [last]));
    expect(
      made?.functions[0]?.steps.map(({ controlInputs }) => controlInputs?.length ?? 0).toSorted((a, b) => a - b),
    ).toEqual([0, 0, 0, 0, 0, 1]);
    expect(calls(made as ExtractedProgram).map(({ controlInputs }) => controlInputs?.length)).toEqual([1, 1, 1, 1]);
  });

  test('two sequences of the same layers share a function', () => {
    const one = layers(4, 9, () => [1, 2]);
    const other = one.map(([op, inputs]): Operation => [
      op,
      inputs.map((tensor) => (tensor < 9 ? tensor : tensor + 26)),
    ]);
    const made = extract(
      programOf(9, [...one, [kernels[8], [3]], [kernels[9], [4]], ...other], (last) => [last, 9 + 23]),
    );
    expect(made?.functions).toHaveLength(1);
    expect(calls(made as ExtractedProgram)).toHaveLength(8);
  });

  test('random programs compute the same with functions', () => {
    let found = 0;
    for (let seed = 1; seed <= 150; seed++) {
      const roll = seededIntegers(seed);
      const inputs = 4;
      const operations: Operation[] = [];
      let next = inputs;
      const add = (
        op: Kernel | undefined,
        operands: readonly number[],
        outputs: number,
        controlInputs?: readonly number[],
      ): void => {
        operations.push([op, operands, { outputs, controlInputs }]);
        next += outputs;
      };
      for (let run = 0; run < 2; run++) {
        for (let step = roll(4); step > 0; step--) add(kernels[roll(12)], [roll(next)], 1);
        // Operands of a layer's steps are results of the layer or tensors from outside.
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
            const controlInputs =
              waits === 0 ? [roll(outside)] : waits === 1 && firsts.length > 0 ? [firsts.at(-1) ?? 0] : undefined;
            firsts.push(next);
            add(
              op,
              operands.map((step) => (step < 0 ? Math.max(0, outside - 1 - roll(outside)) : (firsts[step] ?? 0))),
              outputs,
              controlInputs,
            );
          }
        }
      }
      if (operations.length === 0) continue;
      const leaving = Array.from({ length: 1 + roll(8) }, () => roll(next));
      if (extract(programOf(inputs, operations, (last) => [last, ...leaving])) !== null) found++;
    }
    expect(found).toBeGreaterThan(75);
  });
});
