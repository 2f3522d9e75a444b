import { WhetstoneError } from '@whetstone/core/contract';
import { sameShape, toError } from '@whetstone/core/util';
import type { Engine, EngineTensor, LocalSums } from '../engines/engine.js';
import { vector, type Kernel, type MatmulPolicy, type Parameters, type Recording } from '../kernels/kernel.js';
import { reshape } from '../kernels/movement.js';
import { unpackWeights } from '../kernels/packed-weights.js';
import { DeferredValues } from './deferred-values.js';
import { DeviceMemory } from './device-memory.js';
import { cutGraph, type RecordedGraph } from './graph.js';
import { GraphRunner, type GraphRunnerOptions } from './graph-runner.js';
import { HostOperands } from './host-operands.js';
import { createInterner } from './interner.js';
import { recomputableResults } from './rematerialization.js';
import { checkResult } from './shape-checks.js';
import { Value, type RecordedNode } from './value.js';

export interface RecorderOptions extends GraphRunnerOptions {
  /** Operations at which a recording is submitted automatically. */
  readonly maxNodes?: number;
  /**
   * Operations of a recording's first segment, which is submitted early so that the device works while the host records
   * the rest. 0 submits none.
   */
  readonly firstNodes?: number;
  /** Fewest operations that {@link Recorder.submitSegment} submits. */
  readonly minSegmentNodes?: number;
  /** Fewest bytes of intermediate values that a read within `tf.tidy` defers. */
  readonly minDeferredBytes?: number;
  /** Called for each value on the device that was garbage-collected without being disposed. */
  readonly onCollected?: () => void;
}

/**
 * Operations of the first segment: three layers of a transformer, enough work for the device while the host records. A
 * fixed number cuts equal recordings at the same operation. It is small because values that are alive at the cut must
 * be kept.
 */
const FIRST_NODES = 120;
/** Some layers of a transformer: enough work to hide the cost of submitting, and recorded quickly. */
const MIN_SEGMENT_NODES = 100;
const MAX_NODES = 60_000;

const noParameters: Parameters = [];
const noValues: ReadonlySet<Value> = new Set();

interface SubmitOptions {
  /** The value that is being read, or null. */
  readonly requested?: Value | null;
  /** Whether deferred values are computed too. */
  readonly includeDeferred?: boolean;
  /** Whether the recording continues after this segment. */
  readonly isFirstSegment?: boolean;
}

/** Records operations and submits them to the engine when a value is needed. */
export class Recorder {
  readonly memory: DeviceMemory;
  readonly operands: HostOperands;
  readonly runner: GraphRunner;
  private readonly deferral: DeferredValues;
  private matmulPolicy: MatmulPolicy = 'float32';
  private isConcurrent = false;
  private pending: RecordedNode[] = [];
  /** What {@link capture} records; null outside of it. */
  private captured: {
    readonly graphs: RecordedGraph[];
    readonly held: Set<Value>;
    readonly inputs: ReadonlySet<Value>;
  } | null = null;
  /** Submitted operations that stay recorded because a read deferred some of their results. */
  private deferredNodes: RecordedNode[] = [];
  /** Number of deferred results that are still held. */
  private deferredCount = 0;
  private hasSubmittedFirst = false;
  private readonly firstNodes: number;
  /** Identifies the current recording. */
  private serial = 0;
  /** Disposed values that the recording still needs. */
  private pendingDisposals: Value[] = [];
  private readonly kernelId = createInterner<Kernel>();
  private readonly parameterId = createInterner<string>();

  constructor(
    readonly engine: Engine,
    private readonly options: RecorderOptions = {},
  ) {
    this.memory = new DeviceMemory(engine, () => options.onCollected?.());
    this.operands = new HostOperands(engine, (bytes) => {
      this.memory.hostToDeviceBytes += bytes;
    });
    this.runner = new GraphRunner(engine, this.memory, this.operands, options);
    this.deferral = new DeferredValues(options.minDeferredBytes);
    // A compiler for static shapes optimizes one large graph better.
    this.firstNodes = engine.staticShapes ? 0 : (options.firstNodes ?? FIRST_NODES);
  }

