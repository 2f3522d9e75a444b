import { compilePattern } from './compile-pattern.js';

/**
 * Returns the layer of a module or parameter: the first number in its path, as in `model.layers.3.mlp.up_proj` or
 * `transformer.h.3.attn.c_attn`; null outside of the layers.
 *
 * @param patterns If not empty, the number must follow one of these regular expressions (PEFT's `layers_pattern`).
 */
export function layerIndexOf(path: string, patterns: readonly string[] = []): number | null {
  const expressions =
    patterns.length === 0
      ? [/^.*?\.[^.]*\.(\d+)\./]
      : patterns.map((pattern) =>
          compilePattern(`^(?:(?:^|.*?\\.)${pattern}\\.(\\d+)\\.)`, 'strategy.options.layersPattern', pattern),
        );
  for (const expression of expressions) {
    const index = expression.exec(path)?.[1];
    if (index !== undefined) return Number(index);
  }
  return null;
}
