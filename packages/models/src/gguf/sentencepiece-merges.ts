/** Ordinary tokens and those a user has defined; control, unknown, unused and byte tokens are never made by merging. */
const MERGEABLE = new Set([1, 4]);

/**
 * The merges that SentencePiece's BPE makes implicitly. It joins the two neighbours whose joint piece has the highest
 * score, so that each piece yields a merge for every way to cut it into two pieces, in the order of the scores.
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
