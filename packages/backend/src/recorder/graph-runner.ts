import { WhetstoneError } from '@whetstone/core/contract';
import type { Engine, EngineTensor, SpentInputs } from '../engines/engine.js';
import type { DeviceMemory } from './device-memory.js';
import { describeNode, type RecordedGraph } from './graph.js';
import type { HostOperands } from './host-operands.js';
import { buildProgram, classifyOperands } from './program-builder.js';
import { ProgramCache, type ProgramCacheOptions } from './program-cache.js';
import { RecompileWatch } from './recompile-watch.js';
import type { Value } from './value.js';

export interface GraphRunnerOptions extends ProgramCacheOptions {
  /** Graphs up to this size run op by op the first times. */
  readonly maxEagerNodes?: number;
}

/** Operations from which on a graph counts as a microbatch. */
const LARGE_GRAPH = 1500;
/** Large graphs that may be queued. A queued graph holds only its inputs; the limit is for loops that never read. */
const MAX_QUEUED = 32;
/** Fewest bytes for which reusing an input's memory costs less than allocating a result. */
const MIN_REUSED_BYTES = 2 ** 18;
/** Times that a small graph runs op by op before it is compiled. */
const EAGER_RUNS = 3;

type CompiledGraph = NonNullable<ReturnType<ProgramCache['find']>>;

/** Runs graphs on the engine: op by op, or as compiled programs. */
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
   * Runs a graph and assigns its results to their values.
   *
   * @param tensorOf returns the device tensor of an input
   * @param needed inputs that are needed later, though tfjs-core may have disposed them
   */
  run(graph: RecordedGraph, tensorOf: (value: Value) => EngineTensor, needed: ReadonlySet<Value>): void {
    this.counters.graphs++;
    this.counters.nodes += graph.nodes.length;
    const inputs = graph.inputs.map(tensorOf);
    const runsEagerly =
      !this.engine.staticShapes &&
      graph.nodes.length <= (this.options.maxEagerNodes ?? 400) &&
      this.programs.countSighting(graph) < EAGER_RUNS &&
      graph.nodes.every(({ kernel }) => kernel.eager !== false);
    const compiledBefore = this.engine.compilations();
    const compiled = this.programs.find(graph) ?? (runsEagerly ? null : this.programs.compile(graph));
    const results =
      compiled === null ? this.runEagerly(graph, inputs) : this.runCompiled(graph, compiled, inputs, needed);
    if (compiled !== null) this.countCompiled(graph, this.engine.compilations() > compiledBefore);
    graph.outputs.forEach((output, position) => {
      const tensor = results[position];
      if (tensor !== undefined) this.memory.adopt(output, tensor);
    });
  }

  /**
   * Runs a compiled graph again with other inputs of the same shapes.
   *
   * @param consumed the inputs whose memory results may use
   */
  rerun(graph: RecordedGraph, inputs: readonly EngineTensor[], consumed: SpentInputs): readonly EngineTensor[] {
    const compiled = this.programs.find(graph);
    if (compiled === null) throw new WhetstoneError('INTERNAL', 'A graph that is repeated is not compiled.');
    this.counters.graphs++;
    this.counters.nodes += graph.nodes.length;
    this.counters.cacheHits++;
    const spent = this.engine.reusesInputs === 'always' ? consumed : undefined;
    const results = this.execute(graph, compiled, inputs, spent);
    spent?.release();
    return results;
  }

  /** Call when the device has finished everything queued. */
  markIdle(): void {
    this.queued = 0;
  }

  private runEagerly(graph: RecordedGraph, inputs: readonly EngineTensor[]): EngineTensor[] {
    const classes = classifyOperands(graph, null);
    const program = buildProgram(graph, classes, this.operands, 'graph');
    this.counters.eagerGraphs++;
    this.counters.eagerNodes += graph.nodes.length;
    return this.engine.runEagerly(program, [...inputs, ...this.hostTensors(graph, classes.representatives)], (step) =>
      describeNode(graph.nodes[step]),
    );
  }

  private runCompiled(
    graph: RecordedGraph,
    compiled: CompiledGraph,
    inputs: readonly EngineTensor[],
    needed: ReadonlySet<Value>,
  ): EngineTensor[] {
    this.limitQueue(graph);
    const spent = this.spentInputs(graph, needed);
    const results = this.execute(graph, compiled, inputs, spent);
    spent.release();
    return results;
  }

  private execute(
    graph: RecordedGraph,
    { executable, classes }: CompiledGraph,
    inputs: readonly EngineTensor[],
    spent?: SpentInputs,
  ): EngineTensor[] {
    const { positions } = executable.program;
    return this.engine.run(
      executable,
      [...inputs, ...this.hostTensors(graph, classes.representatives)],
      (step) => describeNode(graph.nodes[positions?.[step] ?? step]),
      spent,
    );
  }

  private countCompiled(graph: RecordedGraph, isNew: boolean): void {
    if (isNew) {
      this.recompiles.compiled(graph.nodes);
      return;
    }
    this.counters.cacheHits++;
    this.recompiles.reused();
  }

  /** Returns the inputs that only this graph still needs, if the engine reuses their memory. */
  private spentInputs(graph: RecordedGraph, needed: ReadonlySet<Value>): SpentInputs {
    const { reusesInputs } = this.engine;
    const minBytes = reusesInputs === 'always' ? 0 : MIN_REUSED_BYTES;
    const isUsed =
      reusesInputs === 'always' ||
      (reusesInputs === 'in updates' && graph.nodes.some(({ kernel }) => kernel.writesInPlace === true));
    const positions = isUsed
      ? graph.inputs.flatMap((value, position) =>
          value.disposed && value.tensor !== null && value.bytes >= minBytes && !needed.has(value) ? [position] : [],
        )
      : [];
    return {
      positions,
      release: () => positions.forEach((position) => this.memory.release(graph.inputs[position] as Value)),
    };
  }

  private hostTensors(graph: RecordedGraph, representatives: readonly number[]): EngineTensor[] {
    return representatives.map((occurrence) => this.operands.tensor(graph.host[occurrence] ?? 0));
  }

  /** Waits for the device if too many large graphs are queued. */
  private limitQueue(graph: RecordedGraph): void {
    if (graph.nodes.length < LARGE_GRAPH) return;
    if (this.queued >= MAX_QUEUED) {
      this.engine.wait();
      this.queued = 0;
    }
    this.queued++;
  }
}
