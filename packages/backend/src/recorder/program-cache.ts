import { LruMap } from '@whetstone/core/util';
import type { Engine, Executable } from '../engines/engine.js';
import { describeNode, type RecordedGraph } from './graph.js';
import type { HostOperands } from './host-operands.js';
import { buildProgram, classifyOperands, fitsClasses, type HostClasses } from './program-builder.js';
import { rematerialize } from './rematerialization.js';
import type { Value } from './value.js';

interface Entry {
  readonly structure: Int32Array;
  classes: HostClasses;
  executable: Executable;
  steps: number;
}

function sameWords(a: Int32Array, b: Int32Array): boolean {
  if (a.length !== b.length) return false;
  for (let index = 0; index < a.length; index++) if (a[index] !== b[index]) return false;
  return true;
}

/**
 * Bytes of results from which on memory matters more than time: gradients of all weights, in addition to the weights
 * and their moments. Recomputation changes no bit.
 */
const MANY_BYTES = 2 ** 28;
/** Structures whose sightings are counted. The counts are cleared when there are more. */
const MAX_SIGHTINGS = 65_536;

const totalBytes = (values: readonly Value[]): number => values.reduce((sum, { bytes }) => sum + bytes, 0);

export interface ProgramCacheOptions {
  /** Maximum number of executables; 256 by default. */
  readonly capacity?: number;
  /** Maximum total number of operations; 200,000 by default. */
  readonly capacitySteps?: number;
}

/** Executables by structure. The least recently used ones are evicted. */
export class ProgramCache {
  private readonly entries = new LruMap<number, Entry[]>();
  private readonly sightings = new Map<number, number>();
  private count = 0;
  private steps = 0;
  /** Number of programs created, which names them. */
  private created = 0;

  constructor(
    private readonly engine: Engine,
    private readonly operands: HostOperands,
    private readonly options: ProgramCacheOptions = {},
  ) {}

  /** Counts a graph's structure and returns how often it was counted before. */
  countSighting(graph: RecordedGraph): number {
    const before = this.sightings.get(graph.hash) ?? 0;
    if (this.sightings.size > MAX_SIGHTINGS) this.sightings.clear();
    this.sightings.set(graph.hash, before + 1);
    return before;
  }

  /** Returns the executable of a graph's structure, or null if there is none that fits the graph's operands. */
  find(graph: RecordedGraph): { executable: Executable; classes: HostClasses } | null {
    return (
      this.entries
        .get(graph.hash)
        ?.find((entry) => sameWords(entry.structure, graph.structure) && fitsClasses(graph.host, entry.classes)) ?? null
    );
  }

  /** Compiles a graph's structure, or compiles it again with finer classes. */
  compile(graph: RecordedGraph): { executable: Executable; classes: HostClasses } {
    const known = this.lookUp(graph);
    const classes = classifyOperands(graph, known?.classes ?? null);
    const complete = buildProgram(graph, classes, this.operands, `graph ${this.created++}`);
    // A compiler for static shapes decides itself what to recompute.
    const program = this.engine.staticShapes
      ? complete
      : rematerialize(complete, totalBytes(graph.outputs) >= MANY_BYTES);
    const executable = this.engine.compile(program, (step) =>
      describeNode(graph.nodes[program.positions?.[step] ?? step]),
    );
    if (known !== undefined && !this.engine.staticShapes) {
      known.executable.dispose();
      known.executable = executable;
      known.classes = classes;
      return known;
    }
    const entry: Entry = { structure: graph.structure, classes, executable, steps: graph.nodes.length };
    const bucket = this.entries.get(graph.hash);
    if (bucket === undefined) this.entries.set(graph.hash, [entry]);
    else bucket.push(entry);
    this.count++;
    this.steps += entry.steps;
    this.evict(entry);
    return entry;
  }

  get size(): number {
    return this.count;
  }

  clear(): void {
    for (const bucket of this.entries.values()) for (const entry of bucket) entry.executable.dispose();
    this.entries.clear();
    this.sightings.clear();
    this.count = 0;
    this.steps = 0;
  }

  private lookUp(graph: RecordedGraph): Entry | undefined {
    return this.entries.get(graph.hash)?.findLast((entry) => sameWords(entry.structure, graph.structure));
  }

  private evict(newest: Entry): void {
    const { capacity = 256, capacitySteps = 200_000 } = this.options;
    while (this.count > capacity || (this.steps > capacitySteps && this.count > 1)) {
      const oldest = this.entries.oldest();
      if (oldest === undefined || oldest[1].includes(newest)) return;
      this.entries.delete(oldest[0]);
      for (const entry of oldest[1]) {
        entry.executable.dispose();
        this.count--;
        this.steps -= entry.steps;
      }
    }
  }
}
