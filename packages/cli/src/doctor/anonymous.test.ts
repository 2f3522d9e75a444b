import { expect, test } from 'vitest';
import { createAnonymizer, mapStrings, thisPerson } from './anonymous.js';

const anonymous = createAnonymizer({ homes: ['/home/ada.l', 'C:\\Users\\ada.l'], names: ['ada.l', 'Ada'] }, {});

test.each([
  ['/home/ada.l/.cache/whetstone', '~/.cache/whetstone'],
  ['/home/ada.l', '~'],
  ['/home/ada.lovelace/x', '/home/<user>.lovelace/x'],
  ['C:\\Users\\ada.l\\AppData', '~\\AppData'],
  ['/data/ada.l/runs', '/data/<user>/runs'],
  ['permission denied for ADA', 'permission denied for <user>'],
  ['adapter, radar, _ada_', 'adapter, radar, _ada_'],
  ['https://ada:pw@host/x?token=1', 'https://host/x'],
])('%s', (text, expected) => {
  expect(anonymous(text)).toBe(expected);
});

test('generic names and roots are no secrets, and a person without a home folder has none to hide', () => {
  expect(thisPerson({ HOME: '/', USER: 'root' }).names).not.toContain('root');
  expect(thisPerson({ HOME: '/', USER: 'grace' }).homes).not.toContain('/');
  expect(thisPerson({ USER: 'grace' }).names).toContain('grace');
});

test('every string of nested data is changed, and nothing else', () => {
  const data = { a: ['/home/ada.l', 1, null], b: { c: '/home/ada.l/x', d: true } };
  expect(mapStrings(data, anonymous)).toEqual({ a: ['~', 1, null], b: { c: '~/x', d: true } });
});
