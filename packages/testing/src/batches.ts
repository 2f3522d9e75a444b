import { IGNORED_LABEL, type Batch, type BatchSource, type SupervisedPositions } from '@whetstone/core/contract';
import { testRandom } from '@whetstone/core/util';

/** One row of a batch: token ids, and which of them are supervised. */
export interface Row {
  readonly ids: readonly number[];
  readonly supervised: readonly boolean[];
}

/** Returns random rows of 5 to 9 tokens. The first two tokens of a row are never supervised. */
export function randomRows(count: number, vocabularySize: number, seed: number): Row[] {
  const random = testRandom(seed);
  return Array.from({ length: count }, () => {
    const ids = Array.from({ length: 5 + Math.floor(random() * 5) }, () => Math.floor(random() * vocabularySize));
    return { ids, supervised: ids.map((_, column) => column >= 2 && random() < 0.8) };
  });
}

/** Returns a batch of the rows, padded on the right to the longest. */
export function batchOf(rows: readonly Row[]): Batch {
  const length = Math.max(...rows.map(({ ids }) => ids.length));
  const flat = (of: (row: Row, column: number) => number): Int32Array =>
    Int32Array.from(rows.flatMap((row) => Array.from({ length }, (_, column) => of(row, column))));
  const labels = flat(({ ids, supervised }, column) =>
    supervised[column] === true ? (ids[column] ?? IGNORED_LABEL) : IGNORED_LABEL,
  );
  return {
    rows: rows.length,
    length,
    ids: flat(({ ids }, column) => ids[column] ?? 0),
    labels,
    segmentIds: flat(({ ids }, column) => (column < ids.length ? 1 : 0)),
    positionIds: flat(({ ids }, column) => (column < ids.length ? column : 0)),
    samples: rows.length,
    tokens: rows.reduce((sum, { ids }) => sum + ids.length, 0),
    supervisedTokens: labels.reduce(
      (sum, label, index) => sum + (label === IGNORED_LABEL || index % length === 0 ? 0 : 1),
      0,
    ),
  };
}

/** Returns the positions whose next token is supervised, and those tokens. For batches of {@link batchOf}. */
export function supervisedOf(batch: Batch): SupervisedPositions {
  const positions: number[] = [];
  const targets: number[] = [];
  for (const [index, label] of batch.labels.entries()) {
    if (label === IGNORED_LABEL || index % batch.length === 0) continue;
    positions.push(index - 1);
    targets.push(label);
  }
  return { positions: Int32Array.from(positions), targets: Int32Array.from(targets) };
}

/** Returns a source of the rows in batches of `batchSize`, the same in every epoch. */
export function batchSourceOf(rows: readonly Row[], batchSize: number): BatchSource {
  const batches = Array.from({ length: Math.ceil(rows.length / batchSize) }, (_, index) =>
    batchOf(rows.slice(index * batchSize, (index + 1) * batchSize)),
  );
  const count = (of: (batch: Batch) => number): number => batches.reduce((sum, batch) => sum + of(batch), 0);
  return {
    batchesPerEpoch: batches.length,
    epoch: (_epoch, { skip = 0 } = {}) => batches.slice(skip),
    summary: {
      files: [],
      conversations: rows.length,
      unreadable: [],
      truncated: 0,
      withoutTargets: 0,
      tokens: count((batch) => batch.tokens),
      supervisedTokens: count((batch) => batch.supervisedTokens),
      contentHash: '0'.repeat(64),
    },
  };
}
