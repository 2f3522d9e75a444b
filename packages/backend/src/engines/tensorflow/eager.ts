import type { Emitter, Attributes } from '../../kernels/emitter.js';
import type { Program } from '../../recorder/program.js';
import { toTypedArray, type StorageDtype } from '../../recorder/types.js';
import type { EngineTensor } from '../engine.js';
import { tensorflowType } from './data-types.js';
import { emitStep } from './function-builder.js';
import { at } from './graph-emitter.js';
import type { Pointer, TensorflowLibrary } from './library.js';
import { resultType } from './result-type.js';
import type { Status } from './status.js';
import { upload } from './tensors.js';

interface EagerTensor {
  readonly handle: Pointer;
  readonly type: StorageDtype;
  /** Set for a constant, which only the emitter frees. */
  readonly shared?: true;
}

const utf8 = new TextEncoder();

function setAttributes(library: TensorflowLibrary, status: Status, operation: Pointer, attributes: Attributes): void {
  for (const name in attributes) {
    const attribute = attributes[name];
    if (attribute === undefined) continue;
    if (attribute.kind === 'bool') library.TFE_OpSetAttrBool(operation, name, attribute.value ? 1 : 0);
    else if (attribute.kind === 'int') library.TFE_OpSetAttrInt(operation, name, attribute.value);
    else if (attribute.kind === 'float') library.TFE_OpSetAttrFloat(operation, name, attribute.value);
    else if (attribute.kind === 'type') library.TFE_OpSetAttrType(operation, name, tensorflowType[attribute.value]);
    else if (attribute.kind === 'any-shape') library.TFE_OpSetAttrShape(operation, name, null, -1, status.pointer);
    else {
      const bytes = utf8.encode(attribute.value);
      library.TFE_OpSetAttrString(operation, name, bytes, bytes.length);
    }
  }
}

/** Executes each op when it is emitted. */
export class EagerEmitter implements Emitter<EagerTensor> {
  private readonly constants = new Map<string, EagerTensor>();
  private readonly results = new BigUint64Array(1024);
  private readonly resultCount = new Int32Array(1);
  /** Handles that the current step created. */
  private stepHandles: Pointer[] = [];

  constructor(
    private readonly library: TensorflowLibrary,
    private readonly context: Pointer,
    private readonly status: Status,
  ) {}

  /** Ends a step: frees the tensors that it created, except its results. */
  endStep(results: readonly EagerTensor[]): void {
    for (const handle of this.stepHandles)
      if (!results.some((tensor) => tensor.handle === handle)) this.library.TFE_DeleteTensorHandle(handle);
    this.stepHandles = [];
  }

  /** Runs one op or function and returns the handles of its results. */
  execute(
    name: string,
    inputs: readonly (Pointer | readonly Pointer[])[],
    attributes: Attributes,
    results: number,
  ): Pointer[] {
    const { library, status } = this;
    const operation = this.operation(name, inputs, attributes);
    try {
      const target = results <= this.results.length ? this.results : new BigUint64Array(results);
      this.resultCount[0] = results;
      library.TFE_Execute(operation, target, this.resultCount, status.pointer);
      status.check();
      return Array.from(target.subarray(0, results));
    } finally {
      library.TFE_DeleteOp(operation);
    }
  }

  /** Returns an op or function call with its inputs. The caller executes and deletes it. */
  operation(name: string, inputs: readonly (Pointer | readonly Pointer[])[], attributes: Attributes): Pointer {
    const { library, status } = this;
    const operation = library.TFE_NewOp(this.context, name, status.pointer);
    status.check(name);
    for (const input of inputs) {
      if (typeof input === 'bigint') library.TFE_OpAddInput(operation, input, status.pointer);
      else library.TFE_OpAddInputList(operation, BigUint64Array.from(input), input.length, status.pointer);
    }
    setAttributes(library, status, operation, attributes);
    return operation;
  }

  op(
    name: string,
    inputs: readonly (EagerTensor | readonly EagerTensor[])[],
    attributes: Attributes = {},
  ): EagerTensor {
    return at(this.ops(name, inputs, attributes, 1), 0);
  }

