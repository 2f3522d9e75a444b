import { fnv1a, FNV_OFFSET, fnv1aStep } from '@whetstone/core/util';
import type { MatmulPolicy } from '../kernels/kernel.js';
import type { HostOperands } from './host-operands.js';
import { storageDtypes } from './types.js';
import type { RecordedNode, Value } from './value.js';

/** A graph cut from a recording: the operations to compute, in order, and their structure. */
export interface RecordedGraph {
  readonly nodes: readonly RecordedNode[];
  /** Values that exist already, in the order in which the nodes first use them. */
  readonly inputs: readonly Value[];
  /** Ids of the host operands of all nodes in order, including small host values among their inputs. */
  readonly host: Int32Array;
  /** The host values among `host` by position. Two that are equal now may differ in the next graph. */
  readonly hostValues: ReadonlyMap<number, Value>;
  /** Results that are still held. */
  readonly outputs: readonly Value[];
  /** The structure without any value or shape. Equal structures mean equal programs. */
  readonly structure: Int32Array;
  readonly hash: number;
  readonly matmul: MatmulPolicy;
  /** Whether the graph consists of independent computations that may run concurrently. */
  readonly concurrent: boolean;
}

/** How a graph is executed. */
export type ExecutionPolicy = Pick<RecordedGraph, 'matmul' | 'concurrent'>;

/** Marks in a structure. Tensor numbers are never that small. */
const HOST_VALUE = -0x20000000;
const INPUT_TYPES = -0x40000000;
const OUTPUTS = -0x40000001;
const IN_BFLOAT16 = -0x40000002;
const CONCURRENT = -0x40000003;

/** A growing list of 32-bit integers. */
class Int32List {
  private items = new Int32Array(1024);
  length = 0;

  push(item: number): void {
    if (this.length === this.items.length) {
      const grown = new Int32Array(2 * this.length);
      grown.set(this.items);
      this.items = grown;
    }
    this.items[this.length++] = item;
  }

  toArray(): Int32Array {
    return this.items.slice(0, this.length);
  }
}

const noValues: ReadonlySet<Value> = new Set();

/** Returns the nodes that held results need, and these results. Other nodes are dropped. */
function markNeeded(
  recorded: readonly RecordedNode[],
  omitted: ReadonlySet<Value>,
): { nodes: RecordedNode[]; outputs: Value[] } {
  const isOutput = (output: Value): boolean => output.references > 0 && output.node !== null && !omitted.has(output);
  for (let index = recorded.length - 1; index >= 0; index--) {
    const node = recorded[index];
    if (node === undefined) continue;
    if (!node.needed) node.needed = node.outputs.some(isOutput);
    if (!node.needed) continue;
    for (const input of node.inputs) if (input.node !== null) input.node.needed = true;
  }
  const nodes: RecordedNode[] = [];
  const outputs: Value[] = [];
  let results = 0;
  for (const node of recorded) {
    if (!node.needed) continue;
    node.position = nodes.length;
    node.firstOutput = results;
    results += node.outputs.length;
    nodes.push(node);
    for (const output of node.outputs) if (isOutput(output)) outputs.push(output);
  }
  return { nodes, outputs };
}

/**
 * Cuts a graph from a recording: finds what the held values need, and encodes its structure. In a structure, inputs are
 * −1, −2, … and results of nodes have their number.
 *
 * @param serial a number that no other graph has
 * @param operands interns small host values
 * @param omitted results that get no memory though they are held
 */
export function cutGraph(
  recorded: readonly RecordedNode[],
  serial: number,
  { matmul, concurrent }: ExecutionPolicy,
  operands: Pick<HostOperands, 'idOf' | 'typeOf'>,
  omitted = noValues,
): RecordedGraph {
  const { nodes, outputs } = markNeeded(recorded, omitted);
  const inputs: Value[] = [];
  const host = new Int32List();
  const hostValues = new Map<number, Value>();
  const words = new Int32List();
  for (const node of nodes) {
    words.push(node.kernelId);
    words.push(node.parameterId);
    words.push((node.inputs.length << 8) | node.host.length);
    for (const input of node.inputs) {
      if (input.node !== null) {
        words.push(input.node.firstOutput + input.outputIndex);
        continue;
      }
      if (input.host !== null) {
        words.push(HOST_VALUE - storageDtypes.indexOf(input.storageDtype));
        hostValues.set(host.length, input);
        host.push(operands.idOf(input));
        continue;
      }
      if (input.graphSerial !== serial) {
        input.graphSerial = serial;
        input.inputIndex = inputs.length;
        inputs.push(input);
      }
      words.push(-1 - input.inputIndex);
    }
    for (const id of node.host) {
      words.push(storageDtypes.indexOf(operands.typeOf(id)));
      host.push(id);
    }
  }
  if (matmul === 'bfloat16') words.push(IN_BFLOAT16);
  if (concurrent) words.push(CONCURRENT);
  words.push(INPUT_TYPES);
  for (const input of inputs) words.push(storageDtypes.indexOf(input.storageDtype));
  words.push(OUTPUTS);
  for (const output of outputs) words.push((output.node?.firstOutput ?? 0) + output.outputIndex);
  const structure = words.toArray();
  return {
    nodes,
    inputs,
    host: host.toArray(),
    hostValues,
    outputs,
    structure,
    // A collision costs one comparison: complete structures are compared.
    hash: fnv1a(structure),
    matmul,
    concurrent,
  };
}

/** Returns a hash of the sequence of kernels, whatever their shapes and parameters. */
export function kernelSequenceHash(nodes: readonly RecordedNode[]): number {
  let hash = FNV_OFFSET;
  for (const { kernelId } of nodes) hash = fnv1aStep(hash, kernelId);
  return hash >>> 0;
}

/** Returns a node's kernel, shapes and parameters as text. */
export function describeNode(node: RecordedNode | undefined): string {
  if (node === undefined) return 'An operation';
  const shapes = node.inputs.map((input) => `${input.dtype} [${input.shape.join(', ')}]`).join(', ');
  const parameters = node.parameters.length === 0 ? '' : ` {${node.parameters.join(', ')}}`;
  return `${node.kernel.name}(${shapes})${parameters}`;
}
