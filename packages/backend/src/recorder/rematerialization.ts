import { producersOf, type Program, type Step } from './program.js';
import type { RecordedNode, Value } from './value.js';

/** Operations between two uses from which on a result is recomputed. A transformer layer has about fifty. */
const MIN_DISTANCE = 50;

/** Uses from which on an operand is kept anyway, such as the attention mask of all layers. */
const SHARED_USES = 4;

/** Kernels that take one pass over memory. Their results are recomputed rather than kept. */
const cheap: ReadonlySet<string> = new Set(['Multiply', 'WhetstoneGatedActivation']);

/** Kernels that are recomputed if memory matters more. Attention weights grow with the square of the length. */
const costly: ReadonlySet<string> = new Set([...cheap, 'WhetstoneAttention']);

/** Kernels that only rearrange numbers. Their results are recomputed together with their operand. */
const rearranging: ReadonlySet<string> = new Set(['Reshape', 'Transpose', 'WhetstoneJoinHeads']);

/**
 * Returns held results that the first segment of a recording need not keep, because the rest can recompute them from
 * operands that it needs anyway. Results that no operation has used yet are needed now.
 */
export function recomputableResults(nodes: readonly RecordedNode[]): ReadonlySet<Value> {
  const used = new Set(nodes.flatMap(({ inputs }) => inputs));
  const recomputable = new Set<Value>();
  for (const { kernel, inputs, outputs } of nodes) {
    const [output] = outputs;
    if (output === undefined || !cheap.has(kernel.name) || !used.has(output) || output.references === 0) continue;
    if (inputs.every((input) => !recomputable.has(input) && (input.node === null || input.references > 0)))
      recomputable.add(output);
  }
  return recomputable;
}

/**
 * Recomputes cheap results before a distant use, such as a gradient, instead of keeping them. This is limited to
 * results whose operands are kept anyway: otherwise one tensor would be kept instead of another. A control input keeps
 * the second computation from running early or being merged with the first. Operation and operands are the same, and so
 * are the bits.
 *
 * @param recomputeAttention whether attention is recomputed too
 */
export function rematerialize(program: Program, recomputeAttention = false): Program {
  const usage = analyse(program, recomputeAttention ? costly : cheap);
  const recomputations = findRecomputations(usage);
  return recomputations.size === 0 ? program : insertRecomputations(program, recomputations);
}

/** How the tensors of a program are used. */
interface Usage {
  readonly program: Program;
  readonly recomputable: ReadonlySet<string>;
  readonly producers: Int32Array;
  /** For each tensor, the positions of the steps that use it, ascending. */
  readonly uses: ReadonlyMap<number, readonly number[]>;
  /** Tensors that the program returns. */
  readonly returned: ReadonlySet<number>;
}

/** A second computation of a step. */
interface Recomputation {
  /** Position of the step before which it happens. */
  readonly before: number;
  /** Tensor that must exist before it happens. */
  readonly controlInput: number;
}

function analyse(program: Program, recomputable: ReadonlySet<string>): Usage {
  const uses = new Map<number, number[]>();
  program.steps.forEach((step, position) => {
    for (const input of step.inputs) {
      const positions = uses.get(input);
      if (positions === undefined) uses.set(input, [position]);
      else positions.push(position);
    }
  });
  return { program, recomputable, producers: producersOf(program), uses, returned: new Set(program.outputs) };
}

const stepAt = ({ program }: Usage, position: number): Step => program.steps[position] as Step;

const outputsOf = ({ firstOutput, outputs }: Step): number[] =>
  Array.from({ length: outputs }, (_, index) => firstOutput + index);

/** Returns the steps to compute again, by position. */
function findRecomputations(usage: Usage): Map<number, Recomputation> {
  const found = new Map<number, Recomputation>();
  // Backwards, so that all uses of a result are known.
  for (let position = usage.program.steps.length - 1; position >= 0; position--) {
    const recomputation = found.get(position) ?? firstDistantUse(usage, position);
    if (recomputation === null || !isRecomputable(usage, position, recomputation.before)) continue;
    found.set(position, recomputation);
    const source = sourceOf(usage, stepAt(usage, position));
    if (source < 0) continue;
    const own = found.get(source) ?? firstDistantUse(usage, source);
    found.set(source, own !== null && own.before <= recomputation.before ? own : recomputation);
  }
  return found;
}