  get matmul(): MatmulPolicy {
    return this.matmulPolicy;
  }

  /** Sets the policy for operations recorded from now on. Pending operations are submitted under the old one. */
  set matmul(policy: MatmulPolicy) {
    if (policy !== this.matmulPolicy) this.submit({ includeDeferred: true });
    this.matmulPolicy = policy;
  }

  /** Records independent computations as one graph. */
  recordConcurrently<T>(record: () => T): T {
    this.flush();
    this.isConcurrent = true;
    try {
      const result = record();
      this.flush();
      return result;
    } finally {
      this.isConcurrent = false;
    }
  }

  /**
   * Computes what a function of `inputs` records, in as few graphs as the engine allows. Returns the graphs, and other
   * operands that tfjs-core disposed before they were used: they are held with one reference, which the caller
   * releases.
   */
  capture(
    inputs: readonly Value[],
    record: () => void,
  ): { readonly graphs: readonly RecordedGraph[]; readonly held: ReadonlySet<Value> } {
    this.flush();
    this.hasSubmittedFirst = true;
    const captured = { graphs: [], held: new Set<Value>(), inputs: new Set(inputs) };
    this.captured = captured;
    try {
      record();
      this.flush();
    } finally {
      this.captured = null;
    }
    return captured;
  }

  /** Records one operation and returns its results, which are not computed yet. */
  record(kernel: Kernel, operands: readonly Value[], recording: Recording): Value[] {
    const packed = operands[0]?.packed;
    if (kernel.gathersRows === true && packed?.format === 'bfloat16')
      return this.recordRows(kernel, packed.components[0] as Value, operands.slice(1), recording);
    const shaped =
      recording.inputShapes === undefined
        ? operands
        : operands.map((operand, position) =>
            this.reshapeView(operand, recording.inputShapes?.[position] ?? operand.shape),
          );
    const inputs = shaped.some((operand) => operand.packed !== null) ? this.unpackAll(shaped, kernel) : shaped;
    for (const input of inputs) {
      if (input.failure !== null) throw input.failure;
      input.lastUsedIn = this.serial;
    }
    const parameters = recording.parameters ?? noParameters;
    const node: RecordedNode = {
      kernel,
      kernelId: this.kernelId(kernel),
      parameterId: parameters.length === 0 ? 0 : this.parameterId(parameters.join('|')),
      parameters,
      inputs,
      host: recording.host === undefined || recording.host.length === 0 ? [] : this.operands.internAll(recording.host),
      outputs: recording.outputs.map((spec) => new Value(spec.shape, spec.dtype, spec.storageDtype)),
      position: -1,
      firstOutput: -1,
      needed: false,
    };
    node.outputs.forEach((output, index) => {
      checkResult(node, output);
      output.node = node;
      output.outputIndex = index;
    });
    this.pending.push(node);
    return node.outputs as Value[];
  }

  /**
   * Submits the first segment, or a recording that reached the size limit. Call it between two of tfjs-core's
   * operations, when no intermediate value of an operation is alive.
   */
  cutIfDue(): void {
    const { maxNodes = MAX_NODES } = this.options;
    const limit =
      this.hasSubmittedFirst || this.firstNodes === 0 || this.isConcurrent
        ? maxNodes
        : Math.min(this.firstNodes, maxNodes);
    if (this.pending.length < limit) return;
    this.submit({ isFirstSegment: true });
    this.hasSubmittedFirst = true;
  }

  /** Submits pending operations as a segment, if the engine prefers segments. Call it where few values are alive. */
  submitSegment(): void {
    if (
      this.engine.runsInSegments !== true ||
      this.isConcurrent ||
      this.pending.length < (this.options.minSegmentNodes ?? MIN_SEGMENT_NODES)
    )
      return;
    this.submit();
  }

