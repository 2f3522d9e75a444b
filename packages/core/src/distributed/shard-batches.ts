import { IGNORED_LABEL, type Batch } from '../contract/data.js';
import type { WorkerRank } from '../contract/workers.js';
import { FNV_OFFSET, fnv1aStep } from '../util/index.js';

/** The range of one document's tokens in a batch. */
interface Document {
  readonly begin: number;
  readonly end: number;
  readonly size: number;
}

/**
 * Returns the shards of one optimizer step, by rank. Together they make the complete step for any number of workers.
 *
 * If the microbatches divide evenly, each shard gets complete ones. Otherwise the documents of each microbatch are
 * assigned, longest first, to the shard with the fewest tokens. Documents without a target are skipped: the shard of a
 * worker may be empty, but not that of rank 0.
 */
export function shardBatches(
  batches: readonly Batch[],
  { count }: Pick<WorkerRank, 'count'>,
): readonly (readonly Batch[])[] {
  const ranks = Array.from({ length: count }, (_, rank) => rank);
  if (batches.length % count === 0) {
    const perRank = batches.length / count;
    return ranks.map((rank) => batches.slice(rank * perRank, (rank + 1) * perRank));
  }
  const shards = batches.map((batch) => shardBatch(batch, count));
  return ranks.map((rank) => shards.flatMap((byRank) => byRank[rank] ?? []));
}

/**
 * Splits one microbatch into `count` shards; null for an empty shard. Packed batches stay packed, others keep one
 * document per row.
 */
export function shardBatch(batch: Batch, count: number): readonly (Batch | null)[] {
  const documents = documentsOf(batch);
  const isPacked = documents.length > batch.rows;
  const shares = Array.from({ length: count }, () => ({ tokens: 0, documents: [] as Document[] }));
  for (const document of documents.filter((each) => hasTarget(batch, each)).toSorted((a, b) => b.size - a.size)) {
    const least = shares.reduce((best, share) => (share.tokens < best.tokens ? share : best));
    least.documents.push(document);
    least.tokens += document.size;
  }
  return shares.map((share) =>
    share.documents.length === 0
      ? null
      : buildBatch(batch, isPacked ? packDocuments(share.documents) : share.documents.map((document) => [document])),
  );
}

/** Returns the documents of a batch: the runs of one segment in a row. */
function documentsOf({ rows, length, segmentIds }: Batch): Document[] {
  const documents: Document[] = [];
  for (let row = 0; row < rows; row++) {
    let begin = row * length;
    const rowEnd = begin + length;
    while (begin < rowEnd) {
      const segment = segmentIds[begin];
      let end = begin + 1;
      while (end < rowEnd && segmentIds[end] === segment) end++;
      if (segment !== 0) documents.push({ begin, end, size: end - begin });
      begin = end;
    }
  }
  return documents;
}

/** Returns whether a document has a target. The label of its first token does not count. */
function hasTarget({ labels }: Batch, { begin, end }: Document): boolean {
  for (let index = begin + 1; index < end; index++) if (labels[index] !== IGNORED_LABEL) return true;
  return false;
}

/** Packs documents, sorted longest first, into rows as long as the longest (first fit). */
function packDocuments(documents: readonly Document[]): Document[][] {
  const length = documents[0]?.size ?? 0;
  const rows: { room: number; documents: Document[] }[] = [];
  for (const document of documents) {
    const row = rows.find(({ room }) => room >= document.size);
    if (row === undefined) rows.push({ room: length - document.size, documents: [document] });
    else {
      row.documents.push(document);
      row.room -= document.size;
    }
  }
  return rows.map((row) => row.documents);
}

function buildBatch(batch: Batch, rows: readonly (readonly Document[])[]): Batch {
  const length = Math.max(...rows.map((row) => row.reduce((sum, { size }) => sum + size, 0)));
  const total = rows.length * length;
  // The value of padding is irrelevant, as no token attends to it.
  const ids = new Int32Array(total).fill(batch.ids.at(-1) ?? 0);
  const labels = new Int32Array(total).fill(IGNORED_LABEL);
  const segmentIds = new Int32Array(total);
  const positionIds = new Int32Array(total);
  const weights = batch.weights === undefined ? undefined : new Float32Array(total).fill(1);
  let tokens = 0;
  let supervisedTokens = 0;
  let samples = 0;
  rows.forEach((documents, row) => {
    let at = row * length;
    documents.forEach(({ begin, end, size }, index) => {
      ids.set(batch.ids.subarray(begin, end), at);
      labels.set(batch.labels.subarray(begin, end), at);
      positionIds.set(batch.positionIds.subarray(begin, end), at);
      segmentIds.fill(index + 1, at, at + size);
      if (batch.weights !== undefined) weights?.set(batch.weights.subarray(begin, end), at);
      for (let position = begin + 1; position < end; position++)
        if (batch.labels[position] !== IGNORED_LABEL) supervisedTokens++;
      at += size;
      tokens += size;
      samples++;
    });
  });
  return {
    rows: rows.length,
    length,
    ids,
    labels,
    segmentIds,
    positionIds,
    samples,
    tokens,
    supervisedTokens,
    ...(weights === undefined ? {} : { weights }),
    ...(batch.origins === undefined ? {} : { origins: batch.origins }),
  };
}

/** Returns an FNV-1a hash of tokens and labels. Equal if workers have the same step. */
export function fingerprint(batches: readonly Batch[]): number {
  let hash = FNV_OFFSET;
  for (const { rows, length, ids, labels } of batches) {
    hash = fnv1aStep(fnv1aStep(hash, rows), length);
    for (const values of [ids, labels])
      for (let index = 0; index < values.length; index++) hash = fnv1aStep(hash, values[index] ?? 0);
  }
  return hash >>> 0;
}
