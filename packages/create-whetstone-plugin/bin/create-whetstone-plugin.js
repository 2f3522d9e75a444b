#!/usr/bin/env node
// In the repository, npm links the command before anything is built: this file is always there.
import { existsSync } from 'node:fs';

const main = new URL('../dist/main.js', import.meta.url);
if (existsSync(main)) {
  try {
    await import(main.href);
  } catch (error) {
    // Node reports a package as missing if it cannot open its manifest: the folder is there.
    const missing = /^Cannot find (?:package|module) '(\/[^']+)\/[^/']+'/.exec(error?.message ?? '')?.[1];
    const isTooMany = /\bE[MN]FILE\b/.test(`${error?.code} ${error?.message}`);
    if (!isTooMany && (missing === undefined || !existsSync(missing))) throw error;
    process.stderr.write(
      '[TOO_MANY_FILES] No more files can be opened.\n' +
        '  hint:     Allow more open files, for example with: ulimit -n 4096\n',
    );
    process.exitCode = 1;
  }
} else {
  process.stderr.write('Whetstone is not built yet: run `npm run build` first.\n');
  process.exitCode = 1;
}
