// Bundles the one function of libphonenumber-js that `redact` uses into packages/data/dist: 170 kB, where the package
// takes 12 MB with its four builds. It is CommonJS, so that it can be loaded synchronously at the first use.
import { copyFileSync, readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';

const library = dirname(createRequire(import.meta.url).resolve('libphonenumber-js/package.json'));
const { version } = JSON.parse(readFileSync(join(library, 'package.json'), 'utf8'));
const dist = fileURLToPath(new URL('../packages/data/dist', import.meta.url));

await build({
  stdin: { contents: "export { findPhoneNumbersInText } from 'libphonenumber-js';", resolveDir: library },
  outfile: join(dist, 'phone-numbers.cjs'),
  bundle: true,
  format: 'cjs',
  platform: 'node',
  mainFields: ['module', 'main'],
  minify: true,
  legalComments: 'none',
  banner: {
    js:
      `/* Phone numbers by libphonenumber-js ${version}, MIT licence (phone-numbers.LICENSE.txt); its metadata is of ` +
      'libphonenumber, Copyright Google LLC, Apache-2.0 licence (phone-numbers.LICENSE.Apache.txt). */',
  },
  logLevel: 'warning',
});
copyFileSync(join(library, 'LICENSE'), join(dist, 'phone-numbers.LICENSE.txt'));
copyFileSync(join(library, 'LICENSE.Apache'), join(dist, 'phone-numbers.LICENSE.Apache.txt'));
