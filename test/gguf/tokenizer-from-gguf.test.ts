import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { isWhetstoneError } from '@whetstone/core/contract';
import { goldenPath } from '../support/golden.js';
import type { FolderTokenizer } from '@whetstone/models';
import { createTokenizer } from '../../packages/models/src/tokenizer/tokenizer.js';
import { parseHeader, type GgufValue } from '../../packages/models/src/gguf/header.js';
import { readMetadata, type Metadata } from '../../packages/models/src/gguf/metadata.js';
import { createTokenizerFiles, type TokenizerOutput } from '../../packages/models/src/gguf/tokenizer-from-gguf.js';
import { withTemplateStops } from '../../packages/models/src/gguf/template-stops.js';
import { writeGguf } from '../../packages/models/src/gguf/testing/write-gguf.js';

interface TokenizerJson {
  readonly model: { readonly vocab: Record<string, number>; readonly merges: (string | string[])[] };
  readonly added_tokens: { readonly id: number; readonly content: string }[];
}
interface Fixture {
  readonly special_tokens: Record<string, string>;
  readonly texts: {
    readonly text: string;
    readonly ids: number[];
    readonly ids_with_special: number[];
    readonly decoded: string;
  }[];
}

function metadataOf(values: Record<string, GgufValue>): Metadata {
  const bytes = writeGguf({ 'general.architecture': 'llama', 'llama.context_length': 64, ...values }, []);
  return readMetadata('m.gguf', parseHeader({ file: 'm.gguf', bytes, fileBytes: bytes.length }));
}

/** What a GGUF file says of a golden tokenizer. */
function ggufOf(kind: string): {
  readonly values: Record<string, GgufValue>;
  readonly fixture: Fixture;
  readonly merges: string[];
} {
  const json = JSON.parse(readFileSync(goldenPath('tokenizers', kind, 'tokenizer.json'), 'utf8')) as TokenizerJson;
  const fixture = JSON.parse(readFileSync(goldenPath('tokenizers', kind, 'golden.json'), 'utf8')) as Fixture;
  const tokens: string[] = [];
  for (const [token, id] of Object.entries(json.model.vocab)) tokens[id] = token;
  for (const { id, content } of json.added_tokens) tokens[id] = content;
  const special = new Set(json.added_tokens.map(({ id }) => id));
  const ids = Object.entries(fixture.special_tokens).flatMap(([name, token]) => {
    const key = { bos_token: 'bos', eos_token: 'eos', unk_token: 'unknown', pad_token: 'padding' }[name];
    return key === undefined ? [] : [[`tokenizer.ggml.${key}_token_id`, tokens.indexOf(token)] as const];
  });
  return {
    fixture,
    merges: json.model.merges.map((merge) => (typeof merge === 'string' ? merge : merge.join(' '))),
    values: {
      'tokenizer.ggml.tokens': tokens,
      'tokenizer.ggml.token_type': tokens.map((token, id) =>
        special.has(id) ? (token === '<unk>' ? 2 : 3) : /^<0x..>$/.test(token) ? 6 : 1,
      ),
      ...Object.fromEntries(ids),
    },
  };
}

const build = (output: TokenizerOutput): FolderTokenizer =>
  createTokenizer({
    folder: '.',
    tokenizer: output.tokenizer as never,
    config: output.tokenizerConfig as never,
    specialTokens: output.specialTokensMap as never,
  });

