import { expect, test } from 'vitest';
import { firstUserTurns } from './generate.js';

const line = (...turns: [string, string][]): string =>
  JSON.stringify({ conversation: turns.map(([role, content]) => ({ role, content })) });

test('the first questions are taken, each once, in the order of the file', () => {
  const data = [
    line(['system', 's'], ['user', 'a'], ['assistant', 'b'], ['user', 'c']),
    '',
    line(['user', 'a']),
    line(['assistant', 'x']),
    line(['user', 'd']),
    line(['user', 'e']),
  ].join('\n');
  expect(firstUserTurns(data, 2)).toEqual(['a', 'd']);
  expect(() => firstUserTurns(data, 4)).toThrow('The data has 3 different first questions; 4 are needed.');
});
