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
import type { FlashAttentionSupport } from '@whetstone/core/ops/internal';
import type { Engine, LocalSums } from '../engines/engine.js';
import type { Kernel, KernelInputs, MatmulPolicy } from '../kernels/kernel.js';
import { Recorder, type RecorderOptions } from './recorder.js';
import { checkHostValues } from './shape-checks.js';
import { PackedTensorStore } from './packed-tensors.js';
import { Replay } from './replay.js';
import { isDeviceType, toTypedArray } from './types.js';
import { Value } from './value.js';

/** Counts since a backend was created. */
export interface BackendCounters {
  /** Graphs submitted to the engine. */
  readonly graphs: number;
  /** Operations in these graphs. */
  readonly nodes: number;
  /** Programs compiled. With static shapes each set of shapes counts. */
  readonly compiles: number;
  /** Graphs that were compiled before: `graphs` = `cacheHits` + graphs that had to be compiled + `eagerGraphs`. */
  readonly cacheHits: number;
  /** Graphs and operations that ran op by op. */
  readonly eagerGraphs: number;
  readonly eagerOps: number;
  /** Bytes copied to the device: tensors, and each new shape or scalar once. */
  readonly hostToDeviceBytes: number;
  /** Bytes of tensors on the device, now and at most. Temporary memory of operations is not included. */
  readonly deviceBytes: number;
  readonly peakDeviceBytes: number;
}

/**
 * The tfjs-core backend `whetstone`. A dataId is a {@link Value}. Kernels only record. A read, {@link barrier} or a
 * size limit submits the recording to the engine.
 */
export class WhetstoneBackend extends KernelBackend implements StoringBackend {
  readonly recorder: Recorder;
  private dataIds = 0;
  /** Values by the dataId of another backend, from which they were moved. */
  private readonly movedValues = new WeakMap<DataId, Value>();
  private readonly packedTensors: PackedTensorStore;

  constructor(
    readonly engine: Engine,
    options: RecorderOptions = {},
  ) {
    super();
    this.recorder = new Recorder(engine, { ...options, onCollected: () => this.dataIds-- });
    this.packedTensors = new PackedTensorStore(this.recorder);
  }

  /** Whether each new set of shapes is compiled. */
  get staticShapes(): boolean {
    return this.engine.staticShapes;
  }

  /** The device library's attention. It multiplies in bfloat16, so this is null under the policy `float32`. */
  get flashAttention(): FlashAttentionSupport | null {
    return this.matmul === 'bfloat16' ? (this.engine.flashAttention ?? null) : null;
  }

