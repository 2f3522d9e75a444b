import { WhetstoneError } from '@whetstone/core/contract';
import type { Engine, EngineTensor } from '../engines/engine.js';
import { vector, type Kernel, type Parameters, type Recording } from '../kernels/kernel.js';
import type { MatmulPolicy } from '../kernels/matmul-policy.js';
import { reshape } from '../kernels/reshape.js';
import { unpack } from '../kernels/unpack.js';
import { DeviceMemory } from './device-memory.js';
import { cut } from './graph.js';
import { GraphRunner, type GraphRunnerOptions } from './graph-runner.js';
import { HostOperands } from './host-operands.js';
import { numbering } from './numbering.js';
import { PassingValues } from './passing-values.js';
import { cheapToRepeat } from './recompute.js';
import { refuseImpossible } from './refuse.js';
import { sameShape } from './types.js';
import { Value, type RecordedNode } from './value.js';

export interface RecorderOptions extends GraphRunnerOptions {
  /** Operations after which a recording is cut by itself. */
  readonly mostNodes?: number;
  /**
   * Operations after which the first part of a recording is handed over, so that the device starts while the host
   * records the rest. 0: never.
   */
  readonly firstNodes?: number;
  /** Operations from which on a piece of a recording is worth handing over for itself. */
  readonly pieceNodes?: number;
  /** Bytes of intermediate values from which on a read within `tf.tidy` leaves them out. */
  readonly leastLeftOut?: number;
  /** Told of each value on the device that JavaScript forgot before tfjs disposed it. */
  readonly onForgotten?: () => void;
}

/**
 * Operations of a recording's first part: three layers of a transformer, enough work for the device while the host
 * records the rest. A fixed number, so that equal recordings are cut alike; what is alive at the cut has to be kept, so
 * the part is small.
 */
const FIRST_NODES = 120;
/** Some layers of a transformer: enough for the device that handing over costs nothing beside it, and soon recorded. */
const PIECE_NODES = 100;
const MOST_NODES = 60_000;

const noParameters: Parameters = [];
const nothing: ReadonlySet<Value> = new Set();

/** Records operations, and hands them to the engine when somebody wants to see a result. */
export class Recorder {
  readonly memory: DeviceMemory;
  readonly operands: HostOperands;
  readonly runner: GraphRunner;
  private readonly passing: PassingValues;
  private matmulPolicy: MatmulPolicy = 'float32';
  private isSideBySide = false;
  private pending: RecordedNode[] = [];
  /** Operations before the pending ones whose results a read left out. */
  private waiting: RecordedNode[] = [];
  /** How many of these results are held. */
  private leftOut = 0;
  /** Whether part of what is being recorded was handed over already. */
  private begun = false;
  private readonly firstNodes: number;
  private serial = 0;
  /** Values disposed while the recording still needs them. */
  private graveyard: Value[] = [];
  private readonly kernelId = numbering<Kernel>();
  private readonly parameterId = numbering<string>();

  constructor(
    readonly engine: Engine,
    private readonly options: RecorderOptions = {},
  ) {
    this.memory = new DeviceMemory(engine, () => options.onForgotten?.());
    this.operands = new HostOperands(engine, (bytes) => {
      this.memory.hostToDeviceBytes += bytes;
    });
    this.runner = new GraphRunner(engine, this.memory, this.operands, options);
    this.passing = new PassingValues(options.leastLeftOut);
    // Where shapes are static a compiler sees more in one large graph.
    this.firstNodes = engine.staticShapes ? 0 : (options.firstNodes ?? FIRST_NODES);
  }

  get matmul(): MatmulPolicy {
    return this.matmulPolicy;
  }

  /** What is recorded from now on is multiplied that way; what is pending is handed over as it was meant. */
  set matmul(policy: MatmulPolicy) {
    if (policy !== this.matmulPolicy) this.handOver({ whole: true });
    this.matmulPolicy = policy;
  }

  /** Records, as a graph of its own, parts that do not depend on one another. */
  sideBySide<T>(record: () => T): T {
    this.flush();
    this.isSideBySide = true;
    try {
      const made = record();
      this.flush();
      return made;
    } finally {
      this.isSideBySide = false;
    }
  }

