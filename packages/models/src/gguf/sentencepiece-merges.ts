/** Token types that merging can create: ordinary and user-defined tokens. */
const MERGEABLE = new Set([1, 4]);

/**
 * Returns the merges that are implicit in SentencePiece's BPE, which joins the two neighbours whose union has the
 * highest score. Each token yields a merge for every split into two tokens. Merges are sorted by score.
 */
export function mergesFromScores(
  tokens: readonly string[],
  scores: readonly number[],
  types: readonly number[],
): string[][] {
  const ids = new Map(tokens.flatMap((token, id) => (MERGEABLE.has(types[id] ?? 1) ? [[token, id] as const] : [])));
  const merges: { readonly pair: string[]; readonly score: number; readonly left: number; readonly right: number }[] =
    [];
  for (const [token, id] of ids) {
    const characters = Array.from(token);
    let cut = 0;
    for (const character of characters.slice(0, -1)) {
      cut += character.length;
      const pair = [token.slice(0, cut), token.slice(cut)];
      const left = ids.get(pair[0] ?? '');
      const right = ids.get(pair[1] ?? '');
      if (left !== undefined && right !== undefined) merges.push({ pair, score: scores[id] ?? 0, left, right });
    }
  }
  return merges.sort((a, b) => b.score - a.score || a.left - b.left || a.right - b.right).map(({ pair }) => pair);
}
