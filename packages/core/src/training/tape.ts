import { engine, tidy, util, type Scalar, type Tensor } from '@tensorflow/tfjs-core';
import { WhetstoneError } from '../contract/errors.js';

/** One operation on the gradient tape. */
export type TapeNode = ReturnType<typeof engine>['state']['activeTape'][number];

/** A computed value and its gradient tape. */
export interface RecordedTape {
  readonly value: Scalar;
  readonly tape: readonly TapeNode[];
  /** Disposes the tensors that an operation saved, once its gradient is computed or not needed. */
  release(node: TapeNode): void;
  /** Disposes the value and all saved tensors. */
  dispose(): void;
}

/** Runs a function and records it on tfjs-core's gradient tape. If it throws, the tape is disposed. */
export function recordTape(compute: () => Scalar): RecordedTape {
  const { state } = engine();
  // Within another tape (a gradient of a gradient), the outer tape owns the operations.
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

/** An operation between the sources and the value, and its inputs that depend on a source. */
interface PathNode {
  readonly node: TapeNode;
  readonly inputs: readonly (readonly [name: string, tensor: Tensor])[];
}

/**
 * Returns the operations on paths from any source to the value, in the order in which they ran. The search of tfjs-core
 * visits each operation once per source, which takes a tenth of the recording time with some hundred adapters.
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

/** Gradients by tensor id, with reference counts: several tensors may share a gradient. */
class Gradients {
  readonly byTensor = new Map<number, Tensor>();
  private readonly references = new Map<Tensor, number>();

  set(id: number, gradient: Tensor): void {
    this.remove(id);
    this.byTensor.set(id, gradient);
    this.references.set(gradient, (this.references.get(gradient) ?? 0) + 1);
  }

  remove(id: number): void {
    const gradient = this.byTensor.get(id);
    if (gradient === undefined) return;
    this.byTensor.delete(id);
    const left = (this.references.get(gradient) ?? 0) - 1;
    this.references.set(gradient, left);
    this.disposeUnreferenced(gradient);
  }

  disposeUnreferenced(gradient: Tensor): void {
    if ((this.references.get(gradient) ?? 0) > 0) return;
    this.references.delete(gradient);
    gradient.dispose();
  }
}

/**
 * Returns gradients by tensor id. Runs from the last operation to the first; several gradients of one tensor are added
 * in that order, as tfjs-core does. Call inside `tf.tidy`. Gradients are disposed as soon as they have been propagated,
 * so that a segment submitted meanwhile returns only values that are still needed.
 *
 * @param gradient the gradient of the value; disposed
 * @param done called for every operation whose gradient is computed
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
      gradients.disposeUnreferenced(more);
    });
    for (const { id } of node.outputs) gradients.remove(id);
    done(node);
  }
  return gradients.byTensor;
}

/** Returns the gradients of an operation's inputs, given those of its outputs. */
function gradientsOfInputs(node: TapeNode, inputs: PathNode['inputs'], known: ReadonlyMap<number, Tensor>): Tensor[] {
  // An output on which nothing depends has no gradient; tfjs-core's function uses zeros for it.
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
      `The gradient of ${node.kernelName} with respect to its input ${name} has the wrong type or shape.`,
      { expected: `float32 [${tensor.shape.join(', ')}]`, found: `${gradient.dtype} [${gradient.shape.join(', ')}]` },
    );
  });
}