  /** Records one operation. Nothing is computed. */
  record(kernel: Kernel, operands: readonly Value[], recording: Recording): Value[] {
    const stored = operands[0]?.stored;
    if (kernel.gathersRows === true && stored?.format === 'bfloat16')
      return this.recordRows(kernel, stored.parts[0] as Value, operands.slice(1), recording);
    const shaped =
      recording.inputShapes === undefined
        ? operands
        : operands.map((operand, position) => this.seenAs(operand, recording.inputShapes?.[position] ?? operand.shape));
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
      host: recording.host === undefined || recording.host.length === 0 ? [] : this.operands.internAll(recording.host),
      outputs: recording.outputs.map((spec) => new Value(spec.shape, spec.dtype, spec.physical)),
      position: -1,
      firstOutput: -1,
      needed: false,
    };
    node.outputs.forEach((output, index) => {
      refuseImpossible(node, output);
      output.node = node;
      output.outputIndex = index;
    });
    this.pending.push(node);
    return node.outputs as Value[];
  }

  /**
   * Call between two operations of tfjs's, when nothing is held that only the recording knows: hands over a first part,
   * or what has grown too long.
   */
  cutIfDue(): void {
    const { mostNodes = MOST_NODES } = this.options;
    const limit =
      this.begun || this.firstNodes === 0 || this.isSideBySide ? mostNodes : Math.min(this.firstNodes, mostNodes);
    if (this.pending.length < limit) return;
    this.handOver({ part: true });
    this.begun = true;
  }

  /**
   * Hands over what was recorded as a piece, where the engine gains by that: for whoever knows that little is alive
   * now.
   */
  handOverPiece(): void {
    if (
      this.engine.runsInPieces !== true ||
      this.isSideBySide ||
      this.pending.length < (this.options.pieceNodes ?? PIECE_NODES)
    )
      return;
    this.handOver();
  }

  /**
   * The float32 numbers of a packed value, as an operation of the graph. They come no sooner than `after`. The result
   * is nobody's: hold it to keep it.
   */
  unpack(value: Value, after: Value | null, type: 'float32' | 'bfloat16' = 'float32'): Value {
    const { stored } = value;
    if (stored === null) return value;
    const operands = after === null ? [...stored.parts, ...stored.tables] : [...stored.parts, ...stored.tables, after];
    const parameters = [...stored.parameters, type, after === null ? 'at once' : 'after'];
    const [unpacked] = this.record(unpack, operands, {
      outputs: [{ shape: value.shape, dtype: 'float32', physical: type }],
      parameters,
      host: stored.host,
    });
    if (unpacked === undefined) throw new WhetstoneError('INTERNAL', 'Packed numbers were not unpacked.');
    unpacked.references = 0;
    return unpacked;
  }

  /**
   * Operands with the packed ones unpacked, no sooner than an operand that is not packed. Those in bfloat16 stay as
   * they are where they are multiplied in it.
   */
  private unpackAll(operands: readonly Value[], { multiplies }: Kernel): Value[] {
    const plain = operands.filter((operand) => operand.stored === null && operand.host === null);
    const after = plain.find((operand) => operand.node !== null) ?? plain[0] ?? null;
    return operands.map((operand) => {
      const { stored } = operand;
      if (multiplies === true && this.matmulPolicy === 'bfloat16' && stored?.format === 'bfloat16')
        return stored.parts[0] ?? operand;
      return this.unpack(operand, after, multiplies === true ? stored?.multipliedAs : 'float32');
    });
  }

  /** Rows of a table in bfloat16: they are gathered as they are, and only they are widened. */
  private recordRows(kernel: Kernel, table: Value, others: readonly Value[], recording: Recording): Value[] {
    const [rows] = this.record(kernel, [table, ...others], {
      ...recording,
      outputs: recording.outputs.map((spec) => ({ ...spec, physical: 'bfloat16' as const })),
    });
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
    if (value.tensor !== null) {
      if (value.usedBy === this.serial) this.graveyard.push(value);
      else this.memory.release(value);
    } else if (value.leftOut !== -1 && value.node !== null) this.forgetLeftOut();
  }

  /** Hands everything recorded to the engine. Returns at once where the engine works asynchronously. */
  flush(): void {
    this.begun = false;
    this.handOver();
  }

  /**
   * @param wanted what a read asks for; null without one
   * @param whole whether what reads left out is computed, too
   * @param part whether the recording goes on
   */
  private handOver({
    wanted = null,
    whole = false,
    part = false,
  }: { readonly wanted?: Value | null; readonly whole?: boolean; readonly part?: boolean } = {}): void {
    if (this.pending.length === 0 && wanted === null && !whole) return;
    const nodes = this.waiting.length === 0 ? this.pending : [...this.waiting, ...this.pending];
    // What processes sum together is computed by all of them or by none: nothing is left for later.
    const passing =
      whole || this.engine.collective !== undefined ? nothing : this.passing.find(nodes, this.pending, wanted);
    this.leftOut = passing.size;
    const leftOut = part ? new Set([...passing, ...cheapToRepeat(nodes)]) : passing;
    this.pending = [];
    const serial = this.serial++;
    const graph = cut(
      nodes,
      serial,
      { matmul: this.matmulPolicy, sideBySide: this.isSideBySide },
      this.operands,
      leftOut,
    );
    const made = new Set(graph.outputs);
    const still = leftOut.size === 0 ? [] : this.passing.recordedStill(nodes, leftOut, made);
    const needed = new Set(still.flatMap(({ inputs }) => inputs));
    try {
      if (graph.outputs.length > 0) this.runner.run(graph, (value) => this.materialise(value), needed);
    } catch (error) {
      const failure = error instanceof Error ? error : new Error(String(error));
      for (const output of [...graph.outputs, ...leftOut]) if (output.tensor === null) output.failure = failure;
      still.length = 0;
      needed.clear();
      throw failure;
    } finally {
      this.letGo(nodes, still, needed, made);
    }
  }

  /**
   * One result less that was left out is held. When there is none any more, what was kept for their sake goes, unless
   * something recorded since needs it.
   */
  private forgetLeftOut(): void {
    if (--this.leftOut > 0 || this.pending.length > 0) return;
    // Their operands are no longer those of a recording.
    this.serial++;
    this.letGo(this.waiting, [], nothing, nothing);
  }

  /**
   * After a graph: results refer to their operations no longer, so that these and their operands can go, except what
   * stays recorded.
   */
  private letGo(
    nodes: readonly RecordedNode[],
    still: RecordedNode[],
    needed: ReadonlySet<Value>,
    made: ReadonlySet<Value>,
  ): void {
    const staying = new Set(still);
    for (const node of nodes) {
      const stays = staying.has(node);
      for (const output of node.outputs) if (!stays || made.has(output)) output.node = null;
      if (!stays) continue;
      node.needed = false;
      node.position = -1;
      for (const input of node.inputs) input.usedBy = this.serial;
    }
    this.waiting = still;
    for (const value of this.graveyard) if (value.disposed && !needed.has(value)) this.memory.release(value);
    this.graveyard = this.graveyard.filter((value) => needed.has(value));
    // Recorded operations name host operands by their numbers.
    if (still.length === 0) this.operands.sweep();
  }

  /** Makes sure a value is on the device and returns its tensor. */
  materialise(value: Value): EngineTensor {
    if (value.node !== null) {
      this.begun = false;
      this.handOver({ wanted: value });
    }
    if (value.failure !== null) throw value.failure;
    if (value.tensor !== null) return value.tensor;
    if (value.host === null)
      throw new WhetstoneError('INTERNAL', 'A value is neither recorded, nor on the device, nor on the host.');
    return this.operands.tensor(this.operands.idOf(value));
  }

  /** Drops what was recorded and compiled. */
  reset(): void {
    this.pending = [];
    this.waiting = [];
    this.begun = false;
    this.serial++;
    this.engine.wait();
    this.runner.programs.clear();
    this.operands.clear();
  }
}
