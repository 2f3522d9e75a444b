import type { RecordedGraph } from './graph.js';
import type { HostOperands } from './host-operands.js';
import type { Program, Step } from './program.js';
import type { StorageDtype } from './types.js';

/**
 * Classes of host operands that share one program input. Operands that were equal at compilation may share one. If they
 * differ in a later graph, the classes are split and the structure is compiled again.
 */
export interface HostClasses {
  readonly classOf: Int32Array;
  /** First operand of each class. */
  readonly representatives: readonly number[];
}

/** Exceeds the number of host operands of any kernel. */
const MAX_OPERANDS = 1024;

/** Returns, for each host operand, a number of its kernel and its position there; −1 for a value of tfjs-core. */
function rolesOf({ nodes, host }: Pick<RecordedGraph, 'nodes' | 'host'>): Int32Array {
  const roles = new Int32Array(host.length).fill(-1);
  let occurrence = 0;
  for (const node of nodes) {
    for (const input of node.inputs) if (input.node === null && input.host !== null) occurrence++;
    for (let index = 0; index < node.host.length; index++) roles[occurrence++] = MAX_OPERANDS * node.kernelId + index;
  }
  return roles;
}

/**
 * Returns the coarsest useful classes that fit a graph's operands and refine the classes before. A host value shares a
 * class only with itself, and operands only with equal ones at the same position of the same kernel. Other operands are
 * equal by coincidence and would differ in a graph of other lengths.
 */
export function classifyOperands(
  graph: Pick<RecordedGraph, 'nodes' | 'host' | 'hostValues'>,
  before: HostClasses | null,
): HostClasses {
  const { host, hostValues } = graph;
  const roles = before === null ? rolesOf(graph) : null;
  const numbers = new Map<unknown, number>();
  const classOf = new Int32Array(host.length);
  const representatives: number[] = [];
  host.forEach((id, occurrence) => {
    const key =
      roles === null
        ? `${before?.classOf[occurrence]}:${id}`
        : (hostValues.get(occurrence) ?? `${roles[occurrence]}:${id}`);
    let number = numbers.get(key);
    if (number === undefined) {
      number = representatives.length;
      numbers.set(key, number);
      representatives.push(occurrence);
    }
    classOf[occurrence] = number;
  });
  return { classOf, representatives };
}

/** Returns whether operands that share a class are equal. */
export function fitsClasses(host: Int32Array, { classOf, representatives }: HostClasses): boolean {
  for (let occurrence = 0; occurrence < host.length; occurrence++) {
    if (host[occurrence] !== host[representatives[classOf[occurrence] ?? 0] ?? 0]) return false;
  }
  return true;
}

/** Returns a graph as a program. Its inputs are the graph's inputs, then one for each class of host operands. */
export function buildProgram(
  graph: RecordedGraph,
  classes: HostClasses,
  operands: HostOperands,
  name: string,
): Program {
  const inputTypes: StorageDtype[] = [
    ...graph.inputs.map((input) => input.storageDtype),
    ...classes.representatives.map((occurrence) => operands.typeOf(graph.host[occurrence] ?? 0)),
  ];
  const types = [...inputTypes];
  const firstHost = graph.inputs.length;
  const firstResult = inputTypes.length;
  let occurrence = 0;
  const steps = graph.nodes.map((node): Step => {
    const nextHost = (): number => firstHost + (classes.classOf[occurrence++] ?? 0);
    const inputs = node.inputs.map((input) => {
      if (input.node !== null) return firstResult + input.node.firstOutput + input.outputIndex;
      return input.host === null ? input.inputIndex : nextHost();
    });
    for (let index = 0; index < node.host.length; index++) inputs.push(nextHost());
    for (const output of node.outputs) types.push(output.storageDtype);
    return {
      kernel: node.kernel,
      parameters: node.parameters,
      inputs,
      tensorInputs: node.inputs.length,
      firstOutput: firstResult + node.firstOutput,
      outputs: node.outputs.length,
    };
  });
  const outputs = graph.outputs.map((output) => firstResult + (output.node?.firstOutput ?? 0) + output.outputIndex);
  return { name, matmul: graph.matmul, concurrent: graph.concurrent, inputTypes, steps, types, outputs };
}
