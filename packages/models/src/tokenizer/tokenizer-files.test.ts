import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { createStreamDecoder } from './stream-decoder.js';
import { loadTokenizer } from './tokenizer.js';

const small = {
  added_tokens: [{ id: 3, content: '<end>', special: true }],
  normalizer: null,
  pre_tokenizer: { type: 'ByteLevel', add_prefix_space: false, use_regex: true },
  post_processor: null,
  decoder: { type: 'ByteLevel' },
  model: { type: 'BPE', vocab: { a: 0, b: 1, ab: 2 }, merges: ['a b'] },
};

let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'whetstone-tokenizer-'));
});
afterEach(() => rm(folder, { recursive: true, force: true }));

const write = (name: string, value: unknown): Promise<void> =>
  writeFile(join(folder, name), typeof value === 'string' ? value : JSON.stringify(value));

describe('a tokenizer folder', () => {
  it('provides its special tokens in every notation', async () => {
    await write('tokenizer.json', small);
    await write('special_tokens_map.json', { bos_token: { content: 'a', lstrip: false } });
    await write('tokenizer_config.json', {
      eos_token: { content: '<end>' },
      pad_token: '<gone>',
      added_tokens_decoder: { 4: { content: '<new>', special: true } },
    });
    const tokenizer = await loadTokenizer(folder);
    expect([tokenizer.bosTokenId, tokenizer.eosTokenId, tokenizer.padTokenId]).toEqual([0, 3, null]);
    expect(tokenizer.encode('ab<new>b')).toEqual([2, 4, 1]);
    expect(tokenizer.decode([2, 4, 3], { skipSpecialTokens: true })).toBe('ab');
    expect(tokenizer.vocabularySize).toBe(5);
  });

  it.each<[string, unknown, RegExp]>([
    ['no tokenizer.json', undefined, /cannot be read/],
    ['broken JSON', '{\n"model": {', /not JSON/],
    ['a list', [], /JSON object/],
    ['no model', { ...small, model: null }, /model/],
    ['no vocabulary', { ...small, model: { type: 'BPE' } }, /model\.vocab/],
    ['no merges', { ...small, model: { type: 'BPE', vocab: {} } }, /model\.merges/],
    [
      'an id that is not a number',
      { ...small, model: { type: 'BPE', vocab: { a: 'x' }, merges: [] } },
      /model\.vocab\["a"\]/,
    ],
    ['an absurd id', { ...small, model: { type: 'BPE', vocab: { a: 4e9 }, merges: [] } }, /model\.vocab\["a"\]/],
    ['an added token without id', { ...small, added_tokens: [{ content: 'x' }] }, /added_tokens\[0\]/],
    ['an unknown pre-tokenizer', { ...small, pre_tokenizer: { type: 'Nope' } }, /Nope/],
    ['an unknown normaliser', { ...small, normalizer: { type: 'Nope' } }, /Nope/],
    ['an unknown decoder', { ...small, decoder: { type: 'Nope' } }, /Nope/],
    [
      'an invalid pattern',
      { ...small, pre_tokenizer: { type: 'Split', pattern: { Regex: '(' }, behavior: 'Isolated' } },
      /./,
    ],
  ])('with %s is rejected with the path of its file', async (_, value, message) => {
    if (value !== undefined) await write('tokenizer.json', value);
    await expect(loadTokenizer(folder)).rejects.toMatchObject({
      code: 'TOKENIZER_INVALID',
      place: { file: join(folder, 'tokenizer.json') },
    });
    await expect(loadTokenizer(folder).catch((error: unknown) => String(error))).resolves.toMatch(message);
  });

  it('encodes an empty text and ignores unknown ids', async () => {
    await write('tokenizer.json', small);
    const tokenizer = await loadTokenizer(folder);
    expect(tokenizer.encode('')).toEqual([]);
    expect(tokenizer.decode([])).toBe('');
    expect(tokenizer.decode([0, 99, 1])).toBe('ab');
  });
});

describe('streaming', () => {
  /** Ids are bytes; invalid bytes are replaced. */
  const bytes = {
    decode: (ids: readonly number[]): string =>
      new TextDecoder('utf-8', { ignoreBOM: true }).decode(Uint8Array.from(ids)),
  };

  it('returns complete characters only', () => {
    const stream = createStreamDecoder(bytes);
    const parts = Array.from(new TextEncoder().encode('a😀é'), (byte) => stream.push(byte));
    expect(parts).toEqual(['a', '', '', '', '😀', '', 'é']);
    expect(stream.finish()).toBe('');
  });

  it('returns incomplete characters at the end', () => {
    const stream = createStreamDecoder(bytes);
    expect([stream.push(0xf0), stream.push(0x9f)]).toEqual(['', '']);
    expect(stream.finish()).toBe('\ufffd');
  });

  it('does not hold back invalid bytes forever', () => {
    const stream = createStreamDecoder(bytes);
    const text = Array.from({ length: 200 }, () => stream.push(0xff)).join('');
    expect(text.length).toBeGreaterThan(100);
    expect(text + stream.finish()).toBe('\ufffd'.repeat(200));
  });
});
