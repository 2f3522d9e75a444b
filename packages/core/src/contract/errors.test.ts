import { expect, test } from 'vitest';
import { isWhetstoneError, WhetstoneError } from './errors.js';

test('a copy of an error has its unchanged fields, and the original as its cause', () => {
  const error = new WhetstoneError('DATA_UNREADABLE', 'No reply.', {
    place: { file: 'a.jsonl', line: 3 },
    expected: 'a message of the assistant',
    found: 'nothing',
    hint: 'Add one.',
    problems: [{ message: 'No reply.' }],
    details: { index: 2 },
  });
  const copy = WhetstoneError.with(error, { message: 'Row 2: no reply.', place: { file: 'b.jsonl' } });
  expect(isWhetstoneError(copy)).toBe(true);
  expect({ ...copy }).toEqual({ ...error, place: { file: 'b.jsonl' } });
  expect(copy.message).toBe('Row 2: no reply.');
  expect(copy.cause).toBe(error);
});

test('a copy of an error keeps its cause', () => {
  const cause = new TypeError('broken');
  const error = new WhetstoneError('DATA_UNREADABLE', 'Unreadable.', { cause });
  expect(WhetstoneError.with(error, {}).cause).toBe(cause);
});