/** Returns the program with second computations, which later steps use instead of the first. */
function insertRecomputations(program: Program, recomputations: ReadonlyMap<number, Recomputation>): Program {
  const { steps } = program;
  const types = [...program.types];
  /** For a result, the position from which on it has another number. */
  const renamed = new Map<number, { readonly from: number; readonly to: number }>();
  const copies = new Map<number, { readonly step: Step; readonly original: number }[]>();
  for (const [position, { before, controlInput }] of [...recomputations].toSorted(([a], [b]) => a - b)) {
    const step = steps[position] as Step;
    const firstOutput = types.length;
    outputsOf(step).forEach((output, index) => {
      types.push(program.types[output] ?? 'float32');
      renamed.set(output, { from: before, to: firstOutput + index });
    });
    const copy = { step: { ...step, firstOutput, controlInputs: [controlInput] }, original: position };
    copies.set(before, [...(copies.get(before) ?? []), copy]);
  }

  const numberAt = (tensor: number, position: number): number => {
    const other = renamed.get(tensor);
    return other !== undefined && position >= other.from ? other.to : tensor;
  };
  const newSteps: Step[] = [];
  const positions: number[] = [];
  const append = (step: Step, position: number, original: number): void => {
    newSteps.push({ ...step, inputs: step.inputs.map((input) => numberAt(input, position)) });
    positions.push(program.positions?.[original] ?? original);
  };
  steps.forEach((step, position) => {
    for (const { step: copy, original } of copies.get(position) ?? []) append(copy, position, original);
    append(step, position, position);
  });
  return { ...program, steps: newSteps, positions, types };
}

/** Returns whether a tensor exists until a position anyway. */
function isKept({ program, returned, uses }: Usage, tensor: number, until: number): boolean {
  const positions = uses.get(tensor) ?? [];
  return (
    tensor < program.inputTypes.length ||
    returned.has(tensor) ||
    positions.length >= SHARED_USES ||
    (positions.at(-1) ?? -1) >= until
  );
}

/** Returns the position of the step whose result a step rearranges. −1 if the step does not rearrange a result. */
function sourceOf({ producers }: Usage, { kernel, inputs: [operand = -1] }: Step): number {
  return rearranging.has(kernel.name) ? (producers[operand] ?? -1) : -1;
}

/** Returns the first distant use of a step's results, if that use has another operand to wait for. */
function firstDistantUse(usage: Usage, position: number): Recomputation | null {
  const results = outputsOf(stepAt(usage, position));
  const before = Math.min(
    ...results.map((result) => usage.uses.get(result)?.find((use) => use - position > MIN_DISTANCE) ?? Infinity),
  );
  const controlInput = before === Infinity ? null : latestOperand(usage, before, results, position + MIN_DISTANCE);
  return controlInput === null ? null : { before, controlInput };
}

/** Returns whether a step can be computed again before a position, because its operands, or its source's, are kept. */
function isRecomputable(usage: Usage, position: number, before: number): boolean {
  for (let current = position; current >= 0;) {
    const step = stepAt(usage, current);
    if (outputsOf(step).some((output) => usage.returned.has(output))) return false;
    if (usage.recomputable.has(step.kernel.name)) return step.inputs.every((input) => isKept(usage, input, before));
    current = sourceOf(usage, step);
  }
  return false;
}

/** Returns a step's operand that is computed last, other than `results`, if that happens after `earliest`. */
function latestOperand(usage: Usage, position: number, results: readonly number[], earliest: number): number | null {
  let chosen: number | null = null;
  let latest = earliest;
  for (const input of stepAt(usage, position).inputs) {
    const producer = results.includes(input) ? -1 : (usage.producers[input] ?? -1);
    if (producer <= latest) continue;
    latest = producer;
    chosen = input;
  }
  return chosen;
}
