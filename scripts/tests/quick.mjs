// The quick suite: `npm test` as on a machine on which nothing was fetched, without the tests that take long.
// `npm run test:quick -- [--node PROGRAM] [--report FILE] [test files]`. It hides Python and what is in the caches.
import { spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { createBareEnvironment } from './bare-environment.mjs';
import { checkSkips } from './check-skips.mjs';
import { repository } from './report.mjs';

/**
 * Files that take more than 7 seconds and prove nothing more on a machine without libraries; `npm test` runs them.
 * `test:nodes` runs those of `everyNode` too, on each version.
 */
const slow = [
  'examples/custom-strategy/index.test.ts',
  'examples/customer-service/index.test.ts',
  'examples/ln-tuning/index.test.ts',
  'examples/quickstart/quickstart.test.ts',
  'examples/repetition/index.test.ts',
  'packages/backend/src/install/download.test.ts',
  'packages/cli/src/evaluation-metrics.test.ts',
  'packages/cli/src/imported-names.test.ts',
  'packages/core/src/config/resolve-config.test.ts',
  'packages/data/src/parallel/parallel.test.ts',
  'packages/data/src/transforms/redact/redact.test.ts',
  'test/add-tokens.test.ts',
  'test/chat-terminal.test.ts',
  'test/conformance/broken-callbacks.test.ts',
  'test/conformance/broken-metrics.test.ts',
  'test/conformance/broken-strategies.test.ts',
  'test/conformance/callbacks.test.ts',
  'test/conformance/metrics.test.ts',
  'test/conformance/strategies.test.ts',
  'test/create-plugin.test.ts',
  'test/docs/checks.test.ts',
  'test/docs/examples.test.ts',
  'test/dry-run.test.ts',
  'test/engine/logs.test.ts',
  'test/engine/loop.test.ts',
  'test/engine/non-finite.test.ts',
  'test/engine/owed-work.test.ts',
  'test/engine/results.test.ts',
  'test/engine/resume-differences.test.ts',
  'test/engine/resume-lineage.test.ts',
  'test/engine/resume.test.ts',
  'test/engine/rollback.test.ts',
  'test/hostile-text.test.ts',
  'test/large-data.test.ts',
  'test/numerics/chat-templates.test.ts',
  'test/numerics/ewc.test.ts',
  'test/numerics/peft.test.ts',
  'test/numerics/qlora.test.ts',
  'test/numerics/trajectories.test.ts',
  'test/release.test.ts',
  'test/reports/adapters.test.ts',
  'test/reports/data-config.test.ts',
  'test/reports/stop-tokens.test.ts',
  'test/reports/unused-options.test.ts',
  'test/repository-rules.test.ts',
  'test/strategies/companions.test.ts',
  'test/strategies/continue-adapter.test.ts',
  'test/strategies/frozen-prefix.test.ts',
  'test/strategies/hard-samples.test.ts',
  'test/strategies/lora-variants.test.ts',
  'test/strategies/plan.test.ts',
  'test/strategies/replay.test.ts',
  'test/third-party.test.ts',
  'test/trainer/attachments.test.ts',
  'test/trainer/services.test.ts',
  'test/trainer/stages.test.ts',
  'test/trainer/unfinished-run.test.ts',
  'test/versions/versions.test.ts',
  'test/write-a-strategy.test.ts',
];

/** Slow files in which much depends on the version of Node.js. */
export const everyNode = [
  'packages/cli/src/command-line.test.ts',
  'packages/core/src/distributed/rendezvous.test.ts',
  'packages/data/src/reading/fuzz.test.ts',
  'packages/data/src/reading/parquet-damage.test.ts',
  'packages/models/src/chat-template/bounds.test.ts',
  'packages/models/src/tokenizer/patterns.test.ts',
  'test/faults/faults.test.ts',
  'test/regular-expressions.test.ts',
  'test/trainer/trainer.test.ts',
];

/**
 * Runs the quick suite, and those of its slow files that `include` names.
 *
 * @returns whether it passed, and no test was skipped but those that need something that was not fetched
 */
export function runQuickSuite({ node = process.execPath, report = null, files = [], include = [] } = {}) {
  const { folder, env, remove } = createBareEnvironment(node);
  try {
    const file = report ?? join(folder, 'report.json');
    const excluded = [...slow, ...everyNode].flatMap((path) => (include.includes(path) ? [] : ['--exclude', path]));
    const reporters = ['--reporter=default', '--reporter=json', `--outputFile.json=${file}`];
    const { status } = spawnSync('npm', ['test', '--', ...excluded, ...reporters, ...files], {
      cwd: repository,
      env,
      stdio: 'inherit',
    });
    const skipsAreListed = existsSync(file) && checkSkips(file, []);
    return status === 0 && skipsAreListed;
  } finally {
    remove();
  }
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const { values, positionals } = parseArgs({
    options: { node: { type: 'string' }, report: { type: 'string' } },
    allowPositionals: true,
  });
  if (!runQuickSuite({ ...values, files: positionals })) process.exitCode = 1;
}
