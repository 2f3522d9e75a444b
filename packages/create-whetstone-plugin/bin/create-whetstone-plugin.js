#!/usr/bin/env node
// In the repository, npm links the command before anything is built: this file is always there.
import { existsSync } from 'node:fs';

const main = new URL('../dist/main.js', import.meta.url);
if (existsSync(main)) {
  await import(main.href);
} else {
  process.stderr.write('Whetstone is not built yet: run `npm run build` first.\n');
  process.exitCode = 1;
}
