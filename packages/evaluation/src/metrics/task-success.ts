import { validateAgainst } from '@whetstone/core/config';
import { WhetstoneError, type JsonSchema, type MetricOf, type ReplySample } from '@whetstone/core/contract';
import { messageOf, TookTooLong, withinTime } from '@whetstone/core/util';
import type { Additive } from './accumulate.js';
import { runChecker, type CheckerOptions } from './checker.js';

type Numbers = Readonly<Record<string, number>>;

const invalidOption = (path: string, message: string, found: unknown): WhetstoneError =>
  new WhetstoneError('CONFIG_INVALID', message, { place: { path }, found: JSON.stringify(found) });

/**
 * The share of replies that match a regular expression, and of those for which the search took too long.
 *
 * @throws `CONFIG_INVALID` if the expression is invalid
 */
export function matchesOf(pattern: string, flags: string, seconds: number): Additive<ReplySample, Numbers> {
  const expression = compile(pattern, flags);
  const search = (reply: string): readonly [match: number, stopped: number] => {
    try {
      return [withinTime(seconds, () => expression.test(reply)) ? 1 : 0, 0];
    } catch (error) {
      if (error instanceof TookTooLong) return [0, 1];
      throw error;
    }
  };
  return {
    statistics: ({ reply }) => [...search(reply), 1],
    score: ([matches = 0, stopped = 0, count = 0]) => ({ regexMatch: matches / count, regexStopped: stopped / count }),
  };
}

function compile(pattern: string, flags: string): RegExp {
  try {
    return new RegExp(pattern, flags);
  } catch (error) {
    throw invalidOption('pattern', messageOf(error), pattern);
  }
}

/** Longest time for the validation of one reply, in seconds: a schema may contain regular expressions. */
const VALIDATION_SECONDS = 1;

/** Returns the JSON value of a reply, which may be in a code block of Markdown; undefined if it is none. */
function jsonIn(reply: string): unknown {
  const text = reply.trim();
  const lines = text.split('\n');
  const isBlock = lines.length > 2 && lines[0]?.startsWith('```') === true && lines.at(-1) === '```';
  try {
    return JSON.parse(isBlock ? lines.slice(1, -1).join('\n') : text) as unknown;
  } catch {
    return undefined;
  }
}

/**
 * The share of replies that are JSON, and of those that match a schema.
 *
 * @throws `CONFIG_INVALID` if the schema is invalid
 */
export function schemaMatches(schema: JsonSchema): Additive<ReplySample, Numbers> {
  try {
    validateAgainst(schema, null);
  } catch (error) {
    throw invalidOption('schema', `The schema is invalid: ${messageOf(error)}`, schema);
  }
  const matches = (value: unknown): boolean => {
    try {
      return withinTime(VALIDATION_SECONDS, () => validateAgainst(schema, value)).length === 0;
    } catch (error) {
      if (error instanceof TookTooLong) return false;
      throw error;
    }
  };
  return {
    statistics: ({ reply }) => {
      const value = jsonIn(reply);
      return [value === undefined ? 0 : 1, value !== undefined && matches(value) ? 1 : 0, 1];
    },
    score: ([json = 0, matching = 0, count = 0]) => ({ validJson: json / count, schemaMatch: matching / count }),
  };
}

/** Options of the metric `checker`. */
interface CheckerPluginOptions extends Partial<Omit<CheckerOptions, 'command' | 'maxMemoryBytes' | 'folder'>> {
  readonly command: readonly string[];
  readonly maxMemoryMiB?: number;
}

/** Returns the metric that runs a user's program on each reply, in a folder. */
export function createChecker(options: CheckerPluginOptions, folder: string): MetricOf<'replies'> {
  const { command, input = 'reply', timeoutSeconds = 10, maxOutputBytes = 1_048_576, maxMemoryMiB = 4096 } = options;
  const [program = '', ...parameters] = command;
  const checker = {
    command: [program, ...parameters] as const,
    input,
    timeoutSeconds,
    maxOutputBytes,
    folder,
    maxMemoryBytes: maxMemoryMiB * 2 ** 20,
  };
  const statistics = async (sample: ReplySample): Promise<readonly number[]> => {
    const outcome = await runChecker(checker, sample);
    return [outcome === 'passed' ? 1 : 0, outcome === 'stopped' ? 1 : 0, 1];
  };
  const numbers = ([passed = 0, stopped = 0, count = 0]: readonly number[]): Numbers =>
    count === 0 ? {} : { taskSuccess: passed / count, checkerStopped: stopped / count };
  return {
    needs: 'replies',
    numbers: ['taskSuccess', 'checkerStopped'],
    additive: { statistics, numbers },
    createAccumulator: () => {
      const sums = [0, 0, 0];
      return {
        add: async (sample) => {
          for (const [index, value] of (await statistics(sample)).entries()) sums[index] = (sums[index] ?? 0) + value;
        },
        result: () => numbers(sums),
      };
    },
  };
}
