import { LruMap } from '@whetstone/core/util';
import { describeNode, kernelSequenceHash } from './graph.js';
import type { RecordedNode } from './value.js';

/** Compilations of one kernel sequence at which a warning is printed. */
const MANY_COMPILES = 6;
/** Consecutive compilations of any graphs at which a warning is printed. */
const MANY_IN_A_ROW = 40;
/** Kernel sequences whose operations are remembered. */
const MAX_SEQUENCES = 8;
/** Smaller graphs compile too quickly to matter. */
const MIN_NODES = 20;

interface CompiledSequence {
  readonly compiles: number;
  /** Descriptions of the operations at the last compilation. */
  readonly operations: readonly string[];
}

/**
 * Warns once if graphs are compiled again and again, and reports what changes. A training loop whose graph never
 * repeats spends its time compiling.
 */
export class RecompileWatch {
  private readonly sequences = new LruMap<number, CompiledSequence>();
  private readonly warned = new Set<number>();
  private inARow = 0;

  /** @param withShapes whether shapes are compiled into programs */
  constructor(
    private readonly withShapes: boolean,
    private readonly warn: (message: string) => void = (message) => console.warn(message),
  ) {}

  /** Call for each graph whose program is reused. */
  reused(): void {
    this.inARow = 0;
  }

  /** Call for each graph that is compiled. */
  compiled(nodes: readonly RecordedNode[]): void {
    if (nodes.length < MIN_NODES) return;
    const key = kernelSequenceHash(nodes);
    const before = this.sequences.get(key);
    const operations = nodes.map((node) => (this.withShapes ? describeNode(node) : describeWithoutShapes(node)));
    const compiles = (before?.compiles ?? 0) + 1;
    this.sequences.set(key, { compiles, operations });
    const oldest = this.sequences.oldest();
    if (this.sequences.size > MAX_SEQUENCES && oldest !== undefined) this.sequences.delete(oldest[0]);
    if (compiles === MANY_COMPILES && before !== undefined)
      this.warnOnce(
        key,
        `A graph of ${nodes.length} operations was compiled ${compiles} times. ` +
          firstDifference(nodes, before.operations, operations),
      );
    if (++this.inARow === MANY_IN_A_ROW)
      this.warnOnce(
        -1,
        `${MANY_IN_A_ROW} graphs in a row were compiled, and none was used twice. The last has ${nodes.length} ` +
          `operations and starts with ${describeNode(nodes[0])}.`,
      );
  }

  private warnOnce(key: number, message: string): void {
    if (this.warned.has(key)) return;
    this.warned.add(key);
    const hint = this.withShapes
      ? 'Pad to a few fixed lengths.'
      : 'Pass what changes as a tensor, not as an attribute.';
    this.warn(`whetstone: ${message} Each compilation costs time. ${hint}`);
  }
}

function firstDifference(
  nodes: readonly RecordedNode[],
  before: readonly string[],
  operations: readonly string[],
): string {
  const position = operations.findIndex((operation, index) => operation !== before[index]);
  return position < 0
    ? `Only the sizes that are equal to each other change, for example in ${describeNode(nodes[0])}.`
    : `The first difference is ${operations[position]}, which was ${before[position]}.`;
}

function describeWithoutShapes(node: RecordedNode): string {
  const parameters = node.parameters.length === 0 ? '' : ` {${node.parameters.join(', ')}}`;
  return `${node.kernel.name}(${node.inputs.map(({ dtype }) => dtype).join(', ')})${parameters}`;
}
