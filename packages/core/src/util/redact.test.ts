import { expect, test } from 'vitest';
import { withoutContents, withoutCredentials } from './redact.js';

test.each([
  ['see https://me:pw-1@host:8443/v1?key=abc#frag for more', 'see https://host:8443/v1 for more'],
  ['//me:pw-1@host/simple and postgres://me:pw-1@db/x', '//me:pw-1@host/simple and postgres://db/x'],
  ['Authorization: Bearer abcdefgh.ijk', 'Authorization: [hidden] [hidden]'],
  ['Bearer abcdefgh', 'Bearer [hidden]'],
  ['//registry/:_authToken=plain-secret', '//registry/:_authToken=[hidden]'],
  ['password: hunter2, user', 'password: [hidden], user'],
  ['the token hf_abcdefghijkl was refused', 'the token [hidden] was refused'],
  ['the tensor "lm_head.weight" is missing', 'the tensor "lm_head.weight" is missing'],
  ['401 for npm_abcdefghijklmnop', '401 for [hidden]'],
])('%s', (text, expected) => {
  expect(withoutCredentials(text, {})).toBe(expected);
});

test('values of environment variables that are credentials are hidden wherever they stand', () => {
  const environment = { MY_API_KEY: 'a-value-of-mine', EDITOR: 'nano-editor', SHORT_TOKEN: 'abc', HOME: '/home/me' };
  expect(withoutCredentials('a-value-of-mine! nano-editor abc /home/me', environment)).toBe(
    '[hidden]! nano-editor abc /home/me',
  );
});

test('quoted contents of files are hidden, quoted names are kept', () => {
  const quoted = (() => {
    try {
      JSON.parse('my private words');
      return '';
    } catch (error) {
      return (error as Error).message;
    }
  })();
  expect(quoted).toContain('private');
  expect(withoutContents(quoted)).not.toContain('private');
  expect(withoutContents('There is no tensor "lm_head.weight" in "what she \\"said\\" then"')).toBe(
    'There is no tensor "lm_head.weight" in "…"',
  );
});

test.each(['a.', 'token=', 'https://', '"', 'a://', 'Bearer ', '"..."', 'sk-'])(
  'a megabyte of %j takes linear time',
  (part) => {
    const text = part.repeat(1_000_000 / part.length);
    expect(withoutCredentials(text, {}).length).toBeLessThanOrEqual(4000);
    expect(withoutContents(withoutCredentials(text, {})).length).toBeLessThanOrEqual(4000);
  },
);
