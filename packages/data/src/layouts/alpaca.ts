import type { Message } from '@whetstone/core/contract';
import { describeValue, RowProblem } from '../reading/row.js';
import { keyOf, valueOf, type Layout } from './layout.js';
import { checkText, listFromText, optionalText } from './values.js';

function readHistory(given: unknown, path: string): Message[] {
  const value = listFromText(given);
  if (value === undefined || value === null || value === '') return [];
  if (!Array.isArray(value))
    throw new RowProblem(`${path} is ${describeValue(value)}; expected a list of [user, assistant] pairs`);
  return value.flatMap((pair: unknown, index): Message[] => {
    if (!Array.isArray(pair) || pair.length !== 2) {
      throw new RowProblem(`${path}[${index}] is ${describeValue(pair)}; expected a pair [user, assistant]`);
    }
    return [
      { role: 'user', content: checkText(pair[0], `${path}[${index}][0]`) },
      { role: 'assistant', content: checkText(pair[1], `${path}[${index}][1]`) },
    ];
  });
}

/**
 * `{"instruction", "input"?, "output", "system"?, "history"?: [[user, assistant], …]}`; the input is appended to the
 * instruction on a new line.
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
    const question = [instruction, input ?? ''].filter((text) => text !== '').join('\n');
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
