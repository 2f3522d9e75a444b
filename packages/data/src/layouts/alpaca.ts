import type { Message } from '@whetstone/core/contract';
import { describeValue, RowProblem } from '../reading/row.js';
import { keyOf, valueOf, type Layout } from './layout.js';
import { checkText, listFromText, optionalText } from './values.js';

function readHistory(given: unknown, place: string): Message[] {
  const value = listFromText(given);
  if (value === undefined || value === null || value === '') return [];
  if (!Array.isArray(value))
    throw new RowProblem(`${place} is ${describeValue(value)}, where a list of [user, assistant] pairs is expected`);
  return value.flatMap((pair: unknown, index): Message[] => {
    if (!Array.isArray(pair) || pair.length !== 2) {
      throw new RowProblem(`${place}[${index}] is ${describeValue(pair)}, where a pair [user, assistant] is expected`);
    }
    return [
      { role: 'user', content: checkText(pair[0], `${place}[${index}][0]`) },
      { role: 'assistant', content: checkText(pair[1], `${place}[${index}][1]`) },
    ];
  });
}

/**
 * `{"instruction", "input"?, "output", "system"?, "history"?: [[user, assistant], …]}`; the input follows the
 * instruction on a line of its own.
 */
export const alpacaLayout: Layout = {
  name: 'alpaca',
  requires: ['instruction', 'output'],
  allows: ['input', 'system', 'history'],
  read(record, options) {
    const get = (column: 'instruction' | 'input' | 'output' | 'system'): string | undefined =>
      optionalText(valueOf(record, column, options), keyOf(column, options));
    const system = get('system');
    const input = get('input');
    const instruction = checkText(valueOf(record, 'instruction', options), keyOf('instruction', options));
    const output = checkText(valueOf(record, 'output', options), keyOf('output', options));
    const question = [instruction, input ?? ''].filter((part) => part !== '').join('\n');
    return {
      form: 'chat',
      messages: [
        ...(system === undefined || system === '' ? [] : [{ role: 'system', content: system }]),
        ...readHistory(valueOf(record, 'history', options), keyOf('history', options)),
        { role: 'user', content: question },
        { role: 'assistant', content: output },
      ],
    };
  },
};
