import '@tensorflow/tfjs-backend-cpu';
import { chmod, mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import * as tf from '@tensorflow/tfjs-core';
import { provide } from '@whetstone/core';
import { MODEL_LOADER } from '@whetstone/core/contract';
import { beforeAll, describe, expect, it } from 'vitest';
import { withFault } from '../support/faulty-files.js';
import { temporaryFolder } from '../support/temporary-folder.js';
import { loadedOf, tinyModel } from '../support/training.js';
import { tinyTrainer } from './support.js';

beforeAll(() => tf.setBackend('cpu'));

const training = { maxSteps: 2, saveStrategy: 'steps', saveSteps: 1 };

describe('an output folder that cannot be written', () => {
  /** A model that must not be loaded. */
  const loads: string[] = [];
  const loader = provide(MODEL_LOADER, {
    load: async (folder) => {
      loads.push(folder);
      return loadedOf(tinyModel());
    },
  });

  it.skipIf(process.platform === 'win32')('is reported before the model is loaded', async () => {
    const root = await temporaryFolder();
    const refused = async (folder: string, work: () => Promise<unknown>): Promise<void> => {
      loads.length = 0;
      await expect(work(), folder).rejects.toMatchObject({ code: 'FILE_UNWRITABLE' });
      expect(loads, folder).toEqual([]);
    };
    const trainer = (folder: string) => tinyTrainer({ output: { folder }, training }, { services: [loader] });
    // Also for root, who may write everywhere: an error of the file system below an existing folder.
    await refused(join(root, 'run'), async () => {
      const { result } = await withFault(root, { kind: 'EACCES', at: 0, lasting: true, only: 'mkdir' }, () =>
        trainer(join(root, 'run')).run(),
      );
      if ('error' in result) throw result.error;
    });
    if (process.getuid?.() === 0) return;
    await mkdir(join(root, 'locked'));
    await chmod(join(root, 'locked'), 0o555);
    await refused(join(root, 'locked', 'run'), () => trainer(join(root, 'locked', 'run')).run());
  });

  it.skipIf(process.platform !== 'linux')('may be on a file system that allows no folders', async () => {
    loads.length = 0;
    await expect(
      tinyTrainer({ output: { folder: '/proc/whetstone/run' }, training }, { services: [loader] }).run(),
    ).rejects.toMatchObject({ name: 'WhetstoneError' });
    expect(loads).toEqual([]);
  });
});