  /**
   * Records an operation that unpacks a packed value, no earlier than `after` exists. The result has no reference: add
   * one to keep it.
   */
  unpack(value: Value, after: Value | null, dtype: 'float32' | 'bfloat16' = 'float32'): Value {
    const { packed } = value;
    if (packed === null) return value;
    const { components, tables, parameters, host } = packed;
    const [unpacked] = this.record(
      unpackWeights,
      after === null ? [...components, ...tables] : [...components, ...tables, after],
      {
        outputs: [{ shape: value.shape, dtype: 'float32', storageDtype: dtype }],
        parameters: [...parameters, dtype, after === null ? 'at once' : 'after'],
        host,
      },
    );
    if (unpacked === undefined) throw new WhetstoneError('INTERNAL', 'Packed numbers were not unpacked.');
    unpacked.references = 0;
    return unpacked;
  }

  /** Unpacks packed operands, no earlier than one that is not packed. Products in bfloat16 take bfloat16 as it is. */
  private unpackAll(operands: readonly Value[], { isMatrixProduct }: Kernel): Value[] {
    const plain = operands.filter((operand) => operand.packed === null && operand.host === null);
    const after = plain.find((operand) => operand.node !== null) ?? plain[0] ?? null;
    return operands.map((operand) => {
      const { packed } = operand;
      if (isMatrixProduct === true && this.matmulPolicy === 'bfloat16' && packed?.format === 'bfloat16')
        return packed.components[0] ?? operand;
      return this.unpack(operand, after, isMatrixProduct === true ? packed?.productDtype : 'float32');
    });
  }

  /** Gathers rows of a bfloat16 table and widens only these rows. */
  private recordRows(kernel: Kernel, table: Value, others: readonly Value[], recording: Recording): Value[] {
    const [rows] = this.record(kernel, [table, ...others], {
      ...recording,
      outputs: recording.outputs.map((spec) => ({ ...spec, storageDtype: 'bfloat16' })),
    });
    if (rows === undefined) throw new WhetstoneError('INTERNAL', 'A gather has no result.');
    rows.references = 0;
    return this.record(unpackWeights, [rows], {
      outputs: recording.outputs,
      parameters: ['bfloat16', 'float32', 'at once'],
    });
  }

  /** Returns a value under another shape of the same size. It is created once per recording and has no reference. */
  reshapeView(value: Value, shape: readonly number[]): Value {
    if (sameShape(value.shape, shape)) return value;
    if (value.viewsSerial !== this.serial) {
      value.views = null;
      value.viewsSerial = this.serial;
    }
    const known = value.views?.find((view) => sameShape(view.shape, shape));
    if (known !== undefined) return known;
    let view: Value | undefined;
    if (value.host !== null) {
      view = new Value(shape, value.dtype, value.storageDtype);
      view.host = value.host;
    } else [view] = this.record(reshape, [value], { outputs: [{ shape, dtype: value.dtype }], host: [vector(shape)] });
    if (view === undefined) throw new WhetstoneError('INTERNAL', 'A reshape has no result.');
    view.references = 0;
    (value.views ??= []).push(view);
    return view;
  }

  /** Frees a value that tfjs-core no longer holds: at once, or when the recording that uses it is submitted. */
  dispose(value: Value): void {
    value.host = value.lastUsedIn === this.serial ? value.host : null;
    value.complex = null;
    value.views = null;
    for (const component of value.packed?.components ?? []) {
      component.references = 0;
      this.dispose(component);
    }
    if (value.tensor !== null) {
      if (value.lastUsedIn === this.serial) this.pendingDisposals.push(value);
      else this.memory.release(value);
    } else if (value.deferredKind !== -1 && value.node !== null) this.dropDeferred();
  }

  /** Submits everything recorded. Returns at once if the engine works asynchronously. */
  flush(): void {
    this.hasSubmittedFirst = false;
    this.submit();
  }

