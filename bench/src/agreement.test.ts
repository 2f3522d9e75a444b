import { expect, test } from 'vitest';
import { agreementOf } from './agreement.js';

test('ids decide if both sides have them', () => {
  const reference = [
    { ids: [1, 2, 3, 4], text: 'a' },
    { ids: [5, 6, 7, 8], text: 'b' },
  ];
  const other = [
    { ids: [1, 2, 3, 4], text: 'other' },
    { ids: [5, 9, 7, 8], text: 'b' },
  ];
  expect(agreementOf(reference, other)).toEqual({ same: 1, replies: 2, shareBeforeDifference: 5 / 8 });
});

test('text decides if one side has no ids; a reply that is shorter, longer or missing differs', () => {
  const reference = [{ ids: [1], text: 'abcd' }];
  expect(agreementOf(reference, [{ text: 'abcd' }]).same).toBe(1);
  expect(agreementOf(reference, [{ text: 'ab' }])).toEqual({ same: 0, replies: 1, shareBeforeDifference: 0.5 });
  expect(agreementOf(reference, [{ text: 'abcde' }])).toEqual({ same: 0, replies: 1, shareBeforeDifference: 1 });
  expect(agreementOf(reference, [])).toEqual({ same: 0, replies: 1, shareBeforeDifference: 0 });
});
