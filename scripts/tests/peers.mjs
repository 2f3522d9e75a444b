// Runs the tests that exchange files with PEFT, transformers, mlx-lm and TensorBoard: `npm run test:peers --
// [test files]`. pip installs these into a virtual environment in Whetstone's cache, about 6 GB on Linux, once for each
// version of `test/peers/requirements.txt`. WHETSTONE_PYTHON names the Python that makes it.
import { execFileSync, spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { cacheFolder } from '@whetstone/backend/install';
import { checkSkips } from './check-skips.mjs';
import { repository } from './report.mjs';

const tests = ['test/peers', 'test/add-tokens.test.ts', 'packages/plugins/src/tensorboard'];
const requirements = join(repository, 'test/peers/requirements.txt');

/** Makes the virtual environment, or finds it in the cache. @returns the path of its Python */
function findPeers() {
  const base = process.env.WHETSTONE_PYTHON ?? 'python3';
  const version = execFileSync(base, ['-c', 'import sys; print(*sys.version_info[:3], sys.prefix)'], {
    encoding: 'utf8',
  });
  const hash = createHash('sha256').update(version).update(readFileSync(requirements)).digest('hex').slice(0, 16);
  const folder = join(cacheFolder(), `test-peers-${hash}`);
  const python = join(folder, process.platform === 'win32' ? 'Scripts/python.exe' : 'bin/python');
  // Written last: an installation that broke off is made again.
  const complete = join(folder, 'complete');
  if (existsSync(complete)) return python;
  console.log(`Installing ${requirements} in ${folder}.`);
  mkdirSync(cacheFolder(), { recursive: true });
  const run = (...parameters) => execFileSync(...parameters, { stdio: 'inherit' });
  run(base, ['-m', 'venv', '--clear', folder]);
  run(python, ['-m', 'pip', 'install', '--requirement', requirements]);
  writeFileSync(complete, '');
  return python;
}

const python = findPeers();
const folder = mkdtempSync(join(tmpdir(), 'whetstone-peers-'));
try {
  const report = join(folder, 'report.json');
  const vitest = join(repository, 'node_modules/vitest/vitest.mjs');
  const files = process.argv.length > 2 ? process.argv.slice(2) : tests;
  const { status } = spawnSync(
    process.execPath,
    [vitest, 'run', '--reporter=default', '--reporter=json', `--outputFile.json=${report}`, ...files],
    {
      cwd: repository,
      stdio: 'inherit',
      env: { ...process.env, WHETSTONE_PEER_PYTHON: python, WHETSTONE_MLX_PYTHON: python },
    },
  );
  if (status !== 0 || (files === tests && !checkSkips(report, ['peers']))) process.exitCode = 1;
} finally {
  rmSync(folder, { recursive: true, force: true });
}
