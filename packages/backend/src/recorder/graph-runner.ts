import type { Engine, EngineTensor, SpentInputs } from '../engines/engine.js';
import type { DeviceMemory } from './device-memory.js';
import { describeNode, type Cut } from './graph.js';
import type { HostOperands } from './host-operands.js';
import { classify, ProgramCache, toProgram, type ProgramCacheOptions } from './programs.js';
import { RecompileWatch } from './recompiles.js';
import type { Value } from './value.js';

export interface GraphRunnerOptions extends ProgramCacheOptions {
  /** Graphs up to this size run op by op until they come back. */
  readonly eagerNodes?: number;
}

/**
 * Graphs of this size count as a microbatch: so many may be queued behind the one at work. A queued graph holds its
 * inputs only; the limit is there for loops that never look at a result.
 */
const LARGE_GRAPH = 1500;
const MOST_QUEUED = 32;
/** Below this it costs more to take an input's memory over than to make a result elsewhere. */
const LEAST_REUSED_BYTES = 2 ** 18;
/** How often a small graph is run op by op before it is worth compiling. */
const EAGER_SIGHTINGS = 3;

/** Hands graphs to the engine: op by op, compiled before, or compiled now. */
export class GraphRunner {
  readonly programs: ProgramCache;
  readonly counters = { graphs: 0, nodes: 0, cacheHits: 0, eagerGraphs: 0, eagerNodes: 0 };
  private readonly recompiles: RecompileWatch;
  private queued = 0;

  constructor(
    private readonly engine: Engine,
    private readonly memory: DeviceMemory,
    private readonly operands: HostOperands,
    private readonly options: GraphRunnerOptions,
  ) {
    this.programs = new ProgramCache(engine, operands, options);
    this.recompiles = new RecompileWatch(engine.staticShapes);
  }

  /**
   * Runs a graph and puts its results into their values.
   *
   * @param tensorOf the device's tensor of an input
   * @param needed inputs that are needed afterwards, though tfjs may have disposed them
   */
  run(graph: Cut, tensorOf: (value: Value) => EngineTensor, needed: ReadonlySet<Value>): void {
    this.counters.graphs++;
    this.counters.nodes += graph.nodes.length;
    const describe = (step: number): string => describeNode(graph.nodes[step]);
    const inputs = graph.inputs.map(tensorOf);
    const eager =
      !this.engine.staticShapes &&
      graph.nodes.length <= (this.options.eagerNodes ?? 400) &&
      this.programs.seen(graph) < EAGER_SIGHTINGS &&
      graph.nodes.every(({ kernel }) => kernel.eager !== false);
    const compiledBefore = this.engine.compilations();
    const prepared = this.programs.find(graph) ?? (eager ? null : this.programs.compile(graph));
    let results: EngineTensor[];
    if (prepared === null) {
      const classes = classify(graph, null);
      const program = toProgram(graph, classes, this.operands, 'graph');
      this.counters.eagerGraphs++;
      this.counters.eagerNodes += graph.nodes.length;
      results = this.engine.runEagerly(
        program,
        [...inputs, ...this.hostTensors(graph, classes.representatives)],
        describe,
      );
    } else {
      this.holdBack(graph);
      const { positions } = prepared.executable.program;
      const spent = this.spentInputs(graph, needed);
      results = this.engine.run(
        prepared.executable,
        [...inputs, ...this.hostTensors(graph, prepared.classes.representatives)],
        (step) => describe(positions?.[step] ?? step),
        spent,
      );
      // Their memory is the results' now, or free.
      spent.release();
      if (this.engine.compilations() > compiledBefore) this.recompiles.compiled(graph.nodes);
      else {
        this.counters.cacheHits++;
        this.recompiles.found();
      }
    }
    graph.outputs.forEach((output, position) => {
      const tensor = results[position];
      if (tensor !== undefined) this.memory.adopt(output, tensor);
    });
  }

  /** Everything queued is known to be done. */
  settled(): void {
    this.queued = 0;
  }

  /** Inputs that only this graph still needs, where the engine makes use of them. */
  private spentInputs(graph: Cut, needed: ReadonlySet<Value>): SpentInputs {
    const { reusesInputs } = this.engine;
    const least = reusesInputs === 'always' ? 0 : LEAST_REUSED_BYTES;
    const isUsed =
      reusesInputs === 'always' ||
      (reusesInputs === 'in updates' && graph.nodes.some(({ kernel }) => kernel.writesInPlace === true));
    const positions = isUsed
      ? graph.inputs.flatMap((value, position) =>
          value.disposed && value.tensor !== null && value.bytes >= least && !needed.has(value) ? [position] : [],
        )
      : [];
    return {
      positions,
      release: () => positions.forEach((position) => this.memory.release(graph.inputs[position] as Value)),
    };
  }

  private hostTensors(graph: Cut, representatives: readonly number[]): EngineTensor[] {
    return representatives.map((occurrence) => this.operands.tensor(graph.host[occurrence] ?? 0));
  }

  /** Keeps a host that never reads from running ahead of the device without end. */
  private holdBack(graph: Cut): void {
    if (graph.nodes.length < LARGE_GRAPH) return;
    if (this.queued >= MOST_QUEUED) {
      this.engine.wait();
      this.queued = 0;
    }
    this.queued++;
  }
}
