import type { DataId, TensorInfo } from '@tensorflow/tfjs-core';

/** How the numbers of a float32 tensor are kept. Whoever computes with it sees float32 numbers. */
export type StorageFormat = 'float32' | 'bfloat16' | 'nf4' | 'fp4' | 'int8';

/**
 * One float32 scale for each block of 64 numbers.
 *
 * @public
 */
export interface SingleScales {
  readonly kind: 'single';
  readonly absmax: Float32Array;
}

/** Scales in 8 bits: `code[quantised] · nestedAbsmax + offset`, 256 of them to one `nestedAbsmax`. */
export interface DoubleScales {
  readonly kind: 'double';
  readonly quantised: Uint8Array;
  readonly nestedAbsmax: Float32Array;
  readonly offset: number;
  /** What the 256 bytes stand for. */
  readonly code: Float32Array;
}

/** 4 bits a number in blocks of 64 along the rows: `code[nibble] · scale`, the even number in the high nibble. */
export interface PackedFourBit {
  readonly format: 'nf4' | 'fp4';
  readonly shape: readonly number[];
  /** True where the packed matrix is the transposed one of `shape`. */
  readonly transposed: boolean;
  /** What the 16 nibbles stand for. */
  readonly code: Float32Array;
  /** ⌈n/2⌉ bytes. */
  readonly packed: Uint8Array;
  readonly scales: SingleScales | DoubleScales;
  /** What the numbers are multiplied in as a matrix, where that is not for the backend to say. */
  readonly computeDtype?: 'bfloat16';
}

/** 8 bits a number: `values · scale` of its row. */
export interface PackedInt8 {
  readonly format: 'int8';
  readonly shape: readonly number[];
  /** True where the packed matrix is the transposed one of `shape`. */
  readonly transposed: boolean;
  readonly values: Int8Array;
  /** One a row. */
  readonly scales: Float32Array;
  /** What the numbers are multiplied in as a matrix, where that is not for the backend to say. */
  readonly computeDtype?: 'bfloat16';
}

/**
 * The upper halves of float32 numbers.
 *
 * @public
 */
export interface PackedBfloat16 {
  readonly format: 'bfloat16';
  readonly shape: readonly number[];
  readonly bits: Uint16Array;
}

/** A float32 tensor in fewer bytes. */
export type PackedTensor = PackedFourBit | PackedInt8 | PackedBfloat16;

/** Which parameter of a model a tensor is, for whoever decides how it is kept. */
export interface WeightRole {
  /** Its Hugging Face name. */
  readonly name: string;
  /** `linear`: a matrix of a linear site other than the head. */
  readonly kind: 'linear' | 'head' | 'embedding' | 'other';
  /** True where the matrix is stored [in, out]. */
  readonly fanInFanOut: boolean;
  readonly shape: readonly number[];
}

/**
 * How a weight is to be kept: packed from its numbers, or as other numbers in float32; as bfloat16; `stored`, as
 * bfloat16 where the file has that, which changes no number; or null, as float32.
 */
export type WeightStorage = (
  weight: WeightRole,
) => 'bfloat16' | 'stored' | ((values: Float32Array) => PackedTensor | Float32Array) | null;

/**
 * What a tfjs-core backend has besides its own interface where it can keep float32 tensors in fewer bytes. Reads and
 * kernels see float32 numbers; the unpacked tensor is made where it is used, and does not outlive its use. Backends
 * without it keep float32.
 */
export interface StoringBackend {
  /** Puts packed bytes on the device. */
  storePacked(packed: PackedTensor): TensorInfo;
  /** How a tensor of this backend is kept, and the bytes that it takes on the device. */
  storageOf(dataId: DataId): { readonly format: StorageFormat; readonly bytes: number };
  /**
   * A tensor whose bytes `fill` writes where they stay: no copy is made on backends whose memory the host can reach.
   */
  storeFrom(
    shape: readonly number[],
    format: 'float32' | 'bfloat16',
    fill: (bytes: Uint8Array) => Promise<void>,
  ): Promise<TensorInfo>;
}
