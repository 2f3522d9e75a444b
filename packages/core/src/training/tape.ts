import { engine, tidy, util, type Scalar, type Tensor } from '@tensorflow/tfjs-core';
import { WhetstoneError } from '../contract/errors.js';

/** One operation that was recorded for its gradient. */
export type TapeNode = ReturnType<typeof engine>['state']['activeTape'][number];

export interface Taped {
  /** What was computed. */
  readonly value: Scalar;
  readonly tape: readonly TapeNode[];
  /** Frees what an operation saved, once its gradient is made or not asked for. */
  release(node: TapeNode): void;
  /** Frees the value and what the operations saved. */
  dispose(): void;
}

/** Runs a function with tfjs-core's gradient tape on. Where it throws, nothing of the tape stays. */
export function recordTape(compute: () => Scalar): Taped {
  const { state } = engine();
  // Within another tape (a gradient of a gradient) the operations are that one's, too.
  const isOutermost = state.gradientDepth === 0;
  if (isOutermost) state.activeTape = [];
  state.gradientDepth++;
  const release = ({ saved }: TapeNode): void => {
    if (isOutermost) for (const tensor of saved ?? []) tensor.dispose();
  };
  const disposeSaved = (): void => {
    if (!isOutermost) return;
    for (const node of state.activeTape) release(node);
    state.activeTape = [];
  };
  try {
    const value = tidy('forward', compute);
    return {
      value,
      tape: state.activeTape,
      release,
      dispose: () => {
        value.dispose();
        disposeSaved();
      },
    };
  } catch (error) {
    disposeSaved();
    throw error;
  } finally {
    state.gradientDepth--;
  }
}

/** An operation between sources and value, with those of its inputs that depend on a source. */
interface PathNode {
  readonly node: TapeNode;
  readonly inputs: readonly (readonly [name: string, tensor: Tensor])[];
}

/**
 * The operations that lead from any of the sources to the value, in the order in which they ran. tfjs-core's own search
 * takes as many looks at each operation as there are sources: a tenth of the time that recording a step with some
 * hundred adapters takes.
 */
export function pathsBetween(
  tape: readonly TapeNode[],
  sources: readonly Tensor[],
  value: Tensor,
): readonly PathNode[] {
  const leadsToValue = new Set([value.id]);
  const needed = new Set<TapeNode>();
  for (let index = tape.length - 1; index >= 0; index--) {
    const node = tape[index] as TapeNode;
    if (!node.outputs.some(({ id }) => leadsToValue.has(id))) continue;
    needed.add(node);
    for (const name in node.inputs) leadsToValue.add((node.inputs[name] as Tensor).id);
  }
  const fromSource = new Set(sources.map(({ id }) => id));
  const paths: PathNode[] = [];
  for (const node of tape) {
    const inputs: (readonly [string, Tensor])[] = [];
    for (const name in node.inputs) {
      const tensor = node.inputs[name] as Tensor;
      if (fromSource.has(tensor.id)) inputs.push([name, tensor]);
    }
    if (inputs.length === 0) continue;
    for (const { id } of node.outputs) fromSource.add(id);
    if (needed.has(node)) paths.push({ node, inputs });
  }
  return paths;
}

/** Gradients by tensor id, each freed when nothing holds it any more: several tensors may have one and the same. */
class Gradients {
  readonly byTensor = new Map<number, Tensor>();
  private readonly holders = new Map<Tensor, number>();

  set(id: number, gradient: Tensor): void {
    this.drop(id);
    this.byTensor.set(id, gradient);
    this.holders.set(gradient, (this.holders.get(gradient) ?? 0) + 1);
  }

  drop(id: number): void {
    const gradient = this.byTensor.get(id);
    if (gradient === undefined) return;
    this.byTensor.delete(id);
    const left = (this.holders.get(gradient) ?? 0) - 1;
    this.holders.set(gradient, left);
    this.freeUnheld(gradient);
  }

  freeUnheld(gradient: Tensor): void {
    if ((this.holders.get(gradient) ?? 0) > 0) return;
    this.holders.delete(gradient);
    gradient.dispose();
  }
}

/**
 * Gradients by tensor id, the last operation first; several of one tensor are added up in that order, as tfjs-core
 * does. Call inside `tf.tidy`. A gradient that an operation has passed on is freed: what is handed to a device in the
 * middle of it gives back only what is still needed.
 *
 * @param gradient the gradient of the value; freed
 * @param done told of every operation whose gradient is made
 */
export function backpropagate(
  paths: readonly PathNode[],
  value: Tensor,
  gradient: Tensor,
  add: (a: Tensor, b: Tensor) => Tensor,
  done: (node: TapeNode) => void,
): ReadonlyMap<number, Tensor> {
  const gradients = new Gradients();
  gradients.set(value.id, gradient);
  for (let index = paths.length - 1; index >= 0; index--) {
    const { node, inputs } = paths[index] as PathNode;
    const made = tidy(() => gradientsOfInputs(node, inputs, gradients.byTensor));
    inputs.forEach(([, tensor], position) => {
      const more = made[position] as Tensor;
      const before = gradients.byTensor.get(tensor.id);
      gradients.set(tensor.id, before === undefined ? more : add(before, more));
      gradients.freeUnheld(more);
    });
    for (const { id } of node.outputs) gradients.drop(id);
    done(node);
  }
  return gradients.byTensor;
}

/** The gradients of an operation's inputs, from those of its outputs. */
function gradientsOfInputs(node: TapeNode, inputs: PathNode['inputs'], known: ReadonlyMap<number, Tensor>): Tensor[] {
  // An output that nothing depends on has no gradient: tfjs-core's own function puts zeros there.
  const given = node.outputs.map(({ id }) => known.get(id) ?? null) as Tensor[];
  const made = node.gradient?.(given);
  if (made === undefined) throw new WhetstoneError('INTERNAL', `The operation ${node.kernelName} has no gradient.`);
  return inputs.map(([name, tensor]) => {
    const make = made[name];
    if (make === undefined)
      throw new WhetstoneError(
        'INTERNAL',
        `The operation ${node.kernelName} has no gradient with respect to its input ${name}.`,
      );
    const gradient = make();
    if (gradient.dtype === 'float32' && util.arraysEqual(gradient.shape, tensor.shape)) return gradient;
    throw new WhetstoneError(
      'INTERNAL',
      `The gradient of ${node.kernelName} with respect to its input ${name} is not of its shape.`,
      { expected: `float32 [${tensor.shape.join(', ')}]`, found: `${gradient.dtype} [${gradient.shape.join(', ')}]` },
    );
  });
}
