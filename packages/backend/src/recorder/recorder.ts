import { totalmem } from 'node:os';
import { WhetstoneError } from '@whetstone/core/contract';
import type { Engine, EngineTensor, SpentInputs } from '../engines/engine.js';
import { gigabytes, memoryHint } from '../engines/out-of-memory.js';
import { vector, type Kernel, type Parameters, type Recording } from '../kernels/kernel.js';
import type { MatmulPolicy } from '../kernels/matmul-policy.js';
import { reshape } from '../kernels/reshape.js';
import { unpack } from '../kernels/unpack.js';
import { DeviceMemory } from './device-memory.js';
import { cut, describeNode, type Cut, type RecordedNode } from './graph.js';
import { HostOperands } from './host-operands.js';
import { RecompileWatch } from './recompiles.js';
import { classify, ProgramCache, toProgram, type ProgramCacheOptions } from './programs.js';
import { sameShape, toTypedArray } from './types.js';
import { Value } from './value.js';

export interface RecorderOptions extends ProgramCacheOptions {
  /** Operations after which a recording is cut by itself. */
  readonly mostNodes?: number;
  /** Operations after which the first part of a recording is handed over, so that the device starts while the host records the rest. 0: never. */
  readonly firstNodes?: number;
  /** Graphs up to this size run op by op until they come back. */
  readonly eagerNodes?: number;
  /** Told of each value on the device that JavaScript forgot before tfjs disposed it. */
  readonly onForgotten?: () => void;
}

/**
 * Graphs of this size count as a microbatch: so many may be queued behind the one at work. A queued graph holds its inputs only; the limit is there for
 * loops that never look at a result.
 */
const LARGE_GRAPH = 1500;
const MOST_QUEUED = 32;
/**
 * Operations of a recording's first part: three layers of a transformer, enough work for the device while the host records the rest. A fixed number, so that
 * equal recordings are cut alike; what is alive at the cut has to be kept, so the part is small.
 */
const FIRST_NODES = 120;
const MOST_NODES = 60_000;
/** Below this it costs more to take an input's memory over than to make a result elsewhere. */
const LEAST_REUSED_BYTES = 2 ** 18;
/** How often a small graph is run op by op before it is worth compiling. */
const EAGER_SIGHTINGS = 3;

/** What this machine has. TensorFlow would try for ten seconds before it says that it cannot have more. */
const memoryBytes = totalmem();

function tooLarge(node: RecordedNode, output: Value): WhetstoneError {
  return new WhetstoneError('OUT_OF_MEMORY', `${describeNode(node)} would make ${gigabytes(output.bytes)}; this machine has ${gigabytes(memoryBytes)}.`, {
    hint: memoryHint,
    details: { bytes: output.bytes, totalBytes: memoryBytes },
  });
}

const noParameters: Parameters = [];

/** Records operations, and hands them to the engine when somebody wants to see a result. */
export class Recorder {
  readonly memory: DeviceMemory;
  readonly operands: HostOperands;
  readonly programs: ProgramCache;
  private readonly recompiles: RecompileWatch;
  private matmulPolicy: MatmulPolicy = 'float32';
  readonly counters = { graphs: 0, nodes: 0, cacheHits: 0, eagerGraphs: 0, eagerNodes: 0 };
  private pending: RecordedNode[] = [];
  /** Whether part of what is being recorded was handed over already. */
  private begun = false;
  private readonly firstNodes: number;
  private serial = 0;
  private queued = 0;
  /** Values disposed while the recording still needs them. */
  private graveyard: Value[] = [];
  private readonly kernelIds = new Map<Kernel, number>();
  private readonly parameterIds = new Map<string, number>([['', 0]]);

  constructor(
    readonly engine: Engine,
    private readonly options: RecorderOptions = {},
  ) {
    this.memory = new DeviceMemory(engine, () => options.onForgotten?.());
    this.recompiles = new RecompileWatch(engine.staticShapes);
    this.operands = new HostOperands(engine, (bytes) => {
      this.memory.hostToDeviceBytes += bytes;
    });
    this.programs = new ProgramCache(engine, this.operands, options);
    // Where shapes are static a compiler sees more in one large graph.
    this.firstNodes = engine.staticShapes ? 0 : (options.firstNodes ?? FIRST_NODES);
  }

  get matmul(): MatmulPolicy {
    return this.matmulPolicy;
  }

  /** What is recorded from now on is multiplied that way; what is pending is handed over as it was meant. */
  set matmul(policy: MatmulPolicy) {
    if (policy !== this.matmulPolicy) this.flush();
    this.matmulPolicy = policy;
  }

