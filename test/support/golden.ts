import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

/** The folder of golden numbers: `WHETSTONE_GOLDEN` where it is set, else the committed one. */
function goldenFolder(): string {
  return process.env['WHETSTONE_GOLDEN'] ?? fileURLToPath(new URL('../golden', import.meta.url));
}

/** A path inside the golden folder. */
export function goldenPath(...parts: string[]): string {
  return join(goldenFolder(), ...parts);
}

/** Reads a JSON fixture. `"Infinity"`, `"-Infinity"` and `"NaN"` stay strings: see the fixtures' README. */
export function readGolden<T>(...parts: string[]): T {
  return JSON.parse(readFileSync(goldenPath(...parts), 'utf8')) as T;
}
