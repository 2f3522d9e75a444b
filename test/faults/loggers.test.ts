import { join } from 'node:path';
import type { Callback, RunInfo, RunReport } from '@whetstone/core/contract';
import { describe, expect, it } from 'vitest';
import { createMetricsLog } from '../../packages/plugins/src/metrics-jsonl.js';
import { createTensorBoardLog } from '../../packages/plugins/src/tensorboard/tensorboard.js';
import { withFault } from '../support/faulty-files.js';
import { temporaryFolder } from '../support/temporary-folder.js';

const loggers: Readonly<Record<string, (folder: string) => Callback>> = {
  'metrics-jsonl': (folder) => createMetricsLog(folder, 'metrics.jsonl', () => undefined),
  tensorboard: (folder) => createTensorBoardLog(folder, 1, () => 1_700_000_000_000),
};

/** What the loggers read of a run. */
const info = { startStep: 0 } as unknown as RunInfo;
const report = { steps: 1, outputFolder: null } as unknown as RunReport;

async function call(hook: unknown, given: RunInfo | RunReport): Promise<void> {
  if (typeof hook !== 'function') throw new Error('The logger has no such hook.');
  await (hook as (given: RunInfo | RunReport) => unknown)(given);
}

describe.each(Object.keys(loggers))('the logger %s', (name) => {
  it.each(['ENOSPC', 'EIO'] as const)(
    'reports %s at any operation with a code, and can be disposed of then',
    async (kind) => {
      const root = await temporaryFolder();
      for (let at = 0; ; at++) {
        const callback = loggers[name]?.(join(root, String(at)));
        const { result, failed } = await withFault(root, { kind, at }, async () => {
          await call(callback?.onRunStart, info);
          await call(callback?.onRunEnd, report);
        });
        callback?.dispose?.();
        if (failed === null) {
          expect(result).toEqual({ value: undefined });
          expect(at).toBeGreaterThan(2);
          return;
        }
        const code = kind === 'ENOSPC' ? 'DISK_FULL' : expect.stringMatching(/^FILE_UN(WRITABLE|READABLE)$/);
        expect(result, failed).toMatchObject({ error: { code } });
      }
    },
  );
});
