import { engine as tfjs } from '@tensorflow/tfjs-core';
import { kernelSequenceHash } from './graph.js';
import type { RecordedNode, Value } from './value.js';

/** Fewest bytes of intermediate values that are worth deferring. */
const MIN_DEFERRED_BYTES = 2 ** 20;

/** Returns a test for values that only open scopes of `tf.tidy` hold, without `tf.keep`. */
function heldByScopesOnly(): (value: Value) => boolean {
  const held = new Map<unknown, number>();
  for (const { track } of tfjs().state.scopeStack)
    for (const { kept, dataId } of track) if (!kept) held.set(dataId, (held.get(dataId) ?? 0) + 1);
  return (value) => value.references > 0 && held.get(value) === value.references;
}

/**
 * Decides which intermediate values a read within `tf.tidy` defers. The scope holds all of them until it ends, but most
 * are never used again. Deferred values get no memory and stay recorded. One that is needed later is computed again
 * from the same operands to the same bits. Recordings of that kind are then no longer deferred.
 */
export class DeferredValues {
  /** Kinds of recordings of which a deferred value was needed later. */
  private readonly neverDeferred = new Set<number>();
  /** Whether any value was ever deferred. */
  private hasDeferred = false;

  /** @param minBytes fewest bytes of intermediate values that are deferred */
  constructor(private readonly minBytes = MIN_DEFERRED_BYTES) {}

  /**
   * Returns the values to defer: those deferred before and still not needed, and at a read those that only open scopes
   * hold and that an operation has used already.
   *
   * @param nodes all recorded operations
   * @param recorded the operations recorded since the last submission, which determine the recording's kind
   * @param requested the value that is being read; null if everything is submitted
   */
  select(
    nodes: readonly RecordedNode[],
    recorded: readonly RecordedNode[],
    requested: Value | null,
  ): ReadonlySet<Value> {
    const deferred = new Set<Value>();
    const before = !this.hasDeferred
      ? []
      : nodes.flatMap(({ outputs }) =>
          outputs.filter((output) => output.deferredKind !== -1 && output.node !== null && output.references > 0),
        );
    if (before.length === 0 && (requested === null || tfjs().state.scopeStack.length === 0)) return deferred;
    const isDeferrable = heldByScopesOnly();
    for (const value of before) {
      if (value !== requested && isDeferrable(value)) deferred.add(value);
      else this.neverDeferred.add(value.deferredKind);
    }
    if (requested !== null) this.addNew(nodes, kernelSequenceHash(recorded), requested, isDeferrable, deferred);
    this.restoreNeeded(nodes, deferred, before);
    return deferred;
  }

  private addNew(
    nodes: readonly RecordedNode[],
    kind: number,
    requested: Value,
    isDeferrable: (value: Value) => boolean,
    deferred: Set<Value>,
  ): void {
    if (this.neverDeferred.has(kind)) return;
    const found = new Set<Value>();
    let bytes = 0;
    for (const { inputs } of nodes) {
      for (const value of inputs) {
        if (value.node === null || value.deferredKind !== -1 || value === requested) continue;
        if (found.has(value) || !isDeferrable(value)) continue;
        found.add(value);
        bytes += value.bytes;
      }
    }
    if (bytes < this.minBytes) return;
    this.hasDeferred = true;
    for (const value of found) {
      value.deferredKind = kind;
      deferred.add(value);
    }
  }

  /** Removes values deferred before that are needed now: they are computed a second time and kept. */
  private restoreNeeded(nodes: readonly RecordedNode[], deferred: Set<Value>, before: readonly Value[]): void {
    if (before.length === 0) return;
    const needed = new Set<RecordedNode>();
    const isReferenced = (output: Value): boolean =>
      output.references > 0 && output.node !== null && !deferred.has(output);
    for (let index = nodes.length - 1; index >= 0; index--) {
      const node = nodes[index] as RecordedNode;
      if (!needed.has(node) && !node.outputs.some(isReferenced)) continue;
      needed.add(node);
      for (const input of node.inputs) if (input.node !== null) needed.add(input.node);
    }
    for (const value of before) {
      if (!deferred.has(value) || value.node === null || !needed.has(value.node)) continue;
      this.neverDeferred.add(value.deferredKind);
      deferred.delete(value);
    }
  }

  /** Returns the operations, in order, that must stay recorded so that deferred values can still be computed. */
  nodesToKeep(
    nodes: readonly RecordedNode[],
    deferred: ReadonlySet<Value>,
    computed: ReadonlySet<Value>,
  ): RecordedNode[] {
    const needed = new Set<RecordedNode>();
    for (let index = nodes.length - 1; index >= 0; index--) {
      const node = nodes[index] as RecordedNode;
      if (!needed.has(node) && !node.outputs.some((output) => deferred.has(output))) continue;
      needed.add(node);
      for (const input of node.inputs) if (input.node !== null && !computed.has(input)) needed.add(input.node);
    }
    return nodes.filter((node) => needed.has(node));
  }
}