  /** Records a kernel that tfjs-core calls, and returns its results. */
  recordKernel(
    kernel: Kernel,
    inputs: KernelInputs,
    attributes: Readonly<Record<string, unknown>>,
  ): TensorInfo | TensorInfo[] {
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
      return position === 0 && kernel.acceptsAnyShape === true
        ? value
        : this.recorder.reshapeView(value, recording.inputShapes?.[position] ?? info.shape);
    });
    const outputs = this.recorder.record(kernel, operands, { ...recording, inputShapes: undefined });
    this.dataIds += outputs.length;
    const made = outputs.map((value, position) => ({
      dataId: value as DataId,
      shape: (recording.outputShapes?.[position] ?? value.shape) as number[],
      dtype: value.dtype,
    }));
    const [only] = made;
    return made.length === 1 && only !== undefined && kernel.returnsList !== true ? only : made;
  }

  /**
   * Computes a function of tensors in such a way that it can be repeated: see `repeatable` of `@whetstone/core/ops`.
   * Returns what repeats it. That returns null if the function must be computed again.
   */
  capture(
    inputs: readonly TensorInfo[],
    compute: () => readonly TensorInfo[],
  ): { run(inputs: readonly TensorInfo[], consumed: number): readonly TensorInfo[] | null; dispose(): void } {
    const valuesOf = (infos: readonly TensorInfo[]): Value[] => infos.map(({ dataId }) => this.find(dataId));
    let outputs: readonly TensorInfo[] = [];
    const given = valuesOf(inputs);
    const captured = this.recorder.capture(given, () => {
      outputs = compute();
    });
    const replay = new Replay(this.recorder, captured, given, valuesOf(outputs));
    const shapes = outputs.map(({ shape }) => shape);
    return {
      run: (others, consumed) => {
        const repeated = replay.run(valuesOf(others), consumed);
        if (repeated === null) return null;
        this.dataIds += repeated.made;
        return repeated.results.map((value, index) => ({
          dataId: value,
          shape: shapes[index] ?? [],
          dtype: value.dtype,
        }));
      },
      dispose: () => replay.dispose((value) => this.disposeData(value)),
    };
  }

  /**
   * Submits everything recorded so far and returns while the device works. Call it at the end of a microbatch or
   * optimizer step.
   */
  barrier(): void {
    this.recorder.flush();
  }

  /** Submits a graph segment if the engine prefers segments: see `boundary` of `@whetstone/core/ops`. */
  submitSegment(): void {
    this.recorder.submitSegment();
  }

  /** Submits everything and resolves when the device is done. The event loop keeps running. */
  async settle(): Promise<void> {
    this.recorder.flush();
    await this.engine.waitLater();
    this.recorder.runner.markIdle();
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
    this.setContents(value, values);
    this.dataIds++;
    return value;
  }

  override move(dataId: DataId, values: BackendValues, shape: number[], dtype: DataType, refCount: number): void {
    const value = new Value(shape.slice(), dtype);
    this.setContents(value, values);
    value.references = refCount;
    this.movedValues.set(dataId, value);
    this.dataIds++;
  }

  /** Returns a tensor with new values, for kernels that compute on the host. */
  makeTensorInfo(shape: number[], dtype: DataType, values: BackendValues): TensorInfo {
    const encoded =
      dtype === 'string' && typeof values[0] === 'string'
        ? (values as unknown as string[]).map((value) => util.encodeString(value))
        : values;
    return { dataId: this.write(encoded, shape, dtype), shape, dtype };
  }

  /** Returns a complex64 tensor that takes ownership of two float32 tensors. */
  makeComplex(shape: number[], real: TensorInfo, imag: TensorInfo): TensorInfo {
    const value = new Value(shape.slice(), 'complex64');
    value.complex = { real, imag };
    return this.toTensorInfo(value);
  }

  complexParts(info: TensorInfo): { readonly real: TensorInfo; readonly imag: TensorInfo } {
    const { complex } = this.find(info.dataId);
    if (complex === null)
      throw new WhetstoneError('INTERNAL', 'A complex64 tensor has no real and imaginary component.');
    return complex;
  }

  override readSync(dataId: DataId): BackendValues {
    const value = this.find(dataId);
    if (value.complex !== null)
      return backend_util.mergeRealAndImagArrays(
        this.readSync(value.complex.real.dataId) as Float32Array,
        this.readSync(value.complex.imag.dataId) as Float32Array,
      );
    if (value.host !== null) return copyOf(value.host);
    const unpacked = this.unpackForRead(value);
    const values = this.engine.download(this.recorder.materialise(unpacked), unpacked.storageDtype, value.size);
    this.recorder.runner.markIdle();
    this.releaseUnpacked(unpacked, value);
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
    if (value.host !== null) return copyOf(value.host);
    const unpacked = this.unpackForRead(value);
    const values = this.engine.downloadLater(this.recorder.materialise(unpacked), unpacked.storageDtype, value.size);
    // The engine keeps the tensor until the download ends.
    this.releaseUnpacked(unpacked, value);
    return values;
  }

  /**
   * Sums tensors over the processes of this machine. Returns the sums, then a scalar with the seconds that they took.
   * They are computed in any case, also if nothing uses them.
   */
  sumOverProcesses(inputs: readonly TensorInfo[], sums: LocalSums): TensorInfo[] {
    const values = inputs.map(({ dataId }) => this.find(dataId));
    const unpacked = values.map((value) => this.unpackForRead(value));
    const results = this.recorder.sumOverProcesses(unpacked, sums);
    unpacked.forEach((value, index) => this.releaseUnpacked(value, values[index] ?? value));
    return results.map((value, index) => ({ ...this.toTensorInfo(value), shape: inputs[index]?.shape ?? [] }));
  }

  storePacked(packed: PackedTensor): TensorInfo {
    return this.toTensorInfo(this.packedTensors.pack(packed));
  }

  /** Returns the tensor rounded to bfloat16 and stored as such. */
  storeBfloat16(x: TensorInfo): TensorInfo {
    return this.toTensorInfo(this.packedTensors.roundToBfloat16(this.find(x.dataId), x.shape));
  }

  async storeFrom(
    shape: readonly number[],
    format: 'float32' | 'bfloat16',
    fill: (bytes: Uint8Array) => Promise<void>,
  ): Promise<TensorInfo> {
    return this.toTensorInfo(await this.packedTensors.load(shape, format, fill));
  }

  storageOf(dataId: DataId): { readonly format: StorageFormat; readonly bytes: number } {
    const { packed, bytes } = this.find(dataId);
    return packed === null
      ? { format: 'float32', bytes }
      : { format: packed.format, bytes: packed.components.reduce((sum, component) => sum + component.bytes, 0) };
  }

  /** Records independent computations as one graph, which the engine may run concurrently. */
  recordConcurrently<T>(record: () => T): T {
    return this.recorder.recordConcurrently(record);
  }

  /** Sets the policy for matrix products recorded from now on. */
  setMatmul(policy: MatmulPolicy): void {
    this.recorder.matmul = policy;
  }

  get matmul(): MatmulPolicy {
    return this.recorder.matmul;
  }

  override refCount(dataId: DataId): number {
    const value = this.lookUp(dataId);
    return value === undefined ? 0 : value.references;
  }

  override incRef(dataId: DataId): void {
    this.find(dataId).references++;
  }

  /** Releases one reference, or all with `force`. Returns whether the data are gone. */
  override disposeData(dataId: DataId, force = false): boolean {
    const value = this.lookUp(dataId);
    if (value === undefined) return true;
    value.references--;
    if (!force && value.references > 0) return false;
    value.references = 0;
    if (value.complex !== null) {
      this.disposeData(value.complex.real.dataId, force);
      this.disposeData(value.complex.imag.dataId, force);
    }
    this.movedValues.delete(dataId);
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

  /** Releases everything. tfjs-core may use the backend again afterwards. */
  override dispose(): void {
    this.recorder.reset();
    this.packedTensors.clear();
    this.dataIds = 0;
  }

  private lookUp(dataId: DataId): Value | undefined {
    if (dataId instanceof Value && !dataId.disposed) return dataId;
    return this.movedValues.get(dataId);
  }

  private find(dataId: DataId): Value {
    const value = this.lookUp(dataId);
    if (value !== undefined) return value;
    // The data belong to another backend: tfjs-core moves them here.
    tfjs().moveData(this, dataId);
    const moved = this.movedValues.get(dataId);
    if (moved === undefined) throw new WhetstoneError('INTERNAL', 'A tensor has no data because it was disposed.');
    return moved;
  }

  private toTensorInfo(value: Value): TensorInfo {
    this.dataIds++;
    return { dataId: value, shape: value.shape.slice(), dtype: value.dtype };
  }

  /** Returns the value itself, or its unpacked numbers with a reference that the caller releases. */
  private unpackForRead(value: Value): Value {
    if (value.packed === null) return value;
    const unpacked = this.recorder.unpack(value, null);
    unpacked.references = 1;
    return unpacked;
  }

  private releaseUnpacked(unpacked: Value, value: Value): void {
    if (unpacked === value) return;
    unpacked.references = 0;
    this.recorder.dispose(unpacked);
  }

  private setContents(value: Value, values: BackendValues): void {
    if (value.dtype === 'complex64') {
      // Values that are moved here from another backend.
      const { real, imag } = backend_util.splitRealAndImagArrays(values as Float32Array);
      const toInfo = (numbers: Float32Array): TensorInfo =>
        this.makeTensorInfo(value.shape.slice(), 'float32', numbers);
      value.complex = { real: toInfo(real), imag: toInfo(imag) };
      return;
    }
    if (!isDeviceType(value.dtype)) {
      value.host = values;
      return;
    }
    const typed = toTypedArray(values as ArrayLike<number>, value.storageDtype);
    checkHostValues(value, typed.length);
    // Scalars stay on the host and are interned by content. The rank decides, not the size: a graph's structure must
    // not depend on a length. Both branches copy, because the caller may change the array before the recording runs.
    if (value.shape.length === 0) value.host = typed.slice();
    else this.recorder.memory.adoptUploaded(value, this.engine.upload(value.storageDtype, value.shape, typed));
  }
}

/** Returns a copy of numeric values, so that a reader may change them. */
const copyOf = (values: BackendValues): BackendValues => (ArrayBuffer.isView(values) ? values.slice() : values);
