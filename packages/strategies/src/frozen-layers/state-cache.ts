import { createHash } from 'node:crypto';
import { closeSync, mkdtempSync, openSync, readSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { tensor2d, tidy, type Tensor2D } from '@tensorflow/tfjs-core';
import { WhetstoneError, type ForwardInput, type FrozenPrefix } from '@whetstone/core/contract';
import { writeError, writeFullySync } from '@whetstone/core/files';
import { bytesOf, messageOf } from '@whetstone/core/util';
import { IGNORED_SEGMENT, segmentsOf, type Segment } from './segments.js';

export interface CacheLimits {
  /** Maximum host memory for cached states, in MiB. */
  readonly maxMemoryMegabytes: number;
  /** Maximum size of a temporary file for further states, in MiB. */
  readonly maxDiskMegabytes: number;
}

export interface CacheSavings {
  /** Tokens that were not computed again. */
  readonly tokens: number;
  readonly computedTokens: number;
  /** Estimated time to compute those tokens again, minus the time to read them from the cache. */
  readonly seconds: number;
  readonly computeSeconds: number;
  readonly samples: number;
  /** Total size in memory and on disk. */
  readonly bytes: number;
}

/** A cache of hidden states of samples, [tokens, hidden] each, by content. */
export interface StateCache {
  readonly states: NonNullable<FrozenPrefix['states']>;
  readonly savings: CacheSavings;
  /** Removes all states; the savings are preserved. */
  clear(): void;
  dispose(): void;
}

type Stored = Float32Array | { readonly offset: number; readonly length: number };

/**
 * Creates a cache of the output of frozen layers in float32. A sample, or a document of a packed row, is identified by
 * its ids and positions, independent of its position in a batch. States are never evicted: each epoch visits all
 * samples in turn, so that evicting old ones would remove each sample just before its next use.
 */
export function createStateCache(limits: Partial<CacheLimits>, hiddenSize: number): StateCache {
  const store = new StateStore(limits);
  let [tokens, computedTokens, fetchSeconds, computeSeconds, timedTokens] = [0, 0, 0, 0, 0];

  /** Computes the missing segments in rows of their own, and writes them into `states` and the store. */
  const computeMissing = (missing: readonly KeyedSegment[], states: Float32Array, compute: ComputeStates): void => {
    const rows = rowsOf(missing);
    const values = tidy(() => compute(rows).dataSync<'float32'>());
    for (const [row, { key, ids, start }] of missing.entries()) {
      const sample = values.slice(row * rows.length * hiddenSize, (row * rows.length + ids.length) * hiddenSize);
      states.set(sample, start * hiddenSize);
      store.add(key, sample);
    }
  };

  return {
    states: (input, compute) => {
      const started = performance.now();
      const segments = segmentsOf(input).map((segment) => ({ ...segment, key: keyOf(segment) }));
      const states = new Float32Array(input.rows * input.length * hiddenSize);
      const missing = segments.filter(({ key, start }) => {
        const found = store.read(key);
        if (found !== null) states.set(found, start * hiddenSize);
        return found === null;
      });
      const missingTokens = tokensIn(missing);
      tokens += tokensIn(segments) - missingTokens;
      computedTokens += missingTokens;
      const smallest = Math.min(...missing.map(({ ids }) => ids.length)) * hiddenSize * 4;
      if (missing.length === segments.length && !store.hasRoom(smallest)) return compute(input);

      let spent = 0;
      if (missing.length > 0) {
        const begun = performance.now();
        computeMissing(missing, states, compute);
        spent = (performance.now() - begun) / 1000;
        computeSeconds += spent;
        timedTokens += missingTokens;
      }
      const result: Tensor2D = tensor2d(states, [input.rows * input.length, hiddenSize]);
      fetchSeconds += (performance.now() - started) / 1000 - spent;
      return result;
    },
    get savings() {
      const again = timedTokens === 0 ? 0 : (tokens * computeSeconds) / timedTokens;
      const { samples, bytes } = store;
      return { tokens, computedTokens, seconds: again - fetchSeconds, computeSeconds, samples, bytes };
    },
    clear: () => store.clear(),
    dispose: () => store.dispose(),
  };
}

type ComputeStates = Parameters<StateCache['states']>[1];
type KeyedSegment = Segment & { readonly key: string };

const tokensIn = (segments: readonly Segment[]): number => segments.reduce((sum, { ids }) => sum + ids.length, 0);

/** States by key, in memory and then in a temporary file, up to a limit of each. */
class StateStore {
  private readonly entries = new Map<string, Stored>();
  private readonly disk = createDisk();
  private readonly maxMemoryBytes: number;
  private maxDiskBytes: number;
  private memoryBytes = 0;

  constructor({ maxMemoryMegabytes = 1024, maxDiskMegabytes = 0 }: Partial<CacheLimits>) {
    this.maxMemoryBytes = maxMemoryMegabytes * 2 ** 20;
    this.maxDiskBytes = maxDiskMegabytes * 2 ** 20;
  }

  get samples(): number {
    return this.entries.size;
  }

  /** Total size in memory and on disk. */
  get bytes(): number {
    return this.memoryBytes + this.disk.bytes;
  }

  hasRoom(bytes: number): boolean {
    return this.fitsMemory(bytes) || this.disk.bytes + bytes <= this.maxDiskBytes;
  }

  /** Stores states, unless there is no room for them. */
  add(key: string, values: Float32Array): void {
    const bytes = values.byteLength;
    if (!this.hasRoom(bytes) || this.entries.has(key)) return;
    if (!this.fitsMemory(bytes)) {
      this.onDisk(() => this.entries.set(key, this.disk.write(values)));
      return;
    }
    this.memoryBytes += bytes;
    this.entries.set(key, values);
  }

  /** Returns stored states, or null. */
  read(key: string): Float32Array | null {
    const stored = this.entries.get(key);
    if (stored === undefined) return null;
    if (stored instanceof Float32Array) return stored;
    const values = this.onDisk(() => this.disk.read(stored.offset, stored.length));
    if (values === null) this.entries.delete(key);
    return values;
  }

  clear(): void {
    this.entries.clear();
    this.memoryBytes = 0;
    this.disk.clear();
  }

  dispose(): void {
    this.entries.clear();
    this.disk.dispose();
  }

  /**
   * Runs an operation on the temporary file. If it fails, as on a full disk, no more states are stored there, and those
   * that cannot be read are computed again.
   */
  private onDisk<T>(work: () => T): T | null {
    try {
      return work();
    } catch (error) {
      if (this.maxDiskBytes > 0)
        process.emitWarning(`cacheFrozenPrefix stores no more states on disk: ${messageOf(error)}`);
      this.maxDiskBytes = 0;
      return null;
    }
  }

  private fitsMemory(bytes: number): boolean {
    return this.memoryBytes + bytes <= this.maxMemoryBytes;
  }
}

/** Returns the key of a sample: a hash of its ids and positions. */
function keyOf({ ids, positionIds }: Segment): string {
  return createHash('sha256').update(bytesOf(ids)).update(bytesOf(positionIds)).digest('base64');
}

/** Returns samples as a batch with one sample per row. */
function rowsOf(segments: readonly Segment[]): ForwardInput {
  const length = Math.max(...segments.map(({ ids }) => ids.length));
  const fill = (padding: number, of: (segment: Segment) => Int32Array | number): Int32Array => {
    const values = new Int32Array(segments.length * length).fill(padding);
    for (const [row, segment] of segments.entries()) {
      const value = of(segment);
      if (typeof value === 'number') values.fill(value, row * length, row * length + segment.ids.length);
      else values.set(value, row * length);
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

function openTemporary(): { readonly folder: string; readonly descriptor: number } {
  try {
    const folder = mkdtempSync(join(tmpdir(), 'whetstone-states-'));
    return { folder, descriptor: openSync(join(folder, 'states.bin'), 'w+') };
  } catch (cause) {
    throw writeError(cause, tmpdir());
  }
}

/** Creates an append-only temporary file with random access. The file is created with the first write. */
function createDisk(): {
  readonly bytes: number;
  write(values: Float32Array): Stored;
  read(offset: number, length: number): Float32Array;
  clear(): void;
  dispose(): void;
} {
  let open: ReturnType<typeof openTemporary> | null = null;
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
      open ??= openTemporary();
      const bytes = bytesOf(values);
      writeFullySync(open.descriptor, bytes, end, open.folder);
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
          throw new WhetstoneError('FILE_UNREADABLE', 'The temporary file of cacheFrozenPrefix is truncated.', {
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
