import { engine as tfjs, KernelBackend, util, type BackendTimingInfo, type BackendValues, type DataId, type DataType, type TensorInfo } from '@tensorflow/tfjs-core';
import { WhetstoneError } from '@whetstone/core/contract';
import type { Engine } from '../engines/engine.js';
import type { Kernel, KernelInputs } from '../kernels/kernel.js';
import { Recorder, type RecorderOptions } from './recorder.js';
import { isDeviceType, toTypedArray } from './types.js';
import { Value } from './value.js';

/** Numbers about what a backend has done since it was made. */
export interface BackendCounters {
  /** Graphs handed to the engine. */
  readonly graphs: number;
  /** Operations in them. */
  readonly nodes: number;
  /** Graphs compiled. */
  readonly compiles: number;
  /** Graphs that found themselves compiled. */
  readonly cacheHits: number;
  /** Graphs and operations that ran op by op. */
  readonly eagerGraphs: number;
  readonly eagerOps: number;
  readonly hostToDeviceBytes: number;
  readonly deviceBytes: number;
  readonly peakDeviceBytes: number;
}

/**
 * The tfjs-core backend `whetstone`: a dataId is a {@link Value}, kernels only record, and reads, {@link barrier} or a size cap hand the
 * recording to the engine.
 */
export class WhetstoneBackend extends KernelBackend {
  readonly recorder: Recorder;
  private dataIds = 0;
  /** Values whose dataId was made by another backend and moved here. */
  private readonly moved = new WeakMap<DataId, Value>();

  constructor(
    readonly engine: Engine,
    options: RecorderOptions = {},
  ) {
    super();
    this.recorder = new Recorder(engine, options);
  }

  /** Records a kernel that tfjs-core calls. */
  run(kernel: Kernel, inputs: KernelInputs, attributes: Readonly<Record<string, unknown>>): TensorInfo | TensorInfo[] {
    const infos: TensorInfo[] = [];
    if (kernel.inputs === 'list') {
      for (const info of Object.values(inputs)) if (info !== undefined) infos.push(info);
    } else for (const name of kernel.inputs) {
      const info = inputs[name];
      if (info !== undefined && info !== null) infos.push(info);
    }
    const recording = kernel.rule(infos, attributes);
    const operands = infos.map((info, position) => this.recorder.seenAs(this.find(info.dataId), recording.inputShapes?.[position] ?? info.shape));
    const outputs = this.recorder.record(kernel, operands, { ...recording, inputShapes: undefined });
    this.dataIds += outputs.length;
    const made = outputs.map((value, position) => ({ dataId: value as DataId, shape: (recording.shapes?.[position] ?? value.shape) as number[], dtype: value.dtype }));
    const [only] = made;
    return made.length === 1 && only !== undefined && kernel.list !== true ? only : made;
  }

  /** Hands everything recorded so far to the device; returns while the device works. The end of an optimizer step or microbatch. */
  barrier(): void {
    this.recorder.flush();
  }

  /** The same, and resolves when the device is done. Timers and signals are served meanwhile. */
  async settle(): Promise<void> {
    this.recorder.flush();
    await this.engine.waitLater();
    this.recorder.settled();
  }

  counters(): BackendCounters {
    const { counters, programs, memory } = this.recorder;
    return {
      graphs: counters.graphs,
      nodes: counters.nodes,
      compiles: programs.counters.compiles,
      cacheHits: programs.counters.cacheHits,
      eagerGraphs: counters.eagerGraphs,
      eagerOps: counters.eagerNodes,
      hostToDeviceBytes: memory.hostToDeviceBytes,
      deviceBytes: memory.bytes,
      peakDeviceBytes: memory.peakBytes,
    };
  }

  override write(values: BackendValues, shape: number[], dtype: DataType): DataId {
    const value = new Value(shape.slice(), dtype);
    this.put(value, values);
    this.dataIds++;
    return value;
  }

  override move(dataId: DataId, values: BackendValues, shape: number[], dtype: DataType, refCount: number): void {
    const value = new Value(shape.slice(), dtype);
    this.put(value, values);
    value.references = refCount;
    this.moved.set(dataId, value);
    this.dataIds++;
  }

  /** A tensor of tfjs's over freshly written values: for kernels that compute on the host. */
  makeTensorInfo(shape: number[], dtype: DataType, values: BackendValues): TensorInfo {
    const encoded = dtype === 'string' && typeof values[0] === 'string' ? (values as unknown as string[]).map((value) => util.encodeString(value)) : values;
    return { dataId: this.write(encoded, shape, dtype), shape, dtype };
  }

