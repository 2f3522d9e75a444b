import type { Scalar, Tensor, Tensor2D } from '@tensorflow/tfjs-core';
import type { LinearForward, LinearSite, LinearSiteOutline } from '@whetstone/core/contract';
import type { LoraOptions } from '../options.js';

/** Returns a mask [tokens, in] for the adapter's input, with values 0 and 1 ÷ (1 − p); null outside of training. */
export type LoraDropout = (tokens: number) => Tensor2D | null;

/** A linear layer and the tensors from which a variant creates an adapted layer. */
export interface LoraLayerInputs {
  readonly site: LinearSite;
  readonly rank: number;
  /** The factor of the update: alpha ÷ rank, or alpha ÷ √rank with rsLoRA. */
  readonly scale: number;
  /** The scale as a tensor, so that it is uploaded only once; null if the scale is 1. */
  readonly scaleTensor: Scalar | null;
  readonly initLoraWeights: LoraOptions['initLoraWeights'];
  readonly seed: number;
  /**
   * Returns the tensor whose name ends with `ending`: in training a new variable with the initial values, which are
   * disposed; for a stored adapter the tensor of its file. The caller of `init` owns the result.
   */
  tensor<T extends Tensor>(ending: string, initial: () => T): T;
}

/** A linear layer with an adapter. */
export interface LoraLayer {
  readonly site: LinearSite;
  /** Returns the computation of the layer. `base` computes the frozen layer; `dropout` applies to the adapter only. */
  forward(base: LinearForward, dropout: LoraDropout | null): LinearForward;
  /** Computes the weight with the adapter, in the layout of the site's weight. The caller owns the result. */
  merge(): Tensor2D;
  /**
   * Returns the tensors to export, by the ends of their names, and the caller owns them. Absent if the trained tensors
   * are exported.
   */
  export?(): Readonly<Record<string, Tensor>>;
  /** Returns tensors, apart from the trained ones, that a checkpoint stores. The layer owns them. */
  saveState?(): Readonly<Record<string, Tensor>>;
  /** Restores the tensors of `saveState`. `tensor` returns undefined if the checkpoint lacks a tensor. */
  loadState?(tensor: (name: string) => Tensor | undefined): void;
  /** Disposes the layer's own tensors, but not those of `LoraLayerInputs.tensor`, and restores the site's weight. */
  dispose(): void;
}

/** One kind of adapted layer: a file in this folder, listed in `index.ts`. */
export interface LoraVariant {
  /** The `peft_type` of adapters with such layers. */
  readonly peftType: string;
  /** Returns whether the options select this variant. */
  selects(options: LoraOptions): boolean;
  /** The trained tensors of a layer: the ends of their names in PEFT's format, and their shapes. */
  readonly shapes: Readonly<Record<string, (site: LinearSiteOutline, rank: number) => readonly number[]>>;
  /** Checks the rank of a layer. @throws `CONFIG_INVALID` */
  checkRank?(site: LinearSiteOutline, rank: number): void;
  /** Creates the adapted layer. */
  init(inputs: LoraLayerInputs): LoraLayer;
  /** Returns the options that describe the exported tensors. Absent if they are those of training. */
  exportedOptions?(options: LoraOptions): LoraOptions;
}
