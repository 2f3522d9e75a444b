import { createHash } from 'node:crypto';
import { closeSync, mkdtempSync, openSync, readSync, rmSync, writeSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { tensor2d, tidy, type Tensor2D } from '@tensorflow/tfjs-core';
import { WhetstoneError, type ForwardInput, type FrozenPrefix } from '@whetstone/core/contract';
import { IGNORED_SEGMENT, segmentsOf, type Segment } from './segments.js';

export interface CacheLimits {
  /** Host memory for kept states, in MiB. */
  readonly maxMemoryMegabytes: number;
  /** Beyond that, a temporary file of at most so many MiB. */
  readonly maxDiskMegabytes: number;
}

export interface CacheSavings {
  /** Tokens that were not computed again. */
  readonly tokens: number;
  readonly computedTokens: number;
  /** What computing those tokens again would have taken, less what fetching them took. */
  readonly seconds: number;
  readonly computeSeconds: number;
  readonly samples: number;
  /** In memory and on disk together. */
  readonly bytes: number;
}

/** Hidden states of samples, [tokens, hidden] each, by what the samples hold. */
export interface StateCache {
  readonly states: NonNullable<FrozenPrefix['states']>;
  readonly savings: CacheSavings;
  /** Forgets what is kept; the savings stay. */
  clear(): void;
  dispose(): void;
}

type Stored = Float32Array | { readonly offset: number; readonly length: number };

/**
 * Keeps what comes out of frozen layers as the float32 it is. A sample (a document within a packed row, too) is known
 * by its ids and positions, wherever it stands in a batch. What is kept stays: epochs pass over all samples in turn,
 * where making room for the latest would throw out each sample just before it is wanted again.
 */
export function createStateCache(
  { maxMemoryMegabytes = 1024, maxDiskMegabytes = 0 }: Partial<CacheLimits>,
  hiddenSize: number,
): StateCache {
  const kept = new Map<string, Stored>();
  const disk = createDisk();
  let memoryBytes = 0;
  let [tokens, computedTokens, fetchSeconds, computeSeconds, timedTokens] = [0, 0, 0, 0, 0];

  const hasRoomFor = (bytes: number): 'memory' | 'disk' | null =>
    memoryBytes + bytes <= maxMemoryMegabytes * 2 ** 20
      ? 'memory'
      : disk.bytes + bytes <= maxDiskMegabytes * 2 ** 20
        ? 'disk'
        : null;
  const keep = (key: string, values: Float32Array): void => {
    const room = hasRoomFor(values.byteLength);
    if (room === null || kept.has(key)) return;
    if (room === 'memory') memoryBytes += values.byteLength;
    kept.set(key, room === 'memory' ? values : disk.write(values));
  };
  const fetch = (key: string): Float32Array | null => {
    const stored = kept.get(key);
    return stored === undefined
      ? null
      : stored instanceof Float32Array
        ? stored
        : disk.read(stored.offset, stored.length);
  };

  return {
    states: (input, compute) => {
      const started = performance.now();
      const segments = segmentsOf(input).map((segment) => ({ ...segment, key: keyOf(segment) }));
      const whole = new Float32Array(input.rows * input.length * hiddenSize);
      const missing = segments.filter(({ key, start }) => {
        const found = fetch(key);
        if (found !== null) whole.set(found, start * hiddenSize);
        return found === null;
      });
      const missingTokens = missing.reduce((sum, { ids }) => sum + ids.length, 0);
      tokens += segments.reduce((sum, { ids }) => sum + ids.length, 0) - missingTokens;
      computedTokens += missingTokens;
      if (
        missing.length === segments.length &&
        hasRoomFor(Math.min(...missing.map(({ ids }) => ids.length)) * hiddenSize * 4) === null
      )
        return compute(input);

      let spent = 0;
      if (missing.length > 0) {
        const begun = performance.now();
        const rows = rowsOf(missing);
        const values = tidy(() => compute(rows).dataSync<'float32'>());
        for (const [row, { key, ids, start }] of missing.entries()) {
          const own = values.slice(row * rows.length * hiddenSize, (row * rows.length + ids.length) * hiddenSize);
          whole.set(own, start * hiddenSize);
          keep(key, own);
        }
        spent = (performance.now() - begun) / 1000;
        computeSeconds += spent;
        timedTokens += missingTokens;
      }
      const result: Tensor2D = tensor2d(whole, [input.rows * input.length, hiddenSize]);
      fetchSeconds += (performance.now() - started) / 1000 - spent;
      return result;
    },
    get savings() {
      const again = timedTokens === 0 ? 0 : (tokens * computeSeconds) / timedTokens;
      return {
        tokens,
        computedTokens,
        seconds: again - fetchSeconds,
        computeSeconds,
        samples: kept.size,
        bytes: memoryBytes + disk.bytes,
      };
    },
    clear: () => {
      kept.clear();
      memoryBytes = 0;
      disk.clear();
    },
    dispose: () => {
      kept.clear();
      disk.dispose();
    },
  };
}

/** What a sample holds. */
function keyOf({ ids, positionIds }: Segment): string {
  return createHash('sha256').update(bytesOf(ids)).update(bytesOf(positionIds)).digest('base64');
}

const bytesOf = ({ buffer, byteOffset, byteLength }: Int32Array | Float32Array): Uint8Array =>
  new Uint8Array(buffer, byteOffset, byteLength);

/** Samples as a batch of their own, one a row. */
function rowsOf(segments: readonly Segment[]): ForwardInput {
  const length = Math.max(...segments.map(({ ids }) => ids.length));
  const fill = (padding: number, of: (segment: Segment) => Int32Array | number): Int32Array => {
    const values = new Int32Array(segments.length * length).fill(padding);
    for (const [row, segment] of segments.entries()) {
      const part = of(segment);
      if (typeof part === 'number') values.fill(part, row * length, row * length + segment.ids.length);
      else values.set(part, row * length);
    }
    return values;
  };
  return {
    rows: segments.length,
    length,
    ids: fill(segments[0]?.ids[0] ?? 0, ({ ids }) => ids),
    positionIds: fill(0, ({ positionIds }) => positionIds),
    segmentIds: fill(IGNORED_SEGMENT, () => 1),
  };
}

/** A temporary file that is written at its end and read anywhere; made with the first write. */
function createDisk(): {
  readonly bytes: number;
  write(values: Float32Array): Stored;
  read(offset: number, length: number): Float32Array;
  clear(): void;
  dispose(): void;
} {
  let open: { readonly folder: string; readonly descriptor: number } | null = null;
  let end = 0;
  const dispose = (): void => {
    if (open === null) return;
    closeSync(open.descriptor);
    rmSync(open.folder, { recursive: true, force: true });
    open = null;
    end = 0;
  };
  return {
    get bytes() {
      return end;
    },
    write: (values) => {
      if (open === null) {
        const folder = mkdtempSync(join(tmpdir(), 'whetstone-states-'));
        open = { folder, descriptor: openSync(join(folder, 'states.bin'), 'w+') };
      }
      const bytes = bytesOf(values);
      for (let done = 0; done < bytes.length;)
        done += writeSync(open.descriptor, bytes, done, bytes.length - done, end + done);
      const stored = { offset: end, length: values.length };
      end += bytes.length;
      return stored;
    },
    read: (offset, length) => {
      const values = new Float32Array(length);
      const bytes = bytesOf(values);
      for (let done = 0; done < bytes.length;) {
        const count = open === null ? 0 : readSync(open.descriptor, bytes, done, bytes.length - done, offset + done);
        if (count === 0)
          throw new WhetstoneError('FILE_UNREADABLE', 'The temporary file of cacheFrozenPrefix was cut short.', {
            place: { file: open?.folder ?? '' },
          });
        done += count;
      }
      return values;
    },
    clear: dispose,
    dispose,
  };
}
