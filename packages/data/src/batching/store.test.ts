import { mkdirSync, readdirSync, truncateSync, utimesSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { describe, expect, test, vi } from 'vitest';
import type { DataSource } from '@whetstone/core/contract';
import { characterTokenizer, plainRenderer } from '../testing/fakes.js';
import { createConversationSource } from '../sources/conversations.js';
import { asLines, collect, temporaryFolder, writeInto } from '../testing/files.js';
import { chat, sourceOf } from '../testing/sources.js';
import { applyTransforms } from '../transforms/apply.js';
import { createDeduplicateTransform } from '../transforms/duplicates/transform.js';
import { createBatchSource } from './batch-source.js';
import { trimCache } from './cache.js';
import type { BatchOptions } from './options.js';
import { createRecoverableTokens } from './recoverable-tokens.js';
import { openStore, saveStore } from './store-file.js';
import { createTokenStore, idOf, isTarget, type TokenStore } from './token-store.js';

const samples = Array.from({ length: 50 }, (_, index) =>
  Array.from({ length: (index * 7) % 23 }, (_unused, token) => index * 100 + token),
);

function fill(store: TokenStore): TokenStore {
  for (const ids of samples)
    store.add(
      ids,
      Uint8Array.from(ids, (id) => id % 2),
      ids.length % 5 === 1 ? Float32Array.from(ids, (_, token) => (token < 3 ? 0.5 : 2)) : undefined,
    );
  return store;
}

function check(store: TokenStore): void {
  expect(store.samples).toBe(samples.length);
  for (const [sample, ids] of samples.entries()) {
    const packed = [...store.read(sample, 0, store.lengthOf(sample))];
    expect(packed.map(idOf)).toEqual(ids);
    expect(packed.map(isTarget)).toEqual(ids.map((id) => id % 2 === 1));
    expect(store.weightsOf(sample)).toEqual(
      ids.length % 5 !== 1 ? null : ids.length === 1 ? [1, 0.5] : [3, 0.5, ids.length, 2],
    );
    expect(store.targetsOf(sample)).toBe(ids.slice(1).filter((id) => id % 2 === 1).length);
  }
}

describe('a store of tokens', () => {
  test('in memory', () => check(fill(createTokenStore())));
  test('over many pages', () => check(fill(createTokenStore({ pageTokens: 32 }))));
  test('in a file, beyond the memory limit', () => check(fill(createTokenStore({ pageTokens: 32, memoryTokens: 64 }))));

  test('in memory, beyond the limit, if the temporary file cannot be written', () => {
    vi.stubEnv('TMPDIR', path.join(temporaryFolder(), 'none'));
    const notes: string[] = [];
    const options = { pageTokens: 32, memoryTokens: 64, onNote: (note: string) => notes.push(note) };
    const store = fill(createTokenStore(options));
    vi.unstubAllEnvs();
    check(store);
    expect(store.isInFile).toBe(false);
    expect(notes).toEqual([expect.stringMatching(/^All tokens are kept in memory: .*none cannot be written: /)]);
  });

  test('is computed again, once, if its file can no longer be read', async () => {
    const folder = path.join(temporaryFolder(), 'store');
    saveStore(folder, fill(createTokenStore()), null);
    const opened = openStore(folder, undefined, 0);
    expect(opened?.store.isInFile).toBe(true);
    const reasons: string[] = [];
    const tokens = createRecoverableTokens(opened?.store as TokenStore, (reason) => {
      reasons.push(reason);
      return Promise.resolve(fill(createTokenStore()));
    });
    await tokens.read(check);
    opened?.close();
    await Promise.all([tokens.read(check), tokens.read(check)]);
    expect(reasons).toEqual([expect.stringContaining('EBADF')]);
    expect(tokens.isInFile).toBe(false);
    // Other errors are those of the work.
    await expect(tokens.read(() => Promise.reject(new RangeError('mine')))).rejects.toThrow('mine');
  });

  test('saved and opened again', () => {
    const folder = path.join(temporaryFolder(), 'store');
    saveStore(folder, fill(createTokenStore({ pageTokens: 32, memoryTokens: 64 })), { note: 1 });
    const opened = openStore(folder);
    expect(opened?.details).toEqual({ note: 1 });
    check(opened?.store as TokenStore);
  });

  test('that is incomplete is not opened', () => {
    const folder = path.join(temporaryFolder(), 'store');
    saveStore(folder, fill(createTokenStore()), null);
    truncateSync(path.join(folder, 'tokens.bin'), 100);
    expect(openStore(folder)).toBeNull();
    expect(openStore(`${folder}-none`)).toBeNull();
  });
});

describe('the cache of tokenized data', () => {
  const cacheFolder = temporaryFolder();
  let encoded = 0;
  const tokenizer = {
    ...characterTokenizer,
    hash: 'characters',
    encodeWithSpans(text: string) {
      encoded++;
      return characterTokenizer.encodeWithSpans(text);
    },
  };
  const conversations = Array.from({ length: 12 }, (_, index) => chat(`question ${index}`, 'x'.repeat(index + 1)));
  const build = (source: DataSource, options: Partial<BatchOptions> = {}, renderer = plainRenderer) =>
    createBatchSource({ source, tokenizer, renderer, options, cacheFolder });

  test('returns the same batches without tokenizing, unless an input differs', async () => {
    const first = await build(sourceOf(conversations));
    const batches = await collect(first.epoch(0));
    expect(encoded).toBe(12);
    const second = await build(sourceOf(conversations));
    expect(encoded).toBe(12);
    expect(await collect(second.epoch(0))).toEqual(batches);
    expect(second.summary).toEqual(first.summary);
    expect(second.supervision).toEqual(first.supervision);

    await build(sourceOf(conversations), { seed: 7, batchSize: 2 }); // affects the order, not the tokens
    expect(encoded).toBe(12);
    await build(sourceOf(conversations), { maxLength: 30, samplesWithoutTargets: 'skip' });
    await build(sourceOf(conversations.slice(1)));
    await build(sourceOf(conversations), {}, { ...plainRenderer, hash: 'another' });
    expect(encoded).toBe(12 + 12 + 11 + 12);
    expect(readdirSync(cacheFolder)).toHaveLength(4);
  });

  test('is not needed any more if the disk fails while it is in use', async () => {
    const lost = temporaryFolder();
    const notes: string[] = [];
    const open = (rows = conversations) =>
      createBatchSource({
        source: sourceOf(rows),
        tokenizer,
        renderer: plainRenderer,
        options: { batchSize: 2 },
        cacheFolder: lost,
        memoryTokens: 0,
        onNote: (note) => notes.push(note),
      });
    const expected = await collect((await open()).epoch(0));
    expect(expected).toHaveLength(6);
    const [name = ''] = readdirSync(lost);
    const source = await open();
    const batches: unknown[] = [];
    for await (const batch of source.epoch(0)) {
      if (batches.push(batch) === 2) truncateSync(path.join(lost, name, 'tokens.bin'), 10);
    }
    expect(batches).toEqual(expected);
    expect(await collect(source.epoch(0))).toEqual(expected);
    expect(notes).toEqual([expect.stringMatching(new RegExp(`^The cache of tokens .*${name} can no longer be read`))]);
  });
});

test('a cache removes the least recently used entries beyond its size, and unfinished ones after a day', () => {
  const cacheFolder = temporaryFolder();
  const now = Date.now();
  const entry = (name: string, hoursAgo: number): string => {
    const folder = path.join(cacheFolder, name);
    mkdirSync(folder);
    writeFileSync(path.join(folder, 'tokens.bin'), Buffer.alloc(1000));
    const used = new Date(now - hoursAgo * 3_600_000);
    utimesSync(folder, used, used);
    return folder;
  };
  entry('old', 50);
  const kept = entry('kept', 40);
  entry('older', 60);
  entry('new', 1);
  entry('begun.1.part', 2);
  entry('abandoned.2.part', 30);
  trimCache(cacheFolder, kept, 2500, now);
  expect(readdirSync(cacheFolder).sort()).toEqual(['begun.1.part', 'kept', 'new']);
  trimCache(cacheFolder, kept, 0, now);
  expect(readdirSync(cacheFolder).sort()).toEqual(['begun.1.part', 'kept']);
});

test('files are identified by content: if files, transforms and options are unchanged, nothing is parsed', async () => {
  const [folder, cacheFolder] = [temporaryFolder(), temporaryFolder()];
  const rows = (count: number): string =>
    asLines([
      ...Array.from({ length: count }, (_, index) => ({ messages: chat(`question ${index % 9}`, 'yes').messages })),
      'no row',
    ]);
  writeInto(folder, 'a.jsonl', rows(200));
  let tokenized = 0;
  const tokenizer = {
    ...characterTokenizer,
    hash: 'counted',
    encodeWithSpans: (text: string) => (tokenized++, characterTokenizer.encodeWithSpans(text)),
  };
  const open = async (threshold = 0.7) => {
    const source = applyTransforms(await createConversationSource({ path: 'a.jsonl' }, folder), [
      createDeduplicateTransform({ threshold }),
    ]);
    tokenized = 0;
    const { summary } = await createBatchSource({
      source,
      tokenizer,
      renderer: plainRenderer,
      options: { supervisionProof: 'off' },
      cacheFolder,
    });
    return { tokenized, summary, reports: source.reports };
  };
  const first = await open();
  expect(first.tokenized).toBe(first.summary.samples);
  expect(first.reports[0]?.removed).toMatchObject({ 'exact-duplicate': 191 });
  const second = await open();
  expect(second).toEqual({ ...first, tokenized: 0 });
  expect((await open(0.9)).tokenized).toBeGreaterThan(0);
  writeInto(folder, 'a.jsonl', rows(201));
  expect((await open()).tokenized).toBeGreaterThan(0);
});
