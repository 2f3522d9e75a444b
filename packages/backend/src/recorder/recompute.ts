import { producersOf, type Program, type Step } from './program.js';
import type { RecordedNode, Value } from './value.js';

/**
 * Operations between two uses of a result that make keeping it in between the greater cost. A transformer's layer has
 * about fifty, both ways.
 */
const FAR = 50;

/** Uses from which on an operand is worth keeping for all of them: the mask of all layers' attention. */
const SHARED = 4;

/** One pass over memory: what these give is computed again rather than kept. */
const cheap = new Set(['Multiply', 'WhetstoneGatedActivation']);

/** What costs some time to compute again, and is much to keep: the weights of attention are squares of the length. */
const dear = new Set([...cheap, 'WhetstoneAttention']);

/** The same numbers in another order or shape: computed again where what they are made of is. */
const rearranging = new Set(['Reshape', 'Transpose', 'WhetstoneJoinHeads']);

/**
 * Cheap results that need not leave the first part of a recording though they are held: the rest computes them from
 * operands that it is given anyway. Those that nothing in this part used are due now.
 */
export function cheapToRepeat(nodes: readonly RecordedNode[]): ReadonlySet<Value> {
  const used = new Set(nodes.flatMap(({ inputs }) => inputs));
  const repeated = new Set<Value>();
  for (const { kernel, inputs, outputs } of nodes) {
    const [output] = outputs;
    if (output === undefined || !cheap.has(kernel.name) || !used.has(output) || output.references === 0) continue;
    if (inputs.every((input) => !repeated.has(input) && (input.node === null || input.references > 0)))
      repeated.add(output);
  }
  return repeated;
}

/**
 * Computes cheap results a second time where they are used much later again, as gradients do, instead of keeping them
 * all the while. Only those whose operands are kept anyway: else one tensor would be kept for another. The second
 * computation waits for an operand of the operation that needs it, so that it neither runs early nor is merged with the
 * first; it is the same operation on the same operands and gives the same bits.
 *
 * @param thrifty whether attention is computed again, too
 */
export function recomputeCheap(program: Program, thrifty = false): Program {
  const { steps, types, inputTypes } = program;
  const repeatable = thrifty ? dear : cheap;
  const leaving = new Set(program.outputs);
  const stepAt = (position: number): Step => steps[position] as Step;
  const producers = producersOf(program);
  const uses = new Map<number, number[]>();
  steps.forEach((step, position) => {
    for (const input of step.inputs) uses.set(input, [...(uses.get(input) ?? []), position]);
  });
  const isKept = (tensor: number, until: number): boolean => {
    const places = uses.get(tensor) ?? [];
    return (
      tensor < inputTypes.length || leaving.has(tensor) || places.length >= SHARED || (places.at(-1) ?? -1) >= until
    );
  };

  /**
   * For a step that is computed again: before which one, and what it waits for. Users come before what they use, so
   * that all that they ask for is known.
   */
  const again = new Map<number, Repetition>();
  for (let position = steps.length - 1; position >= 0; position--) {
    const repetition = again.get(position) ?? firstFarUse(position);
    if (repetition === null || !isRepeatable(position, repetition.before)) continue;
    again.set(position, repetition);
    const { kernel, inputs } = stepAt(position);
    const source = sourceOf(kernel, inputs);
    if (source < 0) continue;
    const own = again.get(source) ?? firstFarUse(source);
    again.set(source, own !== null && own.before <= repetition.before ? own : repetition);
  }
  if (again.size === 0) return program;

  const allTypes = [...types];
  /** For a result: from which step on it goes by which number. */
  const renamed = new Map<number, { readonly from: number; readonly to: number }>();
  const copies = new Map<number, { readonly step: Step; readonly of: number }[]>();
  for (const [position, { before, after }] of [...again].toSorted(([a], [b]) => a - b)) {
    const step = stepAt(position);
    const firstOutput = allTypes.length;
    outputsOf(step).forEach((output, index) => {
      allTypes.push(types[output] ?? 'float32');
      renamed.set(output, { from: before, to: firstOutput + index });
    });
    copies.set(before, [
      ...(copies.get(before) ?? []),
      { step: { ...step, firstOutput, after: [after] }, of: position },
    ]);
  }

  const made: Step[] = [];
  const positions: number[] = [];
  const positionOf = (position: number): number => program.positions?.[position] ?? position;
  steps.forEach((step, position) => {
    for (const { step: copy, of } of copies.get(position) ?? []) {
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

  /** The step that makes what a step rearranges; -1 where it is an input, or the step does something else. */
  function sourceOf({ name }: Step['kernel'], [operand = -1]: Step['inputs']): number {
    return rearranging.has(name) ? (producers[operand] ?? -1) : -1;
  }

  /** Where a result of a step is first used far behind, if there is something that it can wait for. */
  function firstFarUse(position: number): Repetition | null {
    const results = outputsOf(stepAt(position));
    const before = Math.min(
      ...results.map((result) => uses.get(result)?.find((use) => use - position > FAR) ?? Infinity),
    );
    const after = before === Infinity ? null : waitsFor(before, results, position + FAR);
    return after === null ? null : { before, after };
  }

  /**
   * Whether a step may be computed again there: what it needs is kept until then. What only rearranges may be where
   * what it is made of may.
   */
  function isRepeatable(position: number, before: number): boolean {
    for (let made = position; made >= 0;) {
      const step = stepAt(made);
      if (outputsOf(step).some((output) => leaving.has(output))) return false;
      if (repeatable.has(step.kernel.name)) return step.inputs.every((input) => isKept(input, before));
      made = sourceOf(step.kernel, step.inputs);
    }
    return false;
  }

  /** The operand of a step, other than `results`, that comes last, where it comes after `earliest`. */
  function waitsFor(position: number, results: readonly number[], earliest: number): number | null {
    let chosen: number | null = null;
    let latest = earliest;
    for (const input of stepAt(position).inputs) {
      const producer = results.includes(input) ? -1 : (producers[input] ?? -1);
      if (producer <= latest) continue;
      latest = producer;
      chosen = input;
    }
    return chosen;
  }
}

/** A second computation: before which step, and after which tensor is there. */
interface Repetition {
  readonly before: number;
  readonly after: number;
}

const outputsOf = ({ firstOutput, outputs }: Step): number[] =>
  Array.from({ length: outputs }, (_, index) => firstOutput + index);
