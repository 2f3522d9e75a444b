import { engine as tfjs } from '@tensorflow/tfjs-core';
import { Value, type RecordedNode } from './value.js';

/** Bytes from which on it pays to leave intermediate values out. */
const WORTH_LEAVING_OUT = 2 ** 20;

/** The values that only scopes of `tf.tidy` hold which are still open: nobody has asked to keep them. */
function heldByScopesOnly(): (value: Value) => boolean {
  const held = new Map<unknown, number>();
  for (const { track } of tfjs().state.scopeStack)
    for (const { kept, dataId } of track) if (!kept) held.set(dataId, (held.get(dataId) ?? 0) + 1);
  return (value) => value.references > 0 && held.get(value) === value.references;
}

/** FNV-1a over which kernels there are. */
function kindOf(nodes: readonly RecordedNode[]): number {
  let hash = 0x811c9dc5;
  for (const { kernelId } of nodes) hash = Math.imul(hash ^ kernelId, 0x01000193);
  return hash >>> 0;
}

/**
 * Intermediate values at a read within `tf.tidy`. All of them are held until the scope ends, and most are never looked
 * at again; so they are not given memory, and stay recorded. One that is needed after all is computed again, from the
 * same operands to the same bits, and kept from then on; recordings of that kind keep theirs at the first read the next
 * time.
 */
export class PassingValues {
  private readonly regretted = new Set<number>();
  /** Whether any was ever left out. */
  private hasLeftOut = false;

  /** @param least bytes from which on it pays */
  constructor(private readonly least = WORTH_LEAVING_OUT) {}

  /**
   * Those of a recording that are left out where it is handed over: those that were left out before and are still not
   * needed, and at a read those that are held by open scopes only and were used by an operation already.
   *
   * @param recorded those of the operations that were not there at the last hand-over: what kind of recording it is
   * @param wanted what a read asks for; null where everything is handed over
   */
  find(nodes: readonly RecordedNode[], recorded: readonly RecordedNode[], wanted: Value | null): ReadonlySet<Value> {
    const passing = new Set<Value>();
    const before = !this.hasLeftOut
      ? []
      : nodes.flatMap(({ outputs }) =>
          outputs.filter((output) => output.leftOut !== -1 && output.node !== null && output.references > 0),
        );
    if (before.length === 0 && (wanted === null || tfjs().state.scopeStack.length === 0)) return passing;
    const passes = heldByScopesOnly();
    for (const value of before) {
      if (value !== wanted && passes(value)) passing.add(value);
      else this.regretted.add(value.leftOut);
    }
    if (wanted !== null) this.addNew(nodes, kindOf(recorded), wanted, passes, passing);
    this.takeNeeded(nodes, passing, before);
    return passing;
  }

  private addNew(
    nodes: readonly RecordedNode[],
    kind: number,
    wanted: Value,
    passes: (value: Value) => boolean,
    passing: Set<Value>,
  ): void {
    if (this.regretted.has(kind)) return;
    const found = new Set<Value>();
    let bytes = 0;
    for (const { inputs } of nodes) {
      for (const value of inputs) {
        if (value.node === null || value.leftOut !== -1 || value === wanted || found.has(value) || !passes(value))
          continue;
        found.add(value);
        bytes += value.bytes;
      }
    }
    if (bytes < this.least) return;
    this.hasLeftOut = true;
    for (const value of found) {
      value.leftOut = kind;
      passing.add(value);
    }
  }

  /** What was left out before and is needed now is computed a second time, and kept. */
  private takeNeeded(nodes: readonly RecordedNode[], passing: Set<Value>, before: readonly Value[]): void {
    if (before.length === 0) return;
    const needed = new Set<RecordedNode>();
    for (let index = nodes.length - 1; index >= 0; index--) {
      const node = nodes[index] as RecordedNode;
      if (
        !needed.has(node) &&
        !node.outputs.some((output) => output.references > 0 && output.node !== null && !passing.has(output))
      )
        continue;
      needed.add(node);
      for (const input of node.inputs) if (input.node !== null) needed.add(input.node);
    }
    for (const value of before) {
      if (!passing.has(value) || value.node === null || !needed.has(value.node)) continue;
      this.regretted.add(value.leftOut);
      passing.delete(value);
    }
  }

  /** The operations that have to stay recorded so that what was left out can still be computed, in order. */
  recordedStill(nodes: readonly RecordedNode[], passing: ReadonlySet<Value>, made: ReadonlySet<Value>): RecordedNode[] {
    const needed = new Set<RecordedNode>();
    for (let index = nodes.length - 1; index >= 0; index--) {
      const node = nodes[index] as RecordedNode;
      if (!needed.has(node) && !node.outputs.some((output) => passing.has(output))) continue;
      needed.add(node);
      for (const input of node.inputs) if (input.node !== null && !made.has(input)) needed.add(input.node);
    }
    return nodes.filter((node) => needed.has(node));
  }
}
