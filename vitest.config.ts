import { readdirSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { defineConfig } from 'vitest/config';

interface Manifest {
  readonly name: string;
  readonly exports: Readonly<Record<string, string | { readonly default: string }>>;
}

const packages = new URL('packages/', import.meta.url);

/**
 * Every typed export of the workspace packages, by its source: tests need no build. An export without types is a file
 * that the build makes, or that a worker thread loads, and stays in `dist`.
 */
const sources = readdirSync(packages).flatMap((folder) => {
  const { name, exports } = JSON.parse(readFileSync(new URL(`${folder}/package.json`, packages), 'utf8')) as Manifest;
  return Object.entries(exports).flatMap(([path, target]) =>
    typeof target === 'string'
      ? []
      : [
          {
            find: new RegExp(`^${name}${path.slice(1)}$`),
            replacement: fileURLToPath(
              new URL(`${folder}/${target.default.replace('./dist/', 'src/').replace(/\.js$/, '.ts')}`, packages),
            ),
          },
        ],
  );
});

/** Tests on tfjs's cpu backend run on one that refuses the types that TensorFlow refuses. */
const strictCpu = {
  find: /^@tensorflow\/tfjs-backend-cpu$/,
  replacement: fileURLToPath(new URL('test/support/strict-cpu.ts', import.meta.url)),
};

export default defineConfig({
  resolve: { alias: [...sources, strictCpu] },
  test: {
    include: ['packages/*/src/**/*.test.ts', 'test/**/*.test.ts', 'examples/**/*.test.ts', 'bench/**/*.test.ts'],
    // Native libraries keep state for the life of a process: one process a file.
    pool: 'forks',
    maxWorkers: 2,
    testTimeout: 60_000,
    hookTimeout: 120_000,
  },
});
