import type { RecordedNode } from './value.js';
import { describeNode } from './graph.js';

/** Compilations of one skeleton (the same operations in the same order) from which on somebody is told. */
const MANY = 6;
/** Graphs in a row that all had to be compiled, whatever they are. */
const ROW = 40;
/** Skeletons that are remembered with their operations; only graphs of some size are worth a word. */
const MOST_SKELETONS = 8;
const LEAST_NODES = 20;

interface Skeleton {
  compiles: number;
  /** How each operation looked when it was compiled last. */
  operations: readonly string[];
}

/**
 * Notices that something is compiled again and again, and says once what changes: a training loop whose graph never
 * repeats spends its time compiling. `withShapes` where a shape is part of what is compiled.
 */
export class RecompileWatch {
  private readonly skeletons = new Map<number, Skeleton>();
  private readonly told = new Set<number>();
  private inARow = 0;

  constructor(
    private readonly withShapes: boolean,
    private readonly warn: (message: string) => void = (message) => console.warn(message),
  ) {}

  /** A graph found itself compiled. */
  found(): void {
    this.inARow = 0;
  }

  /** A graph was compiled. */
  compiled(nodes: readonly RecordedNode[]): void {
    if (nodes.length < LEAST_NODES) return;
    const key = skeletonOf(nodes);
    const before = this.skeletons.get(key);
    const operations = nodes.map((node) => (this.withShapes ? describeNode(node) : describeWithoutShapes(node)));
    const compiles = (before?.compiles ?? 0) + 1;
    this.skeletons.delete(key);
    this.skeletons.set(key, { compiles, operations });
    for (const oldest of this.skeletons.keys()) if (this.skeletons.size > MOST_SKELETONS) this.skeletons.delete(oldest);
    if (compiles === MANY && before !== undefined) {
      const at = operations.findIndex((operation, position) => operation !== before.operations[position]);
      const change =
        at < 0
          ? `What changes is which of its sizes are equal, as at ${describeNode(nodes[0])}.`
          : `What changes first is ${operations[at]}; it was ${before.operations[at]}.`;
      this.tell(key, `A graph of ${nodes.length} operations was compiled ${compiles} times. ${change}`);
    }
    if (++this.inARow === ROW)
      this.tell(
        -1,
        `${ROW} graphs in a row had to be compiled, and none came back. The last has ${nodes.length} ` +
          `operations and begins with ${describeNode(nodes[0])}.`,
      );
  }

  private tell(key: number, what: string): void {
    if (this.told.has(key)) return;
    this.told.add(key);
    const hint = this.withShapes
      ? 'Pad to a few fixed lengths.'
      : 'Give what changes as a tensor, not as an attribute.';
    this.warn(`whetstone: ${what} Each compilation costs time. ${hint}`);
  }
}

/** FNV-1a over which kernels there are. */
function skeletonOf(nodes: readonly RecordedNode[]): number {
  let hash = 0x811c9dc5;
  for (const { kernelId } of nodes) hash = Math.imul(hash ^ kernelId, 0x01000193);
  return hash >>> 0;
}

function describeWithoutShapes(node: RecordedNode): string {
  const parameters = node.parameters.length === 0 ? '' : ` {${node.parameters.join(', ')}}`;
  return `${node.kernel.name}(${node.inputs.map(({ dtype }) => dtype).join(', ')})${parameters}`;
}
