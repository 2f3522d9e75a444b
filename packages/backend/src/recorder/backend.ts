import {
  backend_util,
  engine as tfjs,
  KernelBackend,
  util,
  type BackendTimingInfo,
  type BackendValues,
  type DataId,
  type DataType,
  type TensorInfo,
} from '@tensorflow/tfjs-core';
import { WhetstoneError, type PackedTensor, type StorageFormat, type StoringBackend } from '@whetstone/core/contract';
import type { FlashAttentionSupport } from '@whetstone/core/ops';
import type { Engine } from '../engines/engine.js';
import type { Kernel, KernelInputs } from '../kernels/kernel.js';
import type { MatmulPolicy } from '../kernels/matmul-policy.js';
import type { BackendCounters } from './counters.js';
import { Recorder, type RecorderOptions } from './recorder.js';
import { refuseMisshapen } from './refuse.js';
import { copied } from './host-values.js';
import { StoredTensors } from './stored-tensors.js';
import { isDeviceType, toTypedArray } from './types.js';
import { Value } from './value.js';

/**
 * The tfjs-core backend `whetstone`: a dataId is a {@link Value}, kernels only record, and reads, {@link barrier} or a
 * size cap hand the recording to the engine.
 */
export class WhetstoneBackend extends KernelBackend implements StoringBackend {
  readonly recorder: Recorder;
  private dataIds = 0;
  /** Values whose dataId was made by another backend and moved here. */
  private readonly moved = new WeakMap<DataId, Value>();
  private readonly stored: StoredTensors;

  constructor(
    readonly engine: Engine,
    options: RecorderOptions = {},
  ) {
    super();
    this.recorder = new Recorder(engine, { ...options, onForgotten: () => this.dataIds-- });
    this.stored = new StoredTensors(this.recorder);
  }

  /** Whether every new shape is compiled anew. */
  get staticShapes(): boolean {
    return this.engine.staticShapes;
  }

  /**
   * What attention the device's library has; it multiplies in bfloat16, so that none is offered where float32 is asked
   * for.
   */
  get flashAttention(): FlashAttentionSupport | null {
    return this.matmul === 'bfloat16' ? (this.engine.flashAttention ?? null) : null;
  }

  /** Records a kernel that tfjs-core calls. */
  run(kernel: Kernel, inputs: KernelInputs, attributes: Readonly<Record<string, unknown>>): TensorInfo | TensorInfo[] {
    const infos: TensorInfo[] = [];
    if (kernel.inputs === 'list') {
      for (const info of Object.values(inputs)) if (info !== undefined) infos.push(info);
    } else
      for (const name of kernel.inputs) {
        const info = inputs[name];
        if (info !== undefined && info !== null) infos.push(info);
      }
    const recording = kernel.rule(infos, attributes);
    this.recorder.cutIfDue();
    const operands = infos.map((info, position) => {
      const value = this.find(info.dataId);
      return position === 0 && kernel.takesAnyShape === true
        ? value
        : this.recorder.seenAs(value, recording.inputShapes?.[position] ?? info.shape);
    });
    const outputs = this.recorder.record(kernel, operands, { ...recording, inputShapes: undefined });
    this.dataIds += outputs.length;
    const made = outputs.map((value, position) => ({
      dataId: value as DataId,
      shape: (recording.shapes?.[position] ?? value.shape) as number[],
      dtype: value.dtype,
    }));
    const [only] = made;
    return made.length === 1 && only !== undefined && kernel.list !== true ? only : made;
  }

  /**
   * Hands everything recorded so far to the device; returns while the device works. The end of an optimizer step or
   * microbatch.
   */
  barrier(): void {
    this.recorder.flush();
  }

  /** A place in a computation where little is alive, see `boundary` of `@whetstone/core/ops`. */
  handOverPiece(): void {
    this.recorder.handOverPiece();
  }

  /** The same, and resolves when the device is done. Timers and signals are served meanwhile. */
  async settle(): Promise<void> {
    this.recorder.flush();
    await this.engine.waitLater();
    this.recorder.runner.settled();
  }