  private submit({ requested = null, includeDeferred = false, isFirstSegment = false }: SubmitOptions = {}): void {
    if (this.pending.length === 0 && requested === null && !includeDeferred) return;
    const nodes = this.deferredNodes.length === 0 ? this.pending : [...this.deferredNodes, ...this.pending];
    // Every process must compute the same sums, so nothing is deferred if there are several.
    const deferred =
      includeDeferred || this.engine.collective !== undefined
        ? noValues
        : this.deferral.select(nodes, this.pending, requested);
    this.deferredCount = deferred.size;
    const omitted = isFirstSegment ? new Set([...deferred, ...recomputableResults(nodes)]) : deferred;
    this.pending = [];
    const serial = this.serial++;
    const policy = { matmul: this.matmulPolicy, concurrent: this.isConcurrent };
    const graph = cutGraph(nodes, serial, policy, this.operands, omitted);
    this.holdForCapture(graph);
    const computed = new Set(graph.outputs);
    const kept = omitted.size === 0 ? [] : this.deferral.nodesToKeep(nodes, omitted, computed);
    const needed = new Set(kept.flatMap(({ inputs }) => inputs));
    try {
      if (graph.outputs.length > 0) this.runner.run(graph, (value) => this.materialise(value), needed);
    } catch (error) {
      const failure = toError(error);
      for (const output of [...graph.outputs, ...omitted]) if (output.tensor === null) output.failure = failure;
      kept.length = 0;
      needed.clear();
      throw failure;
    } finally {
      this.release(nodes, kept, needed, computed);
    }
  }

  private holdForCapture(graph: RecordedGraph): void {
    if (this.captured === null) return;
    const { graphs, held, inputs } = this.captured;
    graphs.push(graph);
    for (const input of graph.inputs) {
      if (!input.disposed || inputs.has(input)) continue;
      input.references = 1;
      held.add(input);
    }
  }

  /** Counts one deferred result less. After the last one, releases what was kept for them, unless it is in use. */
  private dropDeferred(): void {
    if (--this.deferredCount > 0 || this.pending.length > 0) return;
    // The operands of deferred operations no longer belong to a recording.
    this.serial++;
    this.release(this.deferredNodes, [], noValues, noValues);
  }

  /**
   * Detaches results from their operations after a graph ran, so that these and their operands can be freed.
   *
   * @param kept operations that stay recorded
   * @param needed operands of these operations
   * @param computed results that were computed
   */
  private release(
    nodes: readonly RecordedNode[],
    kept: RecordedNode[],
    needed: ReadonlySet<Value>,
    computed: ReadonlySet<Value>,
  ): void {
    const keptNodes = new Set(kept);
    for (const node of nodes) {
      const isKept = keptNodes.has(node);
      for (const output of node.outputs) if (!isKept || computed.has(output)) output.node = null;
      if (!isKept) continue;
      node.needed = false;
      node.position = -1;
      for (const input of node.inputs) input.lastUsedIn = this.serial;
    }
    this.deferredNodes = kept;
    for (const value of this.pendingDisposals) if (value.disposed && !needed.has(value)) this.memory.release(value);
    this.pendingDisposals = this.pendingDisposals.filter((value) => needed.has(value));
    // Recorded operations refer to host operands by number, which trimming invalidates.
    if (kept.length === 0) this.operands.trim();
  }

  /** Computes a value if necessary, and returns its tensor on the device. */
  materialise(value: Value): EngineTensor {
    if (value.node !== null) {
      this.hasSubmittedFirst = false;
      this.submit({ requested: value });
    }
    if (value.failure !== null) throw value.failure;
    if (value.tensor !== null) return value.tensor;
    if (value.host === null)
      throw new WhetstoneError('INTERNAL', 'A value is neither recorded, nor on the device, nor on the host.');
    return this.operands.tensor(this.operands.idOf(value));
  }

  /** Sums values over processes outside of the engine's graphs. Returns the sums, then the seconds that they took. */
  sumOverProcesses(values: readonly Value[], { sum }: LocalSums): Value[] {
    this.flush();
    const tensors = values.map((value) => this.materialise(value));
    const shapes = values.map(({ shape }) => shape);
    return sum(tensors, shapes).map((tensor, index) => {
      const value = new Value(shapes[index] ?? [], 'float32');
      this.memory.adopt(value, tensor);
      return value;
    });
  }

  /** Drops all recorded operations and compiled programs. */
  reset(): void {
    this.pending = [];
    this.deferredNodes = [];
    this.hasSubmittedFirst = false;
    this.serial++;
    this.engine.wait();
    this.runner.programs.clear();
    this.operands.clear();
  }
}
