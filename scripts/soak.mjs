// Two thousand training steps on each engine, watched for what grows; another number of steps as the first parameter.
import { spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';

const vitest = fileURLToPath(new URL('../node_modules/vitest/vitest.mjs', import.meta.url));
const { status } = spawnSync(process.execPath, [vitest, 'run', 'test/soak.test.ts'], {
  stdio: 'inherit',
  env: { ...process.env, WHETSTONE_SOAK_STEPS: process.argv[2] ?? '2000' },
});
process.exit(status ?? 1);
