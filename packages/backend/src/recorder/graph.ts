import type { MatmulPolicy } from '../kernels/matmul-policy.js';
import type { HostOperands } from './host-operands.js';
import { physicalTypes } from './types.js';
import type { RecordedNode, Value } from './value.js';

/** A recording that was cut: what has to be computed, in order, and how it is spelled. */
export interface Cut {
  readonly nodes: readonly RecordedNode[];
  /** Values that exist already, in the order in which the nodes first use them. */
  readonly inputs: readonly Value[];
  /** Host operands of all nodes in order, small host values among their inputs included, as interned ids. */
  readonly host: Int32Array;
  /** The values that stand among `host`, by position: two that are equal today may differ in the next graph. */
  readonly hostValues: ReadonlyMap<number, Value>;
  /** Values that somebody still holds. */
  readonly outputs: readonly Value[];
  /** The structure without any value or shape. Equal structures mean equal programs. */
  readonly structure: Int32Array;
  readonly hash: number;
  readonly matmul: MatmulPolicy;
  /** Whether its operations are parts that do not depend on one another. */
  readonly sideBySide: boolean;
}

/** How a recording is to be computed. */
export type Manner = Pick<Cut, 'matmul' | 'sideBySide'>;

/** Marks of the structure that no number of a tensor reaches. */
const HOST_VALUE = -0x20000000;
const INPUT_TYPES = -0x40000000;
const OUTPUTS = -0x40000001;
const IN_BFLOAT16 = -0x40000002;
const SIDE_BY_SIDE = -0x40000003;

/** A growing list of 32-bit integers. */
class Integers {
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

  take(): Int32Array {
    return this.items.slice(0, this.length);
  }
}

/** FNV-1a over 32-bit words. Collisions only cost a comparison: structures are compared whole. */
function hashOf(words: Int32Array): number {
  let hash = 0x811c9dc5;
  for (let index = 0; index < words.length; index++) hash = Math.imul(hash ^ (words[index] ?? 0), 0x01000193);
  return hash >>> 0;
}

const none: ReadonlySet<Value> = new Set();

/** Marks what the held results need, those left out apart. Nodes nobody needs are dropped. */
function markNeeded(
  recorded: readonly RecordedNode[],
  leftOut: ReadonlySet<Value>,
): { nodes: RecordedNode[]; outputs: Value[] } {
  const isWanted = (output: Value): boolean => output.references > 0 && output.node !== null && !leftOut.has(output);
  for (let index = recorded.length - 1; index >= 0; index--) {
    const node = recorded[index];
    if (node === undefined) continue;
    if (!node.needed) node.needed = node.outputs.some(isWanted);
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
    for (const output of node.outputs) if (isWanted(output)) outputs.push(output);
  }
  return { nodes, outputs };
}

/**
 * Cuts a recording: finds what is needed for the values that are still held, and spells the structure. `serial` is a
 * number that no other cut has; `operands` interns small host values; `leftOut` are results that get no memory though
 * they are held. Input slots are written as -1, -2, …, results of nodes by their number.
 */
export function cut(
  recorded: readonly RecordedNode[],
  serial: number,
  { matmul, sideBySide }: Manner,
  operands: Pick<HostOperands, 'idOf' | 'typeOf'>,
  leftOut = none,
): Cut {
  const { nodes, outputs } = markNeeded(recorded, leftOut);
  const inputs: Value[] = [];
  const host = new Integers();
  const hostValues = new Map<number, Value>();
  const words = new Integers();
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
        words.push(HOST_VALUE - physicalTypes.indexOf(input.type));
        hostValues.set(host.length, input);
        host.push(operands.idOf(input));
        continue;
      }
      if (input.cut !== serial) {
        input.cut = serial;
        input.slot = inputs.length;
        inputs.push(input);
      }
      words.push(-1 - input.slot);
    }
    for (const id of node.host) {
      words.push(physicalTypes.indexOf(operands.typeOf(id)));
      host.push(id);
    }
  }
  if (matmul === 'bfloat16') words.push(IN_BFLOAT16);
  if (sideBySide) words.push(SIDE_BY_SIDE);
  words.push(INPUT_TYPES);
  for (const input of inputs) words.push(physicalTypes.indexOf(input.type));
  words.push(OUTPUTS);
  for (const output of outputs) words.push((output.node?.firstOutput ?? 0) + output.outputIndex);
  const structure = words.take();
  return {
    nodes,
    inputs,
    host: host.take(),
    hostValues,
    outputs,
    structure,
    hash: hashOf(structure),
    matmul,
    sideBySide,
  };
}

/** Shapes and kernels of one node, in words. */
export function describeNode(node: RecordedNode | undefined): string {
  if (node === undefined) return 'An operation';
  const shapes = node.inputs.map((input) => `${input.dtype} [${input.shape.join(', ')}]`).join(', ');
  const parameters = node.parameters.length === 0 ? '' : ` {${node.parameters.join(', ')}}`;
  return `${node.kernel.name}(${shapes})${parameters}`;
}
