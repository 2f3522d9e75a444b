import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import * as fc from 'fast-check';
import { afterAll, describe, it } from 'vitest';
import { isWhetstoneError } from '@whetstone/core/contract';
import { changes, jsonValues, mutated, withValue } from './mutate.js';
import { createTargets } from './targets.js';

/**
 * `npm run fuzz` reads 10,000 changed files for each target; the suite reads a few, always the same ones. A finding
 * prints the changes and the seed with which it is found again.
 */
const runs = Number(process.env['WHETSTONE_FUZZ'] ?? 60);
const seed = Number(process.env['WHETSTONE_FUZZ_SEED'] ?? 18);

const folder = mkdtempSync(join(tmpdir(), 'whetstone-fuzz-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

describe('a changed file is read, or is an error with a code', () => {
  it.each(createTargets(folder).map((target) => [target.name, target] as const))(
    '%s',
    async (_, { seeds, isJson = false, share = 1, read }) => {
      const changed = fc
        .tuple(fc.nat(seeds.length - 1), changes)
        .map(([at, list]) => mutated(seeds[at] as Uint8Array, list));
      const replaced = fc
        .tuple(fc.nat(seeds.length - 1), fc.double({ min: 0, max: 1, noNaN: true }), jsonValues)
        .map(([at, place, value]) => withValue(seeds[at] as Uint8Array, place, value));
      await fc.assert(
        fc.asyncProperty(isJson ? fc.oneof(changed, replaced) : changed, async (bytes) => {
          try {
            await read(bytes);
          } catch (error) {
            if (isWhetstoneError(error) && error.code !== 'INTERNAL') return;
            const text = Buffer.from(bytes).toString('latin1').slice(0, 2000);
            throw new Error(`An error without a code for ${JSON.stringify(text)}: ${String(error)}`, { cause: error });
          }
        }),
        { numRuns: Math.ceil(runs * share), seed },
      );
    },
    runs * 2000 + 60_000,
  );
});