  /** Records one operation. Nothing is computed. */
  record(kernel: Kernel, operands: readonly Value[], recording: Recording): Value[] {
    const stored = operands[0]?.stored;
    if (kernel.gathersRows === true && stored?.format === 'bfloat16') return this.recordRows(kernel, stored.parts[0] as Value, operands.slice(1), recording);
    const shaped = recording.inputShapes === undefined ? operands : operands.map((operand, position) => this.seenAs(operand, recording.inputShapes?.[position] ?? operand.shape));
    const inputs = shaped.some((operand) => operand.stored !== null) ? this.unpackAll(shaped, kernel) : shaped;
    for (const input of inputs) {
      if (input.failure !== null) throw input.failure;
      input.usedBy = this.serial;
    }
    const parameters = recording.parameters ?? noParameters;
    const node: RecordedNode = {
      kernel,
      kernelId: this.kernelId(kernel),
      parameterId: parameters.length === 0 ? 0 : this.parameterId(parameters.join('|')),
      parameters,
      inputs,
      host: recording.host === undefined || recording.host.length === 0 ? [] : recording.host.map((operand) => this.operands.intern(operand)),
      outputs: recording.outputs.map((spec) => new Value(spec.shape, spec.dtype, spec.physical)),
      position: -1,
      firstOutput: -1,
      needed: false,
    };
    node.outputs.forEach((output, index) => {
      if (output.bytes > memoryBytes) throw tooLarge(node, output);
      output.node = node;
      output.outputIndex = index;
    });
    this.pending.push(node);
    return node.outputs as Value[];
  }

  /** Call between two operations of tfjs's, when nothing is held that only the recording knows: hands over a first part, or what has grown too long. */
  cutIfDue(): void {
    const { mostNodes = MOST_NODES } = this.options;
    const limit = this.begun || this.firstNodes === 0 ? mostNodes : Math.min(this.firstNodes, mostNodes);
    if (this.pending.length < limit) return;
    this.handOver();
    this.begun = true;
  }

  /** The float32 numbers of a packed value, as an operation of the graph. They come no sooner than `after`. The result is nobody's: hold it to keep it. */
  unpack(value: Value, after: Value | null, type: 'float32' | 'bfloat16' = 'float32'): Value {
    const { stored } = value;
    if (stored === null) return value;
    const operands = after === null ? [...stored.parts, ...stored.tables] : [...stored.parts, ...stored.tables, after];
    const parameters = [...stored.parameters, type, after === null ? 'at once' : 'after'];
    const [unpacked] = this.record(unpack, operands, { outputs: [{ shape: value.shape, dtype: 'float32', physical: type }], parameters, host: stored.host });
    if (unpacked === undefined) throw new WhetstoneError('INTERNAL', 'Packed numbers were not unpacked.');
    unpacked.references = 0;
    return unpacked;
  }

  /** Operands with the packed ones unpacked, no sooner than an operand that is not packed. Those in bfloat16 stay as they are where they are multiplied in it. */
  private unpackAll(operands: readonly Value[], { multiplies }: Kernel): Value[] {
    const plain = operands.filter((operand) => operand.stored === null && operand.host === null);
    const after = plain.find((operand) => operand.node !== null) ?? plain[0] ?? null;
    return operands.map((operand) => {
      const { stored } = operand;
      if (multiplies === true && this.matmulPolicy === 'bfloat16' && stored?.format === 'bfloat16') return stored.parts[0] ?? operand;
      return this.unpack(operand, after, multiplies === true ? stored?.multipliedAs : 'float32');
    });
  }

  /** Rows of a table in bfloat16: they are gathered as they are, and only they are widened. */
  private recordRows(kernel: Kernel, table: Value, others: readonly Value[], recording: Recording): Value[] {
    const [rows] = this.record(kernel, [table, ...others], { ...recording, outputs: recording.outputs.map((spec) => ({ ...spec, physical: 'bfloat16' as const })) });
    if (rows === undefined) throw new WhetstoneError('INTERNAL', 'A gather has no result.');
    rows.references = 0;
    return this.record(unpack, [rows], { outputs: recording.outputs, parameters: ['bfloat16', 'float32', 'at once'] });
  }

  /** A value under another shape of the same size. Made once per recording; never a value of tfjs's. */
  seenAs(value: Value, shape: readonly number[]): Value {
    if (sameShape(value.shape, shape)) return value;
    if (value.viewsOf !== this.serial) {
      value.views = null;
      value.viewsOf = this.serial;
    }
    const known = value.views?.find((view) => sameShape(view.shape, shape));
    if (known !== undefined) return known;
    let view: Value | undefined;
    if (value.host !== null) {
      view = new Value(shape, value.dtype, value.type);
      view.host = value.host;
    } else [view] = this.record(reshape, [value], { outputs: [{ shape, dtype: value.dtype }], host: [vector(shape)] });
    if (view === undefined) throw new WhetstoneError('INTERNAL', 'A reshape has no result.');
    view.references = 0;
    (value.views ??= []).push(view);
    return view;
  }

