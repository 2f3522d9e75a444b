// tfjs-core's Node bundle registers no gradients, and the modules that do are not loadable by Node as they are
// published (ES modules with extensionless imports in a CommonJS package). They are bundled here, once a build, into
// core's dist folder. tfjs-core keeps its registries and its engine on the global object, so the bundle serves the
// installed copy; which must be there first, or the bundle's own Tensor class, which has no operations, would become
// everybody's: hence the import in the banner.
import { createRequire } from 'node:module';
import { readFileSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';

const require = createRequire(import.meta.url);
const tfjs = dirname(require.resolve('@tensorflow/tfjs-core/package.json'));
const out = fileURLToPath(new URL('../packages/core/dist/tfjs-gradients.js', import.meta.url));
const { version } = JSON.parse(readFileSync(join(tfjs, 'package.json'), 'utf8'));

await build({
  entryPoints: [join(tfjs, 'dist/register_all_gradients.js')],
  outfile: out,
  bundle: true,
  format: 'esm',
  platform: 'node',
  minify: true,
  ignoreAnnotations: true,
  legalComments: 'none',
  banner: {
    js:
      `/* Gradients of @tensorflow/tfjs-core ${version}, Copyright Google LLC, Apache-2.0 licence. */\nimport ` +
      `'@tensorflow/tfjs-core';`,
  },
  logLevel: 'warning',
});
// The module exports nothing: it registers.
writeFileSync(out.replace(/\.js$/, '.d.ts'), 'export {};\n');