  ops(
    name: string,
    inputs: readonly (EagerTensor | readonly EagerTensor[])[],
    attributes: Attributes,
    results: number,
  ): EagerTensor[] {
    const handles = inputs.map((input) =>
      Array.isArray(input)
        ? (input as readonly EagerTensor[]).map(({ handle }) => handle)
        : (input as EagerTensor).handle,
    );
    const type = resultType(name, inputs, attributes);
    const created = this.execute(name, handles, attributes, results);
    this.stepHandles.push(...created);
    return created.map((handle) => ({ handle, type }));
  }

  constant(type: StorageDtype, shape: readonly number[], values: readonly number[]): EagerTensor {
    const key = `${type}:${shape.join()}:${values.join()}`;
    const known = this.constants.get(key);
    if (known !== undefined) return known;
    if (this.constants.size > 4096) this.dispose();
    const constant = {
      handle: upload(this.library, this.status, type, shape, toTypedArray(values, type)),
      type,
      shared: true as const,
    };
    this.constants.set(key, constant);
    return constant;
  }

  /** Returns a result's handle. The caller frees it. */
  ownedHandle(tensor: EagerTensor): Pointer {
    return tensor.shared === undefined ? tensor.handle : this.copyHandle(tensor.handle);
  }

  /** Returns another handle of the same tensor. */
  copyHandle(handle: Pointer): Pointer {
    const copy = this.library.TFE_TensorHandleCopySharingTensor(handle, this.status.pointer);
    this.status.check('Sharing a tensor');
    return copy;
  }

  typeOf(tensor: EagerTensor): StorageDtype {
    return tensor.type;
  }

  dispose(): void {
    for (const { handle } of this.constants.values()) this.library.TFE_DeleteTensorHandle(handle);
    this.constants.clear();
  }
}

/** Runs a program op by op and returns its results. Every intermediate tensor is freed after its last use. */
export function runEagerly(
  library: TensorflowLibrary,
  emitter: EagerEmitter,
  program: Program,
  inputs: readonly EngineTensor[],
): EngineTensor[] {
  const lastUse = new Map<number, number>();
  program.steps.forEach((step, position) => step.inputs.forEach((number) => lastUse.set(number, position)));
  const programOutputs = new Set(program.outputs);
  const isIntermediate = (number: number): boolean => number >= inputs.length && !programOutputs.has(number);
  const tensors: (EagerTensor | undefined)[] = inputs.map((handle, position) => ({
    handle,
    type: at(program.inputTypes, position),
  }));
  const release = (number: number): void => {
    const tensor = tensors[number];
    if (tensor !== undefined && tensor.shared === undefined) library.TFE_DeleteTensorHandle(tensor.handle);
    tensors[number] = undefined;
  };
  try {
    program.steps.forEach((step, position) => {
      const emitted = emitStep(emitter, program, step, tensors as readonly EagerTensor[]);
      emitter.endStep(emitted);
      // A kernel may return an operand, such as a sum of one tensor. Operand and result need a handle each, because
      // both are freed.
      const operands = new Set(step.inputs.map((number) => tensors[number]?.handle));
      const results = emitted.map((result) =>
        operands.has(result.handle) && result.shared === undefined
          ? { ...result, handle: emitter.copyHandle(result.handle) }
          : result,
      );
      results.forEach((result, offset) => {
        const number = step.firstOutput + offset;
        tensors[number] = { ...result, type: at(program.types, number) };
      });
      for (const number of new Set(step.inputs))
        if (isIntermediate(number) && lastUse.get(number) === position) release(number);
      for (let number = step.firstOutput; number < step.firstOutput + results.length; number++)
        if (isIntermediate(number) && !lastUse.has(number)) release(number);
    });
  } catch (error) {
    emitter.endStep([]);
    for (let number = inputs.length; number < tensors.length; number++) release(number);
    throw error;
  }
  return program.outputs.map((number) => emitter.ownedHandle(tensors[number] as EagerTensor));
}
