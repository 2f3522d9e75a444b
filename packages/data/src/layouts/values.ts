import type { Json } from '@whetstone/core/contract';
import { describeValue, RowProblem } from '../reading/row.js';

const DEEPEST_NESTING = 64;

/** Half of a surrogate pair, or NUL: text that no tokenizer can give back. */
const brokenText = /[\p{Surrogate}\0]/u;

/** A text without NUL and lone surrogates. Throws RowProblem otherwise. */
export function checkText(value: unknown, place: string): string {
  if (typeof value !== 'string') throw new RowProblem(`${place} is ${describeValue(value)}, where text is expected`);
  const broken = brokenText.exec(value);
  if (broken) {
    const what = broken[0] === '\0' ? 'a NUL character' : 'half of a surrogate pair';
    throw new RowProblem(`${place} holds ${what} at character ${broken.index + 1}: the text is damaged`);
  }
  return value;
}

/** Like {@link checkText}; null and a missing value give undefined. */
export function optionalText(value: unknown, place: string): string | undefined {
  return value === undefined || value === null ? undefined : checkText(value, place);
}

/**
 * A value from a parsed file, looked through for text that is broken and nesting that is too deep. Works without
 * recursion.
 */
export function checkJson(value: unknown, place: string): Json {
  const waiting: { value: unknown; depth: number }[] = [{ value, depth: 0 }];
  for (let next = waiting.pop(); next !== undefined; next = waiting.pop()) {
    const { value: current, depth } = next;
    if (depth > DEEPEST_NESTING) throw new RowProblem(`${place} is nested deeper than ${DEEPEST_NESTING} levels`);
    if (typeof current === 'string') checkText(current, place);
    else if (typeof current === 'object' && current !== null) {
      for (const child of Object.values(current)) waiting.push({ value: child, depth: depth + 1 });
    }
  }
  return value as Json;
}

/**
 * The list that text stands for, where it is one written as JSON (tables and Parquet files carry lists so); anything
 * else as it is.
 */
export function listFromText(value: unknown): unknown {
  if (typeof value !== 'string' || !value.trimStart().startsWith('[')) return value;
  try {
    return JSON.parse(value) as unknown;
  } catch {
    return value;
  }
}
