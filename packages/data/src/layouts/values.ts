import type { Json } from '@whetstone/core/contract';
import { isWrittenNumber, parseExact } from '@whetstone/core/util';
import { describeValue, RowProblem } from '../reading/row.js';

const DEEPEST_NESTING = 64;

/** Lone surrogates and NUL, which tokenizers cannot reproduce. */
const brokenText = /[\p{Surrogate}\0]/u;

/**
 * Returns the value if it is text without NUL and lone surrogates.
 *
 * @throws `RowProblem` otherwise
 */
export function checkText(value: unknown, path: string): string {
  if (typeof value !== 'string') throw new RowProblem(`${path} is ${describeValue(value)}; expected text`);
  const broken = brokenText.exec(value);
  if (broken) {
    const what = broken[0] === '\0' ? 'a NUL character' : 'half of a surrogate pair';
    throw new RowProblem(`${path} contains ${what} at character ${broken.index + 1}: the text is damaged`);
  }
  return value;
}

/** Like {@link checkText}, but returns undefined for null and a missing value. */
export function optionalText(value: unknown, path: string): string | undefined {
  return value === undefined || value === null ? undefined : checkText(value, path);
}

/**
 * Checks a parsed value for damaged text and deep nesting, and returns it. It uses no recursion, so that deep nesting
 * cannot overflow the stack.
 *
 * @throws `RowProblem`
 */
export function checkJson(value: unknown, path: string): Json {
  const waiting: { value: unknown; depth: number }[] = [{ value, depth: 0 }];
  for (let next = waiting.pop(); next !== undefined; next = waiting.pop()) {
    const { value: current, depth } = next;
    if (depth > DEEPEST_NESTING) throw new RowProblem(`${path} is nested deeper than ${DEEPEST_NESTING} levels`);
    if (typeof current === 'string') checkText(current, path);
    else if (typeof current === 'object' && current !== null && !isWrittenNumber(current)) {
      for (const child of Object.values(current)) waiting.push({ value: child, depth: depth + 1 });
    }
  }
  return value as Json;
}

/** Parses text that is a JSON list, as in tables and Parquet files; returns all other values unchanged. */
export function listFromText(value: unknown): unknown {
  if (typeof value !== 'string' || !value.trimStart().startsWith('[')) return value;
  try {
    return parseExact(value);
  } catch {
    return value;
  }
}
