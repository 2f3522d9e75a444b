// Measures the repetition of replies, and the loss.
import { createBatchSource, createConversationSource } from '@whetstone/data';
import { repetitionRate } from '@whetstone/plugins';
import { evaluate, generateText } from 'whetstone';

/** Greedy replies to all prompts at once, without any penalty in decoding. */
export async function greedyReplies(opened, prompts, maxNewTokens) {
  const texts = prompts.map((content) => opened.renderer.renderPrompt([{ role: 'user', content }]));
  const replies = prompts.map(() => '');
  for await (const { row, text } of generateText(opened, texts, { maxNewTokens, temperature: 0 })) replies[row] += text;
  return replies;
}

/** Returns the mean repetition rate of greedy replies, the number that loop, and the loss on held-out conversations. */
export async function measure(opened, { prompts, maxNewTokens, evalFile, evalSamples = Infinity, n = 4 }) {
  const replies = await greedyReplies(opened, prompts, maxNewTokens);
  const ids = replies.map((reply) => opened.tokenizer.encode(reply));
  const rates = ids.map((reply) => repetitionRate(reply, n));
  const mean = (numbers) => numbers.reduce((sum, one) => sum + one, 0) / numbers.length;
  const all = await createConversationSource({ path: evalFile }, '.');
  const source = { ...all, conversations: () => first(all.conversations(), evalSamples) };
  const { model, tokenizer, renderer, backend } = opened;
  const data = await createBatchSource({
    source,
    tokenizer,
    renderer,
    options: {
      purpose: 'eval',
      batchSize: 16,
      maxLength: 256,
      truncationMode: 'keep_end',
      samplingStrategy: 'group_by_length',
    },
  });
  const { loss } = await evaluate({ model, data, backend }, { step: 0, epoch: 0 });
  return {
    rate: mean(rates),
    tokens: mean(ids.map(({ length }) => length)),
    loops: rates.filter((rate) => rate > 0.5).length,
    loss,
    replies,
  };
}

async function* first(items, count) {
  let taken = 0;
  for await (const item of items) {
    if (taken++ >= count) return;
    yield item;
  }
}
