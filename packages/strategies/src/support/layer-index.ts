/**
 * The layer that a module or parameter belongs to, from its path: the first segment that is a number, as in
 * `model.layers.3.mlp.up_proj` or `transformer.h.3.attn.c_attn`. With `patterns` the number must follow one of them
 * (PEFT's `layers_pattern`, regular expressions). Null outside the layers.
 */
export function layerIndexOf(path: string, patterns: readonly string[] = []): number | null {
  const expressions =
    patterns.length === 0
      ? [/^.*?\.[^.]*\.(\d+)\./]
      : patterns.map((pattern) => new RegExp(`^(?:.*?\\.)?(?:${pattern})\\.(\\d+)\\.`));
  for (const expression of expressions) {
    const index = expression.exec(path)?.[1];
    if (index !== undefined) return Number(index);
  }
  return null;
}
