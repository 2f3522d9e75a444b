import * as tf from '@tensorflow/tfjs-core';
import { runKernel } from '@whetstone/core/ops';
import { describe, expect, test } from 'vitest';
import { libraryFolder, startBackend, startXlaBackend, xlaPlugin } from '../test-support.js';

const engines = {
  tensorflow: { missing: libraryFolder === null, start: startBackend },
  xla: { missing: xlaPlugin === null, start: startXlaBackend },
};

for (const [engine, { missing, start }] of Object.entries(engines)) {
  describe.skipIf(missing)(`rows added to a table on ${engine}`, () => {
    test('count as often as they are named, and the table that was given stays as it is', async () => {
      await start();
      const [table, added] = tf.tidy(() => {
        const given = tf.mul(
          tf.tensor2d([
            [1, 2],
            [3, 4],
            [5, 6],
            [7, 8],
          ]),
          1,
        );
        const [sum] = runKernel('WhetstoneAddRows', {
          x: given,
          indices: tf.tensor2d([[2], [0], [2]], [3, 1], 'int32'),
          rows: tf.tensor2d([
            [10, 20],
            [30, 40],
            [50, 60],
          ]),
        });
        return [given.arraySync(), (sum as tf.Tensor).arraySync()];
      });
      expect(added).toEqual([
        [31, 42],
        [3, 4],
        [65, 86],
        [7, 8],
      ]);
      expect(table).toEqual([
        [1, 2],
        [3, 4],
        [5, 6],
        [7, 8],
      ]);
    });
  });
}
