import type { DataId, TensorInfo } from '@tensorflow/tfjs-core';

/** The format in which the numbers of a float32 tensor are stored. Operations see float32 numbers in every format. */
export type StorageFormat = 'float32' | 'bfloat16' | 'nf4' | 'fp4' | 'int8';

/**
 * Scales of 4-bit blocks: one float32 number per block of 64.
 *
 * @public
 */
export interface SingleScales {
  readonly kind: 'single';
  /** The largest absolute value of each block, `[blocks]`. */
  readonly absmax: Float32Array;
}

/**
 * Scales of 4-bit blocks, quantised to 8 bits: `code[quantised] · nestedAbsmax + offset`. Each `nestedAbsmax` applies
 * to 256 scales.
 */
export interface DoubleScales {
  readonly kind: 'double';
  /** One byte per block, `[blocks]`. */
  readonly quantised: Uint8Array;
  /** One scale per 256 blocks. */
  readonly nestedAbsmax: Float32Array;
  readonly offset: number;
  /** The values of the 256 byte codes. */
  readonly code: Float32Array;
}

/**
 * A tensor in 4 bits per number: `code[nibble] · scale`. Blocks of 64 consecutive numbers share a scale. The numbers
 * with an even index are in the high nibbles.
 */
export interface PackedFourBit {
  readonly format: 'nf4' | 'fp4';
  readonly shape: readonly number[];
  /** True if the packed matrix is the transpose of the matrix of `shape`. */
  readonly transposed: boolean;
  /** The values of the 16 nibbles. */
  readonly code: Float32Array;
  /** ⌈n/2⌉ bytes for n numbers. */
  readonly packed: Uint8Array;
  readonly scales: SingleScales | DoubleScales;
  /** The precision of matmuls with this matrix; absent: the backend decides. */
  readonly computeDtype?: 'bfloat16';
}

/** A tensor in 8 bits per number: `values · scale`, with one scale per row of the packed matrix. */
export interface PackedInt8 {
  readonly format: 'int8';
  readonly shape: readonly number[];
  /** True if the packed matrix is the transpose of the matrix of `shape`. */
  readonly transposed: boolean;
  readonly values: Int8Array;
  /** One scale per row. */
  readonly scales: Float32Array;
  /** The precision of matmuls with this matrix; absent: the backend decides. */
  readonly computeDtype?: 'bfloat16';
}

/**
 * A tensor in bfloat16: the upper 16 bits of each float32 number.
 *
 * @public
 */
export interface PackedBfloat16 {
  readonly format: 'bfloat16';
  readonly shape: readonly number[];
  readonly bits: Uint16Array;
}

/** A float32 tensor in a format that takes fewer bytes. */
export type PackedTensor = PackedFourBit | PackedInt8 | PackedBfloat16;

/** Describes a parameter to a {@link WeightStorage}. */
export interface WeightRole {
  /** The Hugging Face name of the parameter. */
  readonly name: string;
  /** `linear` is the weight of a linear layer other than the head. */
  readonly kind: 'linear' | 'head' | 'embedding' | 'other';
  /** True if the matrix is stored as `[inFeatures, outFeatures]`. */
  readonly fanInFanOut: boolean;
  readonly shape: readonly number[];
}

/**
 * Decides how a weight is stored on the device. Returns one of:
 *
 * - `'bfloat16'`: rounded to bfloat16;
 * - `'stored'`: bfloat16 if the file has bfloat16, which changes no number, and float32 otherwise;
 * - a function that packs the numbers, or returns different float32 numbers;
 * - null: float32.
 */
export type WeightStorage = (
  weight: WeightRole,
) => 'bfloat16' | 'stored' | ((values: Float32Array) => PackedTensor | Float32Array) | null;

/**
 * The additional interface of tfjs-core backends that can store float32 tensors in fewer bytes. Reads and kernels see
 * float32 numbers: the tensor is unpacked for each operation, and the unpacked copy is released after it. Backends
 * without this interface store float32.
 */
export interface StoringBackend {
  /** Copies packed bytes to the device and returns the tensor. */
  storePacked(packed: PackedTensor): TensorInfo;
  /** Returns the format of a tensor of this backend and its size on the device in bytes. */
  storageOf(dataId: DataId): { readonly format: StorageFormat; readonly bytes: number };
  /**
   * Creates a tensor whose bytes `fill` writes. On backends whose memory the host can address, `fill` writes directly
   * into it, without a copy.
   */
  storeFrom(
    shape: readonly number[],
    format: 'float32' | 'bfloat16',
    fill: (bytes: Uint8Array) => Promise<void>,
  ): Promise<TensorInfo>;
}