  /** Frees a value that tfjs no longer holds, at once or when the recording that uses it has been handed over. */
  dispose(value: Value): void {
    value.host = value.usedBy === this.serial ? value.host : null;
    value.complex = null;
    value.views = null;
    for (const part of value.stored?.parts ?? []) {
      part.references = 0;
      this.dispose(part);
    }
    if (value.tensor === null) return;
    if (value.usedBy === this.serial) this.graveyard.push(value);
    else this.memory.release(value);
  }

  /** Hands everything recorded to the engine. Returns at once where the engine works asynchronously. */
  flush(): void {
    this.begun = false;
    this.handOver();
  }

  private handOver(): void {
    if (this.pending.length === 0) return;
    const nodes = this.pending;
    this.pending = [];
    const serial = this.serial++;
    const graph = cut(nodes, serial, this.matmulPolicy, (value) => this.hostId(value));
    try {
      if (graph.outputs.length > 0) this.run(graph);
    } catch (error) {
      const failure = error instanceof Error ? error : new Error(String(error));
      for (const output of graph.outputs) if (output.tensor === null) output.failure = failure;
      throw failure;
    } finally {
      // Results refer to their operations no longer, so that these and their operands can go.
      for (const node of nodes) for (const output of node.outputs) output.node = null;
      for (const value of this.graveyard) if (value.disposed) this.memory.release(value);
      this.graveyard = [];
      this.operands.sweep();
    }
  }

  /** Makes sure a value is on the device and returns its tensor. */
  materialise(value: Value): EngineTensor {
    if (value.node !== null) this.flush();
    if (value.failure !== null) throw value.failure;
    if (value.tensor !== null) return value.tensor;
    if (value.host === null) throw new WhetstoneError('INTERNAL', 'A value is neither recorded, nor on the device, nor on the host.');
    return this.operands.tensor(this.hostId(value));
  }

  /** Drops what was recorded and compiled. */
  reset(): void {
    this.pending = [];
    this.begun = false;
    this.serial++;
    this.engine.wait();
    this.programs.clear();
    this.operands.clear();
  }

  /** Everything queued is known to be done. */
  settled(): void {
    this.queued = 0;
  }

  get recorded(): number {
    return this.pending.length;
  }

  private run(graph: Cut): void {
    this.counters.graphs++;
    this.counters.nodes += graph.nodes.length;
    const describe = (step: number): string => describeNode(graph.nodes[step]);
    const inputs = graph.inputs.map((value) => this.materialise(value));
    const eager = !this.engine.staticShapes && graph.nodes.length <= (this.options.eagerNodes ?? 400) && this.programs.seen(graph) < EAGER_SIGHTINGS && graph.nodes.every(({ kernel }) => kernel.eager !== false);
    const compiledBefore = this.engine.compilations();
    const prepared = this.programs.find(graph) ?? (eager ? null : this.programs.compile(graph));
    let results: EngineTensor[];
    if (prepared === null) {
      const classes = classify(graph, null);
      const program = toProgram(graph, classes, this.operands, 'graph');
      this.counters.eagerGraphs++;
      this.counters.eagerNodes += graph.nodes.length;
      results = this.engine.runEagerly(program, [...inputs, ...this.hostTensors(graph, classes.representatives)], describe);
    } else {
      this.holdBack(graph);
      const { positions } = prepared.executable.program;
      const spent = this.spentInputs(graph);
      results = this.engine.run(prepared.executable, [...inputs, ...this.hostTensors(graph, prepared.classes.representatives)], (step) => describe(positions?.[step] ?? step), spent);
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

  /** Inputs that only this graph still needs, where the engine makes use of them. */
  private spentInputs(graph: Cut): SpentInputs {
    const { reusesInputs } = this.engine;
    const least = reusesInputs === 'always' ? 0 : LEAST_REUSED_BYTES;
    const isUsed = reusesInputs === 'always' || (reusesInputs === 'in updates' && graph.nodes.some(({ kernel }) => kernel.writesInPlace === true));
    const positions = isUsed ? graph.inputs.flatMap((value, position) => (value.disposed && value.tensor !== null && value.bytes >= least ? [position] : [])) : [];
    return { positions, release: () => positions.forEach((position) => this.memory.release(graph.inputs[position] as Value)) };
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

  private hostId(value: Value): number {
    if (value.hostGeneration !== this.operands.generation) {
      const values = toTypedArray(value.host as ArrayLike<number>, value.type);
      value.hostId = this.operands.intern({ type: value.type, shape: value.shape, values });
      value.hostGeneration = this.operands.generation;
    }
    return value.hostId;
  }

  private kernelId(kernel: Kernel): number {
    let id = this.kernelIds.get(kernel);
    if (id === undefined) this.kernelIds.set(kernel, (id = this.kernelIds.size + 1));
    return id;
  }

  private parameterId(key: string): number {
    let id = this.parameterIds.get(key);
    if (id === undefined) this.parameterIds.set(key, (id = this.parameterIds.size));
    return id;
  }
}