  counters(): BackendCounters {
    const {
      runner: { counters },
      memory,
    } = this.recorder;
    return {
      graphs: counters.graphs,
      nodes: counters.nodes,
      compiles: this.engine.compilations(),
      cacheHits: counters.cacheHits,
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
    const encoded =
      dtype === 'string' && typeof values[0] === 'string'
        ? (values as unknown as string[]).map((value) => util.encodeString(value))
        : values;
    return { dataId: this.write(encoded, shape, dtype), shape, dtype };
  }

  /** A complex64 tensor of two float32 ones, whose data it owns. */
  makeComplex(shape: number[], real: TensorInfo, imag: TensorInfo): TensorInfo {
    const value = new Value(shape.slice(), 'complex64');
    value.complex = { real, imag };
    return this.given(value);
  }

  complexParts(info: TensorInfo): { readonly real: TensorInfo; readonly imag: TensorInfo } {
    const { complex } = this.find(info.dataId);
    if (complex === null) throw new WhetstoneError('INTERNAL', 'A complex64 tensor has no parts.');
    return complex;
  }

  override readSync(dataId: DataId): BackendValues {
    const value = this.find(dataId);
    if (value.complex !== null)
      return backend_util.mergeRealAndImagArrays(
        this.readSync(value.complex.real.dataId) as Float32Array,
        this.readSync(value.complex.imag.dataId) as Float32Array,
      );
    if (value.host !== null) return copied(value.host);
    const unpacked = this.held(value);
    const values = this.engine.download(this.recorder.materialise(unpacked), unpacked.type, value.size);
    this.recorder.runner.settled();
    this.letGo(unpacked, value);
    return values;
  }

  override async read(dataId: DataId): Promise<BackendValues> {
    const value = this.find(dataId);
    if (value.complex !== null) {
      const [real, imag] = await Promise.all([
        this.read(value.complex.real.dataId),
        this.read(value.complex.imag.dataId),
      ]);
      return backend_util.mergeRealAndImagArrays(real as Float32Array, imag as Float32Array);
    }
    if (value.host !== null) return copied(value.host);
    const unpacked = this.held(value);
    const values = this.engine.downloadLater(this.recorder.materialise(unpacked), unpacked.type, value.size);
    // The engine holds what it downloads.
    this.letGo(unpacked, value);
    return values;
  }

  storePacked(packed: PackedTensor): TensorInfo {
    return this.given(this.stored.pack(packed));
  }

  /** The same numbers rounded to bfloat16, which is how they are kept. */
  storeBfloat16(x: TensorInfo): TensorInfo {
    return this.given(this.stored.inBfloat16(this.find(x.dataId), x.shape));
  }

  async storeFrom(
    shape: readonly number[],
    format: 'float32' | 'bfloat16',
    fill: (bytes: Uint8Array) => Promise<void>,
  ): Promise<TensorInfo> {
    return this.given(await this.stored.from(shape, format, fill));
  }

  storageOf(dataId: DataId): { readonly format: StorageFormat; readonly bytes: number } {
    const { stored, bytes } = this.find(dataId);
    return stored === null
      ? { format: 'float32', bytes }
      : { format: stored.format, bytes: stored.parts.reduce((sum, part) => sum + part.bytes, 0) };
  }

  /**
   * Records, as a graph of its own, parts that do not depend on one another: an engine that gains by it computes them
   * beside each other.
   */
  sideBySide<T>(record: () => T): T {
    return this.recorder.sideBySide(record);
  }

  /** How products of matrices are computed from now on. */
  setMatmul(policy: MatmulPolicy): void {
    this.recorder.matmul = policy;
  }

  get matmul(): MatmulPolicy {
    return this.recorder.matmul;
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
    this.stored.clear();
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

  /** A value as a tensor of tfjs's. */
  private given(value: Value): TensorInfo {
    this.dataIds++;
    return { dataId: value, shape: value.shape.slice(), dtype: value.dtype };
  }

  /** The value itself, or its unpacked numbers under a reference of our own. */
  private held(value: Value): Value {
    if (value.stored === null) return value;
    const unpacked = this.recorder.unpack(value, null);
    unpacked.references = 1;
    return unpacked;
  }

  private letGo(unpacked: Value, value: Value): void {
    if (unpacked === value) return;
    unpacked.references = 0;
    this.recorder.dispose(unpacked);
  }

  private put(value: Value, values: BackendValues): void {
    if (value.dtype === 'complex64') {
      // Another backend's pairs, moved here.
      const { real, imag } = backend_util.splitRealAndImagArrays(values as Float32Array);
      const partOf = (numbers: Float32Array): TensorInfo =>
        this.makeTensorInfo(value.shape.slice(), 'float32', numbers);
      value.complex = { real: partOf(real), imag: partOf(imag) };
      return;
    }
    if (!isDeviceType(value.dtype)) {
      value.host = values;
      return;
    }
    const typed = toTypedArray(values as ArrayLike<number>, value.type);
    refuseMisshapen(value, typed.length);
    // Scalars stay on the host and are interned by content; a size would not do as the limit, because the structure of
    // a graph may not depend on a length. Both ways take a snapshot: whoever wrote the array may change it before the
    // recording runs.
    if (value.shape.length === 0) value.host = typed.slice();
    else this.recorder.memory.adoptUploaded(value, this.engine.upload(value.type, value.shape, typed));
  }
}
