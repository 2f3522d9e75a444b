import { argMax, tidy } from '@tensorflow/tfjs-core';
import type { LanguageModel } from '@whetstone/core/contract';

/**
 * Generates a greedy reply to each prompt, without the stop token, for all prompts at once. Only the chosen tokens are
 * read from the device. The reply is empty if the prompt fills the model's context.
 */
export async function greedyReplies(
  model: LanguageModel,
  prompts: readonly (readonly number[])[],
  { maxNewTokens, stopTokenIds }: { readonly maxNewTokens: number; readonly stopTokenIds: readonly number[] },
): Promise<readonly (readonly number[])[]> {
  const replies = prompts.map((): number[] => []);
  /** The tokens that are read next; none for a reply that has ended. */
  let unread = prompts.map((prompt) => (prompt.length < model.maxLength ? prompt : []));
  const room = (row: number): number => Math.min(maxNewTokens, model.maxLength - (prompts[row]?.length ?? 0));
  const cache = model.createCache(prompts.length);
  try {
    for (let made = 0; made < maxNewTokens && unread.some((ids) => ids.length > 0); made++) {
      const rows = unread.map((ids, slot) => ({ slot, ids }));
      const chosen = tidy(() => argMax(model.decode(rows, cache), 1));
      const tokens = await chosen.data<'int32'>();
      chosen.dispose();
      unread = unread.map((ids, row) => {
        const id = tokens[row] ?? 0;
        const reply = replies[row] ?? [];
        if (ids.length === 0 || stopTokenIds.includes(id)) return [];
        reply.push(id);
        return reply.length < room(row) ? [id] : [];
      });
    }
    return replies;
  } finally {
    cache.dispose();
  }
}
