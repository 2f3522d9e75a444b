import { cast, cos, mul, sin, tensor, tidy, type Tensor, type Tensor4D } from '@tensorflow/tfjs-core';
import type { RotaryTables } from '@whetstone/core/ops';
import type { DecoderShape } from './shape.js';

/** The rotary tables of a layer: cosines and sines. Those of the query include the attention scale. */
export interface LayerTables {
  readonly query: RotaryTables;
  readonly key: RotaryTables;
  /** Number of rotated features per head. */
  readonly rotated: number;
}

/**
 * Computes the tables of the rope `index`, [rows, 1, length, headDim].
 *
 * @param positions [rows, 1, length, 1], int32
 * @param frequencies of the rope: see {@link frequencyTable}
 */
export function rotaryTables(shape: DecoderShape, index: number, positions: Tensor, frequencies: Tensor): LayerTables {
  const { headDim, layers, ropes } = shape;
  const { rotated, attentionFactor } = ropes[index] as DecoderShape['ropes'][number];
  const feature = (values: (at: number) => number): Tensor =>
    tensor(
      Float32Array.from({ length: headDim }, (_, at) => values(at)),
      [1, 1, 1, headDim],
    );
  const scale = layers.find((layer) => layer.rope === index)?.attentionScale ?? 1;
  const tables = tidy(() => {
    const angles = mul(cast(positions, 'float32'), frequencies);
    const [cosines, sines] = [cos(angles), sin(angles)];
    return [scale, 1].flatMap((each) => [
      mul(
        cosines,
        feature((at) => each * (at < rotated ? attentionFactor : 1)),
      ),
      mul(
        sines,
        feature((at) => each * attentionFactor * (at < rotated / 2 ? -1 : 1)),
      ),
    ]);
  });
  const [queryCos, querySin, keyCos, keySin] = tables as [Tensor4D, Tensor4D, Tensor4D, Tensor4D];
  return { query: { cos: queryCos, sin: querySin }, key: { cos: keyCos, sin: keySin }, rotated };
}

/**
 * Returns the frequency of each feature, [1 or rows, 1, 1, headDim]. Features without rotation have frequency 0, so
 * cosine 1 and sine 0.
 *
 * @param sequenceLengths the length that selects the frequencies: one for all rows, or one for each row
 */
export function frequencyTable(
  { rotated, frequencies }: DecoderShape['ropes'][number],
  headDim: number,
  sequenceLengths: readonly number[],
): Tensor {
  const byRow = sequenceLengths.map((sequenceLength) => frequencies(sequenceLength));
  const [first] = byRow;
  const distinct = byRow.every((pairs) => pairs === first) ? byRow.slice(0, 1) : byRow;
  return tensor(
    Float32Array.from(
      distinct.flatMap((pairs) =>
        Array.from({ length: headDim }, (_, at) => (at < rotated ? (pairs[at % (rotated / 2)] ?? 0) : 0)),
      ),
    ),
    [distinct.length, 1, 1, headDim],
  );
}