  /** A complex64 tensor of two float32 ones, whose data it owns. */
  makeComplex(shape: number[], real: TensorInfo, imag: TensorInfo): TensorInfo {
    const value = new Value(shape.slice(), 'complex64');
    value.complex = { real, imag };
    this.dataIds++;
    return { dataId: value, shape, dtype: 'complex64' };
  }

  complexParts(info: TensorInfo): { readonly real: TensorInfo; readonly imag: TensorInfo } {
    const { complex } = this.find(info.dataId);
    if (complex === null) throw new WhetstoneError('INTERNAL', 'A complex64 tensor has no parts.');
    return complex;
  }

  override readSync(dataId: DataId): BackendValues {
    const value = this.find(dataId);
    if (value.complex !== null) return interleave(this.readSync(value.complex.real.dataId), this.readSync(value.complex.imag.dataId));
    if (value.host !== null) return copied(value.host);
    const tensor = this.recorder.materialise(value);
    const values = this.engine.download(tensor, value.type, value.size);
    this.recorder.settled();
    return values;
  }

  override async read(dataId: DataId): Promise<BackendValues> {
    const value = this.find(dataId);
    if (value.complex !== null) {
      const [real, imag] = await Promise.all([this.read(value.complex.real.dataId), this.read(value.complex.imag.dataId)]);
      return interleave(real, imag);
    }
    if (value.host !== null) return copied(value.host);
    const tensor = this.recorder.materialise(value);
    return this.engine.downloadLater(tensor, value.type, value.size);
  }

  override refCount(dataId: DataId): number {
    const value = this.owned(dataId);
    return value === undefined ? 0 : value.references;
  }

  override incRef(dataId: DataId): void {
    this.find(dataId).references++;
  }

  /** Gives up one reference, or all with `force`. True when the data are gone. */
  override disposeData(dataId: DataId, force = false): boolean {
    const value = this.owned(dataId);
    if (value === undefined) return true;
    value.references--;
    if (!force && value.references > 0) return false;
    value.references = 0;
    if (value.complex !== null) {
      this.disposeData(value.complex.real.dataId, force);
      this.disposeData(value.complex.imag.dataId, force);
    }
    this.moved.delete(dataId);
    this.recorder.dispose(value);
    this.dataIds--;
    return true;
  }

  override numDataIds(): number {
    return this.dataIds;
  }

  override memory(): { unreliable: boolean; numBytesInDevice: number } {
    return { unreliable: false, numBytesInDevice: this.recorder.memory.bytes };
  }

  override async time(work: () => void): Promise<BackendTimingInfo> {
    this.recorder.flush();
    this.engine.wait();
    const start = performance.now();
    work();
    this.recorder.flush();
    this.engine.wait();
    return { kernelMs: performance.now() - start };
  }

  override floatPrecision(): 16 | 32 {
    return 32;
  }

  /** Forgets everything; tfjs-core may start the backend again afterwards. */
  override dispose(): void {
    this.recorder.reset();
    this.dataIds = 0;
  }

  private owned(dataId: DataId): Value | undefined {
    if (dataId instanceof Value && !dataId.disposed) return dataId;
    return this.moved.get(dataId);
  }

  private find(dataId: DataId): Value {
    const value = this.owned(dataId);
    if (value !== undefined) return value;
    // tfjs-core knows which backend holds it, and moves it here.
    tfjs().moveData(this, dataId);
    const moved = this.moved.get(dataId);
    if (moved === undefined) throw new WhetstoneError('INTERNAL', 'A tensor has no data: it was disposed.');
    return moved;
  }

  private put(value: Value, values: BackendValues): void {
    if (!isDeviceType(value.dtype)) {
      value.host = values;
      return;
    }
    const typed = toTypedArray(values as ArrayLike<number>, value.type);
    // Scalars stay on the host and are interned by content; a size would not do as the limit, because the structure of a graph may not
    // depend on a length. Both ways take a snapshot: whoever wrote the array may change it before the recording runs.
    if (value.shape.length === 0) value.host = typed.slice();
    else {
      this.recorder.memory.adopt(value, this.engine.upload(value.type, value.shape, typed));
      this.recorder.memory.hostToDeviceBytes += value.bytes;
    }
  }
}

/** Numbers are given away as copies: whoever reads them may change them. */
const copied = (values: BackendValues): BackendValues => (ArrayBuffer.isView(values) ? values.slice() : values);

function interleave(real: BackendValues, imag: BackendValues): Float32Array {
  const reals = real as Float32Array;
  const imags = imag as Float32Array;
  const pairs = new Float32Array(2 * reals.length);
  for (let index = 0; index < reals.length; index++) {
    pairs[2 * index] = reals[index] ?? 0;
    pairs[2 * index + 1] = imags[index] ?? 0;
  }
  return pairs;
}
