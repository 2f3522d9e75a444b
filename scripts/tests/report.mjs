// Reads vitest's JSON reports.
import { existsSync, readFileSync } from 'node:fs';
import { join, relative, sep } from 'node:path';
import { fileURLToPath } from 'node:url';

export const repository = fileURLToPath(new URL('../..', import.meta.url));

/**
 * @typedef {{ readonly file: string; readonly name: string; readonly status: 'passed' | 'failed' | 'skipped' }} Test
 *
 * @typedef {{
 *   readonly needs: string;
 *   readonly reason: string;
 *   readonly files: Readonly<Record<string, readonly string[]>>;
 * }} AllowedSkip
 */

/** All tests of a report. A file that fails outside its tests, in an import or a hook, adds a failed test. */
export function readReport(path) {
  const { testResults } = JSON.parse(readFileSync(path, 'utf8'));
  return testResults.flatMap(({ name, status, message, assertionResults }) => {
    const file = relative(repository, name).split(sep).join('/');
    const tests = assertionResults.map((test) => ({
      file,
      name: [...test.ancestorTitles, test.title].join(' > '),
      status: test.status === 'passed' || test.status === 'failed' ? test.status : 'skipped',
    }));
    const failsOutside = status === 'failed' && !tests.some((test) => test.status === 'failed');
    return failsOutside ? [...tests, { file, name: message, status: 'failed' }] : tests;
  });
}

/** Whether a pattern of the list matches a whole name: `*` stands for any text. */
function matches(pattern, name) {
  const [first = '', ...rest] = pattern.split('*').map((text) => text.replace(/[\\^$.|?+()[\]{}]/g, '\\$&'));
  return new RegExp(`^${[first, ...rest].join('[^]*')}$`).test(name);
}

/**
 * Compares skipped tests with the list of allowed ones.
 *
 * @param {readonly Test[]} tests
 * @param {readonly AllowedSkip[]} allowed
 * @param {readonly string[]} provided What this run has: a test that needs it must not be skipped.
 * @returns `unlisted`: skipped tests that the list does not allow; `stale`: patterns of the list without such a test
 */
export function judgeSkips(tests, allowed, provided) {
  const skipped = tests.filter(({ status }) => status === 'skipped');
  const files = new Set(tests.map(({ file }) => file));
  const patterns = allowed
    .filter(({ needs }) => !provided.includes(needs))
    .flatMap((entry) =>
      Object.entries(entry.files).flatMap(([file, names]) => names.map((pattern) => ({ file, pattern }))),
    );
  return {
    unlisted: skipped.filter(
      (test) => !patterns.some(({ file, pattern }) => file === test.file && matches(pattern, test.name)),
    ),
    stale: patterns.filter(
      ({ file, pattern }) =>
        (files.has(file) || !existsSync(join(repository, file))) &&
        !skipped.some((test) => test.file === file && matches(pattern, test.name)),
    ),
  };
}

/** Counts the tests of several runs. A test of two runs counts once: as failed if it failed in one, else as passed. */
export function countTests(runs) {
  const rank = { skipped: 0, passed: 1, failed: 2 };
  const byTest = new Map();
  for (const { file, name, status } of runs.flatMap(numberRepeats)) {
    const key = `${file}\n${name}`;
    if (rank[status] >= rank[byTest.get(key) ?? 'skipped']) byTest.set(key, status);
  }
  const counts = { passed: 0, failed: 0, skipped: 0 };
  for (const status of byTest.values()) counts[status]++;
  return counts;
}

/** Tests of one run with the same name are different tests. */
function numberRepeats(tests) {
  const seen = new Map();
  return tests.map((test) => {
    const key = `${test.file}\n${test.name}`;
    const index = seen.get(key) ?? 0;
    seen.set(key, index + 1);
    return index === 0 ? test : { ...test, name: `${test.name} #${index}` };
  });
}
