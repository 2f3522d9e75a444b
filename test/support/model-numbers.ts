import * as tf from '@tensorflow/tfjs-core';
import { expect } from 'vitest';
import type { ForwardInput, LanguageModel } from '@whetstone/core/contract';
import { crossEntropy } from '@whetstone/core/ops';
import { openSafetensors } from '@whetstone/core/safetensors';

/** Every tensor of a safetensors file as float32. The caller disposes them. */
export async function readTensorFile(file: string): Promise<Map<string, tf.Tensor>> {
  const reader = await openSafetensors(file);
  const tensors = new Map<string, tf.Tensor>();
  for (const [name, { shape }] of reader.tensors)
    tensors.set(name, tf.tensor(await reader.readFloat32(name), [...shape]));
  await reader.close();
  return tensors;
}

/** Token ids, masks and labels as fixtures hold them. */
export interface LabelledRows {
  readonly input_ids: number[][];
  readonly attention_mask: number[][];
  readonly labels: number[][];
}

export const forwardInputOf = ({
  input_ids: ids,
  attention_mask: mask,
}: Omit<LabelledRows, 'labels'>): ForwardInput => ({
  rows: ids.length,
  length: ids[0]?.length ?? 0,
  ids: Int32Array.from(ids.flat()),
  segmentIds: Int32Array.from(mask.flat()),
  positionIds: Int32Array.from(ids.flatMap((row) => row.map((_, column) => column))),
});

/** Mean cross-entropy of the rows' targets after the shift by one. */
export function meanLossOf(model: LanguageModel, rows: LabelledRows): tf.Scalar {
  const length = rows.labels[0]?.length ?? 0;
  const pairs = rows.labels.flatMap((line, row) =>
    line.flatMap((label, column) =>
      column === 0 || label === -100 ? [] : [[row * length + column - 1, label] as const],
    ),
  );
  const logits = model.logits(
    forwardInputOf(rows),
    Int32Array.from(pairs, ([position]) => position),
  );
  return tf.mean(
    crossEntropy(
      logits,
      Int32Array.from(pairs, ([, target]) => target),
    ),
  );
}

/** Largest |a − b|; infinite where the lengths differ or a number is NaN. */
export function largestDifference(one: ArrayLike<number>, other: ArrayLike<number>): number {
  if (one.length !== other.length) return Infinity;
  let worst = 0;
  for (let index = 0; index < one.length; index++) {
    const difference = Math.abs((one[index] ?? NaN) - (other[index] ?? NaN));
    if (Number.isNaN(difference)) return Infinity;
    if (difference > worst) worst = difference;
  }
  return worst;
}

/** `values` [rows, length, width] without padded positions, flat. */
export function unmasked(values: ArrayLike<number>, mask: readonly (readonly number[])[], width: number): number[] {
  const kept: number[] = [];
  for (const [position, isReal] of mask.flat().entries()) {
    if (isReal !== 1) continue;
    for (let index = 0; index < width; index++) kept.push(values[position * width + index] ?? NaN);
  }
  return kept;
}

/** Runs the body and expects that no tensor is left over. */
export async function expectNoLeak(body: () => Promise<void> | void): Promise<void> {
  const before = tf.memory().numTensors;
  await body();
  expect(tf.memory().numTensors).toBe(before);
}
