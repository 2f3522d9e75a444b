// Trains two thousand steps on each engine and watches what grows. `npm run test:soak -- [steps]`.
import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { repository } from './report.mjs';

const vitest = join(repository, 'node_modules/vitest/vitest.mjs');
const { status } = spawnSync(process.execPath, [vitest, 'run', 'test/soak.test.ts'], {
  cwd: repository,
  stdio: 'inherit',
  env: { ...process.env, WHETSTONE_SOAK_STEPS: process.argv[2] ?? '2000' },
});
process.exitCode = status ?? 1;
