import { type Emitter, type LoopBody, flag, type Attributes } from '../../kernels/emitter.js';
import { toTypedArray, type StorageDtype } from '../../recorder/types.js';
import type { Describe } from '../engine.js';
import { encodeConfigProto } from './config-proto.js';
import { RESOURCE, tensorflowType } from './data-types.js';
import type { OperationOutput, Pointer, TensorflowLibrary } from './library.js';
import { COMPILED_BY_XLA, compilesLoops, loopName, type Loop } from './loops.js';
import { resultType } from './result-type.js';
import { nodeName, type Status } from './status.js';
import { newTensor } from './tensors.js';

export interface GraphTensor extends OperationOutput {
  readonly type: StorageDtype;
  /** True if it is the handle of a variable that stores a tensor of that type. */
  readonly isVariable?: true;
}

const dataType = ({ type, isVariable }: GraphTensor): number => (isVariable === true ? RESOURCE : tensorflowType[type]);

const utf8 = new TextEncoder();
const callConfig = encodeConfigProto({
  intraOpThreads: 0,
  interOpThreads: 0,
  optimizeGraphs: false,
  optimizeFunctions: true,
});
/** The bytes of an AttrValue with the value true. */
export const trueAttribute = Uint8Array.of(0x28, 1);

function setAttributes(library: TensorflowLibrary, operation: Pointer, attributes: Attributes): void {
  for (const name in attributes) {
    const attribute = attributes[name];
    if (attribute === undefined) continue;
    if (attribute.kind === 'bool') library.TF_SetAttrBool(operation, name, attribute.value ? 1 : 0);
    else if (attribute.kind === 'int') library.TF_SetAttrInt(operation, name, attribute.value);
    else if (attribute.kind === 'float') library.TF_SetAttrFloat(operation, name, attribute.value);
    else if (attribute.kind === 'type') library.TF_SetAttrType(operation, name, tensorflowType[attribute.value]);
    else if (attribute.kind === 'any-shape') library.TF_SetAttrShape(operation, name, null, -1);
    else {
      const bytes = utf8.encode(attribute.value);
      library.TF_SetAttrString(operation, name, bytes, bytes.length);
    }
  }
}

export function pack(outputs: readonly OperationOutput[]): BigUint64Array {
  // TF_Output is a pointer and an int, padded to 16 bytes.
  const words = new BigUint64Array(Math.max(2, 2 * outputs.length));
  outputs.forEach((output, position) => {
    words[2 * position] = output.oper;
    words[2 * position + 1] = BigInt(output.index);
  });
  return words;
}

/** Builds the graph of one program. */
export class GraphEmitter implements Emitter<GraphTensor> {
  private readonly constants = new Map<string, GraphTensor>();
  /** Names of the loops that are in the graph. */
  private readonly ownLoops = new Set<string>();
  /** Adds a loop's node. Absent if TensorFlow cannot compile loops. */
  readonly loop?: Emitter<GraphTensor>['loop'];
  private prefix = nodeName(0);
  private step = 0;
  private count = 0;

  constructor(
    private readonly library: TensorflowLibrary,
    private readonly status: Status,
    private readonly graph: Pointer,
    private readonly describe: Describe,
    /** The program's loops so far, by name. */
    private readonly loops: Map<string, Loop>,
  ) {
    if (compilesLoops(library)) this.loop = this.addLoop;
  }

  /** Names the following nodes after a step of the program. */
  enter(step: number): void {
    this.prefix = nodeName(step);
    this.step = step;
    this.count = 0;
  }

  /** Names the following nodes after an input of the program. */
  enterInput(position: number): void {
    this.prefix = `input${position}`;
    this.count = 0;
  }

  placeholder(position: number, type: StorageDtype, isVariable: boolean): GraphTensor {
    const operation = this.library.TF_NewOperation(this.graph, 'Placeholder', `argument${position}`);
    this.library.TF_SetAttrType(operation, 'dtype', isVariable ? RESOURCE : tensorflowType[type]);
    return { oper: this.finish(operation), index: 0, type };
  }

  op(
    name: string,
    inputs: readonly (GraphTensor | readonly GraphTensor[])[],
    attributes: Attributes = {},
    after: readonly GraphTensor[] = [],
  ): GraphTensor {
    const oper = this.add(name, inputs, attributes, after);
    return { oper, index: 0, type: resultType(name, inputs, attributes) };
  }

  ops(
    name: string,
    inputs: readonly (GraphTensor | readonly GraphTensor[])[],
    attributes: Attributes,
    results: number,
  ): GraphTensor[] {
    const oper = this.add(name, inputs, attributes);
    const type = resultType(name, inputs, attributes);
    return Array.from({ length: results }, (_, index) => ({ oper, index, type }));
  }