describe('a tokenizer rebuilt from GGUF', () => {
  it.each([
    ['gpt2-bpe', 'gpt-2'],
    ['qwen-bpe', 'qwen2'],
    ['llama3-bpe', 'llama-bpe'],
  ])('%s encodes and decodes as the original', (kind, pre) => {
    const { values, fixture, merges } = ggufOf(kind);
    const tokenizer = build(
      createTokenizerFiles(
        'm.gguf',
        metadataOf({
          ...values,
          'tokenizer.ggml.model': 'gpt2',
          'tokenizer.ggml.pre': pre,
          'tokenizer.ggml.merges': merges,
        }),
      ),
    );
    expect(fixture.texts.length).toBeGreaterThan(0);
    for (const { text, ids, ids_with_special: withSpecial, decoded } of fixture.texts) {
      expect(tokenizer.encode(text), text).toEqual(ids);
      expect(tokenizer.encode(text, { addSpecialTokens: true }), text).toEqual(withSpecial);
      expect(tokenizer.decode(ids), text).toBe(decoded);
    }
  });

  it('keeps named chat templates', () => {
    const { values, merges } = ggufOf('qwen-bpe');
    const { chatTemplate, namedTemplates } = createTokenizerFiles(
      'm.gguf',
      metadataOf({
        ...values,
        'tokenizer.ggml.model': 'gpt2',
        'tokenizer.ggml.pre': 'qwen2',
        'tokenizer.ggml.merges': merges,
        'tokenizer.chat_template': 'plain',
        'tokenizer.chat_template.tool_use': 'tools',
        'tokenizer.chat_template.../escape': 'x',
      }),
    );
    expect(chatTemplate).toBe('plain');
    expect([...namedTemplates]).toEqual([['tool_use', 'tools']]);
  });

  it('lists the turn end of its chat templates, which few files name, as a stop token', () => {
    const { values, merges } = ggufOf('qwen-bpe');
    const stopsOf = (more: Record<string, GgufValue>): unknown => {
      const metadata = metadataOf({
        ...values,
        'tokenizer.ggml.model': 'gpt2',
        'tokenizer.ggml.pre': 'qwen2',
        'tokenizer.ggml.merges': merges,
        'tokenizer.ggml.eos_token_id': 0,
        ...more,
      });
      return withTemplateStops(createTokenizerFiles('m.gguf', metadata)).generationConfig;
    };
    const turns = (end: string): string => `{% for m in messages %}{{ m.content }}${end}{% endfor %}`;
    const other = { pad_token_id: 0 };
    expect(stopsOf({})).toEqual({ ...other, eos_token_id: 0 });
    expect(stopsOf({ 'tokenizer.chat_template': turns('<|im_end|>') })).toEqual({ ...other, eos_token_id: [0, 2] });
    expect(stopsOf({ 'tokenizer.chat_template': turns('<|endoftext|>') })).toEqual({ ...other, eos_token_id: 0 });
    const named = {
      'tokenizer.chat_template': turns('<|im_end|>'),
      'tokenizer.chat_template.tool_use': turns('<|im_start|>'),
    };
    expect(stopsOf(named)).toEqual({ ...other, eos_token_id: [0, 2, 1] });
    expect(stopsOf({ 'tokenizer.chat_template': '{% broken' })).toEqual({ ...other, eos_token_id: 0 });
  });

  it('llama2-bpe, from scores alone, encodes and decodes as the original', () => {
    const { values, fixture } = ggufOf('llama2-bpe');
    const tokens = values['tokenizer.ggml.tokens'] as string[];
    // SentencePiece scores its pieces by the order in which they were learned, which is that of their ids.
    const tokenizer = build(
      createTokenizerFiles(
        'm.gguf',
        metadataOf({
          ...values,
          'tokenizer.ggml.model': 'llama',
          'tokenizer.ggml.scores': tokens.map((_, id) => -id - 0.5),
        }),
      ),
    );
    expect(fixture.texts.length).toBeGreaterThan(0);
    for (const { text, ids, ids_with_special: withSpecial, decoded } of fixture.texts) {
      expect(tokenizer.encode(text), text).toEqual(ids);
      expect(tokenizer.encode(text, { addSpecialTokens: true }), text).toEqual(withSpecial);
      expect(tokenizer.decode(ids), text).toBe(decoded);
    }
  });

  const letters = { 'tokenizer.ggml.tokens': ['a', 'b'], 'tokenizer.ggml.merges': [] };
  it.each<[string, Record<string, GgufValue>, string]>([
    ['an unknown kind', { ...letters, 'tokenizer.ggml.model': 'bert' }, 'GGUF_UNSUPPORTED'],
    [
      'an unknown splitting rule',
      { ...letters, 'tokenizer.ggml.model': 'gpt2', 'tokenizer.ggml.pre': 'constructor' },
      'GGUF_UNSUPPORTED',
    ],
    ['no tokens', { 'tokenizer.ggml.model': 'gpt2' }, 'GGUF_INVALID'],
    [
      'types of another number',
      { ...letters, 'tokenizer.ggml.model': 'gpt2', 'tokenizer.ggml.token_type': [1] },
      'GGUF_INVALID',
    ],
    [
      'a token twice',
      { 'tokenizer.ggml.tokens': ['a', 'a'], 'tokenizer.ggml.merges': [], 'tokenizer.ggml.model': 'gpt2' },
      'GGUF_INVALID',
    ],
    [
      'an end of text outside',
      { ...letters, 'tokenizer.ggml.model': 'gpt2', 'tokenizer.ggml.eos_token_id': 2 },
      'GGUF_INVALID',
    ],
    [
      'a merge of one token',
      { ...letters, 'tokenizer.ggml.merges': ['ab'], 'tokenizer.ggml.model': 'gpt2' },
      'GGUF_INVALID',
    ],
    ['no scores', { ...letters, 'tokenizer.ggml.model': 'llama' }, 'GGUF_INVALID'],
    ['numbers for tokens', { 'tokenizer.ggml.tokens': [1, 2], 'tokenizer.ggml.model': 'gpt2' }, 'GGUF_INVALID'],
  ])('refuses %s', (_, values, code) => {
    try {
      createTokenizerFiles('m.gguf', metadataOf(values));
      expect.unreachable();
    } catch (error) {
      expect(isWhetstoneError(error) && error.code).toBe(code);
    }
  });
});
