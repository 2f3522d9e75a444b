import { argMax, tidy } from '@tensorflow/tfjs-core';
import type { ForwardInput, LanguageModel } from '@whetstone/core/contract';
import { shapesAreStatic } from '@whetstone/core/ops/internal';

/** Prompts are padded to a multiple of this length if the backend compiles each shape separately. */
const promptStride = 32;

/**
 * Generates a greedy reply to each prompt, without the stop token, for all prompts at once. Only the chosen tokens are
 * read from the device. The reply is empty if the prompt fills the model's context.
 */
export async function greedyReplies(
  model: LanguageModel,
  prompts: readonly (readonly number[])[],
  { maxNewTokens, stopTokenIds }: { readonly maxNewTokens: number; readonly stopTokenIds: readonly number[] },
): Promise<readonly (readonly number[])[]> {
  const texts = prompts.map((prompt) => [...prompt]);
  const ended = prompts.map((prompt) => prompt.length === 0 || prompt.length >= model.maxLength);
  const replies = prompts.map((): number[] => []);
  const room = Math.min(
    maxNewTokens,
    ...prompts.filter((_, row) => ended[row] !== true).map((prompt) => model.maxLength - prompt.length),
  );
  const cache = model.createCache(prompts.length);
  try {
    let input = promptInput(
      texts.map((text, row) => (ended[row] === true ? text.slice(0, 1) : text)),
      model.maxLength,
    );
    for (let made = 0; made < room && ended.includes(false); made++) {
      const chosen = tidy(() => argMax(model.decode(input, cache), 1));
      const ids = await chosen.data<'int32'>();
      chosen.dispose();
      for (const [row, text] of texts.entries()) {
        const id = ids[row] ?? 0;
        text.push(id);
        if (stopTokenIds.includes(id)) ended[row] = true;
        if (ended[row] !== true) replies[row]?.push(id);
      }
      input = {
        rows: texts.length,
        length: 1,
        ids: Int32Array.from(ids),
        segmentIds: new Int32Array(texts.length).fill(1),
        positionIds: Int32Array.from(texts, (text) => text.length - 1),
      };
    }
    return replies;
  } finally {
    cache.dispose();
  }
}

/** Builds one batch of all prompts, padded on the left with segment 0, to which no token attends. */
function promptInput(prompts: readonly (readonly number[])[], longest: number): ForwardInput {
  const needed = Math.max(1, ...prompts.map((prompt) => prompt.length));
  const length = shapesAreStatic() ? Math.min(longest, promptStride * Math.ceil(needed / promptStride)) : needed;
  const [ids, segmentIds, positionIds] = [0, 1, 2].map(() => new Int32Array(prompts.length * length)) as [
    Int32Array,
    Int32Array,
    Int32Array,
  ];
  for (const [row, prompt] of prompts.entries()) {
    const start = (row + 1) * length - prompt.length;
    ids.set(prompt, start);
    segmentIds.fill(1, start, start + prompt.length);
    positionIds.set(
      prompt.map((_, position) => position),
      start,
    );
  }
  return { rows: prompts.length, length, ids, segmentIds, positionIds };
}
