import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { countTests, judgeSkips, repository } from '../scripts/tests/report.mjs';

type Test = { readonly file: string; readonly name: string; readonly status: 'passed' | 'failed' | 'skipped' };

const file = 'test/soak.test.ts';
const test = (name: string, status: Test['status']): Test => ({ file, name, status });
const allowed = (needs: string, ...names: string[]) => ({ needs, reason: 'a test', files: { [file]: names } });

describe('judgeSkips', () => {
  it('allows what the list names, whole or with * for any text', () => {
    const tests = [test('one > two', 'skipped'), test('100 steps (xla)', 'skipped'), test('other', 'passed')];
    expect(judgeSkips(tests, [allowed('xla', 'one > two', '* steps (xla)')], [])).toEqual({ unlisted: [], stale: [] });
  });

  it('reports a skipped test that is not listed, or listed for another file or by a part of its name', () => {
    const skipped = test('one > two', 'skipped');
    for (const list of [
      [],
      [allowed('xla', 'one')],
      [allowed('xla', 'one . two')],
      [{ ...allowed('xla'), files: { 'test/docs.test.ts': ['*'] } }],
    ])
      expect(judgeSkips([skipped], list, []).unlisted).toEqual([skipped]);
  });

  it('reports a skipped test that needs something which this run has', () => {
    const skipped = test('one', 'skipped');
    expect(judgeSkips([skipped], [allowed('xla', 'one')], ['xla'])).toEqual({ unlisted: [skipped], stale: [] });
  });

  it('reports a pattern that no skipped test matches any more, and a file that does not exist', () => {
    const list = [allowed('xla', 'one'), { ...allowed('xla'), files: { 'test/gone.test.ts': ['*'] } }];
    expect(judgeSkips([test('one', 'passed')], list, []).stale).toEqual([
      { file, pattern: 'one' },
      { file: 'test/gone.test.ts', pattern: '*' },
    ]);
  });

  it('reports no pattern of a file that did not run', () => {
    expect(judgeSkips([], [allowed('xla', 'one')], []).stale).toEqual([]);
  });
});

describe('countTests', () => {
  it('counts a test of two runs once: failed before passed before skipped', () => {
    const first = [test('a', 'passed'), test('b', 'skipped'), test('c', 'passed'), test('d', 'skipped')];
    const second = [test('a', 'skipped'), test('b', 'skipped'), test('c', 'failed'), test('d', 'passed')];
    expect(countTests([first, second])).toEqual({ passed: 2, failed: 1, skipped: 1 });
  });

  it('counts tests of one run that have the same name apart', () => {
    expect(countTests([[test('a', 'passed'), test('a', 'failed'), test('a', 'passed')]])).toEqual({
      passed: 2,
      failed: 1,
      skipped: 0,
    });
  });
});

describe('test/allowed-skips.json', () => {
  const list = JSON.parse(readFileSync(join(repository, 'test/allowed-skips.json'), 'utf8')) as readonly {
    readonly needs: string;
    readonly reason: string;
    readonly files: Readonly<Record<string, readonly string[]>>;
  }[];

  it.each(list)('$needs: gives a reason, and names test files that exist', ({ reason, files }) => {
    expect(reason).toMatch(/\.$/);
    expect(Object.keys(files).filter((path) => !existsSync(join(repository, path)))).toEqual([]);
    expect(Object.entries(files).filter(([, names]) => names.length === 0)).toEqual([]);
  });
});
