import { readdirSync } from 'node:fs';
import { beforeAll, describe, expect, it } from 'vitest';
import { encodePadded, loadTokenizer, type FolderTokenizer } from '@whetstone/models';
import { createStreamDecoder } from '../../packages/models/src/tokenizer/stream-decoder.js';
import { goldenPath, readGolden } from '../support/golden.js';

// Expected values: ids, tokens, offsets and decoded texts of Hugging Face's tokenizers, whose offsets count code
// points.

interface Row {
  readonly text: string;
  readonly ids: number[];
  readonly ids_with_special: number[];
  readonly tokens: string[];
  readonly offsets: [number, number][];
  readonly decoded: string;
  readonly decoded_skip_special: string;
}
interface Padded {
  readonly texts: string[];
  readonly max_length: number;
  readonly input_ids: number[][];
  readonly attention_mask: number[][];
}
interface Fixture {
  readonly vocab_size: number;
  readonly special_tokens: Record<string, string>;
  readonly texts: Row[];
  readonly pair: { readonly a: string; readonly b: string; readonly ids: number[] };
  readonly padded_right?: Padded;
  readonly padded_left?: Padded;
  readonly after_adding: { readonly new_ids: Record<string, number>; readonly texts: Row[] };
}

const kinds = readdirSync(goldenPath('tokenizers'));

/** Converts a UTF-16 position to the number of code points before it. */
const inCodePoints = (text: string, position: number): number => Array.from(text.slice(0, position)).length;

function check(tokenizer: FolderTokenizer, row: Row): void {
  const { text } = row;
  const encoded = tokenizer.encodeWithSpans(text);
  expect(encoded.ids, text).toEqual(row.ids);
  expect(tokenizer.encode(text), text).toEqual(row.ids);
  expect(tokenizer.encode(text, { addSpecialTokens: true }), text).toEqual(row.ids_with_special);
  expect(tokenizer.tokens(row.ids), text).toEqual(row.tokens);
  expect(tokenizer.decode(row.ids), text).toBe(row.decoded);
  expect(tokenizer.decode(row.ids_with_special, { skipSpecialTokens: true }), text).toBe(row.decoded_skip_special);
  const offsets = encoded.starts.map((start, i) => [
    inCodePoints(text, start),
    inCodePoints(text, encoded.ends[i] ?? -1),
  ]);
  expect(offsets, text).toEqual(row.offsets);
  const stream = createStreamDecoder(tokenizer);
  const parts = row.ids.map((id) => stream.push(id));
  expect(parts.join('') + stream.finish(), text).toBe(row.decoded);
}

it('has fixtures', () => {
  expect(kinds.length).toBeGreaterThanOrEqual(7);
});

describe.each(kinds)('%s', (kind) => {
  const fixture = readGolden<Fixture>('tokenizers', kind, 'golden.json');
  let tokenizer: FolderTokenizer;
  let withAdded: FolderTokenizer;
  beforeAll(async () => {
    tokenizer = await loadTokenizer(goldenPath('tokenizers', kind));
    withAdded = await loadTokenizer(goldenPath('tokenizers', kind, 'with_added'));
  });

  it('has the vocabulary and special tokens', () => {
    expect(tokenizer.vocabularySize).toBe(fixture.vocab_size);
    for (const [name, ours] of [
      ['bos_token', tokenizer.bosTokenId],
      ['eos_token', tokenizer.eosTokenId],
      ['pad_token', tokenizer.padTokenId],
    ] as const) {
      const text = fixture.special_tokens[name];
      expect(ours).toBe(text === undefined ? null : tokenizer.tokenId(text));
    }
  });

  it.each(fixture.texts.map((row) => [row.text, row] as const))('%j', (_, row) => check(tokenizer, row));

  it('encodes a pair', () => {
    expect(tokenizer.encodePair(fixture.pair.a, fixture.pair.b)).toEqual(fixture.pair.ids);
  });

  it.each((['right', 'left'] as const).filter((side) => fixture[`padded_${side}`] !== undefined))(
    'pads on the %s',
    (side) => {
      const padded = fixture[`padded_${side}`];
      expect(encodePadded(tokenizer, padded?.texts ?? [], { maxLength: padded?.max_length ?? 0, side })).toEqual({
        ids: padded?.input_ids,
        attentionMask: padded?.attention_mask,
      });
    },
  );

  it.each(fixture.after_adding.texts.map((row) => [row.text, row] as const))('with added tokens: %j', (_, row) =>
    check(withAdded, row),
  );

  it('has the ids of added tokens', () => {
    const added = Object.entries(fixture.after_adding.new_ids);
    expect(added.length).toBeGreaterThan(0);
    for (const [token, id] of added) expect(withAdded.tokenId(token)).toBe(id);
  });
});