  constant(type: StorageDtype, shape: readonly number[], values: readonly number[]): GraphTensor {
    const key = `${type}:${shape.join()}:${values.join()}`;
    const known = this.constants.get(key);
    if (known !== undefined) return known;
    const tensor = newTensor(this.library, type, shape, toTypedArray(values, type));
    const operation = this.library.TF_NewOperation(this.graph, 'Const', `constant${this.constants.size}`);
    this.library.TF_SetAttrTensor(operation, 'value', tensor, this.status.pointer);
    this.library.TF_DeleteTensor(tensor);
    this.library.TF_SetAttrType(operation, 'dtype', tensorflowType[type]);
    const constant = { oper: this.finish(operation), index: 0, type };
    this.constants.set(key, constant);
    return constant;
  }

  after(tensor: GraphTensor, other: GraphTensor): GraphTensor {
    return { ...at(this.ops('IdentityN', [[tensor, other]], {}, 2), 0), type: tensor.type };
  }

  typeOf(tensor: GraphTensor): StorageDtype {
    return tensor.type;
  }

  /** Adds a function call. TensorFlow prepares a function once, with its usual passes, for all of its calls. */
  call(
    functionName: string,
    inputs: readonly GraphTensor[],
    results: readonly StorageDtype[],
    after: readonly GraphTensor[],
  ): GraphTensor[] {
    const { library } = this;
    const hasEffects = inputs.some(({ isVariable }) => isVariable === true);
    const operation = library.TF_NewOperation(
      this.graph,
      hasEffects ? 'StatefulPartitionedCall' : 'PartitionedCall',
      this.prefix,
    );
    library.TF_AddInputList(operation, pack(inputs), inputs.length);
    for (const { oper } of after) library.TF_AddControlInput(operation, oper);
    library.TF_SetAttrTypeList(operation, 'Tin', Int32Array.from(inputs, dataType), inputs.length);
    library.TF_SetAttrTypeList(
      operation,
      'Tout',
      Int32Array.from(results, (type) => tensorflowType[type]),
      results.length,
    );
    library.TF_SetAttrFuncName(operation, 'f', functionName, Buffer.byteLength(functionName));
    // Without it, Grappler would rewrite the called function.
    library.TF_SetAttrString(operation, 'config_proto', callConfig, callConfig.length);
    const oper = this.finish(operation);
    return results.map((type, index) => ({ oper, index, type }));
  }

  private addLoop(name: string, inputs: readonly GraphTensor[], compute: LoopBody): GraphTensor {
    const { library, graph } = this;
    const loop = this.loops.get(name) ?? this.makeLoop(name, inputs, compute);
    if (!this.ownLoops.has(name)) {
      library.TF_GraphCopyFunction(graph, loop.pointer, 0n, this.status.pointer);
      this.status.check('Adding a loop to a graph');
      this.ownLoops.add(name);
    }
    return { oper: this.add(loop.name, inputs, { [COMPILED_BY_XLA]: flag(true) }), index: 0, type: loop.type };
  }

  private makeLoop(name: string, inputs: readonly GraphTensor[], compute: LoopBody): Loop {
    const { library, status } = this;
    const graph = library.TF_NewGraph();
    try {
      const emitter = new GraphEmitter(library, status, graph, this.describe, this.loops);
      const args = inputs.map(({ type }, position) => emitter.placeholder(position, type, false));
      const result = compute(emitter, args);
      const pointer = library.TF_GraphToFunction(
        graph,
        loopName(name),
        0,
        -1,
        null,
        args.length,
        pack(args),
        1,
        pack([result]),
        null,
        null,
        null,
        status.pointer,
      );
      status.check('Building a loop from a graph');
      const loop = { name: loopName(name), pointer, type: result.type };
      this.loops.set(name, loop);
      // Compiled by XLA, and not inlined.
      for (const attribute of [COMPILED_BY_XLA, '_noinline'])
        library.TF_FunctionSetAttrValueProto(pointer, attribute, trueAttribute, trueAttribute.length, status.pointer);
      status.check('Marking a loop');
      return loop;
    } finally {
      library.TF_DeleteGraph(graph);
    }
  }

  private add(
    name: string,
    inputs: readonly (GraphTensor | readonly GraphTensor[])[],
    attributes: Attributes,
    after: readonly GraphTensor[] = [],
  ): Pointer {
    const nodeId = this.count === 0 ? this.prefix : `${this.prefix}/${this.count}`;
    this.count++;
    const operation = this.library.TF_NewOperation(this.graph, name, nodeId);
    for (const input of inputs) {
      if (Array.isArray(input)) {
        const list = input as readonly GraphTensor[];
        this.library.TF_AddInputList(operation, pack(list), list.length);
      } else this.library.TF_AddInput(operation, input as GraphTensor);
    }
    for (const { oper } of after) this.library.TF_AddControlInput(operation, oper);
    setAttributes(this.library, operation, attributes);
    return this.finish(operation);
  }

  private finish(operation: Pointer): Pointer {
    const finished = this.library.TF_FinishOperation(operation, this.status.pointer);
    if (this.status.failed) throw this.status.error(this.describe(this.step));
    return finished;
  }
}

/** @throws `RangeError` if the list has no item at `position` */
export function at<T>(list: readonly T[], position: number): T {
  const item = list[position];
  if (item === undefined) throw new RangeError(`A list of ${list.length} items has no item ${position}.`);
  return item;
}
