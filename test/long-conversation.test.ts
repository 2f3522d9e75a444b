import { expect, test } from 'vitest';
import type { Message } from '@whetstone/core/contract';
import { analyseData } from '../packages/data/src/report/analyse.js';
import { createBatchSource } from '@whetstone/data';
import { loadRenderer, loadTokenizer } from '@whetstone/models';
import { goldenPath } from './support/golden.js';

test('a conversation of 10,000 turns is rendered, cut, proven and reported in seconds', async () => {
  const tokenizer = await loadTokenizer(goldenPath('tokenizers', 'qwen-bpe'));
  const renderer = await loadRenderer(goldenPath('tokenizers', 'qwen-bpe'), tokenizer);
  const messages = Array.from({ length: 10_000 }, (_, index): Message => ({
    role: index % 2 === 0 ? 'user' : 'assistant',
    content: `turn ${index}`,
  }));
  const source = {
    files: [],
    unreadable: [],
    conversations: () => [{ form: 'chat' as const, messages, origin: { index: 0 } }],
  };
  const started = performance.now();
  for (const truncationMode of ['keep_start', 'keep_end', 'drop_turns'] as const) {
    const batches = await createBatchSource({
      source,
      tokenizer,
      renderer,
      options: { maxLength: 512, truncationMode },
    });
    expect(batches.summary.tokens).toBeLessThanOrEqual(512);
    expect(batches.summary.supervisedTokens).toBeGreaterThan(100);
  }
  expect(
    (
      await createBatchSource({
        source,
        tokenizer,
        renderer,
        options: { packing: true, packingStrategy: 'bfd_split', maxLength: 512 },
      })
    ).batchesPerEpoch,
  ).toBeGreaterThan(5);
  expect((await analyseData({ title: 'long', source, tokenizing: { tokenizer, renderer } })).conversations).toBe(1);
  expect((performance.now() - started) / 1000).toBeLessThan(60);
}, 120_000);
