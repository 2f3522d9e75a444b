import { IGNORED_LABEL, type Batch } from '@whetstone/core/contract';

/** One row of a batch without its padding, or one sample of it. */
export interface ReplayRow {
  readonly ids: Int32Array;
  readonly labels: Int32Array;
  readonly segmentIds: Int32Array;
  readonly positionIds: Int32Array;
  /** Weights of the labels; absent if every label has weight 1. */
  readonly weights?: Float32Array;
}

/** A row in JSON. */
export type PlainRow = { readonly [K in Field]: readonly number[] } & { readonly weights?: readonly number[] };

type Field = Exclude<keyof ReplayRow, 'weights'>;

export const plainRow = ({ ids, labels, segmentIds, positionIds, weights }: ReplayRow): PlainRow => ({
  ids: [...ids],
  labels: [...labels],
  segmentIds: [...segmentIds],
  positionIds: [...positionIds],
  ...(weights === undefined ? {} : { weights: [...weights] }),
});

export const fromPlainRow = ({ ids, labels, segmentIds, positionIds, weights }: PlainRow): ReplayRow => ({
  ids: Int32Array.from(ids),
  labels: Int32Array.from(labels),
  segmentIds: Int32Array.from(segmentIds),
  positionIds: Int32Array.from(positionIds),
  ...(weights === undefined ? {} : { weights: Float32Array.from(weights) }),
});

/** Returns the rows of a batch without padding; rows without tokens are skipped. */
export function rowsOf({ rows, length, ids, labels, segmentIds, positionIds, weights }: Batch): ReplayRow[] {
  return Array.from({ length: rows }, (_, row) => {
    const start = row * length;
    let end = start + length;
    while (end > start && segmentIds[end - 1] === 0) end--;
    const fields = {
      ids: ids.slice(start, end),
      labels: labels.slice(start, end),
      segmentIds: segmentIds.slice(start, end),
      positionIds: positionIds.slice(start, end),
    };
    return weights === undefined ? fields : { ...fields, weights: weights.slice(start, end) };
  }).filter((row) => row.ids.length > 0);
}

/** Returns the samples of a batch that have target tokens, each in a separate row; packed rows are split. */
export function samplesOf(batch: Batch): ReplayRow[] {
  return rowsOf(batch)
    .flatMap(splitSegments)
    .filter((row) => targetsIn(row) > 0);
}

function splitSegments({ ids, labels, segmentIds, positionIds, weights }: ReplayRow): ReplayRow[] {
  const samples: ReplayRow[] = [];
  for (let start = 0; start < ids.length;) {
    let end = start + 1;
    while (end < ids.length && segmentIds[end] === segmentIds[start]) end++;
    const fields = {
      ids: ids.slice(start, end),
      labels: labels.slice(start, end),
      segmentIds: new Int32Array(end - start).fill(1),
      positionIds: positionIds.slice(start, end),
    };
    samples.push(weights === undefined ? fields : { ...fields, weights: weights.slice(start, end) });
    start = end;
  }
  return samples;
}

/** Returns the number of target tokens of a row: labels that have a predecessor in their segment. */
export function targetsIn({ labels, segmentIds }: ReplayRow): number {
  let count = 0;
  for (let index = 1; index < labels.length; index++) {
    if (labels[index] !== IGNORED_LABEL && segmentIds[index] !== 0 && segmentIds[index] === segmentIds[index - 1])
      count++;
  }
  return count;
}

function fillWeights(batch: Batch, added: readonly ReplayRow[], rows: number, length: number): Float32Array {
  const values = new Float32Array(rows * length).fill(1);
  for (let row = 0; row < batch.rows; row++) {
    if (batch.weights !== undefined)
      values.set(batch.weights.subarray(row * batch.length, (row + 1) * batch.length), row * length);
  }
  for (const [index, { weights }] of added.entries())
    if (weights !== undefined) values.set(weights, (batch.rows + index) * length);
  return values;
}

/** Returns the number of segments of a row. */
const segmentsIn = ({ segmentIds }: ReplayRow): number =>
  segmentIds.reduce((count, segment, at) => count + (segment !== 0 && segment !== segmentIds[at - 1] ? 1 : 0), 0);

/** Joins samples into one row, each as a separate segment. */
function joined(samples: readonly ReplayRow[]): ReplayRow {
  const [only] = samples;
  if (samples.length === 1 && only !== undefined) return only;
  const join = (field: Field): Int32Array => Int32Array.from(samples.flatMap((sample) => [...sample[field]]));
  let before = 0;
  const segmentIds = samples.flatMap((sample) => {
    const first = before;
    before += Math.max(...sample.segmentIds);
    return [...sample.segmentIds].map((segment) => first + segment);
  });
  const weights = samples.some((sample) => sample.weights !== undefined)
    ? {
        weights: Float32Array.from(
          samples.flatMap(({ ids, weights: own }) => (own === undefined ? Array.from(ids, () => 1) : [...own])),
        ),
      }
    : {};
  return {
    ids: join('ids'),
    labels: join('labels'),
    segmentIds: Int32Array.from(segmentIds),
    positionIds: join('positionIds'),
    ...weights,
  };
}

/** Packs samples into rows of at most `length` tokens, the longest first (first-fit decreasing). */
function packIntoRows(samples: readonly ReplayRow[], length: number): ReplayRow[] {
  const rows: ReplayRow[][] = [];
  const tokensIn = (row: readonly ReplayRow[]): number => row.reduce((sum, { ids }) => sum + ids.length, 0);
  for (const sample of samples.toSorted((a, b) => b.ids.length - a.ids.length)) {
    const fitting = rows.find((row) => tokensIn(row) + sample.ids.length <= length);
    if (fitting === undefined) rows.push([sample]);
    else fitting.push(sample);
  }
  return rows.map(joined);
}

/**
 * Returns the batch with additional samples after its own rows, padded to the longest. The added samples are packed if
 * the rows of the batch are. `origins` still describes the rows of the original batch.
 */
export function withSamples(batch: Batch, samples: readonly ReplayRow[]): Batch {
  if (samples.length === 0) return batch;
  const length = Math.max(batch.length, ...samples.map(({ ids }) => ids.length));
  const added = batch.samples > batch.rows ? packIntoRows(samples, length) : samples;
  const rows = batch.rows + added.length;
  const fill = (own: Int32Array, field: Field, padding: number): Int32Array => {
    const values = new Int32Array(rows * length).fill(padding);
    for (let row = 0; row < batch.rows; row++)
      values.set(own.subarray(row * batch.length, (row + 1) * batch.length), row * length);
    for (const [index, each] of added.entries()) values.set(each[field], (batch.rows + index) * length);
    return values;
  };
  const isWeighted = batch.weights !== undefined || added.some(({ weights }) => weights !== undefined);
  return {
    ...batch,
    ...(isWeighted ? { weights: fillWeights(batch, added, rows, length) } : {}),
    rows,
    length,
    ids: fill(batch.ids, 'ids', batch.ids.at(-1) ?? 0),
    labels: fill(batch.labels, 'labels', IGNORED_LABEL),
    segmentIds: fill(batch.segmentIds, 'segmentIds', 0),
    positionIds: fill(batch.positionIds, 'positionIds', 0),
    samples: batch.samples + added.reduce((sum, row) => sum + segmentsIn(row), 0),
    tokens: batch.tokens + added.reduce((sum, { ids }) => sum + ids.length, 0),
    supervisedTokens: batch.supervisedTokens + added.reduce((sum, row) => sum + targetsIn(row), 0),
  };
}
