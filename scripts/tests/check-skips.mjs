// Fails if a test was skipped that `test/allowed-skips.json` does not allow, or if that list allows a skip that no
// longer happens. `node scripts/tests/check-skips.mjs REPORT [--provided libtensorflow,xla-cpu]`: REPORT is a report of
// vitest's JSON reporter; tests that need what is provided must not be skipped.
import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { judgeSkips, readReport, repository } from './report.mjs';

const list = 'test/allowed-skips.json';

const succeeds = (command, parameters, options) => spawnSync(command, parameters, options).status === 0;

/** Returns what this user may do on this machine, as `needs` in the list. */
const permissions = () => [
  ...(succeeds('unshare', ['--net', 'ip', 'link', 'set', 'lo', 'up']) ? ['network namespaces'] : []),
  ...(process.getuid?.() === 0 && succeeds(process.execPath, ['--version'], { cwd: '/', uid: 54_321, gid: 54_321 })
    ? ['processes of another user']
    : []),
  ...(succeeds('python3', ['-c', 'import pty']) ? ['a pseudo-terminal'] : []),
];

/** Prints what is wrong with the skipped tests of a report. @returns whether nothing is */
export function checkSkips(report, provided) {
  const allowed = JSON.parse(readFileSync(join(repository, list), 'utf8'));
  const tests = readReport(report);
  const { unlisted, stale } = judgeSkips(tests, allowed, [...provided, ...permissions()]);
  for (const { file, name } of unlisted) console.error(`SKIPPED, and ${list} does not allow it: ${file} > ${name}`);
  for (const { file, pattern } of stale)
    console.error(`Not skipped any more, take it off ${list}: ${file} > ${JSON.stringify(pattern)}`);
  const skipped = tests.filter(({ status }) => status === 'skipped').length;
  if (unlisted.length + stale.length === 0) console.error(`${skipped} tests were skipped, each for a listed reason.`);
  return unlisted.length + stale.length === 0;
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const { values, positionals } = parseArgs({
    options: { provided: { type: 'string', default: '' } },
    allowPositionals: true,
  });
  if (!checkSkips(positionals[0], values.provided.split(',').filter(Boolean))) process.exitCode = 1;
}
