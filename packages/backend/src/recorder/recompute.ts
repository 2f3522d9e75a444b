import type { RecordedNode } from './graph.js';
import type { Program, Step } from './program.js';
import type { Value } from './value.js';

/** Operations between two uses of a result that make keeping it in between the greater cost. A transformer's layer has about a hundred, both ways. */
const FAR = 100;

/** One pass over memory: what these give is computed again rather than kept. */
const cheap = new Set(['Multiply', 'WhetstoneGatedActivation']);

/**
 * Cheap results that need not leave the first part of a recording though they are held: the rest computes them from operands that it is given anyway. Those that
 * nothing in this part used are due now.
 */
export function cheapToRepeat(nodes: readonly RecordedNode[]): ReadonlySet<Value> {
  const used = new Set(nodes.flatMap(({ inputs }) => inputs));
  const repeated = new Set<Value>();
  for (const { kernel, inputs, outputs } of nodes) {
    const [output] = outputs;
    if (output === undefined || !cheap.has(kernel.name) || !used.has(output) || output.references === 0) continue;
    if (inputs.every((input) => !repeated.has(input) && (input.node === null || input.references > 0))) repeated.add(output);
  }
  return repeated;
}

/**
 * Computes cheap results a second time where they are used much later again, as gradients do, instead of keeping them all the while. Only those whose
 * operands are kept anyway: else one tensor would be kept for another. The second computation waits for an operand of the operation that needs it, so that
 * it neither runs early nor is merged with the first; it is the same operation on the same operands and gives the same bits.
 */
export function recomputeCheap(program: Program): Program {
  const { steps, types, inputTypes } = program;
  const leaving = new Set(program.outputs);
  const producers = new Map<number, number>();
  const uses = new Map<number, number[]>();
  steps.forEach((step, position) => {
    for (let output = 0; output < step.outputs; output++) producers.set(step.firstOutput + output, position);
    for (const input of step.inputs) uses.set(input, [...(uses.get(input) ?? []), position]);
  });
  const isKept = (tensor: number, until: number): boolean => tensor < inputTypes.length || leaving.has(tensor) || (uses.get(tensor)?.at(-1) ?? -1) >= until;

  const allTypes = [...types];
  /** Before a step: what is computed again for it. */
  const again = new Map<number, { readonly step: Step; readonly of: number }[]>();
  /** For a result: from which step on it goes by which number. */
  const renamed = new Map<number, { readonly from: number; readonly to: number }>();
  steps.forEach((step, position) => {
    const result = step.firstOutput;
    if (!cheap.has(step.kernel.name) || step.outputs !== 1 || leaving.has(result)) return;
    const first = uses.get(result)?.find((use) => use - position > FAR);
    if (first === undefined) return;
    const after = waitsFor(first, result, position + FAR);
    if (after === null || !step.inputs.every((input) => isKept(input, first))) return;
    const to = allTypes.length;
    allTypes.push(types[result] ?? 'float32');
    renamed.set(result, { from: first, to });
    again.set(first, [...(again.get(first) ?? []), { step: { ...step, firstOutput: to, after: [after] }, of: position }]);
  });
  if (renamed.size === 0) return program;

  const made: Step[] = [];
  const positions: number[] = [];
  const positionOf = (position: number): number => program.positions?.[position] ?? position;
  steps.forEach((step, position) => {
    for (const { step: copy, of } of again.get(position) ?? []) {
      made.push({ ...copy, inputs: copy.inputs.map((input) => nameAt(input, position)) });
      positions.push(positionOf(of));
    }
    made.push({ ...step, inputs: step.inputs.map((input) => nameAt(input, position)) });
    positions.push(positionOf(position));
  });
  return { ...program, steps: made, positions, types: allTypes };

  function nameAt(tensor: number, position: number): number {
    const other = renamed.get(tensor);
    return other !== undefined && position >= other.from ? other.to : tensor;
  }

  /** The operand of a step, other than `result`, that comes last, where it comes after `earliest`. */
  function waitsFor(position: number, result: number, earliest: number): number | null {
    let chosen: number | null = null;
    let latest = earliest;
    for (const input of steps[position]?.inputs ?? []) {
      const producer = input === result ? undefined : producers.get(input);
      if (producer === undefined || producer <= latest) continue;
      latest = producer;
      chosen = input;
    }
    return chosen;
  }
}
